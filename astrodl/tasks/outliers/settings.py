"""Settings of the outliers."""

from typing import Annotated, Literal

from pydantic import Field

from astrodl.config import Fraction, TaskSettings, TrainSettings
from astrodl.tasks.catalog_columns import ClassName

__all__ = ["PARTS", "OutlierSettings", "OutlierTraining", "Part"]

Part = Literal["residual", "features", "structure"]
PARTS: tuple[Part, ...] = ("residual", "features", "structure")
"""Parts of the score: residual of the redrawn image, neighbours in measured features, neighbours in structure."""


class OutlierTraining(TrainSettings):
    """Training loop of the GAN."""

    epochs: Annotated[int, Field(ge=1)] = 50
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    betas: tuple[Fraction, Fraction] = (0.5, 0.9)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=0)] | None = 10.0
    ema: Fraction = 0.99


class OutlierSettings(TaskSettings):
    """Outliers."""

    latent: Annotated[int, Field(ge=1)] = 32
    """Number of latent dimensions."""
    autoencoder: Annotated[int, Field(ge=0)] = 12
    """Updates of generator and encoder on the reconstruction per cycle."""
    critic: Annotated[int, Field(ge=1)] = 5
    """Updates of the critic per cycle (Gulrajani et al. 2017)."""
    generator: Annotated[int, Field(ge=1)] = 1
    """Adversarial updates of generator and encoder per cycle."""
    penalty: Annotated[float, Field(ge=0)] = 10.0
    """Weight of the gradient penalty."""
    adversarial: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the critic's value beside the reconstruction."""
    moments: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the penalty that keeps the distribution of the codes standard normal."""
    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = PARTS
    """Parts whose surprise the score adds up; all are measured, and columns of the catalogue."""
    exclude: tuple[ClassName, ...] = ()
    """Kinds in the column `target` that training and validation leave out, and that alone count as oddities then."""
    target: str = "oddity"
    """Column with the kind of oddity, empty for none; used for evaluation, never for training."""
    widths: tuple[int, ...] = (32, 64, 64, 64)
    """Channels of the encoder; the generator's in reverse."""
    critic_widths: tuple[int, ...] = (16, 32, 64, 64)
    """Channels of the critic; its gradient penalty is the most expensive part of an update."""
    train: OutlierTraining = OutlierTraining()
