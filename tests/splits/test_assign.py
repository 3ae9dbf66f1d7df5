"""Assignment of splits and folds: neighbours, cells, fractions, empty splits."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy_healpix import HEALPix
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from astrodl.config import SplitSettings
from astrodl.errors import DataError
from astrodl.splits import groups
from astrodl.splits.assign import TEST, TRAIN, VALIDATION, assign
from astrodl.splits.groups import friends_of_friends

N = 4000
IDS = [f"object {k}" for k in range(N)]


def sky(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def crowd(ra: float, dec: float, n: int, seed: int, side_arcsec: float = 300) -> SkyCoord:
    """Scatter `n` objects over a square of the sky about a point, poles included."""
    east, north = np.random.default_rng(seed).uniform(-side_arcsec / 2, side_arcsec / 2, (2, n)) * u.arcsec
    centre = SkyCoord(ra * u.deg, dec * u.deg)
    return centre.spherical_offsets_by(east, north)


def cells_of(ra: np.ndarray, dec: np.ndarray, nside: int) -> np.ndarray:
    return HEALPix(nside=nside, order="nested").lonlat_to_healpix(ra * u.deg, dec * u.deg)


def close_pairs(sky: SkyCoord, separation_arcsec: float) -> tuple[np.ndarray, np.ndarray]:
    """Find close pairs from the separations of all pairs in astropy."""
    first, second = np.triu_indices(len(sky), 1)
    close = sky[first].separation(sky[second]).arcsec < separation_arcsec
    return first[close], second[close]


@given(
    ra=st.sampled_from([0.0, 45.0, 123.4, 359.9999]),
    dec=st.one_of(st.sampled_from([-90.0, 90.0, 0.0, 41.8103]), st.floats(-90, 90)),
    n=st.integers(30, 150),
    separation=st.floats(1, 15),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=40, deadline=None)
def test_no_pair_within_the_separation_crosses_a_split_or_fold(
    ra: float, dec: float, n: int, separation: float, seed: int
) -> None:
    field = crowd(ra, dec, n, seed)
    # Cells of 6 arcsec: nearly every pair crosses a border.
    options = SplitSettings(nside=32768, test=0.4, validation=0.2, folds=3, separation_arcsec=separation, seed=seed)
    split, fold = assign(IDS[:n], field.ra.deg, field.dec.deg, options)
    first, second = close_pairs(field, separation)
    np.testing.assert_array_equal(split[first], split[second])
    np.testing.assert_array_equal(fold[first], fold[second])
    assert set(split) >= {TRAIN, TEST}


def test_pairs_cross_splits_without_a_separation() -> None:
    field = crowd(10, 89.99, 150, 1)
    split, _ = assign(IDS[:150], field.ra.deg, field.dec.deg, SplitSettings(nside=32768, test=0.4, separation_arcsec=0))
    first, second = close_pairs(field, 10)
    assert (split[first] != split[second]).mean() > 0.2


@given(seed=st.integers(0, 10_000), dec=st.floats(-90, 90))
@settings(max_examples=20, deadline=None)
def test_a_group_gets_the_split_of_one_of_its_cells_and_other_objects_are_unaffected(seed: int, dec: float) -> None:
    n, nside = 150, 16384
    field = crowd(200, dec, n, seed)
    ra, dec_deg = field.ra.deg, field.dec.deg
    alone, together = (
        assign(IDS[:n], ra, dec_deg, SplitSettings(nside=nside, separation_arcsec=separation))[0]
        for separation in (0, 8)
    )
    group = np.arange(n)
    for first, second in zip(*close_pairs(field, 8), strict=True):  # a slow loop to compare with the fast search
        group[group == group[second]] = group[first]
    cells = cells_of(ra, dec_deg, nside)
    for number in np.unique(group):
        members = group == number
        assert set(together[members]) <= set(alone[members])
        if len(set(cells[members])) == 1:
            np.testing.assert_array_equal(together[members], alone[members])


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_splits_do_not_depend_on_the_order_of_the_catalogue(seed: int) -> None:
    field, options = crowd(0, -30, 150, seed), SplitSettings(nside=32768, separation_arcsec=8, folds=2)
    order = np.random.default_rng(seed).permutation(150)
    split, fold = assign(IDS[:150], field.ra.deg, field.dec.deg, options)
    shuffled = field[order]
    other, other_fold = assign([IDS[k] for k in order], shuffled.ra.deg, shuffled.dec.deg, options)
    np.testing.assert_array_equal(other, split[order])
    np.testing.assert_array_equal(other_fold, fold[order])


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_new_objects_change_the_split_only_of_linked_objects(seed: int) -> None:
    n, options = 120, SplitSettings(nside=32768, separation_arcsec=8)
    field = crowd(80, 12, 2 * n, seed, side_arcsec=500)
    few, _ = assign(IDS[:n], field.ra.deg[:n], field.dec.deg[:n], options)
    many, _ = assign(IDS[: 2 * n], field.ra.deg, field.dec.deg, options)
    rows, found = friends_of_friends(field.ra.deg, field.dec.deg, 8)
    group = -np.arange(1, 2 * n + 1)
    group[rows] = found
    untouched = ~np.isin(group[:n], group[n:])
    assume(untouched.any())
    np.testing.assert_array_equal(many[:n][untouched], few[untouched])


def test_objects_without_a_position_are_assigned_by_identifier() -> None:
    ra, dec = sky()
    hidden = np.arange(N) % 3 == 0
    split, _ = assign(IDS, np.where(hidden, np.nan, ra), dec, SplitSettings())
    by_position, by_name = assign(IDS, ra, dec, SplitSettings())[0], assign(IDS, None, None, SplitSettings())[0]
    np.testing.assert_array_equal(split, np.where(hidden, by_name, by_position))


def test_a_chain_across_the_survey_is_refused_and_the_suggested_separation_works() -> None:
    field = crowd(30, 5, 600, 0)
    ra, dec = field.ra.deg, field.dec.deg
    with pytest.raises(DataError, match=r"\d+ of 600 objects form one chain.*separation_arcsec to 10 or less"):
        assign(IDS[:600], ra, dec, SplitSettings(nside=32768, separation_arcsec=20))
    split, _ = assign(IDS[:600], ra, dec, SplitSettings(nside=32768, separation_arcsec=10))
    assert set(split) == {TRAIN, VALIDATION, TEST}


@given(seed=st.integers(0, 10_000), dec=st.sampled_from([-90.0, -30.0, 0.0, 89.99]), strip=st.integers(1, 60))
@settings(max_examples=20, deadline=None)
def test_groups_do_not_depend_on_the_strips_in_which_pairs_are_searched(seed: int, dec: float, strip: int) -> None:
    field = crowd(0, dec, 120, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "_STRIP", strip)
        rows, group = friends_of_friends(field.ra.deg, field.dec.deg, 12)
    expected = np.arange(120)
    for first, second in zip(*close_pairs(field, 12), strict=True):
        expected[expected == expected[second]] = expected[first]
    np.testing.assert_array_equal(rows, np.flatnonzero(np.bincount(expected, minlength=120)[expected] > 1))
    np.testing.assert_array_equal(group[:, None] == group, expected[rows][:, None] == expected[rows])


def test_too_many_pairs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_PAIRS", 1000)
    with pytest.raises(DataError, match=r"1,225 pairs of objects are closer than 5 arcsec"):
        assign(IDS[:50], np.full(50, 10.0), np.full(50, 10.0), SplitSettings())


@given(n=st.integers(3, 12), seed=st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_a_tiny_survey_has_an_object_in_every_split(n: int, seed: int) -> None:
    split, _ = assign(IDS[:n], None, None, SplitSettings(test=0.1, validation=0.1, seed=seed))
    assert set(split) == {TRAIN, VALIDATION, TEST}
    again, _ = assign(IDS[:n][::-1], None, None, SplitSettings(test=0.1, validation=0.1, seed=seed))
    np.testing.assert_array_equal(again[::-1], split)


@given(n=st.integers(4, 12), seed=st.integers(0, 10_000), test=st.sampled_from([0.1, 0.9]))
@settings(max_examples=50, deadline=None)
def test_a_tiny_survey_has_an_object_in_every_fold(n: int, seed: int, test: float) -> None:
    split, fold = assign(IDS[:n], None, None, SplitSettings(test=test, validation=0, folds=3, seed=seed))
    assert TEST in split
    assert set(fold[split != TEST]) == {0, 1, 2}


@given(test=st.floats(0.05, 0.4), validation=st.floats(0.05, 0.4), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_fractions_are_met_on_average(test: float, validation: float, seed: int) -> None:
    split, _ = assign(IDS, *sky(), SplitSettings(test=test, validation=validation, seed=seed))
    for number, fraction in ((TEST, test), (VALIDATION, validation), (TRAIN, 1 - test - validation)):
        assert np.mean(split == number) == pytest.approx(fraction, abs=5 * np.sqrt(0.25 / N))


def test_all_objects_in_a_cell_get_the_same_split_and_fold() -> None:
    ra, dec = sky()
    split, fold = assign(IDS, ra, dec, SplitSettings(nside=8, folds=4))
    cells = cells_of(ra, dec, 8)
    for cell in np.unique(cells):
        assert len(set(split[cells == cell])) == 1
        assert len(set(fold[cells == cell])) == 1


def test_splits_do_not_change_when_the_catalogue_grows_or_is_reordered() -> None:
    ra, dec = sky()
    options = SplitSettings(nside=64)
    split, fold = assign(IDS, ra, dec, options)
    order = np.random.default_rng(1).permutation(N)[: N // 2]
    other, other_fold = assign([IDS[k] for k in order], ra[order], dec[order], options)
    np.testing.assert_array_equal(other, split[order])
    np.testing.assert_array_equal(other_fold, fold[order])


def test_splits_follow_from_identifiers_without_positions() -> None:
    split, _ = assign(IDS, None, None, SplitSettings())
    assert np.mean(split == TEST) == pytest.approx(0.2, abs=0.03)
    ra, dec = np.full(N, np.nan), np.full(N, np.nan)
    np.testing.assert_array_equal(assign(IDS, ra, dec, SplitSettings())[0], split)


def test_splits_depend_on_the_seed() -> None:
    first, _ = assign(IDS, None, None, SplitSettings(seed=0))
    second, _ = assign(IDS, None, None, SplitSettings(seed=1))
    assert (first != second).any()


def test_every_object_outside_the_test_split_has_a_fold() -> None:
    split, fold = assign(IDS, None, None, SplitSettings(folds=5))
    assert ((fold == -1) == (split == TEST)).all()
    assert set(fold[split != TEST]) == set(range(5))


def test_fold_and_split_are_independent() -> None:
    split, fold = assign(IDS, None, None, SplitSettings(folds=2, validation=0.3))
    assert np.mean(fold[split == VALIDATION] == 0) == pytest.approx(0.5, abs=0.06)


def test_a_single_cell_is_refused_with_advice() -> None:
    with pytest.raises(
        DataError, match=r"would be empty \(50 objects in 1 cells of nside 1\); set a larger split.nside"
    ):
        assign(IDS[:50], np.full(50, 10.0), np.full(50, 10.0), SplitSettings(nside=1))


def test_more_folds_than_objects_are_refused() -> None:
    with pytest.raises(DataError, match="fold"):
        assign(IDS[:4], None, None, SplitSettings(folds=50, test=0, seed=1))


def test_fewer_cells_than_splits_are_refused() -> None:
    with pytest.raises(DataError, match="would be empty"):
        assign(IDS[:2], [0.0, 100.0], [0.0, 1.0], SplitSettings())


def test_declinations_beyond_90_degrees_are_refused() -> None:
    with pytest.raises(DataError, match="declination reaches -120"):
        assign(IDS[:2], [0.0, 1.0], [0.0, -120.0], SplitSettings())
