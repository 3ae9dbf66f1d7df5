"""Read a store in any order of objects."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.errors import StoreError
from astrodl.store.layout import FORMAT, FORMAT_VERSION, REQUIRED, SPLITS, datasets, text_array

Subset = Literal["train", "validation", "test", "rest", "all"]


class Reader:
    """Read a store; use it as a context manager or call `close`.

    Attributes
    ----------
    path, n_objects, bands, size
        The file, number of objects, names of the bands, side of a cutout in pixels.
    pixel_scale_arcsec
        Pixel scale, or None where it is not known.
    unit, survey, version, zero_points
        As in the root attributes.
    settings
        The settings of the ingestion as JSON text.

    Raises
    ------
    StoreError
        No such file, not a store, damaged or of another format version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = _open(self.path)
        try:
            self._read_attributes()
        except KeyError as error:
            self._file.close()
            raise StoreError(f"{self.path}: damaged, lacks an attribute ({error.args[0]}); ingest again") from None
        except BaseException:
            self._file.close()
            raise

    def _read_attributes(self) -> None:
        attributes = self._file.attrs
        if attributes.get("format") != FORMAT:
            raise StoreError(f"{self.path}: not an astrodl store; give a file made by `astrodl ingest`")
        if attributes["format_version"] != FORMAT_VERSION:
            raise StoreError(
                f"{self.path}: store format {attributes['format_version']}, this astrodl reads {FORMAT_VERSION}; "
                "ingest again"
            )
        missing = [name for name in REQUIRED if name not in self._file]
        if missing:
            raise StoreError(f"{self.path}: damaged, has no {', '.join(missing)}; ingest again")
        self.bands: tuple[str, ...] = tuple(str(band) for band in attributes["bands"])
        self.n_objects, _, _, self.size = (int(length) for length in self._file["image"].shape)
        scale = float(attributes["pixel_scale_arcsec"])
        self.pixel_scale_arcsec: float | None = None if np.isnan(scale) else scale
        self.zero_points: NDArray[np.float64] = np.asarray(attributes["zero_points"], np.float64)
        self.unit = str(attributes["unit"])
        self.survey = str(attributes["survey"])
        self.version = str(attributes["version"])
        self.source_checksum = str(attributes["source_checksum"])
        self.settings = str(attributes["settings"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.n_objects

    def __repr__(self) -> str:
        return f"<store {self.path}: {self.n_objects} objects, bands {', '.join(self.bands)}, {self.size} pixels>"

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    @property
    def object_id(self) -> NDArray[np.str_]:
        """Unique identifiers, (N,)."""
        return text_array(self._file["object_id"][:])

    @property
    def flags(self) -> NDArray[np.int32]:
        """Bits of `FLAGS`, (N,)."""
        return self._file["flags"][:]

    @property
    def band_flags(self) -> NDArray[np.uint8]:
        """Bits of `BAND_FLAGS`, (N, bands)."""
        return self._file["band_flags"][:]

    @property
    def sky_sigma(self) -> NDArray[np.float32]:
        """Noise of a pixel, (N, bands), in the unit of the image."""
        return self._file["sky_sigma"][:]

    @property
    def background(self) -> NDArray[np.float32]:
        """Background that was subtracted, (N, bands), in the unit of the image."""
        return self._file["background"][:]

    @property
    def split(self) -> NDArray[np.int8]:
        """0 train, 1 validation, 2 test, 3 rest, (N,)."""
        return self._file["split"][:]

    @property
    def fold(self) -> NDArray[np.int16]:
        """Cross-validation fold, -1 for test and rest, (N,)."""
        return self._file["fold"][:]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the photometric features."""
        return tuple(str(name) for name in self._file["features"].attrs["names"])

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the catalogue columns."""
        return tuple(sorted(self._file.get("catalog", ())))

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the pixel labels."""
        return tuple(sorted(self._file.get("label", ())))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that a training depends on: the content of every dataset and what describes it."""
        parts = [FORMAT_VERSION, self.bands, self.pixel_scale_arcsec, self.unit, self.source_checksum, self.settings]
        parts += [(name, dataset.attrs["sha256"]) for name, dataset in datasets(self._file)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def images(self, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Read cutouts, (n, bands, y, x), in the order of `indices`; all by default."""
        return self._rows("image", indices)

    @property
    def planes(self) -> tuple[str, ...]:
        """Names of the optional planes that the store holds: variance, mask, psf."""
        return tuple(name for name in ("variance", "mask", "psf") if name in self._file)

    def plane(self, name: str, indices: ArrayLike | None = None) -> NDArray[Any]:
        """Read an optional plane, (n, bands, ...), in the order of `indices`; all by default."""
        if name not in self.planes:
            raise StoreError(_absent(self.path, "plane", name, self.planes, "data.noise, data.masks or data.psf"))
        return self._rows(name, indices)

    def label(self, name: str, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Read the pixel label `name`, (n, y, x), in the order of `indices`; all by default."""
        if name not in self.label_names:
            raise StoreError(_absent(self.path, "label", name, self.label_names, "data.labels.extensions"))
        return self._rows(f"label/{name}", indices)

    def has_column(self, name: str) -> bool:
        """Tell whether the catalogue column `name` was kept."""
        return f"catalog/{name}" in self._file

    def column(self, name: str, indices: ArrayLike | None = None) -> NDArray[Any]:
        """Read a catalogue column as float64, int64 or text, (n,)."""
        if not self.has_column(name):
            raise StoreError(_absent(self.path, "column", name, self.column_names, "data.columns"))
        values = self._file[f"catalog/{name}"][:]
        values = text_array(values) if values.dtype == object else values
        return values if indices is None else values[self._valid(indices)]

    def features(self, names: Sequence[str] | None = None, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Read photometric features, (n, number of names); all by default."""
        known = self.feature_names
        for name in () if names is None else names:
            if name not in known:
                raise StoreError(_absent(self.path, "feature", name, known, "the feature names"))
        values = self._file["features"][:]
        values = values if names is None else values[:, [known.index(name) for name in names]]
        return values if indices is None else values[self._valid(indices)]

    def band_indices(self, bands: Iterable[str]) -> list[int]:
        """Give the positions of `bands` in the store.

        Raises
        ------
        StoreError
            A band is not in the store.
        """
        bands = list(bands)
        for band in bands:
            if band not in self.bands:
                raise StoreError(_absent(self.path, "band", band, self.bands, "data.bands"))
        return [self.bands.index(band) for band in bands]

    def select(self, subset: Subset, fold: int = 0) -> NDArray[np.int64]:
        """Give the sorted indices of a subset.

        A store with one fold is divided by ``/split``. With several, "validation" is fold `fold` and "train" all other
        objects that have a fold, that is, neither test nor rest.
        """
        if subset == "all":
            return np.arange(self.n_objects)
        if subset in ("test", "rest"):
            return np.flatnonzero(self.split == SPLITS.index(subset))
        folds = self.fold
        n_folds = max(int(folds.max(initial=0)) + 1, 1)
        if not 0 <= fold < n_folds:
            raise StoreError(f"{self.path}: fold {fold} is not in the store (has 0 to {n_folds - 1}); set split.folds")
        if n_folds == 1:
            return np.flatnonzero(self.split == SPLITS.index(subset))
        return np.flatnonzero(folds == fold if subset == "validation" else (folds >= 0) & (folds != fold))

    def block(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read the rows from `start` to `stop` of any dataset, by its name in the file; text as `str`."""
        if name not in self._file:
            known = [known for known, _ in datasets(self._file)]
            raise StoreError(_absent(self.path, "dataset", name, known, "data.columns"))
        values = self._file[name][start:stop]
        return text_array(values) if values.dtype == object else values

    def _valid(self, indices: ArrayLike) -> NDArray[np.int64]:
        indices = np.asarray(indices)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        indices = indices.astype(np.int64)
        if len(indices) and (indices.min() < 0 or indices.max() >= self.n_objects):
            raise IndexError(
                f"indices reach {indices.min()} to {indices.max()}, the store has {self.n_objects} objects"
            )
        return indices

    def _rows(self, name: str, indices: ArrayLike | None) -> NDArray[Any]:
        dataset = self._file[name]
        if indices is None:
            return dataset[:]
        rows = self._valid(indices)
        if not len(rows):
            return np.empty((0, *dataset.shape[1:]), dataset.dtype)
        # h5py reads increasing indices, and as fast as the disk where the dataset is contiguous.
        unique, inverse = np.unique(rows, return_inverse=True)
        read = dataset[int(unique[0]) : int(unique[-1]) + 1] if _consecutive(unique) else dataset[unique]
        return read if np.array_equal(rows, unique) else read[inverse]


def open_store(path: str | os.PathLike[str]) -> Reader:
    """Open a store for reading; see `Reader`."""
    return Reader(path)


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise StoreError(f"{path}: no such store; make it with `astrodl ingest`")
    if not path.is_file():
        raise StoreError(f"{path}: cannot be read (not a file); give a file made by `astrodl ingest`")
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        # The library's own message has many lines, of which the user needs one word.
        reason = "truncated" if "truncated" in str(error) else "not an HDF5 file, damaged, or not permitted"
        raise StoreError(f"{path}: cannot be read ({reason}); ingest again") from None


def _consecutive(rows: NDArray[np.int64]) -> bool:
    return int(rows[-1] - rows[0]) + 1 == len(rows)


def _absent(path: Path, kind: str, name: str, known: Iterable[str], key: str) -> str:
    have = ", ".join(known) or "none"
    return f"{path}: {kind} '{name}' is not in the store (has {have}); correct the name, or set {key} and ingest again"
