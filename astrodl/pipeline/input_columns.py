"""The columns of the input in the value-added catalogue, with their names, types, units and descriptions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.products import Column
from astrodl.store import Reader
from astrodl.store.columns import ColumnDescription

__all__ = ["input_columns", "object_identifiers", "text_widths"]

_POSITION = ("ra", "dec")
_UNITS = {"ebv": "mag"}
_NULLS = {"i1": "i2", "u1": "i2", "b1": "i2", "u2": "i4", "u4": "i8"}
"""Types of which all values may occur, and boolean -> the type of their values with a null value."""


def object_identifiers(reader: Reader, start: int, stop: int) -> NDArray[Any]:
    """Return the identifiers from `start` to `stop`, (n,): integers if they were integers in the input, else text."""
    return reader.describe_column("object_id").restore_integers(reader.block("object_id", start, stop))


def text_widths(reader: Reader, block: int) -> dict[str, int]:
    """Return the number of characters of each column of text, by its name in the store; read in blocks."""
    widths = {"object_id": reader.identifier_width}
    for name in _names(reader):
        for start in range(0, len(reader), block):
            values = reader.block(f"catalog/{name}", start, min(start + block, len(reader)))
            if values.dtype.kind != "U":
                break
            longest = max(len(_to_ascii(text)) for text in values)
            widths[name] = max(widths.get(name, 1), longest)
    return widths


def input_columns(reader: Reader, widths: Mapping[str, int], start: int, stop: int) -> list[Column]:
    """Return the kept columns of the input from `start` to `stop`, except the position."""
    return [_input_column(reader, name, widths.get(name, 1), start, stop) for name in _names(reader)]


def _names(reader: Reader) -> list[str]:
    return [name for name in reader.column_names if name not in _POSITION]


def _input_column(reader: Reader, name: str, width: int, start: int, stop: int) -> Column:
    known = reader.describe_column(name)
    values = reader.block(f"catalog/{name}", start, stop)
    about = known.description or f"column of the input catalogue, {name} in the store"
    null = None
    if values.dtype.kind == "U":
        values = np.array([_to_ascii(text) for text in values], f"U{width}")
    else:
        values, null = _restore_type(values, known)
    unit = "".join(letter for letter in known.unit or _UNITS.get(name, "") if letter.isascii() and letter.isprintable())
    return Column(known.source or name, values, unit or None, about, null=null, from_input=True)


def _restore_type(values: NDArray[Any], known: ColumnDescription) -> tuple[NDArray[Any], int | None]:
    """Return values in their type in the input, and the integer that stands for missing ones, if there may be any.

    The store holds small integers and booleans with missing values as float64.
    """
    masked = known.mask(values)
    if isinstance(masked, np.ma.MaskedArray):
        # Readers of FITS do not agree on the null value of unsigned integers: the column becomes text.
        as_text = masked.dtype == np.uint64
        return (np.where(masked.mask, "", values.astype("U20")), None) if as_text else (masked, known.null)
    kind = np.dtype(known.type) if known.type else values.dtype
    if values.dtype.kind != "f" or kind.kind == "f":
        return values.astype(kind, copy=False), None
    kind = np.dtype(_NULLS.get(kind.str[1:], "i8" if kind.kind == "u" else kind.str[1:]))
    null = int(np.iinfo(kind).min)
    missing = np.isnan(values)
    return np.ma.array(np.where(missing, 0, values).astype(kind), mask=missing), null


def _to_ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()
