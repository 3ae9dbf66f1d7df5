"""The value-added catalogue: one FITS binary table with units, descriptions, UCDs and provenance.

Per column i: TTYPEi with the (shortened) description as comment, TUNITi, TUCDi (as TOPCAT reads and writes it), TCOMMi
with the full description. Provenance is in plain cards of the table's header where the name fits eight characters, else
in HISTORY. There is no date in the file: equal content gives equal bytes.
"""

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.io.votable.ucd import parse_ucd
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import ArrayLike, NDArray

from astrodl.atomic import replacing
from astrodl.errors import DataError, StoreError

COLUMN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")
# Keywords that make the table what it is, or that would make its bytes depend on when it was written.
RESERVED = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS|PCOUNT|GCOUNT|TFIELDS|THEAP|EXTEND|EXTNAME|END|CONTINUE|COMMENT|HISTORY|HIERARCH"
    r"|CHECKSUM|DATASUM|DATE"
    r"|NAXIS\d+|T(TYPE|FORM|UNIT|NULL|SCAL|ZERO|DISP|DIM|UCD|COMM)\d+)"
)
# numpy kind and size -> FITS format; unsigned integers have no FITS type of their own but the byte.
FORMATS = {"b1": "L", "u1": "B", "i1": "I", "i2": "I", "u2": "J", "i4": "J", "u4": "K", "i8": "K"} | {
    "f2": "E",
    "f4": "E",
    "f8": "D",
}


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


def write_catalog(
    path: str | os.PathLike[str], columns: Sequence[Column], header: Mapping[str, str] | None = None
) -> None:
    """Write the catalogue; it appears complete or not at all, and equal input gives equal bytes.

    Parameters
    ----------
    path
        File to write.
    columns
        Columns of equal length, `object_id` among them, which goes first.
    header
        Provenance, name -> value. Names that are no FITS keyword go to HISTORY lines; characters outside printable
        ASCII are written as backslash escapes.

    Raises
    ------
    ValueError
        Columns without `object_id`, of different lengths, of the same name (case apart), or with a name, type, unit or
        UCD that FITS, astropy or the IVOA do not know; a header name that belongs to the table itself.
    DataError
        Identifiers that occur twice; text that is not ASCII.
    StoreError
        The file cannot be written.
    """
    target = Path(path)
    ordered = sorted(columns, key=lambda column: column.name != "object_id")
    _check(target, ordered)
    table = _build(target, ordered)
    _record(target, table.header, header or {})
    # The comment replaces the time of writing that astropy puts there.
    table.add_datasum(when="data unit checksum")
    table.add_checksum(when="HDU checksum", override_datasum=True)
    try:
        with replacing(target) as temporary:
            fits.HDUList([fits.PrimaryHDU(), table]).writeto(temporary)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"{target}: cannot be written ({reason}); give a writable place with room") from None


def read_catalog(path: str | os.PathLike[str]) -> Table:
    """Read a catalogue that `write_catalog` wrote.

    Returns
    -------
    astropy.table.Table
        Columns with unit, description and, in `meta["ucd"]`, UCD; the provenance is in the table's `meta`.

    Raises
    ------
    StoreError
        The file is missing, damaged, or without a table.
    """
    source = Path(path)
    if not source.exists():
        raise StoreError(f"{source}: no such catalogue; make it with `astrodl catalog`")
    try:
        with warnings.catch_warnings():
            # Astropy only warns of wrong checksums and truncated files.
            warnings.simplefilter("error", AstropyUserWarning)
            # Given a path, astropy leaves the file open where it fails.
            with open(source, "rb") as stream, fits.open(stream, checksum=True, memmap=False) as file:
                tables = (hdu for hdu in file if isinstance(hdu, fits.BinTableHDU))
                table = Table.read(next(tables), mask_invalid=False)
    except StopIteration:
        raise StoreError(f"{source}: holds no binary table; run `astrodl catalog` again") from None
    except (OSError, ValueError, TypeError, AstropyUserWarning) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{source}: cannot be read ({reason:.120}); run `astrodl catalog` again") from None
    for position, name in enumerate(table.colnames, start=1):
        column = table[name]
        if column.dtype.kind == "S":
            table[name] = column.astype(str)
        table[name].description = table.meta.pop(f"TCOMM{position}", None)
        ucd = table.meta.pop(f"TUCD{position}", None)
        if ucd is not None:
            table[name].meta["ucd"] = ucd
    return table


def _check(path: Path, columns: Sequence[Column]) -> None:
    names = [column.name for column in columns]
    if not names or names[0] != "object_id":
        raise ValueError(f"{path}: no column object_id (has {', '.join(names) or 'none'}); give it")
    folded = [name.casefold() for name in names]
    doubled = [name for name in names if folded.count(name.casefold()) > 1]
    if doubled:
        raise ValueError(f"{path}: columns {', '.join(doubled)} have the same name (case apart); rename them")
    lengths = {column.name: len(np.atleast_1d(np.asarray(column.values))) for column in columns}
    for column in columns:
        if lengths[column.name] != lengths["object_id"]:
            raise ValueError(
                f"{path}: column '{column.name}' has {lengths[column.name]} rows, object_id {lengths['object_id']}; "
                "give one per object"
            )
        _check_words(path, column)
    identifiers, count = np.unique(np.asarray(columns[0].values).astype(str), return_counts=True)
    if identifiers.size < lengths["object_id"]:
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


def _build(path: Path, columns: Sequence[Column]) -> fits.BinTableHDU:
    """Make the table with the cards of its columns."""
    arrays = [_storable(path, column) for column in columns]
    definitions = [
        fits.Column(column.name, _format(path, column.name, array), column.unit or None, array=array, dim=_dim(array))
        for column, array in zip(columns, arrays, strict=True)
    ]
    table = fits.BinTableHDU.from_columns(definitions, name="CATALOG")
    for position, column in enumerate(columns, start=1):
        keyword = f"TTYPE{position}"
        table.header.comments[keyword] = _shortened(column.description, 80 - 13 - max(20, len(column.name) + 2))
        table.header[f"TCOMM{position}"] = column.description
        if column.ucd:
            table.header[f"TUCD{position}"] = column.ucd
    return table


def _storable(path: Path, column: Column) -> NDArray:
    """Give the array as FITS stores it: numbers as they are, text as fixed-width ASCII."""
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
        encoded = np.char.encode(values, "ascii")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}: '{error.object}' in column {column.name} is not ASCII, as FITS needs; rename it in the catalogue"
        ) from None
    # A type without width cannot be stored: no objects, or empty text only.
    return encoded.astype(f"S{max(1, encoded.dtype.itemsize)}")


def _format(path: Path, name: str, array: NDArray) -> str:
    repeat = int(np.prod(array.shape[1:], dtype=int))
    if array.dtype.kind == "S":
        return f"{repeat * array.dtype.itemsize}A"
    code = FORMATS.get(f"{array.dtype.kind}{array.dtype.itemsize}")
    if code is None:
        raise ValueError(f"{path}: column '{name}' holds {array.dtype}, must be numbers, truth values or text")
    return f"{repeat}{code}" if array.ndim > 1 else code


def _dim(array: NDArray) -> str | None:
    """Give the shape of an entry, fastest axis first, where it is not a plain number, text or vector."""
    shape = ([array.dtype.itemsize] if array.dtype.kind == "S" else []) + list(array.shape[:0:-1])
    return f"({','.join(map(str, shape))})" if len(shape) > 1 else None


def _shortened(text: str, room: int) -> str:
    """Cut a description where the card ends."""
    if len(text) <= room:
        return text
    return text[: room - 3].rstrip() + "..." if room > 3 else ""


def _record(path: Path, header: fits.Header, provenance: Mapping[str, str]) -> None:
    """Write the provenance into a header."""
    for name, value in provenance.items():
        text = str(value).encode("unicode_escape").decode("ascii")
        if RESERVED.fullmatch(name):
            raise ValueError(f"{path}: header name '{name}' belongs to the table itself; choose another")
        if KEYWORD.fullmatch(name):
            header[name] = text
        else:
            header.add_history(f"{name.encode('unicode_escape').decode('ascii')} = {text}")
