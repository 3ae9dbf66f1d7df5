"""Friends-of-friends groups of objects that are close to each other on the sky."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from astrodl.errors import DataError

__all__ = ["MAX_PAIRS", "friends_of_friends"]

MAX_PAIRS = 50_000_000
"""Largest number of pairs, which take 16 bytes each."""
_STRIP = 500_000
"""Objects of a strip of declination, whose pairs are found together."""
_MARGIN = 1 + 1e-9
"""Strips overlap by a little more than the separation, for what rounding may lose."""

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


def _unit_vectors(ra: _Floats, dec: _Floats) -> _Floats:
    """Convert positions in degrees, (N,), to unit vectors, (N, 3)."""
    longitude, latitude = np.radians(ra), np.radians(dec)
    cosine = np.cos(latitude)
    return np.stack([cosine * np.cos(longitude), cosine * np.sin(longitude), np.sin(latitude)], axis=1)


def friends_of_friends(ra: _Floats, dec: _Floats, separation_arcsec: float) -> tuple[_Integers, _Integers]:
    """Find groups of objects that are linked by steps of at most `separation_arcsec`.

    Pairs are searched in strips of declination, so that memory is a few bytes per object and 16 bytes per pair.

    Parameters
    ----------
    ra, dec
        Positions in degrees, finite, (N,).
    separation_arcsec
        Linking length, an angle on the sky.

    Returns
    -------
    rows : (M,) array
        Objects with a neighbour, increasing; all others are groups of their own.
    group : (M,) array
        Group of each of them, from 0.

    Raises
    ------
    DataError
        There are more than `MAX_PAIRS` pairs.
    """
    pairs = _find_pairs(ra, dec, separation_arcsec)
    rows, place = np.unique(pairs, return_inverse=True)
    first, second = place.reshape(pairs.shape)
    links = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(len(rows), len(rows)))
    return rows.astype(np.int64), connected_components(links, directed=False)[1].astype(np.int64)


def _find_pairs(ra: _Floats, dec: _Floats, separation_arcsec: float) -> _Integers:
    """Return both objects of each pair closer than a separation, (2, P)."""
    angle = np.radians(separation_arcsec / 3600)
    chord, width = 2 * np.sin(angle / 2), np.degrees(angle) * _MARGIN
    order = np.argsort(dec, kind="stable")
    n_pairs, found = 0, [np.empty((0, 2), np.int64)]
    for start in range(0, len(order), _STRIP):
        stop = min(start + _STRIP, len(order))
        end = int(np.searchsorted(dec, dec[order[stop - 1]] + width, side="right", sorter=order))
        rows = order[start:end]
        points = _unit_vectors(ra[rows], dec[rows])
        tree = cKDTree(points)
        n_pairs += _count_pairs(tree, chord) - _count_pairs(cKDTree(points[stop - start :]), chord)
        if n_pairs <= MAX_PAIRS:
            pairs = tree.query_pairs(chord, output_type="ndarray")  # the first of a pair is the lower
            found.append(rows[pairs[pairs[:, 0] < stop - start]])
    if n_pairs > MAX_PAIRS:
        raise DataError(
            f"{n_pairs:,} pairs of objects are closer than {separation_arcsec:g} arcsec, at most {MAX_PAIRS:,} are "
            "accepted; set a smaller split.separation_arcsec (0: cells only)"
        )
    return np.concatenate(found).T


def _count_pairs(tree: cKDTree, chord: float) -> int:
    return (int(tree.count_neighbors(tree, chord)) - tree.n) // 2 if tree.n else 0
