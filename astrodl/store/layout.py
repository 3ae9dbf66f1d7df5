"""What writer and reader agree on: constants, and how to walk through the datasets of a store."""

from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

FORMAT = "astrodl-store"
FORMAT_VERSION = 2
SPLITS = ("train", "validation", "test", "rest")
"""Names of the codes of ``/split``; `rest` are objects that are predicted only."""
WITHOUT_FOLD = (SPLITS.index("test"), SPLITS.index("rest"))
"""Codes of the objects whose fold is -1."""

FLAGS = {
    "missing_band": 1,
    "partial_coverage": 2,
    "padded": 4,
    "not_detected": 8,
    "masked_pixels": 16,
    "band_not_detected": 32,
    "reprojected": 64,
}
"""Bits of ``/flags``, of the object as a whole.

missing_band
    At least one band was not observed: its file or extension is absent, or no pixel has data.
partial_coverage
    A band that was observed has pixels without data inside the image (mosaic edge).
padded
    The image was smaller than the stored cutout, or reaches over the edge of a mosaic, and is surrounded by NaN.
not_detected
    Nothing stands out of the noise at the centre in the sum of the bands, so sizes and shapes are NaN.
masked_pixels
    A mask plane (or a weight of zero) took pixels away.
band_not_detected
    The object was detected, but at least one observed band shows it below three sigma: a faint or blue or red object.
reprojected
    A band was brought to the pixel grid of another, so that the noise of its pixels is correlated.
"""

BAND_FLAGS = {
    "not_observed": 1,
    "partial_coverage": 2,
    "padded": 4,
    "not_detected": 8,
    "masked_pixels": 16,
    "reprojected": 64,
}
"""Bits of ``/band_flags``, the same per band; a band that was not observed has no other bit but `masked_pixels`."""

REQUIRED = ("image", "object_id", "features", "sky_sigma", "background", "flags", "band_flags", "split", "fold")
_BLOCK_BYTES = 64 << 20


def datasets(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    """List the datasets of a store by name."""
    found: list[tuple[str, h5py.Dataset]] = []
    file.visititems(lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None)
    return sorted(found, key=lambda pair: pair[0])


def blocks(dataset: h5py.Dataset, n_rows: int) -> Iterable[tuple[int, int]]:
    """Divide rows into ranges of some 64 MB."""
    row_bytes = max(int(np.prod(dataset.shape[1:])) * dataset.dtype.itemsize, 1)
    step = max(_BLOCK_BYTES // row_bytes, 1)
    return [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def content(array: NDArray[Any]) -> bytes | memoryview:
    """Give the bytes of an array that its checksum is made of."""
    if array.dtype != object:
        return np.ascontiguousarray(array).data.cast("B") if array.size else b""
    return b"".join(text.encode() + b"\0" for text in array)


def text_array(values: NDArray[np.object_]) -> NDArray[np.str_]:
    """Turn the byte strings that h5py reads into text."""
    return np.array([value.decode() for value in values], dtype=np.str_)
