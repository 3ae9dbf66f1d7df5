import numpy as np
import pytest
from matplotlib.patches import StepPatch

from astrodl.plots.photoz.pdf import example_pdfs, pit_histogram, redshift_distribution

EDGES = np.linspace(0, 2, 101)


def pdfs(z, width=0.05):
    middle = (EDGES[1:] + EDGES[:-1]) / 2
    density = np.exp(-0.5 * ((middle - z[:, None]) / width) ** 2)
    return density / (density.sum(axis=1, keepdims=True) * np.diff(EDGES))


def test_pit_histograms_average_to_one_and_the_ideal_is_drawn(rng):
    pit = rng.random(500)
    pit[:10] = np.nan
    left, right = pit_histogram(pit, baselines={"forest": rng.random(490)}).axes
    histograms = [patch.get_data().values for patch in left.patches if isinstance(patch, StepPatch)]
    assert [np.mean(heights) for heights in histograms] == pytest.approx([1, 1])
    assert any(np.allclose(line.get_ydata(), 1) for line in left.lines)
    assert any(np.allclose(line.get_ydata(), 0) for line in right.lines)


def test_a_uniform_pit_is_inside_the_band_and_a_skewed_one_is_not(rng):
    def largest_deviation(pit):
        line = next(line for line in pit_histogram(pit).axes[1].lines if line.get_label() == "network")
        return np.abs(line.get_ydata()).max()

    uniform = rng.random(1000)
    limit = 1.36 / np.sqrt(1000)
    assert largest_deviation(uniform) < limit
    assert largest_deviation(uniform**1.5) > limit


def test_examples_have_a_cutout_a_pdf_and_the_truth(rng):
    z = np.array([0.5, 1.0, np.nan])
    figure = example_pdfs(
        pdfs(np.array([0.5, 1.1, 0.8])), EDGES, z, rgb=rng.random((3, 8, 8, 3)), z_phot=[0.5, 1.1, 0.8]
    )
    assert sum(len(axes.images) for axes in figure.axes) == 3
    lines = [len(axes.lines) for axes in figure.axes if not axes.images]
    assert lines == [2, 2, 1]


def test_an_example_without_pdf_says_so(texts):
    assert "no PDF" in texts(example_pdfs(np.full((1, 100), np.nan), EDGES, [0.3]))
    assert "no data" in texts(example_pdfs(np.zeros((0, 100)), EDGES, []))


def test_stacked_pdfs_have_unit_area_and_follow_the_truth(rng):
    z = rng.uniform(0.3, 1.5, 400)
    top, bottom = redshift_distribution(pdfs(z), EDGES, z, baselines={"forest": pdfs(z, 0.2)}).axes
    assert bottom.get_xlabel() == "redshift"
    areas = [(patch.get_data().values * np.diff(patch.get_data().edges)).sum() for patch in top.patches]
    assert np.allclose(areas, 1, atol=0.01)
    network, forest = (np.abs(patch.get_data().values).mean() for patch in bottom.patches[1:])
    assert network < forest
