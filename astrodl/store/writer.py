"""Write a store: rows in any order, from any process, and what was written survives an interruption.

The fixed-size datasets are laid out first, contiguous, so that the place of each row in the file is known: processes
write their rows there themselves, and no array is sent from one to another. Text, attributes and checksums come last,
then the file takes its name. Equal content gives equal bytes, whoever wrote it and however often it was interrupted.
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

from astrodl.atomic import only_one
from astrodl.store.layout import FORMAT, FORMAT_VERSION, blocks, content, datasets, text_array


@dataclass(frozen=True)
class Place:
    """Where the rows of a dataset lie in a file: byte of the first, shape and type of each."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def write_rows(path: Path, places: Mapping[str, Place], start: int, arrays: Mapping[str, ArrayLike]) -> None:
    """Write rows ``start ...`` of the datasets at `places`, in this or any other process."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for name, values in arrays.items():
            place = places[name]
            array = np.ascontiguousarray(values, place.dtype)
            assert array.shape[1:] == place.shape, f"{name}: rows of {array.shape[1:]}, {place.shape} announced"
            _write_all(descriptor, content(array), place.offset + start * place.row_bytes)
    finally:
        os.close(descriptor)


class Writer:
    """Write a store; nothing is visible under its name until all is well.

    Use it as a context manager. Either hand in blocks from the first object to the last (`write_block`), or announce
    the datasets (`allocate`), have rows written to their `places` by any number of processes (`write_rows`), and name
    those to keep (`keep`). When the block ends without error the file replaces `path`. Otherwise it is removed, unless
    `resume` was given.

    Parameters
    ----------
    path
        The store to write; missing folders are made.
    n_objects
        Largest number of objects; fewer may be kept.
    bands, size, feature_names
        Names of the bands, side of a cutout in pixels, names of the columns of ``features``.
    pixel_scale_arcsec, zero_points, unit, survey, source_checksum, settings
        Root attributes; see `astrodl.store`. They may be set later as attributes of the same name.
    resume
        Text that identifies the content to be written. After an interruption the unfinished file stays, hidden beside
        `path`, with what was `record`-ed; the next writer of the same text goes on from there (`recorded`).
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
        self.places: dict[str, Place] = {}
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
        self._lock.enter_context(only_one(self.path.with_name(f".{self.path.name}.lock"), "writes a store"))
        self.partial = self.path.with_name(f".{self.path.name}.partial")
        self._journal = self.partial.with_suffix(".journal")
        self._take_up()
        return self

    def allocate(self, rows: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        """Announce the fixed-size datasets: name -> shape of a row and type; keeps what an interrupted writer left."""
        if self.recorded:
            with h5py.File(self.partial, "r") as file:
                self.places = {name: _place(file[name]) for name in rows}
            return
        with h5py.File(self.partial, "w", libver=("v110", "v110")) as file:
            for name, (shape, dtype) in rows.items():
                _create_dataset(file, name, (self.n_objects, *shape), dtype)
            file.flush()
            self.places = {name: _place(file[name]) for name in rows}
        if self.resume is not None:
            self._append({"resume": self.resume})

    def record(self, entry: dict[str, Any]) -> None:
        """Note that rows are complete; `entry` (plain values) is for the writer that goes on after an interruption.

        The rows reach the disk before the note does.
        """
        assert self.resume is not None
        _synchronize(self.partial)
        self._append(entry)

    def write_block(self, start: int, block: Mapping[str, ArrayLike]) -> None:
        """Write rows ``start ...`` of every dataset.

        Parameters
        ----------
        start
            Row of the block's first object; blocks follow each other without gap.
        block
            Dataset path (``image``, ``catalog/z``, ``label/bulge`` ...) -> array with objects first; the same
            datasets in every block.
        """
        assert start == self.n_written, f"block starts at {start}, expected {self.n_written}"
        arrays = {name: storable(name, values) for name, values in block.items()}
        (length,) = {len(array) for array in arrays.values()}
        assert start + length <= self.n_objects
        numbers = {name: array for name, array in arrays.items() if array.dtype != object}
        if not self.places:
            self.allocate({name: (array.shape[1:], array.dtype.str) for name, array in numbers.items()})
        assert set(numbers) == set(self.places), f"datasets {sorted(set(numbers) ^ set(self.places))} come and go"
        write_rows(self.partial, self.places, start, numbers)
        for name in arrays.keys() - numbers.keys():
            self._text.setdefault(name, []).append(arrays[name])
        self.n_written += length

    def write_text(self, name: str, values: Sequence[str]) -> None:
        """Give a dataset of text, one per row, kept or not."""
        self._text[name] = [np.array(values, dtype=object)]

    def keep(self, rows: Sequence[int]) -> None:
        """Make a store of these rows (increasing), fewer than were announced."""
        self._kept = np.asarray(rows, np.int64)
        self.n_written = self.n_objects

    def keep_written(self) -> None:
        """Make a store of the objects written so far, fewer than were announced."""
        self._kept = np.arange(self.n_written)
        self.n_written = self.n_objects

    def discard(self) -> None:
        """Leave nothing behind, even if the writer could be resumed."""
        self._discard = True

    # -- the end ------------------------------------------------------------------------------------------------------

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        finished = False
        try:
            if kind is None:
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
            self._describe(file.attrs)
            if "features" in file:
                file["features"].attrs["names"] = list(self.feature_names)
            for _, dataset in datasets(file):
                dataset.attrs["sha256"] = dataset_digest(dataset)
        _synchronize(self.partial)
        os.replace(self.partial, self.path)

    def _describe(self, attributes: h5py.AttributeManager) -> None:
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
        """Replace the partial file by one that holds `rows` alone."""
        shorter = _temporary_beside(self.path)
        try:
            with h5py.File(self.partial, "r") as source, h5py.File(shorter, "w", libver=("v110", "v110")) as target:
                for name, dataset in datasets(source):
                    _create_dataset(target, name, (len(rows), *dataset.shape[1:]), dataset.dtype.str)
                    for start, end in blocks(dataset, len(rows)):
                        first, last = rows[start], rows[end - 1]
                        target[name][start:end] = dataset[first : last + 1][rows[start:end] - first]
            os.replace(shorter, self.partial)
        finally:
            shorter.unlink(missing_ok=True)

    # -- resuming -----------------------------------------------------------------------------------------------------

    def _take_up(self) -> None:
        """Read what an interrupted writer of the same content recorded; otherwise start with an empty file."""
        try:
            first, *entries = (json.loads(line) for line in self._lines())
            same = first == {"resume": self.resume} and self.partial.is_file()
        except ValueError:
            same = False
        if same:
            self.recorded = entries
            return
        self._journal.unlink(missing_ok=True)
        self.partial.unlink(missing_ok=True)
        self.partial.touch()

    def _lines(self) -> list[str]:
        """Give the complete lines of the journal."""
        if not self._journal.is_file():
            return []
        return self._journal.read_text("utf-8").split("\n")[:-1]

    def _append(self, entry: dict[str, Any]) -> None:
        text = json.dumps(entry, separators=(",", ":")) + "\n"
        with open(self._journal, "a", encoding="utf-8") as journal:
            journal.write(text)


def storable(name: str, values: ArrayLike) -> NDArray[Any]:
    """Give the little-endian array of the type that the dataset `name` is stored in; text as objects."""
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
    """Give the SHA-256 of the content of a dataset."""
    digest = hashlib.sha256()
    for start, end in blocks(dataset, dataset.shape[0]):
        rows = dataset[start:end]
        digest.update(content(text_array(rows).astype(object) if rows.dtype == object else rows))
    return digest.hexdigest()


def _create_dataset(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> None:
    """Make a contiguous dataset whose room is taken at once (so that its place is known) and not filled."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    kind = h5py.h5t.py_create(np.dtype(dtype))
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), properties, links)


def _place(dataset: h5py.Dataset) -> Place:
    offset = dataset.id.get_offset()
    assert offset is not None or not dataset.size, f"{dataset.name} has no place in the file"
    return Place(offset or 0, dataset.shape[1:], dataset.dtype.str)


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
    os.fchmod(descriptor, 0o666 & ~umask)  # mkstemp makes files that only their owner reads
    os.close(descriptor)
    return Path(name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("astrodl")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
