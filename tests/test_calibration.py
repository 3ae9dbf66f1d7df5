"""Calibration on unseen objects: the PIT map makes uniform what was not, conformal intervals keep their promise."""

import numpy as np
import pytest
from scipy import stats

from astrodl.calibration import conformal_levels, fit_pit, pit_map
from astrodl.metrics.pdf import pit_ks


@pytest.mark.parametrize(("a", "b"), [(2.0, 2.0), (0.6, 0.6), (1.5, 0.8)])
def test_recalibrated_pit_of_other_objects_is_uniform(a: float, b: float) -> None:
    random = np.random.default_rng(3)
    fitted, other = random.beta(a, b, (2, 4000))
    mapping = pit_map(*fit_pit(fitted))
    recalibrated = np.interp(other, np.linspace(0, 1, len(mapping)), mapping)
    assert pit_ks(other) > 0.05
    assert pit_ks(recalibrated) < 1.63 / np.sqrt(4000) + 0.01


def test_pit_map_is_monotone_and_keeps_the_ends() -> None:
    mapping = pit_map(3.0, 0.4)
    assert mapping[0] == 0
    assert mapping[-1] == 1
    assert (np.diff(mapping) >= 0).all()


def test_few_objects_change_nothing() -> None:
    assert fit_pit(np.full(10, 0.5)) == (1.0, 1.0)
    assert conformal_levels(np.full(10, 0.5), 0.95) == (0.0, 1.0)


def test_pit_values_of_zero_and_one_can_be_fitted() -> None:
    a, b = fit_pit(np.concatenate([np.zeros(5), np.ones(5), np.linspace(0, 1, 500)]))
    assert np.isfinite([a, b]).all()
    assert a > 0
    assert b > 0


@pytest.mark.parametrize("coverage", [0.68, 0.95])
def test_conformal_intervals_cover_what_they_promise_whatever_the_pdf(coverage: float) -> None:
    random = np.random.default_rng(5)
    share = []
    for _ in range(400):
        fitted, other = random.beta(0.5, 3.0, 200), random.beta(0.5, 3.0, 500)
        low, high = conformal_levels(fitted, coverage)
        share.append(np.mean((low <= other) & (other <= high)))
    error = np.std(share) / np.sqrt(len(share))
    assert coverage - 3 * error < np.mean(share) < coverage + 0.02 + 3 * error


def test_levels_of_a_uniform_pit_are_the_nominal_ones() -> None:
    pit = (np.arange(9999) + 1) / 10000
    assert conformal_levels(pit, 0.68) == pytest.approx((0.16, 0.84), abs=1e-3)
    assert stats.kstest(pit, "uniform").statistic < 1e-3
