"""Tiles contain every object once, respect the maximum, and are grouped into about equal parts."""

import astropy.units as u
import numpy as np
from astropy_healpix import HEALPix
from hypothesis import given, settings
from hypothesis import strategies as st

from astrodl.healpix import MAX_ORDER, Tile, divide_sky, find_tiles, group_tiles, sky_pixels

ORDER = 18


def sky(n: int, seed: int, field_degrees: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    if field_degrees is not None:
        return (150 + rng.normal(0, field_degrees, n)) % 360, np.clip(2 + rng.normal(0, field_degrees, n), -90, 90)
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def make_tiles(pixels: np.ndarray, max_objects: int) -> list[Tile]:
    occupied, counts = np.unique(pixels >> 2 * (MAX_ORDER - ORDER), return_counts=True)
    return divide_sky(occupied, counts, ORDER, max_objects)


@given(
    n=st.integers(1, 400),
    max_objects=st.integers(1, 100),
    field=st.one_of(st.none(), st.floats(1e-4, 5)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=50, deadline=None)
def test_every_object_is_in_one_tile_and_no_tile_has_too_many(
    n: int, max_objects: int, field: float | None, seed: int
) -> None:
    ra, dec = sky(n, seed, field)
    pixels = sky_pixels(ra, dec)
    tiles = make_tiles(pixels, max_objects)
    assert all(tile.n_objects <= max_objects or tile.order == ORDER for tile in tiles)
    index = find_tiles(pixels, tiles)
    assert np.bincount(index, minlength=len(tiles)).tolist() == [tile.n_objects for tile in tiles]
    # The pixel of each object at the order of its tile is the one of astropy_healpix.
    for order in {tile.order for tile in tiles}:
        own = HEALPix(nside=2**order, order="nested").lonlat_to_healpix(ra * u.deg, dec * u.deg)
        inside = np.array([tiles[k].order == order for k in index])
        assert (own[inside] == [tiles[k].pixel for k in index[inside]]).all()


@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=60), n_groups=st.integers(1, 20))
def test_groups_are_consecutive_complete_and_never_empty(counts: list[int], n_groups: int) -> None:
    n_groups = min(n_groups, len(counts))
    tiles = [Tile(5, k, count) for k, count in enumerate(counts)]
    groups = group_tiles(tiles, n_groups)
    assert len(groups) == n_groups
    assert all(groups)
    assert [tile for group in groups for tile in group] == tiles


def test_groups_have_about_equal_numbers_of_objects() -> None:
    pixels = sky_pixels(*sky(20_000, 0, 3.0))
    groups = group_tiles(make_tiles(pixels, 20_000 // 40), 10)
    n_objects = np.array([sum(tile.n_objects for tile in group) for group in groups])
    # A tile has at most a fortieth of the objects: groups are equal to about a quarter.
    assert np.abs(n_objects / 2000 - 1).max() < 0.3


def test_tiles_do_not_depend_on_the_order_of_the_objects() -> None:
    pixels = sky_pixels(*sky(500, 1))
    assert make_tiles(pixels, 20) == make_tiles(pixels[::-1], 20)
