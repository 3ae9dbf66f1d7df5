"""A column of the catalogue, and how FITS stores it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units
from astropy.io.votable.ucd import parse_ucd
from numpy.typing import ArrayLike, NDArray

from astrodl.errors import DataError

COLUMN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# numpy kind and size -> FITS format; unsigned integers have no FITS type of their own but the byte.
FORMATS = {"b1": "L", "u1": "B", "i1": "I", "i2": "I", "u2": "J", "i4": "J", "u4": "K", "i8": "K"} | {
    "f2": "E",
    "f4": "E",
    "f8": "D",
}
STORED = {"L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
"""FITS format -> type of its bytes."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column of the catalogue."""

    name: str
    """Letters, digits and underscores."""
    values: ArrayLike
    """One entry per object, (N,), or a vector per object, (N, k); numbers, truth values, or ASCII text."""
    unit: str | None
    """Unit that astropy knows in its FITS notation; None where there is none."""
    description: str
    """What it is, in one line."""
    ucd: str | None = None
    """Unified content descriptor of the IVOA's UCD1+ vocabulary."""


@dataclass(frozen=True)
class Layout:
    """How FITS stores a column: its format, the width of its text (0: numbers), and the shape of an entry."""

    name: str
    code: str
    width: int
    shape: tuple[int, ...]

    @property
    def form(self) -> str:
        """TFORM."""
        repeat = int(np.prod(self.shape, dtype=int))
        if self.width:
            return f"{repeat * self.width}A"
        return f"{repeat}{self.code}" if self.shape else self.code

    @property
    def dim(self) -> str | None:
        """TDIM: the shape, fastest axis first, where an entry is not a plain number, text or vector."""
        shape = ([self.width] if self.width else []) + list(self.shape[::-1])
        return f"({','.join(map(str, shape))})" if len(shape) > 1 else None

    @property
    def dtype(self) -> str:
        """Type of the bytes in the file."""
        return f"S{self.width}" if self.width else STORED[self.code]


def check_names(path: Path, columns: Sequence[Column]) -> None:
    """Refuse columns without `object_id` in front, of one name, or that other programs would stumble over."""
    names = [column.name for column in columns]
    if not names or names[0] != "object_id":
        raise ValueError(f"{path}: no column object_id (has {', '.join(names) or 'none'}); give it")
    folded = [name.casefold() for name in names]
    doubled = [name for name in names if folded.count(name.casefold()) > 1]
    if doubled:
        raise ValueError(f"{path}: columns {', '.join(doubled)} have the same name (case apart); rename them")
    for column in columns:
        _check_words(path, column)


def check_lengths(path: Path, columns: Sequence[Column]) -> int:
    """Refuse columns of different lengths; gives the length."""
    lengths = {column.name: len(np.atleast_1d(np.asarray(column.values))) for column in columns}
    for name, length in lengths.items():
        if length != lengths["object_id"]:
            raise ValueError(
                f"{path}: column '{name}' has {length} rows, object_id {lengths['object_id']}; give one per object"
            )
    return lengths["object_id"]


def check_unique(path: Path, object_id: ArrayLike) -> None:
    """Refuse identifiers that occur twice."""
    identifiers, count = np.unique(np.asarray(object_id).astype(str), return_counts=True)
    if count.max(initial=1) > 1:
        raise DataError(f"{path}: object_id '{identifiers[count.argmax()]}' occurs twice; make identifiers unique")


def _check_words(path: Path, column: Column) -> None:
    """Refuse a name, unit or UCD that other programs would stumble over."""
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


def storable(path: Path, column: Column) -> NDArray:
    """Give the array as FITS stores it: numbers as they are, text as ASCII of the width of its type.

    The width of text is thus that of what was handed in, an array of `str`, and not that of its longest entry.
    """
    if isinstance(column.values, np.ma.MaskedArray):
        raise ValueError(f"{path}: column '{column.name}' is masked; fill it (NaN where a number is unknown)")
    values = np.asarray(column.values)
    if column.name == "object_id":
        values = values.astype(str)
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values.flat):
        values = values.astype(str)
    if values.dtype.kind != "U":
        return values
    try:
        # A type without width cannot be stored: no objects, or empty text only.
        return np.char.encode(values, "ascii").astype(f"S{max(1, values.dtype.itemsize // 4)}")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}: '{error.object}' in column {column.name} is not ASCII, as FITS needs; rename it in the catalogue"
        ) from None


def layout(path: Path, name: str, array: NDArray, width: int | None = None) -> Layout:
    """Say how FITS stores an array that is `storable`; its text with `width` characters, if that is given."""
    if array.dtype.kind == "S":
        return Layout(name, "A", width or array.dtype.itemsize, array.shape[1:])
    code = FORMATS.get(f"{array.dtype.kind}{array.dtype.itemsize}")
    if code is None:
        raise ValueError(f"{path}: column '{name}' holds {array.dtype}, must be numbers, truth values or text")
    return Layout(name, code, 0, array.shape[1:])


def text_width(array: NDArray) -> int:
    """Give the length of the longest text; at least 1."""
    return max(1, int(np.char.str_len(array).max(initial=1)))


def rows(arrays: Sequence[NDArray], layouts: Sequence[Layout]) -> NDArray[np.void]:
    """Pack columns into the rows of a FITS table."""
    kinds = [(f"f{number}", one.dtype, one.shape) for number, one in enumerate(layouts)]
    packed = np.zeros(len(arrays[0]), np.dtype(kinds))
    for number, (array, one) in enumerate(zip(arrays, layouts, strict=True)):
        truth = one.code == "L"
        packed[f"f{number}"] = np.where(array, ord("T"), ord("F")) if truth else array
    return packed
