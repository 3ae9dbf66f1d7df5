"""Tiles of the sky: HEALPix pixels (Górski et al. 2005, ApJ 622, 759; nested), smaller where objects are dense."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FINEST = 29
"""Order whose pixels (0.4 mas) tell any two objects apart; the largest whose numbers fit an int64."""


@dataclass(frozen=True)
class Tile:
    """A pixel and the number of objects in it."""

    order: int
    pixel: int
    n_objects: int

    def first(self, order: int = FINEST) -> int:
        """Give the first of its pixels of a finer order."""
        return self.pixel << 2 * (order - self.order)

    def last(self, order: int = FINEST) -> int:
        """Give the pixel after its last one of a finer order."""
        return (self.pixel + 1) << 2 * (order - self.order)


def pixels(ra: ArrayLike, dec: ArrayLike, order: int = FINEST) -> NDArray[np.int64]:
    """Give the pixel of each position (degrees; both finite), (N,)."""
    import astropy.units as u
    from astropy_healpix import HEALPix

    grid = HEALPix(nside=2**order, order="nested")
    return np.asarray(grid.lonlat_to_healpix(np.asarray(ra) * u.deg, np.asarray(dec) * u.deg), np.int64)


def tiles(numbers: NDArray[np.int64], counts: NDArray[np.int64], order: int, n_most: int) -> list[Tile]:
    """Divide the sky into tiles of at most `n_most` objects; a pixel of `order` is not divided, whatever it holds.

    Parameters
    ----------
    numbers
        Occupied pixels of `order`, increasing, (P,).
    counts
        Objects in each of them, (P,).
    order
        Order of `numbers`.
    n_most
        Objects that a tile may hold.

    Returns
    -------
    list of Tile
        Tiles that hold objects, along the nested order of the sky; each object is in one.
    """
    below = np.concatenate([[0], np.cumsum(counts)])
    found: list[Tile] = []
    waiting = [(0, pixel) for pixel in reversed(range(12))]
    while waiting:
        at, pixel = waiting.pop()
        edges = Tile(at, pixel, 0)
        start, stop = np.searchsorted(numbers, [edges.first(order), edges.last(order)])
        n_objects = int(below[stop] - below[start])
        if n_objects > n_most and at < order:
            waiting += [(at + 1, 4 * pixel + quarter) for quarter in (3, 2, 1, 0)]
        elif n_objects:
            found.append(Tile(at, pixel, n_objects))
    return found


def grouped(some: Sequence[Tile], n_groups: int) -> list[list[Tile]]:
    """Group consecutive tiles so that each group has about the same number of objects, and none is empty."""
    assert len(some) >= n_groups
    groups: list[list[Tile]] = []
    left, position = sum(tile.n_objects for tile in some), 0
    for number in range(n_groups):
        still = n_groups - number
        target, held, start = left / still, 0, position
        while position < len(some) - still + 1:
            more = some[position].n_objects
            if position > start and (still > 1 and held + more / 2 > target):
                break
            held, position = held + more, position + 1
        groups.append(list(some[start:position]))
        left -= held
    return groups


def which(numbers: NDArray[np.int64], some: Sequence[Tile], order: int = FINEST) -> NDArray[np.int64]:
    """Give the position in the list of tiles, which cover them all, of the tile of each pixel of `order`."""
    firsts = np.array([tile.first(order) for tile in some], np.int64)
    return np.searchsorted(firsts, numbers, side="right") - 1
