"""Calibration on held-out objects: uniform PIT values, coverage of conformal sets and intervals."""

import numpy as np
import pytest
from scipy import special, stats

from astrodl.calibration.levels import (
    conformal_levels,
    conformal_threshold,
    fit_pit,
    fit_temperature,
    pit_map,
)
from astrodl.metrics.classification import set_coverage
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


def test_few_objects_have_the_identity() -> None:
    assert fit_pit(np.full(10, 0.5)) == (1.0, 1.0)
    assert conformal_levels(np.full(10, 0.5), 0.95) == (0.0, 1.0)


def test_pit_values_of_zero_and_one_can_be_fitted() -> None:
    a, b = fit_pit(np.concatenate([np.zeros(5), np.ones(5), np.linspace(0, 1, 500)]))
    assert np.isfinite([a, b]).all()
    assert a > 0
    assert b > 0


@pytest.mark.parametrize("coverage", [0.68, 0.95])
def test_conformal_intervals_have_their_coverage_for_any_pdf(coverage: float) -> None:
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


def draw_classes(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw true probabilities of four classes, and the classes from them."""
    probability = random.dirichlet([0.5, 0.7, 1.0, 1.5], n)
    return probability, (probability.cumsum(1) < random.random((n, 1))).sum(1).clip(0, 3)


@pytest.mark.parametrize("factor", [1 / 3, 1.0, 3.0])
def test_logits_multiplied_by_a_factor_have_it_as_temperature(factor: float) -> None:
    probability, label = draw_classes(np.random.default_rng(1), 20_000)
    shift = np.linspace(-5, 5, len(label))[:, None]
    found = fit_temperature(factor * np.log(probability) + shift, label)
    assert found == pytest.approx(factor, rel=0.03)
    assert fit_temperature(np.log(probability), label) * factor == pytest.approx(found, rel=1e-3)


def test_temperature_is_the_best_of_a_grid_and_bounded_for_a_perfect_classifier() -> None:
    probability, label = draw_classes(np.random.default_rng(2), 500)
    logits = 2.2 * np.log(probability)
    grid = np.geomspace(0.05, 20, 2001)
    losses = [-np.mean(special.log_softmax(logits / t, axis=1)[np.arange(500), label]) for t in grid]
    assert fit_temperature(logits, label) == pytest.approx(grid[np.argmin(losses)], rel=0.005)
    assert fit_temperature(np.eye(3)[np.arange(60) % 3], np.arange(60) % 3) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(logits[:10], label[:10]) == 1


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_class_sets_have_their_coverage_for_any_probabilities(sharpness: float, coverage: float) -> None:
    random = np.random.default_rng(5)
    share = []
    for _ in range(300):
        probability, label = draw_classes(random, 500)
        stated = probability**sharpness / (probability**sharpness).sum(1, keepdims=True)
        least = conformal_threshold(stated[:200], label[:200], coverage)
        share.append(set_coverage(stated[200:] >= least, label[200:]))
    error = np.std(share) / np.sqrt(len(share))
    assert coverage - 3 * error < np.mean(share) < coverage + 1 / 201 + 3 * error


def test_sets_of_too_few_objects_contain_all_classes() -> None:
    probability = np.full((8, 3), 1 / 3)
    assert conformal_threshold(probability, np.zeros(8, int), 0.9) == 0.0
    assert conformal_threshold(probability[:0], np.zeros(0, int), 0.9) == 0.0
    assert conformal_threshold(probability, np.zeros(8, int), 0.0) == 1.0


@pytest.mark.parametrize("coverage", [0.68, 0.8, 0.9, 0.95])
def test_the_rank_of_a_level_is_exact_where_the_product_is_a_whole_number(coverage: float) -> None:
    """(1 - 0.68) / 2 times 25 is 4 less a rounding error; the interval of 4 and 21 of 24 covers 17 of 25."""
    tails = {0.68: 25, 0.8: 10, 0.9: 20, 0.95: 40}
    for multiple in range(1, 60):
        n = multiple * tails[coverage] - 1
        rank = round((1 - coverage) / 2 * tails[coverage] * multiple)
        pit = np.arange(1, n + 1) / (n + 1)
        assert conformal_levels(pit, coverage) == (pit[rank - 1], pit[-rank])
