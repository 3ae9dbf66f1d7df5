"""Properties of the training data that a network needs for prediction, saved with the model."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from astrodl.calibration.training_range import TrainingRange
from astrodl.data.normalize import Normalization

__all__ = ["Context", "explain", "parse_json"]


@dataclass(frozen=True)
class Context:
    """Properties of the training data that a network needs for prediction; plain values, saved with the model.

    Attributes
    ----------
    survey, unit, bands, size, pixel_scale_arcsec
        As in the store; a pixel scale of zero is unknown, a size of zero is that of a survey without images.
    normalization : Normalization
        Fitted on the training split.
    constants : dict
        Values that the task fits on the training split: classes, bin edges, feature means, temperatures.
    sees_coverage : bool
        Whether image networks also take a map per band of the pixels with data, because training objects have gaps.
    training_range : TrainingRange or None
        Ranges of the measurements of the training objects; None in models of older versions.
    sky_on_border : bool
        Whether the sky noise in the store is that on the border of its cutouts, and not of larger images.
    split : str
        Digest of the settings that divide the survey; empty in models of older versions.
    """

    survey: str
    unit: str
    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    size: Annotated[int, Field(ge=0, le=65536)]
    pixel_scale_arcsec: Annotated[float, Field(ge=0)]
    normalization: Normalization
    constants: dict[str, Any] = field(default_factory=dict)
    sees_coverage: bool = False
    training_range: TrainingRange | None = None
    sky_on_border: bool = True
    split: str = ""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", allow_inf_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Context":
        """Rebuild from `to_dict`.

        Raises
        ------
        ValueError
            A value is missing, or of the wrong type, or not finite; one line that names it.
        """
        return cls.from_json(json.dumps(values))

    @classmethod
    def from_json(cls, text: str) -> "Context":
        """Rebuild from `to_dict` as JSON; see `from_dict`."""
        parse_json(text)
        try:
            context = _SCHEMA.validate_json(text, strict=True)
        except ValidationError as error:
            raise ValueError(explain(error)) from None
        normalization = context.normalization
        if len(set(context.bands)) < len(context.bands):
            raise ValueError("bands: a name occurs twice")
        if normalization.bands != context.bands or len(normalization.softening) != len(context.bands):
            raise ValueError("normalization: the bands are not those of the network")
        if not all(value > 0 for value in (*normalization.softening, normalization.stretch)):
            raise ValueError("normalization: a scale is not positive")
        return context


_SCHEMA = TypeAdapter(Context)


def parse_json(text: Any) -> dict[str, Any]:
    """Parse a JSON object whose numbers are all finite.

    Raises
    ------
    ValueError
        It is something else.
    """
    try:
        values = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return values


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not a finite number")


def _finite(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _refuse(text)


def explain(error: ValidationError) -> str:
    """Return the place and the reason of the first error."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place or 'value'}: {first['msg'][:1].lower()}{first['msg'][1:]}"
