"""The vectors of the objects of a store: a FITS or Parquet table with a column of identifiers and one of vectors.

The file holds what made the vectors, by these names (cards of the FITS header, metadata of the Parquet schema):

    FORMAT                    "astrodl-vectors 1"
    SURVEY, STORE, ASTRODL    survey, fingerprint of the store, version
    TASKn, MODELn, DIMn       task, fingerprint and number of dimensions of model n, in the order of the dimensions
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from astrodl.atomic import FilePath, replacing
from astrodl.errors import StoreError
from astrodl.fits.counts import DAMAGED, check_counts
from astrodl.products.columns import Column
from astrodl.products.parquet import import_parquet
from astrodl.products.write import require_suffix, stream_catalog

__all__ = ["FORMAT", "SUFFIXES", "Block", "Vectors", "check_suffix", "stream_vectors"]

FORMAT = "astrodl-vectors 1"
SUFFIXES = (".fits", ".parquet")
Block = tuple[NDArray[np.str_], NDArray[np.float32]]
"""Identifiers (n,) and vectors (n, d) of consecutive objects."""

_OBJECT_ID, _VECTOR = "identifier in the survey", "vector of the networks, NaN for an object without data"
_PROVENANCE = re.compile(r"FORMAT|SURVEY|STORE|ASTRODL|(TASK|MODEL|DIM)\d+")
_BLOCK_NUMBERS = 2**21
"""Numbers of a block that is read: 8 MB."""
_GROUP_ROWS = 2**14
"""Rows of a group of a Parquet file, the least that is read at a time."""


def check_suffix(path: FilePath) -> Path:
    """Check that the name of a file ends in one of `SUFFIXES`; for Parquet, also that pyarrow is installed.

    Raises
    ------
    ConfigError
        It ends otherwise.
    DataError
        pyarrow is not installed.
    """
    path = require_suffix(path, SUFFIXES)
    if path.suffix.lower() == ".parquet":
        import_parquet()
    return path


@contextmanager
def stream_vectors(
    path: FilePath, n_objects: int, provenance: Mapping[str, str], *, width: int
) -> Iterator[Callable[[NDArray[Any], NDArray[np.float32]], None]]:
    """Write vectors block by block, atomically.

    Parameters
    ----------
    path
        File to write, whose name ends in one of `SUFFIXES`.
    n_objects
        Total number of objects.
    provenance
        Name -> value: the names above, without FORMAT.
    width
        Number of characters of the longest identifier.

    Yields
    ------
    function
        Takes the identifiers, (n,) integers or text, and the vectors, (n, d) float32, of the next objects.
    """
    path, header = check_suffix(path), {"FORMAT": FORMAT, **provenance}
    if path.suffix.lower() == ".parquet":
        with replacing(path) as temporary, _ParquetWriter(temporary, header) as writer:
            yield writer.write
            assert writer.n_written == n_objects, f"{writer.n_written} of {n_objects} objects written"
        return
    with stream_catalog(path, n_objects, header, widths={"object_id": width}) as table:

        def write(object_id: NDArray[Any], vectors: NDArray[np.float32]) -> None:
            identifier = Column("object_id", object_id, None, _OBJECT_ID, "meta.id;meta.main")
            table.write([identifier, Column("vector", vectors, None, _VECTOR)])

        yield write


class _ParquetWriter:
    """Writer of a Parquet file with groups of `_GROUP_ROWS` rows."""

    def __init__(self, path: Path, header: Mapping[str, str]):
        self._path, self._header = path, dict(header)
        self._writer: Any = None
        self._waiting: list[tuple[NDArray[Any], NDArray[np.float32]]] = []
        self.n_written = 0

    def __enter__(self) -> "_ParquetWriter":
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None and self._waiting:
            self._write_group(*self._join())
        if self._writer is not None:
            self._writer.close()

    def write(self, object_id: NDArray[Any], vectors: NDArray[np.float32]) -> None:
        """Add objects."""
        self._waiting.append((object_id, vectors))
        self.n_written += len(object_id)
        if sum(len(ids) for ids, _ in self._waiting) < _GROUP_ROWS:
            return
        ids, joined = self._join()
        whole = len(ids) - len(ids) % _GROUP_ROWS
        for start in range(0, whole, _GROUP_ROWS):
            self._write_group(ids[start : start + _GROUP_ROWS], joined[start : start + _GROUP_ROWS])
        self._waiting = [(ids[whole:], joined[whole:])] if whole < len(ids) else []

    def _join(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        ids, vectors = zip(*self._waiting, strict=True)
        return np.concatenate(ids), np.concatenate(vectors)

    def _write_group(self, ids: NDArray[Any], vectors: NDArray[np.float32]) -> None:
        import pyarrow

        flat = pyarrow.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
        column = pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        texts = ids if ids.dtype.kind in "iu" else ids.astype(object)
        table = pyarrow.table({"object_id": pyarrow.array(texts), "vector": column})
        if self._writer is None:
            schema = table.schema.with_metadata(self._header)
            options = {"write_page_checksum": True, "use_dictionary": False}
            self._writer = import_parquet().ParquetWriter(self._path, schema, **options)
        self._writer.write_table(table.cast(self._writer.schema), row_group_size=_GROUP_ROWS)


class Vectors:
    """Vectors of the objects of a store, read in blocks.

    Opening reads the header alone; a pass over `blocks` verifies the checksums.

    Parameters
    ----------
    path
        File that `astrodl embed` wrote.

    Attributes
    ----------
    path, provenance, n_objects, dimension
        The file, what made the vectors (see the module), number of objects N, number of dimensions d.

    Raises
    ------
    StoreError
        The file is missing, damaged or of another kind.
    """

    def __init__(self, path: FilePath):
        self.path = Path(path)
        if self.path.suffix.lower() not in SUFFIXES:
            raise StoreError(f"{self.path}: not a file of vectors, which end in {' or '.join(SUFFIXES)}; give one")
        if not self.path.is_file():
            raise StoreError(f"{self.path}: no such file; make it with 'astrodl embed'")
        self._source = (_ParquetFile if self.path.suffix.lower() == ".parquet" else _FitsFile)(self)
        self.provenance: dict[str, str] = self._source.header
        if self.provenance.get("FORMAT") != FORMAT:
            raise StoreError(f"{self.path}: not a file of vectors ('{FORMAT}'); give one that 'astrodl embed' wrote")
        self.n_objects, self.dimension = self._source.n_objects, self._source.dimension
        stated = [value for name, value in self.provenance.items() if name.startswith("DIM")]
        if sum(int(value) for value in stated if value.isdigit()) != self.dimension or not self.dimension:
            self.refuse(f"{self.dimension} dimensions, the header says {' + '.join(stated) or 'nothing'}")
        if "STORE" not in self.provenance:
            self.refuse("the header does not say of which store")

    def __len__(self) -> int:
        return self.n_objects

    def blocks(self) -> Iterator[Block]:
        """Yield identifiers (n,) and vectors (n, d) of consecutive objects, from the first to the last.

        Raises
        ------
        StoreError
            The file differs from its checksums, at the end of the pass at the latest.
        """
        # a multiple of four rows, so that a block of a FITS file has whole words of its checksum
        return self._source.blocks(4 * max(1, min(_GROUP_ROWS, _BLOCK_NUMBERS // self.dimension) // 4))

    def read(self) -> Block:
        """Read all identifiers (N,) and vectors (N, d)."""
        ids, vectors = zip(*self.blocks(), strict=True)
        return np.concatenate(ids), np.concatenate(vectors)

    def refuse(self, reason: str) -> NoReturn:
        """Raise the error for a damaged file."""
        reason = " ".join(reason.split())[:120]
        raise StoreError(f"{self.path}: damaged or altered ({reason}); run 'astrodl embed' again")


class _FitsFile:
    """The table of a FITS file; its checksum is summed up while the rows are read."""

    def __init__(self, vectors: Vectors):
        self._vectors = vectors
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", AstropyUserWarning)  # of a file that is cut short
                check_counts(vectors.path)
                with open(vectors.path, "rb") as stream, fits.open(stream, memmap=False) as file:
                    table = next(hdu for hdu in file if isinstance(hdu, fits.BinTableHDU))
                    header, place, columns = table.header, table.fileinfo(), table.columns
            self.header = {name: str(value) for name, value in header.items() if _PROVENANCE.fullmatch(name)}
            self.n_objects = int(header["NAXIS2"])
            self._row = columns.dtype.newbyteorder(">")
            self._header_start, self._start = int(place["hdrLoc"]), int(place["datLoc"])
            self._n_bytes = int(place["datSpan"])
            form = {column.name: str(column.format) for column in columns}
        except (*DAMAGED, StopIteration) as error:
            vectors.refuse(str(error) or "no table")
        is_vector = re.fullmatch(r"(\d*)E", form.get("vector", ""))
        if not is_vector or list(form) != ["object_id", "vector"] or self._row.itemsize != header["NAXIS1"]:
            vectors.refuse(f"columns {form}, must be object_id and vector")
        self.dimension = int(is_vector[1] or 1)

    def blocks(self, n_rows: int) -> Iterator[Block]:
        with open(self._vectors.path, "rb") as stream:
            stream.seek(self._header_start)
            total = _sum_words(self._read(stream, self._start - self._header_start))
            for start in range(0, self.n_objects, n_rows):
                data = self._read(stream, min(n_rows, self.n_objects - start) * self._row.itemsize)
                total += _sum_words(data)
                rows = np.frombuffer(data, self._row)
                vectors = rows["vector"].astype(np.float32).reshape(len(rows), self.dimension)
                yield rows["object_id"].astype(str), vectors
            total += _sum_words(self._read(stream, self._n_bytes - self.n_objects * self._row.itemsize))
        while total >> 32:
            total = (total & 0xFFFFFFFF) + (total >> 32)
        # FITS 4.0, section 4.4.2.7: the ones' complement sum of the whole unit is -0
        if total != 0xFFFFFFFF:
            self._vectors.refuse("its content differs from its checksum")

    def _read(self, stream: IO[bytes], n_bytes: int) -> bytes:
        data = stream.read(n_bytes)
        if len(data) < n_bytes:
            self._vectors.refuse("the file is cut short")
        return data


def _sum_words(data: bytes) -> int:
    """Sum the big-endian 32-bit words of a part of a FITS file."""
    return int(np.frombuffer(data + bytes(-len(data) % 4), ">u4").sum(dtype=np.uint64))


class _ParquetFile:
    """The table of a Parquet file, whose pages have checksums."""

    def __init__(self, vectors: Vectors):
        import_parquet()
        import pyarrow

        self._vectors, self._errors = vectors, (pyarrow.ArrowException, OSError, ValueError, UnicodeDecodeError)
        try:
            with self._open() as file:
                schema, self.n_objects = file.schema_arrow, int(file.metadata.num_rows)
                self.header = {name.decode(): value.decode() for name, value in (schema.metadata or {}).items()}
                types = dict(zip(schema.names, schema.types, strict=True))
        except self._errors as error:
            vectors.refuse(str(error))
        vector: Any = types.get("vector")
        object_id = types.get("object_id")
        is_vector = isinstance(vector, pyarrow.FixedSizeListType) and vector.value_type == pyarrow.float32()
        if not is_vector or len(types) != 2:
            vectors.refuse(f"columns {', '.join(types)}, must be object_id and vector")
        if not (pyarrow.types.is_integer(object_id) or pyarrow.types.is_string(object_id)):
            vectors.refuse(f"object_id holds {object_id}")
        self.dimension = int(vector.list_size)

    def _open(self) -> Any:
        return import_parquet().ParquetFile(self._vectors.path, page_checksum_verification=True)

    def blocks(self, n_rows: int) -> Iterator[Block]:
        n_read = 0
        with self._open() as file:
            # by groups: an iterator over batches keeps what it has read
            for number in range(file.num_row_groups):
                try:
                    group = file.read_row_group(number, use_threads=False)
                    ids = group["object_id"].to_numpy().astype(str)
                    flat = group["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
                    vectors = flat.astype(np.float32, copy=False).reshape(len(ids), self.dimension)
                except self._errors as error:
                    self._vectors.refuse(str(error))
                n_read += len(ids)
                for start in range(0, len(ids), n_rows):
                    yield ids[start : start + n_rows], vectors[start : start + n_rows]
        if n_read != self.n_objects:
            self._vectors.refuse(f"{n_read} of {self.n_objects} rows")
