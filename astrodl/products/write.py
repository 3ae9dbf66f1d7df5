"""Write a catalogue, at once or block by block."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from astropy.io import fits

from astrodl.atomic import replacing
from astrodl.errors import StoreError
from astrodl.products.checksum import Sum32, checksum_card
from astrodl.products.columns import (
    Column,
    Layout,
    check_lengths,
    check_names,
    check_unique,
    layout,
    rows,
    storable,
    text_width,
)

KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")
# Keywords that make the table what it is, or that would make its bytes depend on when it was written.
RESERVED = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS|PCOUNT|GCOUNT|TFIELDS|THEAP|EXTEND|EXTNAME|END|CONTINUE|COMMENT|HISTORY|HIERARCH"
    r"|CHECKSUM|DATASUM|DATE"
    r"|NAXIS\d+|T(TYPE|FORM|UNIT|NULL|SCAL|ZERO|DISP|DIM|UCD|COMM)\d+)"
)
FITS_BLOCK = 2880


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
    ordered = _ordered(columns)
    check_names(target, ordered)
    n_objects = check_lengths(target, ordered)
    check_unique(target, ordered[0].values)
    arrays = {column.name: storable(target, column) for column in ordered}
    widths = {name: text_width(array) for name, array in arrays.items() if array.dtype.kind == "S"}
    with writing_catalog(target, n_objects, header, widths=widths) as catalog:
        catalog.write(ordered)


@contextmanager
def writing_catalog(
    path: str | os.PathLike[str],
    n_objects: int,
    header: Mapping[str, str] | None = None,
    *,
    widths: Mapping[str, int] | None = None,
) -> "Iterator[CatalogFile]":
    """Write a catalogue block by block, in memory for one block; the bytes do not depend on the blocks.

    Parameters
    ----------
    path
        File to write; it appears when the context ends without error.
    n_objects
        Number of objects in all.
    header
        Provenance, as in `write_catalog`.
    widths
        Number of characters of text columns; by default that of the type of the array that is handed in (`<U12`: 12),
        which must then be the same in all blocks.

    Yields
    ------
    CatalogFile
        Its `write` takes the blocks, from the first object to the last. It does not look for identifiers that occur
        twice.

    Raises
    ------
    ValueError, DataError, StoreError
        As in `write_catalog`.
    """
    target = Path(path)
    try:
        with replacing(target) as temporary, open(temporary, "w+b") as file:
            catalog = CatalogFile(target, file, n_objects, header or {}, widths or {})
            yield catalog
            catalog.finish()
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"{target}: cannot be written ({reason}); give a writable place with room") from None


class CatalogFile:
    """A catalogue that is being written; made by `writing_catalog`."""

    def __init__(
        self, path: Path, file: BinaryIO, n_objects: int, header: Mapping[str, str], widths: Mapping[str, int]
    ) -> None:
        self.path = path
        self.n_objects = n_objects
        self.n_written = 0
        self._file = file
        self._provenance = header
        self._widths = widths
        self._layouts: list[Layout] = []
        self._sum = Sum32()

    def write(self, columns: Sequence[Column]) -> None:
        """Write the next objects; names, types and order of the columns are those of the first block."""
        ordered = _ordered(columns)
        if not self._layouts:
            check_names(self.path, ordered)
        n_rows = check_lengths(self.path, ordered)
        arrays = [storable(self.path, column) for column in ordered]
        layouts = [
            layout(self.path, column.name, array, self._widths.get(column.name))
            for column, array in zip(ordered, arrays, strict=True)
        ]
        if not self._layouts:
            self._begin(ordered, layouts)
        if layouts != self._layouts:
            changed = next(one.name for one, first in zip(layouts, self._layouts, strict=True) if one != first)
            raise ValueError(f"{self.path}: column '{changed}' is of another type than in the first block")
        for array, one in zip(arrays, layouts, strict=True):
            if one.width and text_width(array) > one.width:
                raise ValueError(f"{self.path}: text in column '{one.name}' is longer than {one.width} characters")
        packed = rows(arrays, layouts).tobytes()
        self._file.write(packed)
        self._sum.add(packed)
        self.n_written += n_rows

    def finish(self) -> None:
        """Fill the last block of the file and put the checksums into the header."""
        assert self.n_written == self.n_objects, f"{self.n_written} of {self.n_objects} objects written"
        assert self._layouts, "no block was written"
        self._file.write(b"\0" * (-self._file.tell() % FITS_BLOCK))
        self._header["DATASUM"] = str(self._sum.value)
        self._header["CHECKSUM"] = checksum_card(self._header.tostring().encode("ascii"), self._sum.value)
        self._file.seek(self._start)
        self._file.write(self._header.tostring().encode("ascii"))

    def _begin(self, columns: Sequence[Column], layouts: list[Layout]) -> None:
        """Write the headers, the last with room for the checksums."""
        table = _table(columns, layouts)
        _record(self.path, table.header, self._provenance)
        self._header = table.header
        # The comment replaces the time of writing that astropy puts there.
        self._header["CHECKSUM"] = ("0" * 16, "HDU checksum")
        self._header["DATASUM"] = ("0", "data unit checksum")
        file = fits.HDUList([fits.PrimaryHDU(), table])
        file.update_extend()
        self._header["NAXIS2"] = self.n_objects
        self._layouts = layouts
        self._file.write(file[0].header.tostring().encode("ascii"))
        self._start = self._file.tell()
        self._file.write(self._header.tostring().encode("ascii"))


def _ordered(columns: Sequence[Column]) -> list[Column]:
    return sorted(columns, key=lambda column: column.name != "object_id")


def _table(columns: Sequence[Column], layouts: Sequence[Layout]) -> fits.BinTableHDU:
    """Make the table, without rows, with the cards of its columns."""
    definitions = [
        fits.Column(column.name, one.form, column.unit or None, dim=one.dim, array=np.empty((0, *one.shape), one.dtype))
        for column, one in zip(columns, layouts, strict=True)
    ]
    table = fits.BinTableHDU.from_columns(definitions, name="CATALOG")
    for position, column in enumerate(columns, start=1):
        keyword = f"TTYPE{position}"
        table.header.comments[keyword] = _shortened(column.description, 80 - 13 - max(20, len(column.name) + 2))
        table.header[f"TCOMM{position}"] = column.description
        if column.ucd:
            table.header[f"TUCD{position}"] = column.ucd
    return table


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
