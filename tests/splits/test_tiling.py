"""Tiles cover every object once, hold no more than they may, and are grouped into about equal parts."""

import astropy.units as u
import numpy as np
from astropy_healpix import HEALPix
from hypothesis import given, settings
from hypothesis import strategies as st

from astrodl.splits.tiling import FINEST, Tile, grouped, pixels, tiles, which

ORDER = 18


def sky(n: int, seed: int, field_degrees: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    if field_degrees is not None:
        return (150 + rng.normal(0, field_degrees, n)) % 360, np.clip(2 + rng.normal(0, field_degrees, n), -90, 90)
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def divided(numbers: np.ndarray, n_most: int) -> list[Tile]:
    found, counts = np.unique(numbers >> 2 * (FINEST - ORDER), return_counts=True)
    return tiles(found, counts, ORDER, n_most)


@given(
    n=st.integers(1, 400),
    n_most=st.integers(1, 100),
    field=st.one_of(st.none(), st.floats(1e-4, 5)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=50, deadline=None)
def test_every_object_is_in_one_tile_and_no_tile_holds_too_many(
    n: int, n_most: int, field: float | None, seed: int
) -> None:
    ra, dec = sky(n, seed, field)
    numbers = pixels(ra, dec)
    some = divided(numbers, n_most)
    assert all(tile.n_objects <= n_most or tile.order == ORDER for tile in some)
    place = which(numbers, some)
    assert np.bincount(place, minlength=len(some)).tolist() == [tile.n_objects for tile in some]
    # that the pixel of each object is the one that astropy_healpix gives at the tile's own order
    for order in {tile.order for tile in some}:
        own = HEALPix(nside=2**order, order="nested").lonlat_to_healpix(ra * u.deg, dec * u.deg)
        inside = np.array([some[k].order == order for k in place])
        assert (own[inside] == [some[k].pixel for k in place[inside]]).all()


@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=60), n_groups=st.integers(1, 20))
def test_groups_are_consecutive_complete_and_never_empty(counts: list[int], n_groups: int) -> None:
    n_groups = min(n_groups, len(counts))
    some = [Tile(5, k, count) for k, count in enumerate(counts)]
    groups = grouped(some, n_groups)
    assert len(groups) == n_groups
    assert all(groups)
    assert [tile for group in groups for tile in group] == some


def test_groups_hold_about_equally_many_objects() -> None:
    numbers = pixels(*sky(20_000, 0, 3.0))
    groups = grouped(divided(numbers, 20_000 // 40), 10)
    held = np.array([sum(tile.n_objects for tile in group) for group in groups])
    # a tile holds a fortieth at most: groups are equal to about a quarter
    assert np.abs(held / 2000 - 1).max() < 0.3


def test_tiles_do_not_depend_on_the_order_of_the_objects() -> None:
    numbers = pixels(*sky(500, 1))
    assert divided(numbers, 20) == divided(numbers[::-1], 20)
