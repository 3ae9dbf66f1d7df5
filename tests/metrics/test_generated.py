"""Frechet distance against its closed form."""

import numpy as np
import pytest

from astrodl.metrics.generated import frechet_distance, standardize_measurements


def test_frechet_distance_of_two_normal_distributions() -> None:
    random = np.random.default_rng(0)
    first = random.normal(0, [1, 2, 3], (50_000, 3))
    second = random.normal([1, 0, 0], [1, 1, 3], (50_000, 3))
    assert frechet_distance(first, second) == pytest.approx(1 + 1, abs=0.06)  # shift 1, widths 2 and 1
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)


def test_samples_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\) and \(5, 2\)"):
        frechet_distance(np.zeros((1, 2)), np.zeros((5, 2)))


def test_measurements_are_standardised_by_real_galaxies() -> None:
    real = {"a": [1.0, 2.0, 3.0, np.nan], "b": [0.0, 1.0, 2.0, 3.0]}
    first, second = standardize_measurements(real, {"a": [2.0, 900.0], "b": [1.5, np.nan]})
    assert first.shape == (3, 2)
    np.testing.assert_allclose(second, [[0.0, 0.0]], atol=1e-12)
