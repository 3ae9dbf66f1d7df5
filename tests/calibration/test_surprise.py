"""The outlier score: analytic tails, robustness against outliers, and objects of different flux."""

import numpy as np
import pytest

from astrodl.calibration.surprise import (
    _distance,
    _rank_table,
    _robust_covariance,
    _surprise,
    fit_ranks,
    fit_score,
    percentile,
    score,
)


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


def test_robust_covariance_ignores_a_few_far_objects() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(2000, 2)) @ np.array([[2.0, 0.0], [1.0, 0.5]])
    contaminated = np.concatenate([features, random.normal(60, 1, (40, 2))])
    centre, precision = _robust_covariance(contaminated, ridge=0.0)
    assert np.abs(centre).max() < 0.15
    assert _distance(contaminated, centre, precision)[2000:].min() > 10


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
    """Simulate residuals (n, 4) that grow with flux, flux and peak (n, 2), and correlated features (n, 3)."""
    random = np.random.default_rng(1)
    flux = random.uniform(3, 9, n)
    light = np.stack([flux, 0.5 * flux + random.normal(0, 0.2, n)], axis=1)
    residuals = 0.8 * flux[:, None] + random.normal(0, 0.3, (n, 4))
    features = random.normal(size=(n, 3)) @ np.array([[1.0, 0.4, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    return residuals, light, features


def test_score_is_relative_to_objects_of_the_same_flux() -> None:
    residuals, light, features = reference_objects(3000)
    constants = fit_score(residuals, light, features, n_regions=2)
    scores = score(residuals, light, features, constants, n_regions=2)
    assert abs(np.corrcoef(scores, light[:, 0])[0, 1]) < 0.1
    # A residual that is usual for a bright object is an outlier for a faint one.
    faint, bright = np.argmin(light[:, 0]), np.argmax(light[:, 0])
    residuals[faint] = residuals[bright]
    changed = score(residuals, light, features, constants, n_regions=2)
    assert changed[faint] > scores.max()
    assert changed[bright] == scores[bright]


def test_features_add_to_the_score_only_if_they_were_fitted() -> None:
    residuals, light, features = reference_objects(500)
    with_features = fit_score(residuals, light, features, n_regions=2)
    without = fit_score(residuals, light, n_regions=2)
    assert "precision" not in without
    assert len(with_features["table"]) == len(without["table"]) + 1
    far = np.full_like(features, 30.0)
    assert (score(residuals, light, far, with_features, n_regions=2) > 5).all()
    assert np.array_equal(
        score(residuals, light, far, without, n_regions=2), score(residuals, light, None, without, n_regions=2)
    )


def test_percentiles_of_unseen_objects_are_uniform_although_training_residuals_are_smaller() -> None:
    random = np.random.default_rng(3)
    n_train, n_held_out, n_new = 600, 200, 2000
    residuals, light, _ = reference_objects(n_train + n_held_out + n_new)
    features = random.normal(size=(len(residuals), 12))
    residuals[:n_train] -= 0.3  # the network has learnt them by heart
    known = np.arange(len(residuals)) < n_train + n_held_out
    held_out = np.arange(n_train + n_held_out) >= n_train
    measured = (residuals[known], light[known], features[known])
    constants = fit_score(*measured, n_regions=2)
    scores = score(residuals[~known], light[~known], features[~known], constants, n_regions=2)
    new = percentile(scores, fit_ranks(*measured, held_out, n_regions=2))
    assert np.mean(new > 0.9) == pytest.approx(0.1, abs=0.05)
    assert np.mean(new) == pytest.approx(0.5, abs=0.06)
    among_all = percentile(scores, _rank_table(score(*measured, constants, n_regions=2)))
    assert np.mean(among_all > 0.9) > 0.2


def test_percentiles_without_held_out_objects_are_nan() -> None:
    assert np.isnan(percentile(np.zeros(3), {})).all()
