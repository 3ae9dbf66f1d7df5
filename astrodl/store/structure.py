"""Everything of a store but the rows of its numbers: HDF5 structure, text and attributes, in a file of its own.

A file that is killed while HDF5 writes it cannot be opened again, and HDF5 crashes at the end of the process if it
cannot write to a full disk. So HDF5 never writes to the file that holds the rows. It writes a sparse file, in which the
rows are holes; then everything but the holes is copied to the rows, as often as it takes.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from astrodl.store.rows import RowLocation, write_all

__all__ = ["RowTypes", "Structure"]

RowTypes = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and type of a row, by dataset."""

_VERSION = ("v110", "v110")  # a fixed format, so that other versions of the library write the same bytes
_STRUCTURE_BYTES = 256 << 10  # more than superblock, headers and attributes take
_DATASET_BYTES = 4 << 10
_STEP_BYTES = 64 << 20


class Structure:
    """The structure of a store with datasets of numbers; use it as a context manager, which removes the file.

    Parameters
    ----------
    path
        The file.
    n_rows
        Number of rows of all datasets.
    rows
        Datasets of numbers, in the order in which the file holds them.
    text_bytes
        Upper limit of the size of the text that will be added.

    Raises
    ------
    OSError
        If there is no room for the file.
    """

    def __init__(self, path: Path, n_rows: int, rows: RowTypes, text_bytes: int = 0) -> None:
        self.path, self.n_rows = path, n_rows
        try:
            n_bytes = sum(n_rows * RowLocation(0, *row).row_bytes for row in rows.values())
            _require_room(path, n_bytes, text_bytes + _STRUCTURE_BYTES + _DATASET_BYTES * len(rows))
            with h5py.File(path, "w", libver=_VERSION, locking=False) as file:
                for name, (shape, dtype) in rows.items():
                    _create_dataset(file, name, (n_rows, *shape), dtype)
                file.flush()
                self.locations = {name: _location(file[name]) for name in rows}
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Structure":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def open(self) -> h5py.File:
        """Open the file to add text and attributes."""
        return h5py.File(self.path, "r+", libver=_VERSION, locking=False)

    def copy_to(self, target: Path) -> None:
        """Copy everything but the rows to the file that holds the rows; it can be repeated after a kill."""
        with open(self.path, "rb") as read, open(target, "rb+") as write:
            length = os.fstat(read.fileno()).st_size
            for start, stop in self._gaps(length):
                for offset in range(start, stop, _STEP_BYTES):
                    part = os.pread(read.fileno(), min(_STEP_BYTES, stop - offset), offset)
                    write_all(write.fileno(), part, offset)
            os.ftruncate(write.fileno(), length)

    def _gaps(self, length: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges of bytes that hold no rows."""
        start = 0
        for location in sorted(self.locations.values(), key=lambda location: location.offset):
            if location.row_bytes:
                yield start, location.offset
                start = location.offset + self.n_rows * location.row_bytes
        yield start, length


def _require_room(path: Path, n_sparse: int, n_written: int) -> None:
    """Raise an `OSError` if the file would be too long, or the disk is too full for the part that is not a hole."""
    with open(path, "wb") as probe:
        os.ftruncate(probe.fileno(), n_sparse + n_written)
        try:
            os.posix_fallocate(probe.fileno(), 0, n_written)
        except AttributeError:  # macOS
            pass
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # of some file systems
                raise


def _create_dataset(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> None:
    """Create a contiguous dataset, allocated at once so that its location is known, and not filled."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    stored_type = h5py.h5t.py_create(np.dtype(dtype))
    h5py.h5d.create(file.id, name.encode(), stored_type, h5py.h5s.create_simple(shape), properties, links)


def _location(dataset: h5py.Dataset) -> RowLocation:
    offset = dataset.id.get_offset()
    assert offset is not None or not dataset.size, f"{dataset.name} has no location in the file"
    return RowLocation(offset or 0, dataset.shape[1:], dataset.dtype.str)
