"""Rows of the datasets of numbers of a store, written and read at their place in the file, without HDF5."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.store.layout import content_bytes

__all__ = ["RowLocation", "copy_rows", "rows_digest", "write_all", "write_rows"]

_STEP_BYTES = 64 << 20


@dataclass(frozen=True)
class RowLocation:
    """Location of the rows of a dataset in a file: offset of the first in bytes, shape and type of each."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Size of a row in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def write_rows(path: Path, locations: Mapping[str, RowLocation], start: int, arrays: Mapping[str, ArrayLike]) -> None:
    """Write the rows from `start` on of several datasets; any process can do this.

    Parameters
    ----------
    path
        The unfinished store, `Writer.partial`.
    locations
        Locations of the rows, by dataset; `Writer.locations`.
    start
        Index of the first row.
    arrays
        The rows of each dataset.
    """
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for name, values in arrays.items():
            location = locations[name]
            array = np.ascontiguousarray(values, location.dtype)
            assert array.shape[1:] == location.shape, f"{name}: rows of {array.shape[1:]}, expected {location.shape}"
            write_all(descriptor, content_bytes(array), location.offset + start * location.row_bytes)
    finally:
        os.close(descriptor)


def rows_digest(path: Path, location: RowLocation, n_rows: int) -> str:
    """Return the SHA-256 of the first `n_rows` rows of a dataset."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for start, stop in _ranges(location, n_rows):
            digest.update(_read(file.fileno(), location, start, stop))
    return digest.hexdigest()


def copy_rows(
    source: Path, target: Path, rows: NDArray[np.int64], places: Sequence[tuple[RowLocation, RowLocation]]
) -> None:
    """Copy increasing rows of several datasets to the first rows of another file.

    Parameters
    ----------
    source, target
        The files.
    rows
        Indices of the rows in the source.
    places
        Location of each dataset in the source and in the target.
    """
    with open(source, "rb") as read, open(target, "rb+") as write:
        for old, new in places:
            for start, stop in _ranges(old, len(rows)):
                first, last = int(rows[start]), int(rows[stop - 1])
                span = np.frombuffer(_read(read.fileno(), old, first, last + 1), np.uint8)
                kept: NDArray[Any] = span.reshape(last + 1 - first, -1)[rows[start:stop] - first]
                write_all(write.fileno(), content_bytes(kept), new.offset + start * new.row_bytes)


def write_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all bytes at an offset."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _ranges(location: RowLocation, n_rows: int) -> Iterator[tuple[int, int]]:
    """Divide rows into ranges of about 64 MB."""
    if location.row_bytes:
        step = max(_STEP_BYTES // location.row_bytes, 1)
        yield from ((start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def _read(descriptor: int, location: RowLocation, start: int, stop: int) -> bytes:
    n_bytes, offset = (stop - start) * location.row_bytes, location.offset + start * location.row_bytes
    parts = []
    while n_bytes and (part := os.pread(descriptor, n_bytes, offset)):
        parts.append(part)
        n_bytes, offset = n_bytes - len(part), offset + len(part)
    assert not n_bytes, f"{n_bytes} bytes are missing in the unfinished store"
    return parts[0] if len(parts) == 1 else b"".join(parts)
