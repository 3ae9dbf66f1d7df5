"""Columns of the catalogue, and their form in a FITS binary table."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.io.votable.ucd import parse_ucd
from numpy.typing import ArrayLike, NDArray

from astrodl.errors import DataError

__all__ = [
    "Column",
    "check_columns",
    "check_lengths",
    "check_unique",
    "encode",
    "encode_text",
    "fits_column",
    "text_width",
]

COLUMN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
PROMOTED = {"i1": "i2", "u2": "i4", "u4": "i8", "f2": "f4"}
"""numpy types without a FITS type -> the smallest type with a FITS type that holds all their values."""
FITS_TYPES = {"i1": "L", "u1": "B", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}
"""numpy type in the file -> letter of TFORM (FITS 4.0, table 18); booleans are stored as the characters T and F."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column of the catalogue."""

    name: str
    """Letters, digits and underscores."""
    values: ArrayLike
    """One entry per object, (N,), or an array per object, (N, k); numbers, booleans or ASCII text."""
    unit: str | None
    """Unit in the FITS notation of astropy; None for a column without a unit."""
    description: str
    """Description in one line of ASCII."""
    ucd: str | None = None
    """Unified content descriptor in the IVOA vocabulary UCD1+."""


def check_columns(path: Path, columns: Sequence[Column]) -> None:
    """Check that `object_id` comes first and that names, units and UCDs are valid.

    Raises
    ------
    ValueError
        The first invalid column.
    """
    names = [column.name for column in columns]
    if not names or names[0] != "object_id":
        raise ValueError(f"{path}: no column object_id (has {', '.join(names) or 'none'}); give it")
    folded = [name.casefold() for name in names]
    repeated = [name for name in names if folded.count(name.casefold()) > 1]
    if repeated:
        raise ValueError(f"{path}: columns {', '.join(repeated)} have the same name (case apart); rename them")
    for column in columns:
        _check_column(path, column)


def check_lengths(path: Path, columns: Sequence[Column]) -> None:
    """Check that all columns have as many rows as `object_id`."""
    lengths = {column.name: len(np.atleast_1d(np.asarray(column.values))) for column in columns}
    for name, length in lengths.items():
        if length != lengths["object_id"]:
            raise ValueError(
                f"{path}: column '{name}' has {length} rows, object_id {lengths['object_id']}; give one per object"
            )


def check_unique(path: Path, object_id: ArrayLike) -> None:
    """Check that no identifier is repeated."""
    identifiers, count = np.unique(np.asarray(object_id).astype(str), return_counts=True)
    if count.max(initial=1) > 1:
        raise DataError(f"{path}: object_id '{identifiers[count.argmax()]}' occurs twice; make identifiers unique")


def _check_column(path: Path, column: Column) -> None:
    if not COLUMN_NAME.fullmatch(column.name):
        raise ValueError(f"{path}: column name '{column.name}' must be letters, digits and underscores; rename it")
    if not column.description.isascii() or not column.description.isprintable():
        raise ValueError(f"{path}: description of '{column.name}' must be one line of ASCII: {column.description!r}")
    try:
        units.Unit(column.unit or "", format="fits")
    except ValueError:
        raise ValueError(
            f"{path}: unit '{column.unit}' of column '{column.name}' is not known in FITS; give one that astropy knows"
        ) from None
    try:
        parse_ucd(column.ucd or "meta", check_controlled_vocabulary=True)
    except ValueError as error:
        raise ValueError(f"{path}: UCD '{column.ucd}' of column '{column.name}' is not valid: {error}") from None


def encode(path: Path, column: Column, width: int | None = None) -> NDArray[Any]:
    """Return the values of a column as FITS stores them: big-endian numbers, T and F for booleans, ASCII text.

    Parameters
    ----------
    path
        Catalogue to write, for error messages.
    column
        The column; its identifiers are converted to text.
    width
        Number of characters of text. The default is the width of the array's type (12 for `<U12`), so that it does
        not depend on the entries.

    Raises
    ------
    ValueError
        Masked values, a type that FITS cannot store, or text longer than `width`.
    DataError
        Text that is not ASCII.
    """
    if isinstance(column.values, np.ma.MaskedArray):
        raise ValueError(f"{path}: column '{column.name}' is masked; fill it (NaN where a number is unknown)")
    values = np.asarray(column.values)
    is_text = values.dtype.kind in "SU" or (values.dtype.kind == "O" and all(isinstance(v, str) for v in values.flat))
    if is_text or column.name == "object_id":
        text = encode_text(path, column.name, values)
        if width is not None and text_width(text) > width:
            raise ValueError(f"{path}: text in column '{column.name}' is longer than {width} characters")
        return text.astype(f"S{width or text.dtype.itemsize}")
    if values.dtype.kind == "b":
        return np.where(values, ord("T"), ord("F")).astype("i1")
    numpy_type = values.dtype.str[1:]
    numpy_type = PROMOTED.get(numpy_type, numpy_type)
    if numpy_type not in FITS_TYPES:
        raise ValueError(f"{path}: column '{column.name}' holds {values.dtype}, must be numbers, booleans or text")
    return values.astype(f">{numpy_type}")


def encode_text(path: Path, name: str, values: ArrayLike) -> NDArray[np.bytes_]:
    """Return text as ASCII, of the width of the array's type; numbers are converted to text.

    Raises
    ------
    DataError
        Text that is not ASCII.
    """
    text = np.asarray(values)
    text = text if text.dtype.kind == "S" else text.astype(str)
    width = text.dtype.itemsize // np.dtype(f"{text.dtype.kind}1").itemsize
    try:
        # A type without width cannot be stored: an empty array, or empty text only.
        return text.astype(f"S{max(1, width)}")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}: '{error.object}' in column {name} is not ASCII, as FITS and qp need; rename it in the catalogue"
        ) from None


def text_width(text: NDArray[np.bytes_]) -> int:
    """Return the number of characters of the longest entry; at least 1."""
    return max(1, int(np.char.str_len(text).max(initial=1)))


def fits_column(column: Column, dtype: np.dtype[Any]) -> fits.Column:
    """Return the definition of a column whose entries have the type `dtype` in the file."""
    entry, shape = dtype.base, dtype.shape
    is_text = entry.kind == "S"
    repeat = math.prod(shape) * (entry.itemsize if is_text else 1)
    letter = "A" if is_text else FITS_TYPES[entry.str[1:]]
    # TDIM: fastest axis first, which is the characters of text; not needed for a vector of numbers.
    axes = [entry.itemsize] * is_text + [*shape[::-1]]
    dim = f"({','.join(map(str, axes))})" if len(axes) > 1 else None
    return fits.Column(column.name, f"{repeat}{letter}" if is_text or shape else letter, column.unit or None, dim=dim)
