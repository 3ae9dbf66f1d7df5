"""The store: one HDF5 file with the cutouts of a survey and what is known of its objects.

Layout, objects first everywhere (N objects, B bands, cutouts of size x size pixels):

========================  ===================  ==========================================================
``/image``                (N, B, y, x) f4      linear flux, NaN where there is no data; contiguous
``/object_id``            (N,) text            unique
``/catalog/{name}``       (N,) f8, i8 or text  a kept catalogue column; NaN or "" where it is missing
``/features``             (N, F) f4            photometry; attribute ``names``; NaN where not measurable
``/sky_sigma``            (N, B) f4            noise of a pixel, in the unit of the image
``/background``           (N, B) f4            what was subtracted from the image, in its unit
``/flags``                (N,) i4              bits, see `FLAGS`
``/split``                (N,) i1              0 train, 1 validation, 2 test
``/fold``                 (N,) i2              cross-validation fold; -1 for test objects
``/label/{name}``         (N, y, x) f4         pixel labels, in the unit of the image
========================  ===================  ==========================================================

Root attributes: ``format``, ``format_version``, ``bands``, ``pixel_scale_arcsec`` (NaN: unknown), ``zero_points``
(AB magnitude of one count in the files; NaN: none, or not the same for all objects), ``unit`` ("uJy" or "relative"),
``survey``, ``version``, ``source_checksum``, ``settings`` (canonical JSON). Each dataset carries the SHA-256 of its
content. Row 0 of an image is its bottom row, as in FITS.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.errors import StoreError

FORMAT = "astrodl-store"
FORMAT_VERSION = 1
SPLITS = ("train", "validation", "test")
Subset = Literal["train", "validation", "test", "all"]

FLAGS = {
    "missing_band": 1,
    "partial_coverage": 2,
    "padded": 4,
    "not_detected": 8,
}
"""Bits of ``/flags``.

missing_band
    At least one band holds no data at all: its file or extension is absent, or every pixel is NaN.
partial_coverage
    A band that was observed has pixels without data inside the image (mosaic edge, masked pixels).
padded
    The image was smaller than the stored cutout and is surrounded by NaN.
not_detected
    Nothing stands out of the noise at the centre, so sizes and shapes are NaN.
"""

_REQUIRED = ("image", "object_id", "features", "sky_sigma", "background", "flags", "split", "fold")
_COPY_BYTES = 64 << 20


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
        Root attributes; see the module. They may be set later as attributes of the same name.
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
            self._digests[name].update(_content(array))
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
            self._descriptor = os.open(self.path, os.O_RDONLY)
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
        missing = [name for name in _REQUIRED if name not in self._file]
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
            os.close(self._descriptor)

    @property
    def object_id(self) -> NDArray[np.str_]:
        """Unique identifiers, (N,)."""
        return _text(self._file["object_id"][:])

    @property
    def flags(self) -> NDArray[np.int32]:
        """Bits of `FLAGS`, (N,)."""
        return self._file["flags"][:]

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
        """0 train, 1 validation, 2 test, (N,)."""
        return self._file["split"][:]

    @property
    def fold(self) -> NDArray[np.int16]:
        """Cross-validation fold, -1 for test objects, (N,)."""
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
        parts += [(name, dataset.attrs["sha256"]) for name, dataset in _datasets(self._file)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def images(self, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Read cutouts, (n, bands, y, x), in the order of `indices`; all by default.

        Reads go straight to the file at the place of each run of consecutive objects, which is some 40 times faster
        than fancy indexing in h5py.
        """
        return self._rows("image", indices)

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
        values = _text(values) if values.dtype == object else values
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
        objects that are not test.
        """
        if subset == "all":
            return np.arange(self.n_objects)
        if subset == "test":
            return np.flatnonzero(self.split == SPLITS.index("test"))
        folds = self.fold
        n_folds = max(int(folds.max(initial=0)) + 1, 1)
        if not 0 <= fold < n_folds:
            raise StoreError(f"{self.path}: fold {fold} is not in the store (has 0 to {n_folds - 1}); set split.folds")
        if n_folds == 1:
            return np.flatnonzero(self.split == SPLITS.index(subset))
        return np.flatnonzero(folds == fold if subset == "validation" else (folds >= 0) & (folds != fold))

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

    def _rows(self, name: str, indices: ArrayLike | None) -> NDArray[np.float32]:
        dataset = self._file[name]
        rows = np.arange(self.n_objects) if indices is None else self._valid(indices)
        out = np.empty((len(rows), *dataset.shape[1:]), np.dtype("<f4"))
        offset = dataset.id.get_offset()
        if offset is None or dataset.dtype != out.dtype:  # not written by `Writer`, for example repacked
            for position, row in enumerate(rows):
                out[position] = dataset[row]
            return out
        row_bytes = out.nbytes // max(len(rows), 1)
        ends = np.append(np.flatnonzero(np.diff(rows) != 1) + 1, len(rows))
        start = 0
        for end in ends if len(rows) else ():
            _read_at(self._descriptor, out[start:end], offset + int(rows[start]) * row_bytes, self.path)
            start = end
        return out


def open_store(path: str | os.PathLike[str]) -> Reader:
    """Open a store for reading; see `Reader`."""
    return Reader(path)


def check(path: str | os.PathLike[str]) -> list[str]:
    """List what is wrong with a store; an empty list means that nothing is."""
    try:
        reader = Reader(path)
    except StoreError as error:
        return [str(error)]
    with reader:
        file, n = reader._file, reader.n_objects
        problems = [
            f"{name}: has {dataset.shape[0]} rows, expected {n}"
            for name, dataset in _datasets(file)
            if dataset.shape[0] != n
        ]
        if file["image"].shape[1:] != (len(reader.bands), reader.size, reader.size):
            problems.append(f"image: shape {file['image'].shape} does not fit {len(reader.bands)} bands")
        if file["features"].shape[1:] != (len(reader.feature_names),):
            problems.append(f"features: {file['features'].shape[1]} columns, {len(reader.feature_names)} names")
        if len(np.unique(reader.object_id)) < n:
            problems.append("object_id: not unique")
        if not np.isin(reader.split, range(len(SPLITS))).all():
            problems.append("split: values other than 0, 1, 2")
        if ((reader.fold < 0) != (reader.split == SPLITS.index("test"))).any():
            problems.append("fold: does not agree with split")
        problems += [
            f"{name}: content differs from its checksum"
            for name, dataset in _datasets(file)
            if _dataset_digest(dataset) != dataset.attrs.get("sha256")
        ]
    return [f"{path}: {problem}; ingest again" for problem in problems]


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise StoreError(f"{path}: no such store; make it with `astrodl ingest`")
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        reason = error.strerror or ("truncated" if "truncated" in str(error) else "not an HDF5 file, or damaged")
        raise StoreError(f"{path}: cannot be read ({reason}); ingest again") from None


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


def _content(array: NDArray[Any]) -> bytes | memoryview:
    if array.dtype != object:
        return np.ascontiguousarray(array).data.cast("B") if array.size else b""
    return b"".join(text.encode() + b"\0" for text in array)


def _dataset_digest(dataset: h5py.Dataset) -> str:
    digest = hashlib.sha256()
    for start, end in _blocks(dataset, dataset.shape[0]):
        rows = dataset[start:end]
        digest.update(_content(_text(rows).astype(object) if rows.dtype == object else rows))
    return digest.hexdigest()


def _blocks(dataset: h5py.Dataset, n_rows: int) -> Iterable[tuple[int, int]]:
    row_bytes = max(int(np.prod(dataset.shape[1:])) * dataset.dtype.itemsize, 1)
    step = max(_COPY_BYTES // row_bytes, 1)
    return [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def _copy_rows(source: h5py.File, target: h5py.File, n_rows: int) -> None:
    for name, dataset in _datasets(source):
        target.create_dataset(name, (n_rows, *dataset.shape[1:]), dtype=dataset.dtype, track_times=False)
        for start, end in _blocks(dataset, n_rows):
            target[name][start:end] = dataset[start:end]


def _datasets(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    found: list[tuple[str, h5py.Dataset]] = []
    file.visititems(lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None)
    return sorted(found, key=lambda pair: pair[0])


def _text(values: NDArray[np.object_]) -> NDArray[np.str_]:
    return np.array([value.decode() for value in values], dtype=np.str_)


def _read_at(descriptor: int, out: NDArray[np.float32], position: int, path: Path) -> None:
    view = out.data.cast("B")
    while view:  # the system reads at most 2 GiB at once
        n_read = os.preadv(descriptor, [view], position)
        if not n_read:
            raise StoreError(f"{path}: shorter than its header says; ingest again")
        view, position = view[n_read:], position + n_read


def _absent(path: Path, kind: str, name: str, known: Iterable[str], key: str) -> str:
    have = ", ".join(known) or "none"
    return f"{path}: {kind} '{name}' is not in the store (has {have}); correct the name, or set {key} and ingest again"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("astrodl")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
