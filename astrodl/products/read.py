"""Read a catalogue."""

import os
import warnings
from pathlib import Path

from astropy.io import fits
from astropy.table import Table
from astropy.units import Unit, UnitsWarning, UnrecognizedUnit
from astropy.utils.exceptions import AstropyUserWarning

from astrodl.errors import StoreError
from astrodl.fits.counts import DAMAGED, check_counts

__all__ = ["read_catalog"]


def read_catalog(path: str | os.PathLike[str]) -> Table:
    """Read a catalogue that `write_catalog` wrote, and verify its checksums.

    Returns
    -------
    astropy.table.Table
        Columns with unit, description and, in `meta["ucd"]`, UCD; the table's `meta` holds the provenance.

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
            # astropy only warns about wrong checksums and truncated files.
            warnings.simplefilter("error", AstropyUserWarning)
            # Columns of the input keep their unit, which FITS may not know.
            warnings.simplefilter("ignore", UnitsWarning)
            check_counts(source)
            # astropy leaves a file that it opened itself open after an error.
            with open(source, "rb") as stream, fits.open(stream, checksum=True, memmap=False) as file:
                tables = (hdu for hdu in file if isinstance(hdu, fits.BinTableHDU))
                table = Table.read(next(tables), mask_invalid=False)
    except StopIteration:
        raise StoreError(f"{source}: holds no binary table; run `astrodl catalog` again") from None
    except DAMAGED as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{source}: cannot be read ({reason:.120}); run `astrodl catalog` again") from None
    for position, name in enumerate(table.colnames, start=1):
        column = table[name]
        if column.dtype.kind == "S":
            table[name] = column.astype(str)
        if isinstance(column.unit, UnrecognizedUnit):  # not a unit of FITS, but astropy may know it
            table[name].unit = Unit(str(column.unit), parse_strict="silent")
        table[name].description = table.meta.pop(f"TCOMM{position}", None)
        ucd = table.meta.pop(f"TUCD{position}", None)
        if ucd is not None:
            table[name].meta["ucd"] = ucd
    return table
