"""Find pixels that are zero because the detector did not observe them."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["find_empty_borders"]

_MIN_PIXELS = 9
_SIDE = 3


def find_empty_borders(images: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which pixels belong to empty regions that reach the border of their image, (..., y, x).

    A region consists of squares of 3 x 3 pixels that are zero, missing or outside the image, and has at least nine
    pixels. Zeros that are scattered over the image, as in counts or clipped pictures, are not such a region.
    """
    empty = (images == 0) | np.isnan(images)
    found = np.zeros(images.shape, bool)
    planes = empty.reshape(-1, *images.shape[-2:])
    for plane, out in zip(planes, found.reshape(planes.shape), strict=True):
        if plane.any():
            out[:] = _find_regions(plane)
    return found & (images == 0)


def _find_regions(empty: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage  # slow to import, and few surveys need it

    # Squares may lie half outside, so that empty rows along the border count as a region.
    padded = np.pad(empty, _SIDE, constant_values=True)
    opened = ndimage.binary_opening(padded, np.ones((_SIDE, _SIDE)))
    inside = (slice(_SIDE, -_SIDE),) * 2
    labels, n_regions = ndimage.label(opened[inside])
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    large = np.bincount(labels.ravel(), minlength=n_regions + 1) >= _MIN_PIXELS
    return np.isin(labels, edge[(edge > 0) & large[edge]])
