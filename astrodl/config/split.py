"""Settings of the splits, and of an ingestion as a whole."""

from typing import Annotated

from pydantic import Field, model_validator

from astrodl.config.section import Fraction, Name, Section
from astrodl.config.survey import DataSettings

__all__ = ["IngestSettings", "SplitSettings"]


class SplitSettings(Section):
    """Division of the objects into training, validation and test."""

    validation: Fraction = 0.1
    """Fraction of objects for validation (with one fold)."""
    test: Annotated[float, Field(ge=0.0, le=1.0)] = 0.2
    """Fraction of objects for the test split; 1: all of them, for a survey on which nothing is trained."""
    folds: Annotated[int, Field(ge=1)] = 1
    """Number of cross-validation folds of what is not test."""
    nside: Annotated[int, Field(ge=1)] = 1024
    """HEALPix resolution of the cells that stay together (a power of two)."""
    separation_arcsec: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """Objects closer than this stay together, in chains and across the borders of cells; 0: cells alone."""
    sample: Annotated[int, Field(ge=1)] | None = None
    """About how many objects networks are trained, validated and measured on; the others are predicted only. By default
    all. Objects are taken by a hash of their identifier, after the division by cell."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the split."""

    @model_validator(mode="after")
    def _sane(self) -> "SplitSettings":
        if self.validation + self.test >= 1 and (self.test < 1 or self.validation > 0):
            raise ValueError(
                f"validation + test is {self.validation + self.test:g}, must stay below 1 (or test 1 and validation 0)"
            )
        if self.nside & (self.nside - 1):
            raise ValueError(f"nside is {self.nside}, must be a power of two")
        return self


class IngestSettings(Section):
    """Settings of `astrodl ingest`: the data and the split."""

    survey: Name = "demo"
    """Name of the survey, recorded in the store."""
    data: DataSettings
    split: SplitSettings = SplitSettings()
