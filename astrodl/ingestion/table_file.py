"""The file of a catalogue: where it is, and its table as astropy reads it."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.ascii import convert_numpy
from astropy.table import Column, MaskedColumn, Table
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from astrodl.config import DataSettings, expand
from astrodl.errors import DataError

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


def find_catalog(data: DataSettings) -> tuple[str, Path]:
    """Find the folder of the data and the catalogue: in that folder, else from the working directory.

    Raises
    ------
    DataError
        There is no such folder.
    """
    root = os.path.realpath(expand(data.root))
    if not os.path.isdir(root):
        raise DataError(f"{expand(data.root)}: no such folder; correct data.root")
    name = expand(data.catalog)
    path = Path(root, name)
    return root, path if path.exists() or not Path(name).exists() else Path(name)


def read_table(path: Path, id_column: str, columns: Sequence[str] | None = None) -> Table:
    """Read a table of a kind that its name tells; in text tables `id_column` stays text.

    Where `columns` are given and all there, others may be left out: a FITS table may have hundreds.

    Raises
    ------
    DataError
        The kind is not known, or the file is missing or damaged.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".bz2", ".xz")]
    kind = _FORMATS.get(suffixes[-1] if suffixes else "")
    if kind is None:
        accepted = ", ".join(sorted(_FORMATS))
        raise DataError(f"{path}: the kind of table is not known from its name; accepted: {accepted}; rename it")
    if not path.is_file():
        raise DataError(f"{path}: no such catalogue; correct data.root or data.catalog")
    options = {}
    if kind.startswith("ascii") and kind != "ascii.ecsv":  # as text, so that 007 keeps its zeros
        options = {"converters": {id_column: [convert_numpy(str)]}}
    try:
        with warnings.catch_warnings():
            # Non-standard cards, units and VOTable details do not matter to the values that are read.
            warnings.simplefilter("ignore", AstropyWarning)
            if kind == "fits" and columns is not None:
                return _read_columns(path, columns)
            table = Table.read(path, format=kind, **options)
    except Exception as error:  # readers of five formats raise whatever they meet in a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not readable as {kind} ({reason:.200}); correct the file or its suffix") from None
    return table


def _read_columns(path: Path, columns: Sequence[str]) -> Table:
    """Read some columns of a FITS table, in memory for these alone; all of them where it is of an unusual kind.

    The file is opened anew for each block of rows, so that no more than a block of it is ever mapped into memory.
    """
    with fits.open(path, memmap=True) as file:
        tables = [hdu for hdu in file if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        known = {column.name: column for column in tables[0].columns} if tables else {}
        binary = bool(tables) and type(tables[0]) is fits.BinTableHDU
        if not binary or not all(name in known and _is_plain(known[name]) for name in columns):
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
    return Table({name: _with_mask(values, nulls[name]) for name, values in arrays.items()}, copy=False)


def _is_plain(column: fits.Column) -> bool:
    """Tell whether the null of a column, if it has one, is the value that is read."""
    return column.null is None or (column.bscale in (None, "", 1) and column.bzero in (None, "", 0))


def _with_mask(values: NDArray[Any], null: int | None) -> Column:
    """Mark what FITS calls missing: NaN, and the null of an integer column."""
    missing = np.isnan(values) if values.dtype.kind == "f" else values == null if null is not None else np.False_
    return MaskedColumn(values, mask=missing, copy=False) if missing.any() else Column(values, copy=False)
