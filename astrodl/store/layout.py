"""Constants and helper functions that the writer and the reader of a store share."""

import hashlib
from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from astrodl.errors import StoreError

__all__ = [
    "BAND_FLAGS",
    "FLAGS",
    "FORMAT",
    "FORMAT_VERSION",
    "GROUPS",
    "REQUIRED",
    "SPLITS",
    "WITHOUT_FOLD",
    "SchemaError",
    "content_bytes",
    "dataset_digest",
    "decode_text",
    "list_datasets",
    "row_ranges",
]

FORMAT = "astrodl-store"
FORMAT_VERSION = 2
SPLITS = ("train", "validation", "test", "rest")
"""Names of the codes 0 to 3 of ``/split``; objects in `rest` are only predicted."""
WITHOUT_FOLD = (SPLITS.index("test"), SPLITS.index("rest"))
"""Codes of the splits whose objects have fold -1."""

FLAGS = {
    "missing_band": 1,
    "partial_coverage": 2,
    "padded": 4,
    "not_detected": 8,
    "masked_pixels": 16,
    "band_not_detected": 32,
    "reprojected": 64,
}
"""Bits of ``/flags``, for the object as a whole.

missing_band
    At least one band was not observed: its file or extension is missing, or no pixel has data.
partial_coverage
    An observed band has pixels without data inside the image (mosaic edge).
padded
    The image is smaller than the stored cutout or extends over the edge of a mosaic, and is padded with NaN.
not_detected
    No source is detected at the centre of the sum of the bands, so sizes and shapes are NaN.
masked_pixels
    A mask plane (or a weight of zero) masks pixels.
band_not_detected
    The object is detected, but at least one observed band has a signal to noise below three: a faint, blue or red
    object.
reprojected
    A band was reprojected to the pixel grid of another, so that the noise of its pixels is correlated.
"""

BAND_FLAGS = {
    "not_observed": 1,
    "partial_coverage": 2,
    "padded": 4,
    "not_detected": 8,
    "masked_pixels": 16,
    "reprojected": 64,
}
"""Bits of ``/band_flags``, per band; `masked_pixels` is the only other bit of a band that was not observed."""

REQUIRED = ("object_id", "features", "sky_sigma", "background", "flags", "band_flags", "split", "fold")
"""Datasets that every store has; a survey with images also has ``/image``."""
GROUPS = ("catalog", "label")
"""Groups of datasets with names of their own."""
_BLOCK_BYTES = 64 << 20


class SchemaError(StoreError):
    """A problem of a store, without the name of the file."""


def list_datasets(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    """List the datasets of a store, sorted by name.

    Raises
    ------
    SchemaError
        If there is a link to another name or file, a group that no store has, or an object that is not a dataset.
    """
    found: list[tuple[str, h5py.Dataset]] = []
    for name in file:
        item = _item(file, name)
        if name in GROUPS and isinstance(item, h5py.Group):
            found += [(f"{name}/{member}", _item(item, member)) for member in item]
        else:
            found.append((name, item))
    for name, item in found:
        if not isinstance(item, h5py.Dataset):
            raise SchemaError(f"{name}: is not a dataset of a store; remove it")
    return sorted(found, key=lambda pair: pair[0])


def _item(group: h5py.Group, name: str) -> Any:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise SchemaError(f"{group.name.strip('/')}/{name}: is a link to data elsewhere; copy them into the store")
    return group[name]


def row_ranges(dataset: h5py.Dataset, n_rows: int) -> Iterable[tuple[int, int]]:
    """Divide the first `n_rows` rows into ranges (start, stop) of about 64 MB."""
    row_bytes = max(int(np.prod(dataset.shape[1:])) * dataset.dtype.itemsize, 1)
    step = max(_BLOCK_BYTES // row_bytes, 1)
    return [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def content_bytes(array: NDArray[Any]) -> bytes | memoryview:
    """Return the bytes of an array; text as UTF-8 with a null byte after each entry."""
    if array.dtype != object:
        return np.ascontiguousarray(array).data.cast("B") if array.size else b""
    return b"".join(text.encode() + b"\0" for text in array)


def dataset_digest(dataset: h5py.Dataset) -> str:
    """Return the SHA-256 of the content of a dataset."""
    digest = hashlib.sha256()
    for start, stop in row_ranges(dataset, dataset.shape[0]):
        rows = dataset[start:stop]
        digest.update(content_bytes(decode_text(rows).astype(object) if rows.dtype == object else rows))
    return digest.hexdigest()


def decode_text(values: NDArray[np.object_]) -> NDArray[np.str_]:
    """Decode an array of byte strings as h5py reads them."""
    return np.array([value.decode() for value in values], dtype=np.str_)
