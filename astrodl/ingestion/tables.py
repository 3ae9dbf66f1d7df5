"""Find and read the table of a catalogue, and read columns as text."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from astropy.io import fits
from astropy.io.ascii import convert_numpy
from astropy.table import Column, MaskedColumn, Table
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from astrodl.config import DataSettings, expand
from astrodl.errors import DataError

__all__ = ["TextColumn", "column_texts", "find_catalog", "is_integral", "missing_entries", "read_table"]

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
_BLOCK_ROWS = 500_000
_EXACT_IN_FLOAT = 2**53


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


def read_table(path: Path, id_column: str, columns: Sequence[str] | None = None) -> Table:
    """Read a table; its suffix determines the format.

    Parameters
    ----------
    path
        The file.
    id_column
        Column that stays text in text formats, so that identifiers keep leading zeros.
    columns
        Columns to read; others may be left out, because a FITS table can have hundreds. If one does not exist, all
        columns are read.

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
    options = {}
    if table_format.startswith("ascii") and table_format != "ascii.ecsv":
        options = {"converters": {id_column: [convert_numpy(str)]}}
    try:
        with warnings.catch_warnings():
            # Non-standard cards, units and VOTable details do not affect the values.
            warnings.simplefilter("ignore", AstropyWarning)
            if table_format == "fits" and columns is not None:
                return _read_columns(path, columns)
            return Table.read(path, format=table_format, **options)
    except Exception as error:  # the readers raise many types for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: not readable as {table_format} ({reason:.200}); correct the file or its suffix"
        ) from None


def _read_columns(path: Path, columns: Sequence[str]) -> Table:
    """Read some columns of a FITS table without memory for the others; read all columns of an unusual table.

    The file is reopened for each block of rows, so that at most one block is mapped into memory.
    """
    with fits.open(path, memmap=True) as file:
        tables = [hdu for hdu in file if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        known = {column.name: column for column in tables[0].columns} if tables else {}
        binary = bool(tables) and type(tables[0]) is fits.BinTableHDU
        if not binary or not all(name in known and _has_plain_null(known[name]) for name in columns):
            return Table.read(path, format="fits")
        nulls, n_rows = {name: known[name].null for name in columns}, len(tables[0].data)
    arrays: dict[str, NDArray[Any]] = {}
    for start in range(0, max(n_rows, 1), _BLOCK_ROWS):
        with fits.open(path, memmap=True, character_as_bytes=True) as file:
            data = next(hdu for hdu in file if isinstance(hdu, fits.BinTableHDU)).data
            for name in columns:
                block = np.asarray(data[name][start : start + _BLOCK_ROWS])
                if not start:
                    arrays[name] = np.empty((n_rows, *block.shape[1:]), block.dtype.newbyteorder("="))
                arrays[name][start : start + _BLOCK_ROWS] = block
            del data, block
    return Table({name: _mask_missing(values, nulls[name]) for name, values in arrays.items()}, copy=False)


def _has_plain_null(column: fits.Column) -> bool:
    """Return whether the null value of a column, if it has one, is not scaled."""
    return column.null is None or (column.bscale in (None, "", 1) and column.bzero in (None, "", 0))


def _mask_missing(values: NDArray[Any], null: int | None) -> Column:
    """Mask missing values: NaN, and the null value of an integer column."""
    missing = np.isnan(values) if values.dtype.kind == "f" else values == null if null is not None else np.False_
    return MaskedColumn(values, mask=missing, copy=False) if missing.any() else Column(values, copy=False)


class TextColumn(Sequence[str]):
    """A column as text for path templates; masked entries are "". Entries are converted when they are read."""

    def __init__(self, column: Column) -> None:
        self._values = np.asarray(np.ma.getdata(column))
        self._missing = missing_entries(column) if isinstance(column, MaskedColumn) else None
        self._is_integral = column.dtype.kind == "f" and is_integral(column)

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        if self._missing is not None and self._missing[row]:
            return ""
        value = self._values[row : row + 1].tolist()[0]
        return _to_text(int(value) if self._is_integral else value)


def column_texts(column: Column) -> list[str]:
    """Return all entries of a column as text."""
    return TextColumn(column)[:]


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
