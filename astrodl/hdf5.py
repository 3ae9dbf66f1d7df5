"""Read HDF5 files that may be damaged, and write them where the disk may be full.

HDF5 keeps texts of any length in global heaps, collections of objects one after the other, and reads them without an
end if an object has no size. Hence each heap is checked before HDF5 reads it. The layout of a heap is that of the HDF5
File Format Specification, version 3.0, section III.E.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from astrodl.atomic import FilePath, replacing

__all__ = ["guarded_hdf5", "has_sound_texts", "open_hdf5", "replacing_hdf5"]

_LARGE_WRITE = 2**16  # bytes; HDF5 collects its own records in smaller blocks
_SIGNATURE = b"GCOL\x01\0\0\0"
_HEADER_BYTES = 16  # of a collection, and of an object where lengths take up to 8 bytes
_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
"""A reference to a text of any length."""
_REFERENCE_ROWS = 1 << 20


def open_hdf5(path: FilePath) -> h5py.File:
    """Open a file for reading after a check of the texts in its attributes.

    Texts in datasets are checked by `has_sound_texts`.

    Raises
    ------
    OSError, RuntimeError, KeyError, ValueError, TypeError
        The file is missing or damaged.
    """
    with guarded_hdf5(path) as file:

        def read_attributes(_: str, item: Any) -> None:
            for name in item.attrs:
                item.attrs[name]

        read_attributes("", file)
        file.visititems(read_attributes)
    return h5py.File(path, "r", locking=False)


@contextmanager
def guarded_hdf5(path: FilePath) -> Iterator[h5py.File]:
    """Open a file for reading, with a check of each heap that is read; slower than `h5py.File` for large arrays."""
    with _GuardedFile(path) as raw:
        try:
            with h5py.File(raw, "r") as file:
                yield file
        finally:
            if raw.failure is not None:
                raise raw.failure


def has_sound_texts(dataset: h5py.Dataset, *, heaps: bool = True) -> bool:
    """Return whether the references of a contiguous dataset lead into the file, and the heaps there are sound.

    HDF5 takes memory for the length that a reference states, before it looks for the text. Without `heaps`, which takes
    a second for a million texts, only the references are checked.
    """
    offset, n_rows = dataset.id.get_offset(), dataset.shape[0]
    if offset is None:
        return n_rows == 0
    total, checked = 0, np.zeros(0, "<u8")
    with open(dataset.file.filename, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        for start in range(0, n_rows, _REFERENCE_ROWS):
            n_read = min(_REFERENCE_ROWS, n_rows - start)
            data = os.pread(file.fileno(), n_read * _REFERENCE.itemsize, offset + start * _REFERENCE.itemsize)
            if len(data) < n_read * _REFERENCE.itemsize:
                return False
            references = np.frombuffer(data, _REFERENCE)
            total += int(references["length"].sum(dtype=np.int64))
            if total > length or (references["address"] > length).any():
                return False
            addresses = np.zeros(0, "<u8") if not heaps else np.unique(references["address"][references["length"] > 0])
            if not all(_is_sound(file.fileno(), int(address)) for address in np.setdiff1d(addresses, checked)):
                return False
            checked = addresses  # the next block of rows may begin in the last heap of this one
    return True


@contextmanager
def replacing_hdf5(path: FilePath) -> Iterator[h5py.File]:
    """Write an HDF5 file as `replacing` does; a full disk raises an `OSError`.

    HDF5 cannot close a file that it cannot write, and then crashes at the end of the process.

    Yields
    ------
    h5py.File
        The new, empty file.
    """
    with replacing(path) as temporary, _ClosableFile(temporary, "w+") as raw:
        try:
            # a fixed format (1.10), so that other versions of the library write the same bytes
            with h5py.File(raw, "w", libver=("v110", "v110")) as file:
                yield file
        finally:
            if raw.failure is not None:
                raise raw.failure  # also instead of an error that follows from it


class _GuardedFile(io.FileIO):
    """File that refuses to read a damaged heap."""

    failure: OSError | None = None

    def readinto(self, buffer: Any, /) -> int:
        start = self.tell()
        n_read = super().readinto(buffer)
        data = bytes(memoryview(buffer).cast("B")[:n_read])
        found = data.find(_SIGNATURE[:4])
        while found >= 0:
            if not _is_sound(self.fileno(), start + found):
                self.failure = OSError("a text in it is damaged")
                raise self.failure
            found = data.find(_SIGNATURE[:4], found + 4)
        return n_read


class _ClosableFile(io.FileIO):
    """File that notes the first error of writing, and then keeps in memory what is written.

    The error is raised at once where much is written, so that a verb does not go on in vain. HDF5 could not flush its
    own, small records if each of them raised an error, and crashes if it reads other bytes than it has written.
    """

    failure: OSError | None = None

    def __init__(self, path: FilePath, mode: str) -> None:
        super().__init__(path, mode)
        self._kept: list[tuple[int, bytes]] = []

    def write(self, data: Any, /) -> int:
        left, start = memoryview(data).cast("B"), self.tell()
        length = len(left)
        if self.failure is None:
            try:
                while left:
                    left = left[super().write(left) :]
                return length
            except OSError as error:
                self.failure = error
                if length > _LARGE_WRITE:
                    raise
        self._kept.append((start, bytes(data)))
        self.seek(start + length)
        return length

    def readinto(self, buffer: Any, /) -> int:
        read, start = memoryview(buffer).cast("B"), self.tell()
        n_read = super().readinto(read)
        read[n_read:] = bytes(len(read) - n_read)
        for offset, data in self._kept:
            first, last = max(start, offset), min(start + len(read), offset + len(data))
            if first < last:
                read[first - start : last - start] = data[first - offset : last - offset]
                n_read = max(n_read, last - start)
        self.seek(start + n_read)
        return n_read

    def truncate(self, size: int | None = None, /) -> int:
        try:
            if self.failure is None:
                return super().truncate(size)
        except OSError as error:
            self.failure = error
        return size or 0


def _is_sound(descriptor: int, address: int) -> bool:
    """Return whether the objects of a heap fill it; True where there is no heap, which HDF5 notices."""
    header = os.pread(descriptor, _HEADER_BYTES, address)
    if len(header) < _HEADER_BYTES or not header.startswith(_SIGNATURE):
        return True
    size = int.from_bytes(header[8:], "little")
    if size > os.fstat(descriptor).st_size:
        return True
    heap = os.pread(descriptor, size, address)
    place = _HEADER_BYTES
    while place + _HEADER_BYTES <= size:
        index = int.from_bytes(heap[place : place + 2], "little")
        length = int.from_bytes(heap[place + 8 : place + 16], "little")
        # Object 0 is the space that is left, and its length that of its header, too.
        step = length if index == 0 else _HEADER_BYTES + -(-length // 8) * 8
        if step <= 0 or place + step > size:
            return False
        place += step
    return True
