import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrodl.config import SplitSettings
from astrodl.errors import DataError
from astrodl.survey.split import TEST, TRAIN, VALIDATION, assign

N = 4000
IDS = [f"object {k}" for k in range(N)]


def sky(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


@given(test=st.floats(0.05, 0.4), validation=st.floats(0.05, 0.4), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_fractions_are_met_on_average(test: float, validation: float, seed: int) -> None:
    split, _ = assign(IDS, *sky(), SplitSettings(test=test, validation=validation, seed=seed))
    for number, fraction in ((TEST, test), (VALIDATION, validation), (TRAIN, 1 - test - validation)):
        assert np.mean(split == number) == pytest.approx(fraction, abs=5 * np.sqrt(0.25 / N))


def test_a_cell_is_never_divided() -> None:
    import astropy.units as u
    from astropy_healpix import HEALPix

    ra, dec = sky()
    split, fold = assign(IDS, ra, dec, SplitSettings(nside=8, folds=4))
    cells = HEALPix(nside=8, order="nested").lonlat_to_healpix(ra * u.deg, dec * u.deg)
    for cell in np.unique(cells):
        assert len(set(split[cells == cell])) == 1
        assert len(set(fold[cells == cell])) == 1


def test_an_object_keeps_its_place_when_the_catalogue_grows_or_is_reordered() -> None:
    ra, dec = sky()
    options = SplitSettings(nside=64)
    split, fold = assign(IDS, ra, dec, options)
    order = np.random.default_rng(1).permutation(N)[: N // 2]
    other, other_fold = assign([IDS[k] for k in order], ra[order], dec[order], options)
    np.testing.assert_array_equal(other, split[order])
    np.testing.assert_array_equal(other_fold, fold[order])


def test_without_positions_the_identifier_decides() -> None:
    split, _ = assign(IDS, None, None, SplitSettings())
    assert np.mean(split == TEST) == pytest.approx(0.2, abs=0.03)
    ra, dec = np.full(N, np.nan), np.full(N, np.nan)
    np.testing.assert_array_equal(assign(IDS, ra, dec, SplitSettings())[0], split)


def test_another_seed_gives_another_split() -> None:
    first, _ = assign(IDS, None, None, SplitSettings(seed=0))
    second, _ = assign(IDS, None, None, SplitSettings(seed=1))
    assert (first != second).any()


def test_folds_divide_what_is_not_test() -> None:
    split, fold = assign(IDS, None, None, SplitSettings(folds=5))
    assert ((fold == -1) == (split == TEST)).all()
    assert set(fold[split != TEST]) == set(range(5))


def test_fold_and_split_are_independent() -> None:
    split, fold = assign(IDS, None, None, SplitSettings(folds=2, validation=0.3))
    assert np.mean(fold[split == VALIDATION] == 0) == pytest.approx(0.5, abs=0.06)


def test_one_cell_for_all_is_refused_with_advice() -> None:
    with pytest.raises(
        DataError, match=r"would be empty \(50 objects in 1 cells of nside 1\); set a larger split.nside"
    ):
        assign(IDS[:50], np.full(50, 10.0), np.full(50, 10.0), SplitSettings(nside=1))


def test_more_folds_than_objects_are_refused() -> None:
    with pytest.raises(DataError, match="fold"):
        assign(IDS[:4], None, None, SplitSettings(folds=50, test=0, seed=1))


def test_a_declination_beyond_the_pole_is_refused() -> None:
    with pytest.raises(DataError, match="declination reaches 120"):
        assign(IDS[:2], [0.0, 1.0], [0.0, 120.0], SplitSettings())
