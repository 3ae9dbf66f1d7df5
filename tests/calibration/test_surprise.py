"""The outlier score: analytic tails, robustness against outliers, and objects of different flux."""

import numpy as np
import pytest

from astrodl.calibration.surprise import (
    _rank_table,
    _surprise,
    fit_ranks,
    fit_score,
    measure_surprise,
    percentile,
)

LAYOUT = ((2, 2),)
"""One residual of two regions of two bands."""


def test_surprise_is_minus_the_logarithm_of_the_tail() -> None:
    values = np.random.default_rng(0).exponential(size=20000)
    levels = np.geomspace(1, 1 / len(values), 64)
    table = np.quantile(values, 1 - levels)
    # The tail of an exponential beyond x is exp(-x).
    x = np.array([0.5, 1.0, 3.0])
    assert _surprise(x, list(table), list(-np.log(levels))) == pytest.approx(x, abs=0.1)


def test_surprise_rises_beyond_the_table() -> None:
    first, second = _surprise(np.array([5.0, 9.0]), [0.0, 1.0, 2.0], [0.0, 1.0, 2.0])
    assert 2 < first < second


def test_percentile_is_the_fraction_of_reference_objects_with_a_lower_score() -> None:
    random = np.random.default_rng(0)
    reference, scores = random.gumbel(size=5000), random.gumbel(size=2000)
    counted = (reference[:, None] < scores).mean(0)
    interpolated = percentile(scores, _rank_table(reference))
    np.testing.assert_allclose(interpolated, counted, atol=0.002)
    # In the tail the fraction above must be right to a few per cent or a few objects.
    np.testing.assert_allclose(1 - interpolated, 1 - counted, rtol=0.1, atol=3 / len(reference))
    assert percentile(np.array([-99.0, 99.0]), _rank_table(reference)).tolist() == [0.0, 1.0]


def test_percentile_does_not_depend_on_the_other_objects() -> None:
    table = _rank_table(np.random.default_rng(0).normal(size=300))
    scores = np.array([0.3, 1.7, -2.0])
    assert (percentile(scores, table) == [percentile(one, table)[0] for one in scores[:, None]]).all()


def reference_objects(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulate residuals (n, 4) that grow with flux, flux and peak (n, 2), and another part (n, 1)."""
    random = np.random.default_rng(1)
    flux = random.uniform(3, 9, n)
    light = np.stack([flux, 0.5 * flux + random.normal(0, 0.2, n)], axis=1)
    residuals = 0.8 * flux[:, None] + random.normal(0, 0.3, (n, 4))
    return residuals, light, random.exponential(size=(n, 1))


def test_surprise_of_the_residual_is_relative_to_objects_of_the_same_flux() -> None:
    residuals, light, others = reference_objects(3000)
    constants = fit_score(residuals, light, others, layout=LAYOUT)
    surprise = measure_surprise(residuals, light, others, constants, layout=LAYOUT)
    assert abs(np.corrcoef(surprise[:, 0], light[:, 0])[0, 1]) < 0.1
    # A residual that is usual for a bright object is an outlier for a faint one.
    faint, bright = np.argmin(light[:, 0]), np.argmax(light[:, 0])
    residuals[faint] = residuals[bright]
    changed = measure_surprise(residuals, light, others, constants, layout=LAYOUT)
    assert changed[faint, 0] > surprise[:, 0].max()
    assert (changed[bright] == surprise[bright]).all()


def test_surprise_of_another_part_is_its_tail_and_of_the_residual_that_of_the_largest_region() -> None:
    residuals, light, others = reference_objects(3000)
    constants = fit_score(residuals, light, others, layout=LAYOUT)
    surprise = measure_surprise(residuals, light, others, constants, layout=LAYOUT)
    assert surprise.shape == (3000, 2)
    few = others[:, 0] < 4
    # the tail of an exponential is exp(-x); 55 of the objects lie beyond 4, so that its logarithm is known to 0.13
    np.testing.assert_allclose(surprise[few, 1], others[few, 0], atol=0.4)
    one_region = residuals.copy()
    one_region[0, 3] += 9  # of the second region
    changed = measure_surprise(one_region, light, others, constants, layout=LAYOUT)
    assert changed[0, 0] > surprise[:, 0].max()
    assert (changed[1:] == surprise[1:]).all()


def test_each_residual_is_a_part_with_its_own_regions() -> None:
    residuals, light, others = reference_objects(500)
    layout = ((1, 2), (1,))
    constants = fit_score(residuals, light, others, layout=layout)
    surprise = measure_surprise(residuals, light, others, constants, layout=layout)
    assert surprise.shape == (500, 3)
    for column, part in ((0, 0), (1, 0), (2, 0), (3, 1)):
        changed = residuals.copy()
        changed[7, column] += 9
        moved = measure_surprise(changed, light, others, constants, layout=layout) != surprise
        assert np.argwhere(moved).tolist() == [[7, part]]


def test_percentiles_of_unseen_objects_are_uniform_although_training_residuals_are_smaller() -> None:
    n_train, n_held_out, n_new = 600, 200, 2000
    residuals, light, others = reference_objects(n_train + n_held_out + n_new)
    residuals[:n_train] -= 0.3  # the network has learnt them by heart
    known = np.arange(len(residuals)) < n_train + n_held_out
    held_out = np.arange(n_train + n_held_out) >= n_train
    measured = (residuals[known], light[known], others[known])
    constants = fit_score(*measured, layout=LAYOUT)

    def score(*of: np.ndarray) -> np.ndarray:
        return measure_surprise(*of, constants, layout=LAYOUT).sum(1)

    scores = score(residuals[~known], light[~known], others[~known])
    new = percentile(scores, fit_ranks(*measured, held_out, np.ones(2), layout=LAYOUT))
    assert np.mean(new > 0.9) == pytest.approx(0.1, abs=0.05)
    assert np.mean(new) == pytest.approx(0.5, abs=0.06)
    among_all = percentile(scores, _rank_table(score(*measured)))
    assert np.mean(among_all > 0.9) > 0.15


def test_percentiles_without_held_out_objects_are_nan() -> None:
    assert np.isnan(percentile(np.zeros(3), {})).all()
