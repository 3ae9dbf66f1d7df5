import numpy as np
import pytest

from astrodl.metrics.photoz import MEAN_Z_REQUIREMENT
from astrodl.plots.photoz.bins import imbalance_bias, tomographic_bins

EDGES = np.linspace(0, 2, 101)


def pdfs(middle, width=0.05):
    centre = (EDGES[1:] + EDGES[:-1]) / 2
    density = np.exp(-0.5 * ((centre - middle[:, None]) / width) ** 2)
    return density / (density.sum(axis=1, keepdims=True) * np.diff(EDGES))


def sample(rng, n=500):
    middle = rng.uniform(0.4, 1.5, n)
    return pdfs(middle), middle + 0.05 * rng.normal(size=n), middle


def points(axes):
    return np.array([container.lines[0].get_xydata()[0] for container in axes.containers])


def test_each_tomographic_bin_has_a_stack_and_a_histogram_of_unit_area(rng):
    density, z, middle = sample(rng)
    density[0], z[1] = np.nan, np.nan
    figure = tomographic_bins(density, EDGES, z, middle, n_bins=4)
    assert "498 galaxies" in figure.get_suptitle()
    top = figure.axes[0]
    assert len(top.patches) == 8
    areas = [(patch.get_data().values * np.diff(patch.get_data().edges)).sum() for patch in top.patches]
    assert np.allclose(areas, 1)


def test_the_lower_panel_contains_the_normalised_bias_and_the_requirement(rng):
    density, z, middle = sample(rng, 2000)
    low, high = (tomographic_bins(density, EDGES, truth, middle).axes[1] for truth in (z, z - 0.05))
    assert len(points(low)) == 5
    shift = points(high)[:, 1] * (1 + points(high)[:, 0]) - points(low)[:, 1] * (1 + points(low)[:, 0])
    assert np.allclose(shift, 0.05)
    assert np.all(np.abs(points(low)[:, 1]) < 0.01)
    band = low.patches[0]
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((-MEAN_Z_REQUIREMENT, MEAN_Z_REQUIREMENT))


def test_errors_of_the_bias_are_standard_errors_of_a_mean(rng):
    density, z, middle = sample(rng, 2000)
    for container in tomographic_bins(density, EDGES, z, middle).axes[1].containers:
        (low, high) = container.lines[2][0].get_segments()[0][:, 1]
        mean = container.lines[0].get_xdata()[0]
        assert (high - low) / 2 == pytest.approx(0.05 / np.sqrt(400) / (1 + mean), rel=0.25)


def test_the_band_does_not_fill_the_panel_and_all_points_are_visible(rng):
    middle = rng.uniform(0.4, 1.5, 300)
    exact = tomographic_bins(pdfs(middle), EDGES, middle, middle).axes[1]
    assert exact.get_ylim()[1] > 1.5 * MEAN_Z_REQUIREMENT
    density, z, middle = sample(rng, 12)
    axes = tomographic_bins(density, EDGES, z + 0.3, middle).axes[1]
    assert axes.get_ylim()[0] < points(axes)[:, 1].min() < -0.05


def trend(figure, panel, number):
    return figure.axes[panel].containers[number].lines[0].get_ydata()


def test_a_network_that_shrinks_redshifts_is_biased_against_the_truth_only(rng):
    z = rng.normal(1.0, 0.2, 4000)
    noisy = z + 0.2 * rng.normal(size=4000)
    figure = imbalance_bias(z, {"plain": 1.0 + 0.5 * (noisy - 1.0), "noisy": noisy}, n_bins=5)
    assert trend(figure, 0, 0)[0] > 0.03 > -0.03 > trend(figure, 0, 0)[-1]
    assert np.abs(trend(figure, 1, 0)).max() < 0.02
    assert np.abs(trend(figure, 0, 1)).max() < 0.02
    assert trend(figure, 1, 1)[0] < -0.03 < 0.03 < trend(figure, 1, 1)[-1]


def test_the_histogram_of_redshifts_is_in_the_lower_half_and_does_not_change_the_limits(rng):
    z = rng.uniform(0.2, 1.0, 200)
    figure = imbalance_bias(z, {"plain": z + 0.001}, z_train=rng.uniform(0.2, 1.0, 5000))
    for axes in figure.axes:
        assert axes.patches[0].get_data().values.max() == pytest.approx(0.45)
        assert axes.get_ylim()[1] < 0.01


def test_panels_without_data_say_so(rng, texts):
    density, z, middle = sample(rng, 20)
    assert "no data" in texts(tomographic_bins(density * np.nan, EDGES, z, middle))
    assert "no data" in texts(imbalance_bias(z, {"plain": middle * np.nan}))
    assert "no data" in texts(imbalance_bias(z, {}))
