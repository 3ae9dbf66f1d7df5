"""Write a store: rows in any order, from any process, with resume after an interruption.

Datasets of numbers are allocated first and contiguous, so that the location of each row in the file is known: every
process writes its rows directly to the file, and no array travels between processes. Text, attributes and checksums are
written last, then the file gets its name. Equal content gives equal bytes, whatever the number of processes and
interruptions.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.atomic import exclusive_lock
from astrodl.store.layout import FORMAT, FORMAT_VERSION, content_bytes, decode_text, list_datasets, row_ranges

__all__ = ["RowLocation", "Writer", "dataset_digest", "write_rows"]


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
            _write_all(descriptor, content_bytes(array), location.offset + start * location.row_bytes)
    finally:
        os.close(descriptor)


class Writer:
    """Write a store, which appears under its name only when it is complete.

    Use the writer as a context manager. Either write consecutive blocks of objects (`write_block`), or `allocate` the
    datasets, write rows to their `locations` from any number of processes (`write_rows`), and `keep` some of them. When
    the context ends without an error, the file replaces `path`. Otherwise it is removed, unless `resume` is given.

    Parameters
    ----------
    path
        The store to write; missing folders are created.
    n_objects
        Number of objects, before `keep`.
    bands, size, feature_names
        Names of the bands, side of a cutout in pixels, names of the columns of ``features``.
    pixel_scale_arcsec, zero_points, unit, survey, source_checksum, settings
        Root attributes, see `astrodl.store`. They can also be set as attributes of the writer.
    resume
        Text that identifies the content. After an interruption the unfinished file stays, hidden beside `path`, with
        the entries of `record`; the next writer with the same text continues from there (`recorded`).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        n_objects: int,
        bands: Sequence[str],
        size: int,
        feature_names: Sequence[str] = (),
        pixel_scale_arcsec: float | None = None,
        zero_points: Sequence[float] | None = None,
        unit: Literal["uJy", "relative"] = "relative",
        survey: str = "",
        source_checksum: str = "",
        settings: str = "{}",
        resume: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.n_objects = n_objects
        self.bands = tuple(bands)
        self.size = size
        self.feature_names = tuple(feature_names)
        self.pixel_scale_arcsec = pixel_scale_arcsec
        self.zero_points = zero_points
        self.unit = unit
        self.survey = survey
        self.source_checksum = source_checksum
        self.settings = settings
        self.resume = resume
        self.n_written = 0
        self.locations: dict[str, RowLocation] = {}
        self.recorded: list[dict[str, Any]] = []
        self._text: dict[str, list[NDArray[np.object_]]] = {}
        self._kept: NDArray[np.int64] | None = None
        self._discard = False

    # -- rows ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.resume is None:
            self.partial = _temporary_beside(self.path)
            return self
        self._lock = ExitStack()
        self._lock.enter_context(exclusive_lock(self.path.with_name(f".{self.path.name}.lock"), "writes a store"))
        self.partial = self.path.with_name(f".{self.path.name}.partial")
        self._journal = self.partial.with_suffix(".journal")
        self._resume()
        return self

    def allocate(self, rows: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        """Allocate datasets of numbers, or find those of an interrupted writer.

        Parameters
        ----------
        rows
            Shape and type of a row, by dataset.
        """
        if self.recorded:
            with h5py.File(self.partial, "r") as file:
                self.locations = {name: _location(file[name]) for name in rows}
            return
        with h5py.File(self.partial, "w", libver=("v110", "v110")) as file:
            for name, (shape, dtype) in rows.items():
                _create_dataset(file, name, (self.n_objects, *shape), dtype)
            file.flush()
            self.locations = {name: _location(file[name]) for name in rows}
        if self.resume is not None:
            self._append({"resume": self.resume})

    def record(self, entry: dict[str, Any]) -> None:
        """Record that rows are complete, after all data have reached the disk.

        Parameters
        ----------
        entry
            JSON values for the writer that resumes after an interruption.
        """
        assert self.resume is not None
        _synchronize(self.partial)
        self._append(entry)

    def write_block(self, start: int, block: Mapping[str, ArrayLike]) -> None:
        """Write the rows from `start` on of every dataset.

        Parameters
        ----------
        start
            Row of the first object; blocks are consecutive.
        block
            Arrays with objects first, by dataset (``image``, ``catalog/z``, ``label/bulge`` ...); every block has the
            same datasets.
        """
        assert start == self.n_written, f"block starts at {start}, expected {self.n_written}"
        arrays = {name: _to_stored_type(name, values) for name, values in block.items()}
        (length,) = {len(array) for array in arrays.values()}
        assert start + length <= self.n_objects
        numbers = {name: array for name, array in arrays.items() if array.dtype != object}
        if not self.locations:
            self.allocate({name: (array.shape[1:], array.dtype.str) for name, array in numbers.items()})
        assert set(numbers) == set(self.locations), (
            f"{sorted(set(numbers) ^ set(self.locations))} are not in all blocks"
        )
        write_rows(self.partial, self.locations, start, numbers)
        for name in arrays.keys() - numbers.keys():
            self._text.setdefault(name, []).append(arrays[name])
        self.n_written += length

    def write_text(self, name: str, values: Sequence[str]) -> None:
        """Write a dataset of text, one entry for each row, whether kept or not."""
        self._text[name] = [np.array(values, dtype=object)]

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows (increasing) in the finished store."""
        self._kept = np.asarray(rows, np.int64)
        self.n_written = self.n_objects

    def discard(self) -> None:
        """Remove the unfinished file when the context ends, even if `resume` is given."""
        self._discard = True

    # -- the end ------------------------------------------------------------------------------------------------------

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        finished = False
        try:
            if exc_type is None:
                self._finish()
                finished = True
        finally:
            if finished or self._discard or self.resume is None:
                self.partial.unlink(missing_ok=True)
                if self.resume is not None:
                    self._journal.unlink(missing_ok=True)
            if self.resume is not None:
                self._lock.close()

    def _finish(self) -> None:
        assert self.n_written == self.n_objects, f"{self.n_written} of {self.n_objects} objects written"
        if self._kept is not None and len(self._kept) < self.n_objects:
            self._compact(self._kept)
        with h5py.File(self.partial, "r+", libver=("v110", "v110")) as file:
            for name, parts in sorted(self._text.items()):
                text = np.concatenate(parts)
                text = text if self._kept is None else text[self._kept]
                file.create_dataset(name, data=text, dtype=h5py.string_dtype(), track_times=False)
            self._write_attributes(file.attrs)
            if "features" in file:
                file["features"].attrs["names"] = list(self.feature_names)
            for _, dataset in list_datasets(file):
                dataset.attrs["sha256"] = dataset_digest(dataset)
        _synchronize(self.partial)
        os.replace(self.partial, self.path)

    def _write_attributes(self, attributes: h5py.AttributeManager) -> None:
        zero_points = np.full(len(self.bands), np.nan) if self.zero_points is None else self.zero_points
        attributes["format"] = FORMAT
        attributes["format_version"] = FORMAT_VERSION
        attributes["bands"] = list(self.bands)
        attributes["pixel_scale_arcsec"] = float(np.nan if self.pixel_scale_arcsec is None else self.pixel_scale_arcsec)
        attributes["zero_points"] = np.asarray(zero_points, np.float64)
        attributes["unit"] = self.unit
        attributes["survey"] = self.survey
        attributes["version"] = _version()
        attributes["source_checksum"] = self.source_checksum
        attributes["settings"] = self.settings

    def _compact(self, rows: NDArray[np.int64]) -> None:
        """Replace the unfinished file by one with these rows only."""
        shorter = _temporary_beside(self.path)
        try:
            with h5py.File(self.partial, "r") as source, h5py.File(shorter, "w", libver=("v110", "v110")) as target:
                for name, dataset in list_datasets(source):
                    _create_dataset(target, name, (len(rows), *dataset.shape[1:]), dataset.dtype.str)
                    for start, stop in row_ranges(dataset, len(rows)):
                        first, last = rows[start], rows[stop - 1]
                        target[name][start:stop] = dataset[first : last + 1][rows[start:stop] - first]
            os.replace(shorter, self.partial)
        finally:
            shorter.unlink(missing_ok=True)

    # -- resuming -----------------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        """Read the entries of an interrupted writer of the same content; otherwise start with an empty file."""
        try:
            first, *entries = (json.loads(line) for line in self._read_journal())
            is_same = first == {"resume": self.resume} and self.partial.is_file()
        except ValueError:
            is_same = False
        if is_same:
            self.recorded = entries
            return
        self._journal.unlink(missing_ok=True)
        self.partial.unlink(missing_ok=True)
        self.partial.touch()

    def _read_journal(self) -> list[str]:
        """Return the complete lines of the journal."""
        if not self._journal.is_file():
            return []
        return self._journal.read_text("utf-8").split("\n")[:-1]

    def _append(self, entry: dict[str, Any]) -> None:
        text = json.dumps(entry, separators=(",", ":")) + "\n"
        with open(self._journal, "a", encoding="utf-8") as journal:
            journal.write(text)


def _to_stored_type(name: str, values: ArrayLike) -> NDArray[Any]:
    """Convert values to the little-endian type of a dataset; text to objects."""
    array = np.asarray(values)
    if array.dtype.kind in "UO":
        return array.astype(object)
    types = {"flags": "<i4", "band_flags": "u1", "mask": "u1", "split": "i1", "fold": "<i2"}
    if name in types:
        return array.astype(types[name])
    if name.startswith("catalog/"):
        return array.astype("<f8" if array.dtype.kind == "f" else "<i8")
    return np.ascontiguousarray(array, "<f4")


def dataset_digest(dataset: h5py.Dataset) -> str:
    """Return the SHA-256 of the content of a dataset."""
    digest = hashlib.sha256()
    for start, stop in row_ranges(dataset, dataset.shape[0]):
        rows = dataset[start:stop]
        digest.update(content_bytes(decode_text(rows).astype(object) if rows.dtype == object else rows))
    return digest.hexdigest()


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


def _write_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _synchronize(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _temporary_beside(path: Path) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(descriptor, 0o666 & ~umask)  # mkstemp creates files that only their owner can read
    os.close(descriptor)
    return Path(name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("astrodl")
    except PackageNotFoundError:  # a source tree that is not installed
        return "unknown"
