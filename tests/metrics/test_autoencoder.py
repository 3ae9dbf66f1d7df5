"""Diagnosis of an autoencoder against planted collapse, planted residuals and planted differences."""

import numpy as np
import pytest
import torch
from scipy import stats

from astrodl.losses import kl_standard_normal
from astrodl.metrics import autoencoder
from astrodl.metrics.latent import active_units


def posterior(*units: tuple[float, float], n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Draw means and log-variances of units of a given variance of the mean and of the posterior."""
    random = np.random.default_rng(0)
    spread, width = np.array(units).T
    return random.normal(size=(n, len(units))) * np.sqrt(spread), np.broadcast_to(np.log(width), (n, len(units)))


def test_information_and_variances_are_those_of_the_loss_and_the_closed_form() -> None:
    mean, log_variance = posterior((0.8, 0.2), (0.0, 1.0))
    units = autoencoder.measure_units(mean, log_variance)
    expected = kl_standard_normal(torch.tensor(mean), torch.tensor(log_variance.copy())).mean(0)
    np.testing.assert_allclose(units.kl, expected, rtol=1e-10)
    assert units.kl == pytest.approx([0.5 * (0.8 + 0.2 - 1 - np.log(0.2)), 0], abs=0.02)
    assert units.total_variance == pytest.approx([1, 1], rel=0.05)
    assert units.active.tolist() == [True, False]
    assert units.active.sum() == active_units(mean)


def test_active_units_are_said_with_their_information() -> None:
    said = autoencoder.describe_units(autoencoder.measure_units(*posterior((0.9, 0.1), (0.8, 0.2))))
    assert said.startswith("2 of 2 units are active, with 0.8")
    assert "collapsed" not in said
    assert "prior" not in said


def test_collapsed_units_are_named_with_what_to_do() -> None:
    said = autoencoder.describe_units(
        autoencoder.measure_units(*posterior((0.9, 0.1), (0.0, 1.0), (0.8, 0.2), (0.0, 1.0), (0.0, 1.0)))
    )
    assert "2 of 5 units are active" in said
    assert "Units 2, 4 and 5 have collapsed onto the prior" in said
    assert "Lower beta" in said
    alone = autoencoder.describe_units(autoencoder.measure_units(*posterior((0.9, 0.1), (0.0, 1.0))))
    assert "Unit 2 has collapsed" in alone


def test_a_unit_that_free_bits_hold_open_is_said_apart() -> None:
    mean, log_variance = posterior((0.9, 0.1), (0.0, 0.4))
    said = autoencoder.describe_units(autoencoder.measure_units(mean, log_variance))
    assert "Of these, unit 2 still cost up to 0.16 nats" in said


def test_a_code_without_any_active_unit_is_said_to_be_ignored() -> None:
    said = autoencoder.describe_units(autoencoder.measure_units(*posterior((0.0, 1.0), (0.0, 1.0))))
    assert said.startswith("All 2 units have collapsed onto the prior: the decoder ignores the code")


@pytest.mark.parametrize(("spread", "says"), [(9.0, "variance of up to 9."), (0.2, "variance down to 0.3"), (0.9, "")])
def test_codes_wider_or_narrower_than_the_prior_are_said(spread: float, says: str) -> None:
    said = autoencoder.describe_units(autoencoder.measure_units(*posterior((spread, 0.1), (0.9, 0.1))))
    assert says in said
    assert ("where the prior has 1" in said) == bool(says)


def test_shapes_that_differ_raise() -> None:
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(4, 3\)"):
        autoencoder.measure_units(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="must be"):
        autoencoder.chi2_by_band(np.zeros((4, 2, 3, 3)), np.zeros((4, 2, 3, 3)), np.zeros(4))


def test_chi2_by_band_finds_the_band_with_an_excess() -> None:
    random = np.random.default_rng(0)
    sigma = random.uniform(0.1, 10, (60, 3))
    images = 5 + random.normal(size=(60, 3, 16, 16)) * (sigma * [1, 2, 1])[:, :, None, None]
    chi2 = autoencoder.chi2_by_band(images, np.full_like(images, 5), sigma)
    assert chi2.mean(0) == pytest.approx([1, 4, 1], rel=0.03)
    per_pixel = np.broadcast_to(sigma[:, :, None, None], images.shape)
    np.testing.assert_allclose(autoencoder.chi2_by_band(images, np.full_like(images, 5), per_pixel), chi2)


def test_missing_pixels_and_bands_are_left_out() -> None:
    images, sigma = np.full((2, 2, 8, 8), 3.0), np.ones((2, 2))
    images[0, 0, :4] = np.nan
    sigma[:, 1] = 0
    chi2 = autoencoder.chi2_by_band(images, np.zeros_like(images), sigma)
    assert chi2[:, 0].tolist() == [9, 9]
    assert np.isnan(chi2[:, 1]).all()
    _, quantiles = autoencoder.chi2_by_radius(images, np.zeros_like(images), sigma, n_rings=2)
    assert (quantiles[:, 0] == 9).all()
    assert np.isnan(quantiles[:, 1]).all()


def test_chi2_by_radius_has_the_percentiles_of_chi2_and_finds_a_bad_core() -> None:
    images = np.random.default_rng(0).normal(size=(3000, 1, 16, 16))
    edges, quantiles = autoencoder.chi2_by_radius(images, np.zeros_like(images), np.ones((3000, 1)), n_rings=4)
    assert edges.tolist() == [0, 2, 4, 6, 8]
    y, x = np.indices((16, 16)) - 7.5
    for ring in range(4):
        n_pixels = ((np.hypot(y, x) >= edges[ring]) & (np.hypot(y, x) < edges[ring + 1])).sum()
        expected = stats.chi2(n_pixels).ppf([0.16, 0.5, 0.84]) / n_pixels
        assert quantiles[:, 0, ring] == pytest.approx(expected, abs=0.04)
    worse = images * np.where(np.hypot(y, x) < 2, 3, 1)
    _, quantiles = autoencoder.chi2_by_radius(worse, np.zeros_like(images), np.ones((3000, 1)), n_rings=4)
    assert quantiles[1, 0] == pytest.approx([9, 1, 1, 1], rel=0.08)


def test_samples_of_one_distribution_pass_and_shifted_ones_do_not() -> None:
    random = np.random.default_rng(3)
    real, same = random.normal(2, 3, 1000), random.normal(2, 3, 1500)
    test = autoencoder.compare_samples(real, same)
    assert test.p_value > 0.05
    assert abs(test.shift) < 0.15
    shifted = autoencoder.compare_samples(real, same + 1.5)
    expected = 2 * stats.norm.cdf(0.25) - 1
    assert shifted.statistic == pytest.approx(expected, abs=3 * shifted.error)
    assert shifted.shift == pytest.approx(0.5, abs=0.12)
    assert shifted.p_value < 1e-6
    assert (shifted.n_real, shifted.n_generated) == (1000, 1500)


def test_the_error_of_the_distance_is_its_scatter_between_samples() -> None:
    random = np.random.default_rng(0)
    drawn = [
        autoencoder.compare_samples(random.normal(size=400), random.normal(1, 1, 400), n_draws=60) for _ in range(60)
    ]
    scatter = np.std([test.statistic for test in drawn])
    assert np.mean([test.error for test in drawn]) == pytest.approx(scatter, rel=0.3)


def test_unmeasured_values_are_left_out_and_empty_samples_raise() -> None:
    test = autoencoder.compare_samples([1, 2, np.nan, 3], [1, np.inf, 2, 3])
    assert (test.n_real, test.n_generated, test.statistic) == (3, 3, 0)
    with pytest.raises(ValueError, match="0 real and 2 generated"):
        autoencoder.compare_samples([np.nan], [1, 2])
