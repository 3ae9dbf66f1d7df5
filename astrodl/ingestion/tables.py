"""Find and read the table of a catalogue, and read columns as text."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.ascii import convert_numpy
from astropy.table import Column, MaskedColumn, Table
from astropy.time import Time, TimeDelta
from astropy.units import Quantity, Unit
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from astrodl.config import DataSettings, expand
from astrodl.errors import DataError
from astrodl.fits.counts import check_counts

__all__ = [
    "TextColumn",
    "column_texts",
    "count_texts",
    "distinct_texts",
    "find_catalog",
    "is_integral",
    "missing_entries",
    "read_table",
]

_FORMATS = {
    ".fits": "fits",
    ".fit": "fits",
    ".fz": "fits",
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
    ".tsv": "ascii.tab",
    ".txt": "ascii.basic",
    ".dat": "ascii.basic",
}
_UNTYPED = ("ascii.csv", "ascii.tab", "ascii.basic")
"""Formats that do not say the types of their columns."""
_UNKNOWN = [(text, "0") for text in ("", "nan", "NaN", "NAN")]
"""Texts that are masked before the types are found, so that integers stay integers."""
_ASTROPY_COLUMNS = "--BEGIN-ASTROPY-SERIALIZED-COLUMNS--"
_BLOCK_BYTES = 2**25
"""Rows of a FITS table that are mapped into memory at a time."""
_TEXTS = 10_000
"""Entries of a column that are converted to text at a time."""
_EXACT_IN_FLOAT = 2**53
_INTEGER = re.compile(r"0|-?[1-9]\d{0,19}")
_FILLER = re.compile(r"(label for|data format of|physical unit of|name of)? *(field|column) *\d*", re.IGNORECASE)
"""Comments of TTYPE cards that programs write without knowing the column."""


def find_catalog(data: DataSettings) -> tuple[str, Path]:
    """Return the folder of the data, and the path of the catalogue.

    A relative path of the catalogue counts from the folder of the data, or else from the working directory.

    Raises
    ------
    DataError
        If there is no such folder.
    """
    root = os.path.realpath(expand(data.root))
    if not os.path.isdir(root):
        raise DataError(f"{expand(data.root)}: no such folder; correct data.root")
    name = expand(data.catalog)
    path = Path(root, name)
    return root, path if path.exists() or not Path(name).exists() else Path(name)


def read_table(path: Path, id_column: str | None, columns: Sequence[str] | None = None) -> Table:
    """Read a table; its suffix determines the format.

    Parameters
    ----------
    path
        The file.
    id_column
        Column that stays text in text formats unless all entries are plain integers, so that identifiers keep leading
        zeros.
    columns
        Columns to read; others may be left out, because a FITS table can have hundreds. If one does not exist, all
        columns are read.

    Returns
    -------
    Table
        Its columns have the types, units and descriptions of the file. A column of times becomes its modified Julian
        date in days, a column of sky positions ``{name}.ra`` and ``{name}.dec`` in degrees (ICRS).

    Raises
    ------
    DataError
        If the format is unknown, or the file is missing or damaged.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".bz2", ".xz")]
    table_format = _FORMATS.get(suffixes[-1] if suffixes else "")
    if table_format is None:
        accepted = ", ".join(sorted(_FORMATS))
        raise DataError(f"{path}: unknown table format; accepted suffixes are {accepted}; rename the file")
    if not path.is_file():
        raise DataError(f"{path}: no such catalogue; correct data.root or data.catalog")
    options: dict[str, Any] = {}
    if table_format in _UNTYPED:
        options = {
            "converters": {} if id_column is None else {id_column: [convert_numpy(str)]},
            "fill_values": _UNKNOWN,
        }
    try:
        with warnings.catch_warnings():
            # Non-standard cards, units and VOTable details do not affect the values.
            warnings.simplefilter("ignore", AstropyWarning)
            if table_format == "fits":
                return _read_fits(path, columns)
            table = Table.read(path, format=table_format, **options)
            return _restore_integers(table) if table_format in _UNTYPED else _simplify(table)
    except Exception as error:  # the readers raise many types for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: not readable as {table_format} ({reason:.200}); correct the file or its suffix"
        ) from None


def _read_fits(path: Path, columns: Sequence[str] | None) -> Table:
    """Read columns of the first table of a FITS file, by default all, with unit and description."""
    check_counts(path)
    with fits.open(path, memmap=True) as file:
        tables = [hdu for hdu in file if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        known = {column.name: column for column in tables[0].columns} if tables else {}
        described = _descriptions(tables[0]) if tables else {}
        binary = bool(tables) and type(tables[0]) is fits.BinTableHDU
        plain = binary and columns is not None and all(name in known and _is_plain(known[name]) for name in columns)
        n_rows, width = (len(tables[0].data), int(tables[0].header["NAXIS1"])) if plain else (0, 0)
    if plain and columns is not None:
        block = max(_BLOCK_BYTES // max(width, 1), 1)
        table = _read_columns(path, {name: known[name] for name in columns}, n_rows, block)
    else:
        table = _simplify(Table.read(path, format="fits", astropy_native=True))
    for name in set(table.colnames) & known.keys():
        table[name].description = table[name].description or described[name] or None
    return table


def _read_columns(path: Path, columns: dict[str, fits.Column], n_rows: int, n_block: int) -> Table:
    """Read some columns of a FITS table without memory for the others.

    The file is reopened for each block of rows, so that at most one block is mapped into memory.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for start in range(0, max(n_rows, 1), n_block):
        with fits.open(path, memmap=True, character_as_bytes=True, logical_as_bytes=True) as file:
            data = next(hdu for hdu in file if isinstance(hdu, fits.BinTableHDU)).data
            for name in columns:
                block = np.asarray(data[name][start : start + n_block])
                if not start:
                    arrays[name] = np.empty((n_rows, *block.shape[1:]), block.dtype.newbyteorder("="))
                arrays[name][start : start + n_block] = block
            del data, block
    table = Table({name: _mask_missing(values, columns[name]) for name, values in arrays.items()}, copy=False)
    for name, column in columns.items():
        table[name].unit = Unit(column.unit, parse_strict="silent") if column.unit else None
    return table


def _descriptions(table: fits.BinTableHDU) -> dict[str, str]:
    """Return the descriptions of columns: TCOMM, those that astropy writes as comments, or the comments of TTYPE."""
    header, written = table.header, Table()
    if _ASTROPY_COLUMNS in map(str, header.get("COMMENT", ())):
        written = Table.read(fits.BinTableHDU(table.data[:0], header))
    described = {}
    for number, name in enumerate(table.columns.names, start=1):
        comment = str(header.comments[f"TTYPE{number}"]) if f"TTYPE{number}" in header else ""
        by_astropy = written[name].info.description if name in written.colnames else None
        text = header.get(f"TCOMM{number}") or by_astropy or ("" if _FILLER.fullmatch(comment.strip()) else comment)
        described[name] = " ".join(str(text).split())
    return described


def _is_plain(column: fits.Column) -> bool:
    """Return whether a column holds numbers, logical values or text: no time, and no scaled null value."""
    is_scaled = column.bscale not in (None, "", 1) or column.bzero not in (None, "", 0)
    is_time = column.coord_type is not None or column.time_ref_pos is not None
    return not is_time and not (is_scaled and column.null is not None)


def _mask_missing(values: NDArray[Any], column: fits.Column) -> Column:
    """Mask missing values: NaN, the null value of an integer column, an undefined logical value."""
    missing: NDArray[np.bool_] | np.bool_ = np.False_
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    elif column.format.lstrip("0123456789") == "L":
        missing, values = (values != b"T") & (values != b"F"), values == b"T"
    elif column.null is not None:
        missing = values == column.null
    return MaskedColumn(values, mask=missing, copy=False) if missing.any() else Column(values, copy=False)


def _simplify(table: Table) -> Table:
    """Replace times by modified Julian dates, sky positions by columns in degrees, and quantities by plain columns."""
    for name in table.colnames:
        column = table[name]
        if isinstance(column, Column):
            continue
        if isinstance(column, SkyCoord):
            for axis in ("ra", "dec"):
                degrees = getattr(column.icrs, axis).deg
                table[f"{name}.{axis}"] = _to_column(degrees, "deg", column.info.description)
            table.remove_column(name)
        elif isinstance(column, Time):
            about = column.info.description or f"modified Julian date ({column.scale.upper()})"
            table.replace_column(name, _to_column(column.mjd, "d", about))
        elif isinstance(column, TimeDelta):
            table.replace_column(name, _to_column(column.to_value("jd"), "d", column.info.description))
        elif isinstance(column, Quantity):
            table.replace_column(name, _to_column(column.value, column.unit, column.info.description))
    return table


def _to_column(values: Any, unit: Any, description: str | None) -> MaskedColumn:
    """Return a plain column of values, which may be masked."""
    mask = getattr(values, "mask", False)
    return MaskedColumn(getattr(values, "unmasked", values), mask=mask, unit=unit, description=description)


def _restore_integers(table: Table) -> Table:
    """Read text as integers where all entries are plain integers: identifiers, and numbers too large for int64."""
    for name in table.colnames:
        column = table[name]
        if column.dtype.kind != "U" or not len(column):
            continue
        texts = column_texts(column)
        missing = np.array([not text for text in texts])
        if missing.all() or not all(_INTEGER.fullmatch(text) for text in texts if text):
            continue
        numbers = [int(text or 0) for text in texts]
        dtype = np.int64 if max(numbers) <= np.iinfo(np.int64).max else np.uint64
        if min(numbers) < (np.iinfo(np.int64).min if dtype is np.int64 else 0) or max(numbers) > np.iinfo(dtype).max:
            continue
        table[name] = MaskedColumn(np.array(numbers, dtype), mask=missing if missing.any() else None)
    return table


class TextColumn(Sequence[str]):
    """A column as text for path templates; masked entries are "". Entries are converted when they are read.

    Parameters
    ----------
    column
        The column.
    whole
        Write floats as integers; by default if all of them are integers.
    """

    def __init__(self, column: Column, whole: bool | None = None) -> None:
        self._values = np.asarray(np.ma.getdata(column))
        self._missing = missing_entries(column) if isinstance(column, MaskedColumn) else None
        self._is_integral = column.dtype.kind == "f" and (is_integral(column) if whole is None else whole)

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if not isinstance(row, slice):
            return self[row : row + 1 or None][0]
        values = self._values[row].tolist()
        if self._is_integral:
            values = [int(value) if np.isfinite(value) else value for value in values]
        texts = list(map(_to_text, values))
        if self._missing is None:
            return texts
        return ["" if missing else text for missing, text in zip(self._missing[row].tolist(), texts, strict=True)]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _TEXTS):
            yield from self[start : start + _TEXTS]


def column_texts(column: Column) -> list[str]:
    """Return all entries of a column as text."""
    return TextColumn(column)[:]


def count_texts(column: Column) -> dict[str, int]:
    """Return how often each entry of a column occurs, as text and sorted; masked entries are ""."""
    found: Counter[str] = Counter()
    for text, count in distinct_texts(column):
        found[text] += count
    return dict(found)


def distinct_texts(column: Column) -> Iterator[tuple[str, int]]:
    """Yield each entry of a column as text, sorted, and how often it occurs, without keeping them; masked is "".

    A text comes again if entries differ in blanks at their end.
    """
    if column.dtype.kind == "O":
        yield from sorted(Counter(column_texts(column)).items())
        return
    missing = missing_entries(column)
    if missing.any():
        yield "", int(missing.sum())
    values, counts = np.unique(np.asarray(np.ma.getdata(column))[~missing], return_counts=True)
    for start in range(0, len(values), _TEXTS):
        block = slice(start, start + _TEXTS)
        yield from zip(map(_to_text, values[block].tolist()), counts[block].tolist(), strict=True)


def _to_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip()
    return "" if value is None else str(value).rstrip()


def missing_entries(column: Column) -> NDArray[np.bool_]:
    """Return which entries of a column are masked, (N,)."""
    return np.ma.getmaskarray(np.ma.asarray(column))


def is_integral(column: Column) -> bool:
    """Return whether all entries of a column of floats are integers that float64 represents exactly."""
    values = np.ma.filled(np.ma.asarray(column), 0.0)
    return bool(((values == np.trunc(values)) & (np.abs(values) < _EXACT_IN_FLOAT)).all())
