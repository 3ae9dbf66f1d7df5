"""What is known of catalogue columns by their role or name: units, possible values, notation of angles."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy import constants, units
from astropy.table import Column
from numpy.typing import NDArray

from astrodl.errors import DataError
from astrodl.ingestion.placeholders import is_missing_text
from astrodl.ingestion.tables import distinct_texts

__all__ = [
    "MAGNITUDE",
    "MEANINGS",
    "REDSHIFT",
    "Meaning",
    "find_factor",
    "find_meaning",
    "find_sexagesimal",
    "format_unit",
    "guess_angle_unit",
]

_SEXAGESIMAL = re.compile(r"[+-]?\d+(\s*[:hd°]\s*|\s+)\d+(\s*[:m']\s*|\s+)\d+(\.\d*)?\s*[s\"]?", re.IGNORECASE)
_UNITLESS = ("none", "unitless", "dimensionless", "redshift", "-", "--")
_DEGREES = ("degree", "degrees", "degs", "decimal degrees", "d:m:s", "dms")
_HOURS = ("h", "hr", "hour", "hours", "hourangle", "h:m:s", "hms")


@dataclass(frozen=True)
class Meaning:
    """What is known of a column by its role or name.

    Attributes
    ----------
    unit
        Unit of the stored values; "" for numbers without one; None for any unit.
    low, high
        Possible values.
    least
        Smallest absolute value of a placeholder; infinite: only impossible values are placeholders.
    strict
        Refuse an impossible value that no placeholder explains; otherwise it counts as missing.
    """

    unit: str | None = None
    low: float = -np.inf
    high: float = np.inf
    least: float = 9.0
    strict: bool = False


REDSHIFT = Meaning("", -0.1, 20.0)
MAGNITUDE = Meaning("mag", -30.0, 36.0)
"""Brighter than the Sun is impossible; from 36 on programs write magnitudes of objects that are not detected."""
_REDSHIFTS = re.compile(r"redshift|z_?spec|spec_?z|z_?phot|photo_?z|z_(best|true)")
MEANINGS = {
    "ra": Meaning("deg", -180.0, 360.0, least=99.0, strict=True),
    "dec": Meaning("deg", -90.0, 90.0, least=np.inf, strict=True),
    "x": Meaning("pix", least=99.0),
    "y": Meaning("pix", least=99.0),
    "ebv": Meaning("mag", -1.0, 100.0),
    "index": Meaning("", least=np.inf),
    "fold": Meaning("", least=np.inf),
    "z": REDSHIFT,
    "magnitude": MAGNITUDE,
    "inclination": Meaning("deg", -180.0, 360.0),
    "bt": Meaning("", 0.0, 1.0),
    "sersic_index": Meaning("", 0.0, 100.0),
}
"""Columns that tasks know by name, and columns with a role."""


def find_meaning(name: str, source: str) -> Meaning | None:
    """Return what is known of a kept column by its name in the store or, for redshifts, in the catalogue."""
    if name.casefold() in MEANINGS:
        return MEANINGS[name.casefold()]
    is_redshift = any(_REDSHIFTS.fullmatch(one.casefold()) for one in (name, source))
    return REDSHIFT if is_redshift else None


def format_unit(unit: Any) -> str:
    """Return a unit in the notation of FITS where FITS has it."""
    if unit is None or str(unit) == "":
        return ""
    try:
        return str(units.Unit(unit, parse_strict="silent").to_string("fits"))
    except (ValueError, TypeError):
        return str(unit)


def find_sexagesimal(column: Column, meaning: Meaning) -> Literal["", "hourangle", "deg"]:
    """Return the unit of sexagesimal text: hours for a right ascension unless the column's unit says degrees."""
    if meaning.unit != "deg" or meaning is MEANINGS["inclination"]:
        return ""
    n_texts, has_degrees = 0, False
    for text, _ in distinct_texts(column):
        if is_missing_text(text):
            continue
        if not _SEXAGESIMAL.fullmatch(text.strip()):
            return ""
        n_texts, has_degrees = n_texts + 1, has_degrees or "d" in text
    if not n_texts:
        return ""
    unit = str(column.unit or "").strip("'\" ").casefold()
    in_degrees = meaning is MEANINGS["dec"] or unit in ("deg", *_DEGREES) or has_degrees
    return "deg" if in_degrees else "hourangle"


def find_factor(column: Column, meaning: Meaning, path: Path) -> float:
    """Return the factor from the unit of a column to that of its meaning.

    Raises
    ------
    DataError
        If the unit cannot be converted.
    """
    text = str(column.unit or "").strip("'\" ")
    if meaning.unit is None or not text:
        return 1.0
    if meaning.unit == "" and text.casefold() in _UNITLESS:
        return 1.0
    if meaning.unit == "deg" and text.casefold() in _HOURS:
        return 15.0
    if meaning.unit == "deg" and text.casefold() in _DEGREES:
        return 1.0
    unit = units.Unit(text, parse_strict="silent")
    if meaning.unit == "pix" and text.casefold() in ("pixel", "pixels", "pix"):
        return 1.0
    if meaning.unit == "mag" and text.casefold().startswith(("mag", "abmag", "ab mag", "vegamag")):
        return 1.0
    try:
        if meaning is REDSHIFT and unit.is_equivalent("km / s"):
            return float((1 * unit / constants.c).to_value(units.dimensionless_unscaled))
        return float(unit.to(meaning.unit))
    except (units.UnitConversionError, units.UnitTypeError, TypeError, ValueError):
        expected = f"a unit such as {meaning.unit}" if meaning.unit else "numbers without unit"
        raise DataError(
            f"{path}: column '{column.name}' has the unit '{text}', accepted is {expected}; give another column, or "
            "correct its unit"
        ) from None


def guess_angle_unit(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> str:
    """Return in which unit positions seem to be: "radians" or "hours" if they fill its range, else ""."""
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any() or ra[known].min() < 0:
        return ""
    end, height = float(ra[known].max()), float(np.abs(dec[known]).max())
    if 6.0 < end <= 2 * np.pi and 1.2 < height <= np.pi / 2:
        return "radians"
    return "hours" if 23.0 < end <= 24.0 and height > 30 else ""
