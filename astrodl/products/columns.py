"""Columns of the catalogue, and their form in a FITS binary table."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    "name_safely",
    "text_width",
]

COLUMN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
PROMOTED = {"i1": "i2", "u2": "i4", "u4": "i8", "f2": "f4"}
"""numpy types without a FITS type -> the smallest type with a FITS type that holds all their values."""
FITS_TYPES = {"i1": "L", "u1": "B", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}
"""numpy type in the file -> letter of TFORM (FITS 4.0, table 18); booleans are stored as the characters T and F."""

_OFFSET = np.uint64(1 << 63)
"""FITS stores unsigned 64-bit integers as signed ones with this offset (FITS 4.0, section 5.2.5)."""
_MAX_NAME, _MAX_COLUMNS = 60, 999


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
    null: int | None = None
    """Integer that stands for the masked values of a column of integers."""
    from_input: bool = False
    """Whether it is a column of the input, whose unit may be unknown to FITS."""


def check_columns(path: Path, columns: Sequence[Column]) -> None:
    """Check that `object_id` comes first and that names, units and UCDs are valid.

    Raises
    ------
    ValueError
        The first invalid column.
    DataError
        There are more columns than FITS allows.
    """
    names = [column.name for column in columns]
    if len(names) > _MAX_COLUMNS:
        raise DataError(f"{path}: would have {len(names)} columns, FITS allows {_MAX_COLUMNS}; leave out some")
    if not names or names[0] != "object_id":
        raise ValueError(f"{path}: no column object_id (has {', '.join(names) or 'none'}); give it")
    folded = [name.casefold() for name in names]
    repeated = [name for name in names if folded.count(name.casefold()) > 1]
    if repeated:
        raise ValueError(f"{path}: columns {', '.join(repeated)} have the same name (case apart); rename them")
    for column in columns:
        _check_column(path, column)


def name_safely(columns: Sequence[Column]) -> list[Column]:
    """Give columns names of letters, digits and underscores, all different; a description holds the name it replaces.

    The first of several columns of the same name (case apart) keeps it.
    """
    taken: set[str] = set()
    renamed = []
    for column in columns:
        name = re.sub(r"[^A-Za-z0-9_]", "_", column.name)[:_MAX_NAME]
        stem = name if COLUMN_NAME.match(name) else f"c_{name}"
        candidates = (stem, *(f"{stem}_{number}" for number in range(2, len(columns) + 2)))
        name = next(candidate for candidate in candidates if candidate.casefold() not in taken)
        taken.add(name.casefold())
        about = column.description if name == column.name else f"{column.description} (name: {column.name})"
        about = " ".join(about.split()).encode("ascii", "backslashreplace").decode()
        about = "".join(character if character.isprintable() else "?" for character in about)
        renamed.append(replace(column, name=name, description=about))
    return renamed


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
        units.Unit("" if column.from_input else column.unit or "", format="fits")
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
        The column.
    width
        Number of characters of text. The default is the width of the array's type (12 for `<U12`), so that it does
        not depend on the entries.

    Raises
    ------
    ValueError
        Masked values without `null`, a type that FITS cannot store, or text longer than `width`.
    DataError
        Text that is not ASCII.
    """
    if isinstance(column.values, np.ma.MaskedArray) and column.null is None:
        raise ValueError(f"{path}: column '{column.name}' is masked; fill it (NaN where a number is unknown)")
    values = np.asarray(np.ma.filled(column.values, column.null))
    is_text = values.dtype.kind in "SU" or (values.dtype.kind == "O" and all(isinstance(v, str) for v in values.flat))
    if is_text or (column.name == "object_id" and values.dtype.kind not in "iu"):
        text = encode_text(path, column.name, values)
        if width is not None and text_width(text) > width:
            raise ValueError(f"{path}: text in column '{column.name}' is longer than {width} characters")
        return text.astype(f"S{width or text.dtype.itemsize}")
    if values.dtype.kind == "b":
        return np.where(values, ord("T"), ord("F")).astype("i1")
    if values.dtype == np.uint64:
        return (values ^ _OFFSET).view(np.int64).astype(">i8")
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
    has_offset = np.asarray(column.values).dtype == np.uint64
    return fits.Column(
        column.name,
        f"{repeat}{letter}" if is_text or shape else letter,
        column.unit or None,
        null=column.null,
        bzero=int(_OFFSET) if has_offset else None,
        dim=dim,
    )
