"""Write a catalogue, at once or block by block."""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astrodl.atomic import FilePath, error_reason, replacing
from astrodl.errors import ConfigError, StoreError
from astrodl.products.columns import (
    Column,
    check_columns,
    check_lengths,
    check_unique,
    encode,
    fits_column,
    text_width,
)

__all__ = ["FITS_SUFFIXES", "CatalogWriter", "require_suffix", "stream_catalog", "write_catalog"]

FITS_SUFFIXES = (".fits", ".fit", ".fts")
KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}")
# Keywords that define the table, or that would make its bytes depend on the time of writing.
RESERVED = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS|PCOUNT|GCOUNT|TFIELDS|THEAP|EXTEND|EXTNAME|END|CONTINUE|COMMENT|HISTORY|HIERARCH"
    r"|CHECKSUM|DATASUM|DATE"
    r"|NAXIS\d+|T(TYPE|FORM|UNIT|NULL|SCAL|ZERO|DISP|DIM|UCD|COMM)\d+)"
)


def require_suffix(path: FilePath, suffixes: Collection[str]) -> Path:
    """Check, before the work, that the name of a file tells its format, and return the path.

    Raises
    ------
    ConfigError
        It ends otherwise.
    """
    if Path(path).suffix.lower() not in suffixes:
        raise ConfigError(f"{path}: must end in {' or '.join(suffixes)}; choose another name")
    return Path(path)


def write_catalog(
    path: str | os.PathLike[str], columns: Sequence[Column], header: Mapping[str, str] | None = None
) -> None:
    """Write a catalogue, atomically; equal input gives equal bytes.

    Parameters
    ----------
    path
        File to write.
    columns
        Columns of equal length, among them `object_id`, which is written first.
    header
        Provenance, name -> value. Names that are not FITS keywords become HISTORY lines; characters outside printable
        ASCII are written as backslash escapes.

    Raises
    ------
    ValueError
        No `object_id`; columns of different lengths or with the same name (case apart); a name, type, unit or UCD that
        FITS, astropy or the IVOA do not know; a header name that is reserved for the table.
    DataError
        Repeated identifiers; text that is not ASCII.
    StoreError
        The file cannot be written.
    """
    target = Path(path)
    ordered = _order(columns)
    check_columns(target, ordered)
    check_lengths(target, ordered)
    check_unique(target, ordered[0].values)
    encoded = {column.name: encode(target, column) for column in ordered}
    widths = {name: text_width(values) for name, values in encoded.items() if values.dtype.kind == "S"}
    with stream_catalog(target, len(encoded["object_id"]), header, widths=widths) as catalog:
        catalog.write(ordered)


@contextmanager
def stream_catalog(
    path: str | os.PathLike[str],
    n_objects: int,
    header: Mapping[str, str] | None = None,
    *,
    widths: Mapping[str, int] | None = None,
) -> "Iterator[CatalogWriter]":
    """Write a catalogue block by block, with one block in memory; the bytes do not depend on the block size.

    Parameters
    ----------
    path
        File to write; it appears when the context ends without an error.
    n_objects
        Total number of objects.
    header
        Provenance, as in `write_catalog`.
    widths
        Number of characters of text columns. The default is the width of the array's type (12 for `<U12`), which must
        then be the same in all blocks.

    Yields
    ------
    CatalogWriter
        Its `write` takes the blocks in order. It does not check for repeated identifiers.

    Raises
    ------
    ValueError, DataError, StoreError
        As in `write_catalog`.
    """
    target = Path(path)
    try:
        with replacing(target) as temporary:
            with closing(CatalogWriter(target, temporary, n_objects, header or {}, widths or {})) as catalog:
                yield catalog
            assert catalog.n_written == n_objects, f"{catalog.n_written} of {n_objects} objects written"
            assert temporary.exists(), "no block was written"
            _add_checksums(temporary)
    except OSError as error:
        raise StoreError(
            f"{target}: cannot be written ({error_reason(error)}); choose a writable path with enough space"
        ) from None


class CatalogWriter:
    """Writer of the blocks of a catalogue; `stream_catalog` creates it."""

    def __init__(
        self, path: Path, temporary: Path, n_objects: int, provenance: Mapping[str, str], widths: Mapping[str, int]
    ) -> None:
        self.path = path
        self.n_objects = n_objects
        self.n_written = 0
        self._temporary = temporary
        self._provenance = provenance
        self._widths = widths
        self._stream: fits.StreamingHDU | None = None
        self._dtype: np.dtype[np.void] | None = None

    def write(self, columns: Sequence[Column]) -> None:
        """Write the next objects; the columns have the names, types and order of the first block."""
        ordered = _order(columns)
        if self._dtype is None:
            check_columns(self.path, ordered)
        check_lengths(self.path, ordered)
        rows = self._pack(ordered)
        if self._dtype is None or self._stream is None:
            self._dtype = rows.dtype
            self._stream = fits.StreamingHDU(self._temporary, self._header(ordered, rows.dtype))
        if rows.dtype != self._dtype:
            first, new = dict(self._dtype.fields or {}), dict(rows.dtype.fields or {})
            changed = next(name for name in first | new if first.get(name) != new.get(name))
            raise ValueError(f"{self.path}: column '{changed}' has another type than in the first block")
        if len(rows):
            self._stream.write(rows.view(np.uint8))
        self.n_written += len(rows)

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

    def _pack(self, columns: Sequence[Column]) -> NDArray[np.void]:
        """Return the rows of the table, (n,), as they are in the file."""
        encoded = {column.name: encode(self.path, column, self._widths.get(column.name)) for column in columns}
        fields = [(name, values.dtype, values.shape[1:]) for name, values in encoded.items()]
        rows = np.empty(len(encoded["object_id"]), fields)
        for name, values in encoded.items():
            rows[name] = values
        return rows

    def _header(self, columns: Sequence[Column], dtype: np.dtype[np.void]) -> fits.Header:
        """Return the header of the table, with placeholders for the checksums."""
        definitions = [fits_column(column, dtype[column.name]) for column in columns]
        header = fits.BinTableHDU.from_columns(definitions, name="CATALOG").header
        for position, column in enumerate(columns, start=1):
            keyword = f"TTYPE{position}"
            header.comments[keyword] = _shorten(column.description, 80 - 13 - max(20, len(column.name) + 2))
            header[f"TCOMM{position}"] = _card_text(column.description)
            if column.ucd:
                header[f"TUCD{position}"] = column.ucd
        _add_provenance(self.path, header, self._provenance)
        header["NAXIS2"] = self.n_objects
        header["CHECKSUM"] = "0" * 16
        header["DATASUM"] = "0"
        return header


def _order(columns: Sequence[Column]) -> list[Column]:
    return sorted(columns, key=lambda column: column.name != "object_id")


def _shorten(text: str, max_length: int) -> str:
    """Shorten a description to fit in its card."""
    if len(text) <= max_length:
        return text
    return text[: max_length - 3].rstrip() + "..." if max_length > 3 else ""


def _card_text(text: str) -> str:
    """Escape quotes before a slash: astropy takes such a quote for the end of the value (JSON reads the escape)."""
    return re.sub(r"'(?=[' ]*/)", r"\\u0027", text)


def _add_provenance(path: Path, header: fits.Header, provenance: Mapping[str, str]) -> None:
    for name, value in provenance.items():
        text = str(value).encode("unicode_escape").decode("ascii")
        if RESERVED.fullmatch(name):
            raise ValueError(f"{path}: header name '{name}' is reserved for the table; choose another")
        if KEYWORD.fullmatch(name):
            header[name] = _card_text(text)
        else:
            header.add_history(f"{name.encode('unicode_escape').decode('ascii')} = {text}")


def _add_checksums(path: Path) -> None:
    """Fill in CHECKSUM and DATASUM.

    The header is replaced here and not by astropy's update mode, which writes the time into the comments.
    """
    with fits.open(path, memmap=True) as file:
        table = file["CATALOG"]
        table.add_datasum("data unit checksum")
        table.add_checksum("HDU checksum", override_datasum=True)
        header, position = table.header.tostring(), table.fileinfo()["hdrLoc"]
    with open(path, "r+b") as stream:
        stream.seek(position)
        stream.write(header.encode("ascii"))
