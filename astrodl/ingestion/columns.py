"""Read a catalogue column as its type, unit, mask and placeholders say.

The decisions that depend on the whole column (`plan_column`) are apart from the conversion (`read_column`), so that a
shard is read as the whole catalogue would be.
"""

import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from astropy.coordinates import Angle
from astropy.table import Column
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from astrodl.errors import DataError
from astrodl.ingestion.meanings import MAGNITUDE, REDSHIFT, Meaning, find_factor, find_sexagesimal, format_unit
from astrodl.ingestion.placeholders import find_placeholders, is_missing_text, may_be_placeholder
from astrodl.ingestion.tables import TextColumn, count_texts, distinct_texts, missing_entries
from astrodl.store.columns import ColumnDescription

__all__ = ["ColumnPlan", "plan_column", "read_column", "warn"]

_EXACT_IN_FLOAT = 2**53
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([ed][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)


@dataclass(frozen=True)
class ColumnPlan:
    """How a column is read; plain values, kept in the files of shards.

    Attributes
    ----------
    stored
        Type in the store.
    description
        What the column was in the catalogue.
    missing
        Values that stand for a missing one.
    low, high
        Possible values; others are missing.
    factor
        From the unit of the catalogue to that of the store.
    sexagesimal
        Unit of the first part of sexagesimal text, or "".
    """

    stored: Literal["text", "f8", "i8", "u8"]
    description: ColumnDescription
    missing: tuple[float | str, ...] = ()
    low: float | None = None
    high: float | None = None
    factor: float = 1.0
    sexagesimal: Literal["", "hourangle", "deg"] = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Restore the output of `to_dict`."""
        description = ColumnDescription(**values["description"])
        return cls(**{**values, "description": description, "missing": tuple(values["missing"])})


def warn(path: Path, message: str) -> None:
    """Print a line about a catalogue to standard error."""
    print(f"{path}: {message}", file=sys.stderr)


def plan_column(
    column: Column,
    path: Path,
    meaning: Meaning | None = None,
    *,
    missing: Sequence[float | str] | None = None,
    renames: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> ColumnPlan:
    """Decide how a column is read, and print what is taken as missing or converted.

    Parameters
    ----------
    column
        The column of the whole catalogue.
    path
        The catalogue, for messages.
    meaning
        What is known of the column; it then holds numbers.
    missing
        Values that stand for a missing one, instead of the usual placeholders.
    renames
        Texts to rename, in a column that is kept as text.
    quiet
        Print nothing.

    Raises
    ------
    DataError
        If a column of numbers holds text, a unit that cannot be converted, or impossible values.
    """
    description = _describe(column)
    is_text = column.dtype.kind in "SUO"
    if renames is not None or (is_text and meaning is None and not _holds_real_numbers(column)):
        return ColumnPlan("text", description, _text_placeholders(column, path, missing, renames or {}, quiet))
    known = meaning or Meaning()
    sexagesimal = find_sexagesimal(column, known) if is_text else ""
    if column.dtype.kind == "b" and known.unit is not None:
        raise DataError(
            f"{path}: column '{column.name}' holds logical values, numbers are accepted; give another column"
        )
    factor = 1.0 if sexagesimal else find_factor(column, known, path)
    in_own_unit = not sexagesimal and factor == 1.0 and known.unit != "deg"
    unit = description.unit if in_own_unit or not (column.unit or sexagesimal) else known.unit
    if factor != 1.0 and not quiet:
        warn(path, f"column '{column.name}' is converted from {column.unit} to {known.unit or 'numbers without unit'}")
    if sexagesimal and not quiet:
        warn(path, f"column '{column.name}' holds sexagesimal text; it is read in {_named(sexagesimal)}")
    if is_text or factor != 1.0:
        description = replace(description, type="float64")
    plan = ColumnPlan(
        "f8", replace(description, unit=unit or ""), tuple(missing or ()), factor=factor, sexagesimal=sexagesimal
    )
    values, unknown = _raw_numbers(column, plan, path)
    if is_text and not sexagesimal and not quiet:
        known_texts = f"{len(values) - unknown.sum():,} of {len(values):,} rows have one"
        warn(path, f"column '{column.name}' holds numbers as text, which are read as numbers; {known_texts}")
    plan = _plan_missing(plan, values, unknown, known, column.name, path, missing, quiet)
    return _plan_type(plan, values, unknown | _is_missing(values, plan))


def read_column(column: Column, plan: ColumnPlan, path: Path) -> NDArray[Any]:
    """Read a column: float64 with NaN for missing values, int64, uint64, or text with "".

    Raises
    ------
    DataError
        If a column of numbers holds text.
    """
    if plan.stored == "text":
        known = dict.fromkeys(map(str, plan.missing), "")  # equal texts share one object: most columns have few
        return np.array([known.setdefault(text, text) for text in TextColumn(column)], dtype=object)
    values, unknown = _raw_numbers(column, plan, path)
    unknown = unknown | _is_missing(values, plan)
    if plan.stored == "f8":
        numbers = values.astype(np.float64) if plan.factor == 1.0 else values.astype(np.float64) * plan.factor
        numbers[unknown] = np.nan
        return numbers
    integers = values.astype(np.uint64 if plan.stored == "u8" else np.int64)
    if plan.description.null is not None:
        integers[unknown] = plan.description.null
    return integers


def _describe(column: Column) -> ColumnDescription:
    kind = "text" if column.dtype.kind in "SUO" else column.dtype.newbyteorder("=").name
    about = " ".join(str(column.description or "").split())
    return ColumnDescription(str(column.name), kind, format_unit(column.unit), about)


def _holds_real_numbers(column: Column) -> bool:
    """Return whether all entries of a text column are numbers or missing, and one has a decimal point."""
    has_real = False
    for text, _ in distinct_texts(column):
        if is_missing_text(text):
            continue
        if not _REAL.fullmatch(text.strip()):
            return False
        has_real |= "." in text
    return has_real


def _text_placeholders(
    column: Column, path: Path, missing: Sequence[float | str] | None, renames: Mapping[str, str], quiet: bool
) -> tuple[float | str, ...]:
    if missing is not None:
        return tuple(value if isinstance(value, str) else f"{value:.15g}" for value in missing)
    counts = {text: n for text, n in distinct_texts(column) if text and is_missing_text(text) and text not in renames}
    found = tuple(counts)
    if found and not quiet:
        n_missing = sum(counts.values())
        warn(path, f"column '{column.name}': {_listed(found)} in {n_missing} rows counts as missing; {_HOW_TO_KEEP}")
    return found


_HOW_TO_KEEP = "list other values, or none, in data.missing"


def _named(sexagesimal: str) -> str:
    return "hours, minutes and seconds" if sexagesimal == "hourangle" else "degrees, arcminutes and arcseconds"


def _raw_numbers(column: Column, plan: ColumnPlan, path: Path) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the numbers of a column in its own unit, and which are missing or not finite, (N,) each."""
    missing = missing_entries(column)
    if column.dtype.kind not in "SUO":
        values = np.asarray(np.ma.getdata(column))
        return values, missing | ~np.isfinite(values) if values.dtype.kind == "f" else missing
    numbers: dict[str, float] = {"": np.nan}  # masked
    for text in count_texts(column):
        bare = text.strip()
        if is_missing_text(bare) or text in plan.missing:
            numbers[text] = np.nan
        elif plan.sexagesimal:
            numbers[text] = _read_angle(bare, plan, column, path)
        elif _REAL.fullmatch(bare):
            numbers[text] = float(bare.casefold().replace("d", "e"))
        else:
            row = list(TextColumn(column)).index(text) + 1
            raise DataError(
                f"{path}: column '{column.name}' holds text, '{text:.40}' in row {row}, numbers are accepted; correct "
                f"the column, or list '{text:.40}' in data.missing"
            )
    values = np.array([numbers[text] for text in TextColumn(column)], np.float64)
    return values, missing | ~np.isfinite(values)


def _read_angle(text: str, plan: ColumnPlan, column: Column, path: Path) -> float:
    """Return sexagesimal text in degrees; 60 minutes or seconds are carried over."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            return float(Angle(text, plan.sexagesimal).deg)
    except ValueError:
        raise DataError(
            f"{path}: column '{column.name}' holds '{text:.40}', which is no angle, in {_named(plan.sexagesimal)}; "
            "correct the column, or give it the unit deg if it is in degrees"
        ) from None


def _is_missing(values: NDArray[Any], plan: ColumnPlan) -> NDArray[np.bool_]:
    """Return which numbers are placeholders or impossible, (N,)."""
    missing = np.zeros(len(values), bool)
    for value in plan.missing:
        if not isinstance(value, str):
            missing |= _equals(values, value)
    scaled = values if plan.factor == 1.0 else values * plan.factor
    if plan.low is not None:
        missing |= scaled < plan.low
    if plan.high is not None:
        missing |= scaled > plan.high
    return missing


def _equals(values: NDArray[Any], number: float) -> NDArray[np.bool_]:
    """Return which values are a number, as a column of their type holds it."""
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.equal(values, values.dtype.type(number))
    if values.dtype.kind == "b" or not float(number).is_integer():
        return np.equal(values, number)
    limits = np.iinfo(values.dtype)
    return np.equal(values, int(number)) if limits.min <= number <= limits.max else np.zeros(len(values), bool)


def _plan_missing(
    plan: ColumnPlan,
    values: NDArray[Any],
    unknown: NDArray[np.bool_],
    meaning: Meaning,
    name: str,
    path: Path,
    missing: Sequence[float | str] | None,
    quiet: bool,
) -> ColumnPlan:
    """Find the placeholders and impossible values of a column of numbers, and print them."""
    known = values[~unknown]
    if values.dtype.kind == "f":
        n_infinite = int(np.isinf(values).sum())
        if n_infinite and not quiet:
            warn(path, f"column '{name}': {n_infinite} values are infinite and count as missing")
    if missing is not None:
        plan = replace(plan, missing=tuple(missing))
        known = known[~_is_missing(known, plan)]
    elif values.dtype.kind != "b":
        found, doubtful = find_placeholders(known, least=meaning.least)
        doubtful = [value for value in doubtful if meaning.low <= value * plan.factor <= meaning.high]
        plan = replace(plan, missing=tuple(found))
        is_missing = _is_missing(known, plan)
        if found and not quiet:
            listed = f"{_listed(found)} in {is_missing.sum()} of {len(values)} rows"
            warn(path, f"column '{name}': {listed} counts as missing; {_HOW_TO_KEEP}")
        if doubtful and not quiet:
            listed = f"{_listed(doubtful)} is kept, although far from all other values"
            warn(path, f"column '{name}': {listed}; if it stands for a missing value, list it in data.missing")
        known = known[~is_missing]
    low, high = (None if np.isinf(limit) else limit for limit in (meaning.low, meaning.high))
    bounded = replace(plan, missing=(), low=low, high=high)
    impossible = _is_missing(known, bounded)
    if impossible.any():
        _report_impossible(known * plan.factor, impossible, meaning, name, path, quiet)
    if meaning is REDSHIFT and len(known) and np.median(known * plan.factor) > _HIGH_REDSHIFT:
        raise DataError(
            f"{path}: column '{name}' has a median of {np.median(known * plan.factor):.4g}, too high for redshifts; "
            "give a column of redshifts, or store it under another name"
        )
    n_zero = int((known == 0).sum()) if missing is None and not quiet else 0
    if (meaning is REDSHIFT and n_zero > 1) or (meaning is MAGNITUDE and n_zero):
        values_are = "redshifts" if meaning is REDSHIFT else "magnitudes"
        warn(
            path,
            f"column '{name}': {n_zero} {values_are} are exactly 0; if 0 stands for unknown, list it in data.missing",
        )
    return replace(bounded, missing=plan.missing)


_HIGH_REDSHIFT = 12.0


def _report_impossible(
    known: NDArray[Any], impossible: NDArray[np.bool_], meaning: Meaning, name: str, path: Path, quiet: bool
) -> None:
    """Print the impossible values of a column, or refuse them.

    Raises
    ------
    DataError
        If they are most of the different values, or the meaning is strict and no placeholder explains them.
    """
    different = np.unique(known[impossible])
    found = f"{_listed(different)} in {impossible.sum()} of {len(known)} rows"
    accepted = f"accepted are {meaning.low:g} to {meaning.high:g}" + (f" {meaning.unit}" if meaning.unit else "")
    unexplained = different[~may_be_placeholder(different)]
    too_many = len(unexplained) > len(np.unique(known[~impossible]))
    if too_many or (meaning.strict and len(unexplained)):
        raise DataError(f"{path}: column '{name}' holds {found}, {accepted}; correct the column, or give another")
    if not quiet:
        warn(path, f"column '{name}': {found} is impossible and counts as missing, {accepted}")


def _plan_type(plan: ColumnPlan, values: NDArray[Any], missing: NDArray[np.bool_]) -> ColumnPlan:
    """Choose the type in the store, which holds all values exactly."""
    if values.dtype.kind not in "biu" or plan.factor != 1.0:
        return plan
    known = values[~missing]
    low, high = (int(known.min()), int(known.max())) if len(known) else (0, 0)
    if missing.any() and max(-low, high) <= _EXACT_IN_FLOAT:
        return plan
    stored: Literal["i8", "u8"] = "i8" if high <= np.iinfo(np.int64).max else "u8"
    if not missing.any():
        return replace(plan, stored=stored)
    limits = np.iinfo(np.int64 if stored == "i8" else np.uint64)
    ends = range(int(limits.max), int(limits.min), -1)
    numbers = ends if stored == "u8" else chain([int(limits.min)], ends)
    null = next(number for number in numbers if not (known == number).any())  # no object has it
    return replace(plan, stored=stored, description=replace(plan.description, null=null))


def _listed(values: Any) -> str:
    texts = [f"'{value}'" if isinstance(value, str) else f"{value:.6g}" for value in list(values)[:5]]
    return ", ".join(texts) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
