"""Friends-of-friends groups of objects that are close to each other on the sky."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from astrodl.errors import DataError

__all__ = ["MAX_PAIRS", "friends_of_friends", "unit_vectors"]

MAX_PAIRS = 50_000_000
"""Largest number of pairs, which take 16 bytes each."""


def unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert positions in degrees, (N,), to unit vectors, (N, 3)."""
    longitude, latitude = np.radians(ra), np.radians(dec)
    cosine = np.cos(latitude)
    return np.stack([cosine * np.cos(longitude), cosine * np.sin(longitude), np.sin(latitude)], axis=1)


def friends_of_friends(points: NDArray[np.float64], separation_arcsec: float) -> NDArray[np.int64]:
    """Find groups of objects that are linked by steps of at most `separation_arcsec`.

    Parameters
    ----------
    points
        Unit vectors, (N, 3).
    separation_arcsec
        Linking length, an angle on the sky.

    Returns
    -------
    ndarray
        Group of each object, from 0, (N,).

    Raises
    ------
    DataError
        There are more than `MAX_PAIRS` pairs.
    """
    n_objects = len(points)
    if not n_objects:
        return np.empty(0, np.int64)
    chord = 2 * np.sin(np.radians(separation_arcsec / 3600) / 2)
    tree = cKDTree(points)
    n_pairs = (int(tree.count_neighbors(tree, chord)) - n_objects) // 2
    if n_pairs > MAX_PAIRS:
        raise DataError(
            f"{n_pairs:,} pairs of objects are closer than {separation_arcsec:g} arcsec, at most {MAX_PAIRS:,} are "
            "accepted; set a smaller split.separation_arcsec (0: cells only)"
        )
    first, second = tree.query_pairs(chord, output_type="ndarray").T
    links = coo_array((np.ones(n_pairs, np.int8), (first, second)), shape=(n_objects, n_objects))
    return connected_components(links, directed=False)[1].astype(np.int64)
