"""Positions of objects in a store, as users give them."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.errors import StoreError

__all__ = ["check_indices"]


def check_indices(path: Path, given: ArrayLike, n_objects: int) -> NDArray[np.int64]:
    """Return positions, or those of a mask, as an array, (n,).

    Raises
    ------
    StoreError
        They are not a list of positions or a mask with an entry for each object.
    IndexError
        A position is outside the store.
    """
    try:
        indices = np.asarray(given)
    except ValueError:  # rows of different lengths
        indices = np.empty(0, object)
    if indices.ndim != 1 or (indices.dtype.kind not in "iub" and (len(indices) or indices.dtype == object)):
        raise StoreError(
            f"{path}: indices = {' '.join(repr(given).split()):.60}: must be a list of positions or a mask; "
            "for a single object give [position]"
        )
    if indices.dtype == bool:
        if len(indices) != n_objects:
            raise StoreError(
                f"{path}: the mask has {len(indices)} entries, the store {n_objects} objects; give one for each"
            )
        indices = np.flatnonzero(indices)
    positions: NDArray[np.int64] = indices.astype(np.int64)
    if len(positions) and (positions.min() < 0 or positions.max() >= n_objects):
        raise IndexError(f"indices reach {positions.min()} to {positions.max()}, the store has {n_objects} objects")
    return positions
