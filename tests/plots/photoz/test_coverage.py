import numpy as np
import pytest

from astrodl.plots.photoz.coverage import coverage_curve


def curve(figure, panel, name="network"):
    line = next(line for line in figure.axes[0].lines if line.get_label() == name)
    return figure.axes[panel].lines[figure.axes[0].lines.index(line)]


def test_the_curve_is_the_fraction_of_objects_in_the_interval():
    line = curve(coverage_curve([0.5, 0.25, 0.75, 0.05, np.nan]), 0)
    nominal, measured = line.get_data()
    for level, expected in {0.0: 0.25, 0.49: 0.25, 0.5: 0.75, 0.89: 0.75, 0.9: 1.0, 1.0: 1.0}.items():
        assert np.interp(level, nominal, measured) == pytest.approx(expected)


def test_a_uniform_pit_is_inside_the_band_and_others_are_outside_on_the_expected_side(rng):
    pit = rng.random(2000)
    figure = coverage_curve(pit, baselines={"narrow": rng.beta(0.5, 0.5, 2000), "wide": rng.beta(3, 3, 2000)})
    level = curve(figure, 1).get_xdata()
    limit = 1.96 * np.sqrt(level * (1 - level) / 2000)
    assert np.mean(np.abs(curve(figure, 1).get_ydata()) <= limit) > 0.8
    middle = np.abs(level - 0.5) < 0.3
    assert np.all(curve(figure, 1, "narrow").get_ydata()[middle] < -limit[middle])
    assert np.all(curve(figure, 1, "wide").get_ydata()[middle] > limit[middle])
    band = figure.axes[1].collections[0].get_paths()[0].get_extents()
    assert band.y1 == pytest.approx(1.96 * 0.5 / np.sqrt(2000), rel=1e-3)


def test_the_ideal_and_the_conformal_points_are_in_both_panels(rng):
    figure = coverage_curve(rng.random(90), conformal={0.68: (0.7, 0.02), 0.95: (0.94, np.nan)}, name="ensemble")
    top, bottom = figure.axes
    assert "ensemble" in top.get_legend_handles_labels()[1]
    assert np.array_equal(*top.lines[0].get_data())
    assert not bottom.lines[0].get_ydata().any()
    assert np.allclose(top.containers[0].lines[0].get_xydata(), [[0.68, 0.7], [0.95, 0.94]])
    assert np.allclose(bottom.containers[0].lines[0].get_ydata(), [0.02, -0.01])
