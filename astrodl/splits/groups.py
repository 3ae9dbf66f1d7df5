"""Groups of objects that are close to each other on the sky: friends of friends."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from astrodl.errors import DataError

MOST_PAIRS = 50_000_000
"""More pairs are refused before memory is taken (16 bytes each)."""


def unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn positions in degrees, (N,), into directions (N, 3): poles and the zero of right ascension are like any."""
    longitude, latitude = np.radians(ra), np.radians(dec)
    cosine = np.cos(latitude)
    return np.stack([cosine * np.cos(longitude), cosine * np.sin(longitude), np.sin(latitude)], axis=1)


def friends(points: NDArray[np.float64], separation_arcsec: float) -> NDArray[np.int64]:
    """Find the groups whose members are linked by steps of at most `separation_arcsec`.

    Parameters
    ----------
    points
        Unit vectors, (N, 3).
    separation_arcsec
        Longest step, an angle on the sky.

    Returns
    -------
    (N,) array
        Group of each object, 0 upwards.

    Raises
    ------
    DataError
        There are more than `MOST_PAIRS` pairs.
    """
    n_objects = len(points)
    if not n_objects:
        return np.empty(0, np.int64)
    chord = 2 * np.sin(np.radians(separation_arcsec / 3600) / 2)
    tree = cKDTree(points)
    n_pairs = (int(tree.count_neighbors(tree, chord)) - n_objects) // 2
    if n_pairs > MOST_PAIRS:
        raise DataError(
            f"{n_pairs:,} pairs of objects are closer than {separation_arcsec:g} arcsec, at most {MOST_PAIRS:,} are "
            "accepted; set a smaller split.separation_arcsec (0: cells alone)"
        )
    first, second = tree.query_pairs(chord, output_type="ndarray").T
    links = coo_array((np.ones(n_pairs, np.int8), (first, second)), shape=(n_objects, n_objects))
    return connected_components(links, directed=False)[1].astype(np.int64)
