"""HEALPix pixels (Górski et al. 2005, ApJ 622, 759; nested), and tiles that are smaller where objects are dense."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MAX_ORDER", "Tile", "divide_sky", "find_tiles", "group_tiles", "sky_pixels"]

MAX_ORDER = 29
"""Order with the smallest pixels (0.4 mas); the largest whose pixel numbers fit an int64."""
_BLOCK = 500_000
"""Positions that are converted at a time."""


@dataclass(frozen=True)
class Tile:
    """A pixel and the number of objects in it."""

    order: int
    pixel: int
    n_objects: int

    def first_pixel(self, order: int = MAX_ORDER) -> int:
        """Return its first pixel of a finer order."""
        return self.pixel << 2 * (order - self.order)

    def end_pixel(self, order: int = MAX_ORDER) -> int:
        """Return the pixel after its last one of a finer order."""
        return (self.pixel + 1) << 2 * (order - self.order)


def sky_pixels(ra: ArrayLike, dec: ArrayLike, order: int = MAX_ORDER) -> NDArray[np.int64]:
    """Return the pixel of each position (finite, in degrees), (N,)."""
    import astropy.units as u
    from astropy_healpix import HEALPix

    grid = HEALPix(nside=2**order, order="nested")
    longitude, latitude = np.atleast_1d(np.asarray(ra), np.asarray(dec))
    pixels = np.empty(longitude.shape, np.int64)
    for start in range(0, len(pixels), _BLOCK):
        block = slice(start, start + _BLOCK)
        pixels[block] = grid.lonlat_to_healpix(longitude[block] * u.deg, latitude[block] * u.deg)
    return pixels.reshape(np.shape(ra))


def divide_sky(pixels: NDArray[np.int64], counts: NDArray[np.int64], order: int, max_objects: int) -> list[Tile]:
    """Divide the sky into tiles of at most `max_objects` objects; pixels of `order` are not divided further.

    Parameters
    ----------
    pixels
        Occupied pixels of `order`, increasing, (P,).
    counts
        Number of objects in each of them, (P,).
    order
        Order of `pixels`.
    max_objects
        Largest number of objects in a tile of a coarser order.

    Returns
    -------
    list of Tile
        Tiles that contain objects, in nested order; each object is in exactly one.
    """
    n_before = np.concatenate([[0], np.cumsum(counts)])
    tiles: list[Tile] = []
    waiting = [(0, pixel) for pixel in reversed(range(12))]
    while waiting:
        tile_order, pixel = waiting.pop()
        tile = Tile(tile_order, pixel, 0)
        start, stop = np.searchsorted(pixels, [tile.first_pixel(order), tile.end_pixel(order)])
        n_objects = int(n_before[stop] - n_before[start])
        if n_objects > max_objects and tile_order < order:
            waiting += [(tile_order + 1, 4 * pixel + quarter) for quarter in (3, 2, 1, 0)]
        elif n_objects:
            tiles.append(Tile(tile_order, pixel, n_objects))
    return tiles


def group_tiles(tiles: Sequence[Tile], n_groups: int) -> list[list[Tile]]:
    """Group consecutive tiles into non-empty groups with about equal numbers of objects."""
    assert len(tiles) >= n_groups
    groups: list[list[Tile]] = []
    n_left, position = sum(tile.n_objects for tile in tiles), 0
    for number in range(n_groups):
        groups_left = n_groups - number
        target, n_objects, start = n_left / groups_left, 0, position
        while position < len(tiles) - groups_left + 1:
            n_next = tiles[position].n_objects
            if position > start and (groups_left > 1 and n_objects + n_next / 2 > target):
                break
            n_objects, position = n_objects + n_next, position + 1
        groups.append(list(tiles[start:position]))
        n_left -= n_objects
    return groups


def find_tiles(pixels: NDArray[np.int64], tiles: Sequence[Tile], order: int = MAX_ORDER) -> NDArray[np.int64]:
    """Return the index of the tile that contains each pixel of `order`; the tiles must cover all pixels."""
    first = np.array([tile.first_pixel(order) for tile in tiles], np.int64)
    return np.searchsorted(first, pixels, side="right") - 1
