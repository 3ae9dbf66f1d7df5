"""Read the objects of a store, in any order."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.errors import StoreError
from astrodl.hdf5 import has_sound_texts
from astrodl.store.columns import ColumnDescription
from astrodl.store.damage import explain_damage, open_hdf5, unknown_name
from astrodl.store.indices import check_indices
from astrodl.store.layout import FORMAT_VERSION, SPLITS, SchemaError, decode_text, list_datasets
from astrodl.store.schema import check_schema, check_values

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.units import Quantity

__all__ = ["Reader", "Subset", "open_store"]

Subset = Literal["train", "validation", "test", "rest", "all"]
_IDENTIFIER_BLOCK = 4096


class Reader:
    """Read a store; use it as a context manager, or call `close`.

    Arrays have objects as the first axis. Methods with an argument `indices` return the objects in this order; by
    default all objects of the store.

    Parameters
    ----------
    path
        The HDF5 file.

    Attributes
    ----------
    path, n_objects, bands, size, has_images
        The file, the number of objects, the names of the bands, the side of a cutout in pixels (0 without images).
    pixel_scale_arcsec
        Pixel scale in arcsec, or None if unknown; `pixel_scale` has a unit.
    zero_points
        AB magnitude of one count in the original files, (bands,); NaN if there is none or objects differ.
    unit
        Unit of the image: "uJy", or "relative" if fluxes are not calibrated.
    survey, version, source_checksum
        Name of the survey, version of astrodl that wrote the store, checksum of the files that were read.
    settings
        Settings of the ingestion, as JSON text.

    Raises
    ------
    StoreError
        If the file is missing, not a store, damaged, or of another format version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = open_hdf5(self.path)
        self._checked: set[str] = set()
        try:
            self._read_attributes()
        except BaseException:
            self._file.close()
            raise

    def _read_attributes(self) -> None:
        with explain_damage(self.path, "the file"):
            check_schema(self._file)
            attributes = dict(self._file.attrs)
        self.bands: tuple[str, ...] = tuple(str(band) for band in attributes["bands"])
        self.has_images = "image" in self._file
        self.n_objects = len(self._file["object_id"])
        self.size = int(self._file["image"].shape[-1]) if self.has_images else 0
        scale = float(attributes["pixel_scale_arcsec"])
        self.pixel_scale_arcsec: float | None = None if np.isnan(scale) else scale
        self.zero_points: NDArray[np.float64] = np.asarray(attributes["zero_points"], np.float64)
        self.unit = str(attributes["unit"])
        self.survey = str(attributes["survey"])
        self.version = str(attributes["version"])
        self.source_checksum = str(attributes["source_checksum"])
        self.settings = str(attributes["settings"])

    def _values(self, name: str, rows: Any = ()) -> NDArray[Any]:
        """Read rows of a dataset, by default all; text as `str`."""
        if not self._file:
            raise StoreError(f"{self.path}: is closed; open it again")
        with explain_damage(self.path, name):
            self._check_texts(name)
            values = self._file[name][rows]
            values = decode_text(values) if values.dtype == object else values
            check_values(name, values)
        return values

    def _check_texts(self, name: str) -> None:
        """Check the texts of a dataset, once, before HDF5 reads them."""
        if name in self._checked or self._file[name].dtype != object:
            return
        if not has_sound_texts(self._file[name]):
            raise SchemaError(f"{name}: a text is damaged")
        self._checked.add(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
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
        return self._values("object_id")

    @property
    def flags(self) -> NDArray[np.int32]:
        """Bits of `astrodl.store.FLAGS`, (N,)."""
        return self._values("flags")

    @property
    def band_flags(self) -> NDArray[np.uint8]:
        """Bits of `astrodl.store.BAND_FLAGS`, (N, bands)."""
        return self._values("band_flags")

    @property
    def sky_sigma(self) -> NDArray[np.float32]:
        """Noise of a pixel, (N, bands), in the unit of the image; without images, the error of the flux."""
        return self._values("sky_sigma")

    @property
    def background(self) -> NDArray[np.float32]:
        """Subtracted background, (N, bands), in the unit of the image."""
        return self._values("background")

    @property
    def split(self) -> NDArray[np.int8]:
        """Codes of the splits: 0 train, 1 validation, 2 test, 3 rest, (N,)."""
        return self._values("split")

    @property
    def fold(self) -> NDArray[np.int16]:
        """Cross-validation fold, -1 for test and rest, (N,)."""
        return self._values("fold")

    @property
    def n_folds(self) -> int:
        """Number of cross-validation folds of the survey; a shard may have objects of some of them only."""
        try:
            of_survey = int(json.loads(self.settings)["split"]["folds"])
        except (ValueError, TypeError, LookupError):  # a store that was not ingested
            of_survey = 1
        return max(of_survey, int(self.fold.max(initial=0)) + 1)

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
    def pixel_scale(self) -> "Quantity | None":
        """Pixel scale in arcsec as an astropy Quantity, or None if unknown."""
        from astropy import units

        return None if self.pixel_scale_arcsec is None else self.pixel_scale_arcsec * units.arcsec

    @property
    def zero_point(self) -> "Quantity | None":
        """AB magnitude of one unit of flux in the images, as an astropy Quantity; None for relative fluxes.

        It is the zero point of the stored fluxes in microjansky, whereas `zero_points` are those of the original files.
        """
        from astropy import units

        from astrodl.fits.units import MICROJANSKY_ZERO_POINT

        return MICROJANSKY_ZERO_POINT * units.mag if self.unit == "uJy" else None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that a training depends on: the content and the description of all datasets."""
        parts = [FORMAT_VERSION, self.bands, self.pixel_scale_arcsec, self.unit, self.source_checksum, self.settings]
        for name, dataset in list_datasets(self._file):
            if "sha256" not in dataset.attrs:
                raise StoreError(f"{self.path}: {name} has no checksum, added to the store by hand; ingest again")
            parts.append((name, dataset.attrs["sha256"]))
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def images(self, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Read cutouts, (n, bands, y, x); a survey without images raises a `StoreError`."""
        if not self.has_images:
            raise StoreError(f"{self.path}: has no images, only the photometry of a catalogue; use features()")
        return self._rows("image", indices)

    @property
    def planes(self) -> tuple[str, ...]:
        """Names of the optional planes in the store: variance, mask, psf."""
        return tuple(name for name in ("variance", "mask", "psf") if name in self._file)

    def plane(self, name: str, indices: ArrayLike | None = None) -> NDArray[Any]:
        """Read an optional plane, (n, bands, ...)."""
        if name not in self.planes:
            raise StoreError(unknown_name(self.path, "plane", name, self.planes, "data.noise, data.masks or data.psf"))
        return self._rows(name, indices)

    def label(self, name: str, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Read the pixel label `name`, (n, y, x)."""
        if name not in self.label_names:
            raise StoreError(unknown_name(self.path, "label", name, self.label_names, "data.labels.extensions"))
        return self._rows(f"label/{name}", indices)

    def has_column(self, name: str) -> bool:
        """Return whether the store has the catalogue column `name`."""
        return f"catalog/{name}" in self._file

    def column(self, name: str, indices: ArrayLike | None = None) -> NDArray[Any]:
        """Read a catalogue column as float64, int64, uint64 or text, (n,).

        Missing values are NaN or "", and masked where integers are too large for float64.
        """
        if not self.has_column(name):
            raise StoreError(unknown_name(self.path, "column", name, self.column_names, "data.columns"))
        values = self._values(f"catalog/{name}")
        values = values if values.dtype.kind == "U" else self.describe_column(name).mask(values)
        return values if indices is None else values[check_indices(self.path, indices, self.n_objects)]

    def describe_column(self, name: str) -> ColumnDescription:
        """Return what ``object_id`` or a catalogue column was in the input."""
        return ColumnDescription.from_attributes(self._file[name if name == "object_id" else f"catalog/{name}"].attrs)

    def table(self, names: Sequence[str] | None = None, indices: ArrayLike | None = None) -> "Table":
        """Return the catalogue of the objects as an astropy Table.

        Parameters
        ----------
        names
            Columns: ``object_id``, ``split``, ``fold``, ``flags`` and catalogue columns; by default all.
        indices
            Objects, in this order; by default all. Boolean masks are accepted.

        Returns
        -------
        Table
            One row per object. Identifiers that were integers in the input are integers, and splits are names.
            Columns have the unit and description of the input; ``ra`` and ``dec`` are in degrees.

        Raises
        ------
        StoreError
            If a column is not in the store.

        Examples
        --------
        >>> import astrodl
        >>> with astrodl.open_store("store.h5") as store:
        ...     galaxies = store.table(["split", "ra", "z"], indices=[0, 1, 2])
        >>> print(galaxies)  # doctest: +NORMALIZE_WHITESPACE
          split      ra    z
                    deg
        ---------- ------ ----
             train  150.0  0.0
        validation 150.25 0.01
              test  150.5 0.02
        """
        from astrodl.store.table import build_table

        return build_table(self, names, None if indices is None else check_indices(self.path, indices, self.n_objects))

    def features(self, names: Sequence[str] | None = None, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Read photometric features, (n, number of names); by default all."""
        known = self.feature_names
        for name in () if names is None else names:
            if name not in known:
                raise StoreError(unknown_name(self.path, "feature", name, known, "the feature names"))
        values = self._values("features")
        values = values if names is None else values[:, [known.index(name) for name in names]]
        return values if indices is None else values[check_indices(self.path, indices, self.n_objects)]

    def band_indices(self, bands: Iterable[str]) -> list[int]:
        """Return the positions of `bands` in the store.

        Raises
        ------
        StoreError
            If a band is not in the store.
        """
        bands = list(bands)
        for band in bands:
            if band not in self.bands:
                raise StoreError(unknown_name(self.path, "band", band, self.bands, "data.bands"))
        return [self.bands.index(band) for band in bands]

    def select(self, subset: Subset, fold: int = 0) -> NDArray[np.int64]:
        """Return the sorted indices of the objects of a subset.

        In a store with one fold, subsets are the splits. With more folds, "validation" is fold `fold` and "train" are
        the other folds; objects of test and rest belong to no fold.

        Raises
        ------
        StoreError
            If the store has no fold `fold`, or there is no such subset.
        """
        if subset not in get_args(Subset):
            raise StoreError(
                f"{self.path}: subset = {subset!r}: must be one of {', '.join(get_args(Subset))}; correct it"
            )
        if subset == "all":
            return np.arange(self.n_objects)
        if subset in ("test", "rest"):
            return np.flatnonzero(self.split == SPLITS.index(subset))
        folds = self.fold
        n_folds = self.n_folds
        if not 0 <= fold < n_folds:
            raise StoreError(f"{self.path}: fold {fold} is not in the store (has 0 to {n_folds - 1}); set split.folds")
        if n_folds == 1:
            return np.flatnonzero(self.split == SPLITS.index(subset))
        return np.flatnonzero(folds == fold if subset == "validation" else (folds >= 0) & (folds != fold))

    def block(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read rows `start` to `stop` of any dataset, by its name in the file; text as `str`."""
        if name not in self._file:
            known = [known for known, _ in list_datasets(self._file)]
            raise StoreError(unknown_name(self.path, "dataset", name, known, "data.columns"))
        return self._values(name, slice(start, stop))

    @property
    def identifier_width(self) -> int:
        """Number of characters of the longest identifier, at least one; read in blocks."""
        blocks = (self.block("object_id", k, k + _IDENTIFIER_BLOCK) for k in range(0, len(self), _IDENTIFIER_BLOCK))
        return max((int(np.char.str_len(block).max()) for block in blocks), default=1)

    def _rows(self, name: str, indices: ArrayLike | None) -> NDArray[Any]:
        if indices is None:
            return self._values(name)
        rows = check_indices(self.path, indices, self.n_objects)
        if not len(rows):
            return self._values(name, slice(0))
        # h5py needs increasing indices, and reads a consecutive range fastest.
        unique, inverse = np.unique(rows, return_inverse=True)
        first, last = int(unique[0]), int(unique[-1])
        read = self._values(name, slice(first, last + 1) if last - first + 1 == len(unique) else unique)
        return read if np.array_equal(rows, unique) else read[inverse]


def open_store(path: str | os.PathLike[str]) -> Reader:
    """Open a store for reading.

    Parameters
    ----------
    path
        The HDF5 file that `astrodl.ingest` wrote.

    Returns
    -------
    Reader
        The open store: a context manager.

    Raises
    ------
    StoreError
        If the file is missing, not a store, damaged, or of another format version.
    """
    return Reader(path)
