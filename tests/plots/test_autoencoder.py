import numpy as np
import pytest

from astrodl.metrics.autoencoder import chi2_by_radius, compare_samples, measure_units
from astrodl.plots.autoencoder import (
    chi2_profile,
    code_paths,
    compared_distributions,
    generated_sheet,
    unit_activity,
)
from astrodl.plots.style import MUTED


def test_units_are_ordered_by_information_and_collapsed_ones_are_grey(rng, texts):
    spread = np.array([0.0, 0.9, 0.5])
    units = measure_units(rng.normal(size=(500, 3)) * np.sqrt(spread), np.tile(np.log(1 - spread), (500, 1)))
    figure = unit_activity(units, n_objects=500)
    assert "2 of 3 active · 500 galaxies" in texts(figure)
    top, bottom = figure.axes
    heights = [bar.get_height() for bar in top.patches]
    assert heights == sorted(heights, reverse=True)
    assert [label.get_text() for label in bottom.get_xticklabels()] == ["2", "3", "1"]
    assert np.allclose(top.patches[2].get_facecolor()[:3], [int(MUTED[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    # mean and posterior stacked reach the variance of the prior
    assert bottom.patches[0].get_height() + bottom.patches[3].get_height() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("n_bands", [1, 3, 5])
def test_the_profile_has_a_panel_per_band_with_the_median(rng, draw, n_bands):
    images = rng.normal(size=(40, n_bands, 16, 16))
    edges, quantiles = chi2_by_radius(images, np.zeros_like(images), np.ones((40, n_bands)), n_rings=4)
    figure = draw(chi2_profile(edges, quantiles, [f"b{i}" for i in range(n_bands)], n_objects=40))
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == [f"b{i}" for i in range(n_bands)]
    for number, axes in enumerate(panels):
        assert np.array_equal(axes.lines[1].get_ydata(), quantiles[1, number])
        assert axes.lines[1].get_xdata().tolist() == [1, 3, 5, 7]
        # the panel at the bottom of each column says what x is
        assert bool(axes.get_xlabel()) == (number >= n_bands - min(3, n_bands))


def test_a_band_without_data_is_said_to_have_none(texts):
    quantiles = np.full((3, 2, 3), np.nan)
    quantiles[:, 0] = 1
    assert "no data" in texts(chi2_profile(np.arange(4), quantiles, ["g", "r"]))
    assert texts(chi2_profile(np.arange(4), np.full((3, 1, 3), np.nan), ["g"])).count("no data") == 1


def test_each_path_is_a_row_with_its_label(rng, texts):
    figure = code_paths(rng.random((3, 5, 8, 8, 3)), ["unit 1", "unit 2", "unit 3"], steps=["a", "b", "c", "d", "e"])
    images = figure.axes[0].images
    assert len(images) == 15
    rows = [image.get_extent()[2] for image in images]
    assert len(set(rows)) == 3
    said = texts(figure).split("\n")
    assert [said.count(text) for text in ("unit 1", "unit 2", "unit 3", "a", "e")] == [1] * 5


def test_real_galaxies_are_above_generated_ones(rng, texts):
    real, generated = np.zeros((6, 8, 8, 3)), np.ones((4, 8, 8, 3))
    figure = generated_sheet(real, generated, n_columns=4)
    images = figure.axes[0].images
    values = [float(np.mean(image.get_array())) for image in images]
    tops = [image.get_extent()[3] for image in images]
    assert values == [0] * 6 + [1] * 4
    assert max(tops[:6]) < min(tops[6:])
    assert {"real", "generated"} <= set(texts(figure).split("\n"))


def test_each_quantity_has_both_distributions_and_its_test(rng, texts):
    real = {
        "r50_pixels": rng.normal(size=300),
        "concentration": rng.normal(size=300),
        "colour_g_r": np.full(300, np.nan),
    }
    generated = {"r50_pixels": rng.normal(1, 1, 200), "concentration": rng.normal(size=200), "colour_g_r": np.ones(200)}
    tests = {name: compare_samples(real[name], generated[name]) for name in ("r50_pixels", "concentration")}
    figure = compared_distributions(real, generated, tests)
    said = texts(figure)
    for text in ("300 real and 200 generated", "r50 (pixels)", "g − r (mag)", "no data"):
        assert text in said
    assert f"D {tests['r50_pixels'].statistic:.3f}" in said
    stairs = figure.axes[0].patches
    assert [patch.get_data().values.sum() for patch in stairs] == pytest.approx([1, 1])


def test_constant_values_are_drawn(draw):
    same = {"concentration": np.ones(10)}
    draw(compared_distributions(same, same, {"concentration": compare_samples(np.ones(10), np.ones(10))}))
