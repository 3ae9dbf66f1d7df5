"""Write a store in blocks of objects."""

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.store.layout import FORMAT, FORMAT_VERSION, blocks, content, datasets


class Writer:
    """Write a store in blocks of objects, from the first to the last; nothing is visible until all is well.

    Use it as a context manager. The content goes to a temporary file in the same folder that replaces `path` when the
    block ends without error, and is removed otherwise. Datasets come into being with the first block that holds them.

    Parameters
    ----------
    path
        The store to write; missing folders are made.
    n_objects
        Largest number of objects; fewer may be written if `keep_written` is called.
    bands, size, feature_names
        Names of the bands, side of a cutout in pixels, names of the columns of ``features``.
    pixel_scale_arcsec, zero_points, unit, survey, source_checksum, settings
        Root attributes; see `astrodl.store`. They may be set later as attributes of the same name.
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
        self.n_written = 0
        self._digests: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = _temporary_beside(self.path)
        self._file = _create(self._temporary)
        return self

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
        arrays = {name: _storable(name, values) for name, values in block.items()}
        (length,) = {len(array) for array in arrays.values()}
        assert start + length <= self.n_objects
        for name, array in arrays.items():
            if name not in self._file:
                assert start == 0, f"{name} was not in the first block"
                _create_dataset(self._file, name, array, self.n_objects)
                self._digests[name] = hashlib.sha256()
            self._file[name][start : start + length] = array
            self._digests[name].update(content(array))
        self.n_written += length

    def keep_written(self) -> None:
        """Make a store of the objects written so far, fewer than were announced."""
        if self.n_written == self.n_objects:
            return
        shorter = _temporary_beside(self.path)
        try:
            with _create(shorter) as target:
                _copy_rows(self._file, target, self.n_written)
                target.flush()
        except BaseException:
            shorter.unlink(missing_ok=True)
            raise
        self._file.close()
        os.replace(shorter, self._temporary)
        self._file = h5py.File(self._temporary, "r+", libver=("v110", "v110"))
        self.n_objects = self.n_written

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.close()
            self._temporary.unlink(missing_ok=True)

    def _finish(self) -> None:
        assert self.n_written == self.n_objects, f"{self.n_written} of {self.n_objects} objects written"
        zero_points = np.full(len(self.bands), np.nan) if self.zero_points is None else self.zero_points
        scale = np.nan if self.pixel_scale_arcsec is None else self.pixel_scale_arcsec
        attributes = self._file.attrs
        attributes["format"] = FORMAT
        attributes["format_version"] = FORMAT_VERSION
        attributes["bands"] = list(self.bands)
        attributes["pixel_scale_arcsec"] = float(scale)
        attributes["zero_points"] = np.asarray(zero_points, np.float64)
        attributes["unit"] = self.unit
        attributes["survey"] = self.survey
        attributes["version"] = _version()
        attributes["source_checksum"] = self.source_checksum
        attributes["settings"] = self.settings
        if "features" in self._file:
            self._file["features"].attrs["names"] = list(self.feature_names)
        for name, digest in self._digests.items():
            self._file[name].attrs["sha256"] = digest.hexdigest()
        self._file.close()
        with open(self._temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(self._temporary, self.path)


def _create(path: Path) -> h5py.File:
    # The format of HDF5 1.10 is fixed, so that other versions of the library write the same bytes.
    return h5py.File(path, "w", libver=("v110", "v110"))


def _temporary_beside(path: Path) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(descriptor, 0o666 & ~umask)  # mkstemp makes files that only their owner reads
    os.close(descriptor)
    return Path(name)


def _create_dataset(file: h5py.File, name: str, first: NDArray[Any], n_objects: int) -> None:
    dtype = h5py.string_dtype() if first.dtype == object else first.dtype
    file.create_dataset(name, (n_objects, *first.shape[1:]), dtype=dtype, track_times=False)


def _storable(name: str, values: ArrayLike) -> NDArray[Any]:
    """Give the little-endian array of the type that `name` is stored in; text as objects."""
    array = np.asarray(values)
    if array.dtype.kind in "UO":
        return array.astype(object)
    types = {"flags": "<i4", "split": "i1", "fold": "<i2"}
    if name in types:
        return array.astype(types[name])
    if name.startswith("catalog/"):
        return array.astype("<f8" if array.dtype.kind == "f" else "<i8")
    return np.ascontiguousarray(array, "<f4")


def _copy_rows(source: h5py.File, target: h5py.File, n_rows: int) -> None:
    for name, dataset in datasets(source):
        target.create_dataset(name, (n_rows, *dataset.shape[1:]), dtype=dataset.dtype, track_times=False)
        for start, end in blocks(dataset, n_rows):
            target[name][start:end] = dataset[start:end]


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("astrodl")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
