import numpy as np
import pytest

from astrodl.plots.photoz.pdf import example_pdfs, pit_histogram, redshift_distribution

EDGES = np.linspace(0, 2, 101)


def pdfs(z, width=0.05):
    middle = (EDGES[1:] + EDGES[:-1]) / 2
    density = np.exp(-0.5 * ((middle - z[:, None]) / width) ** 2)
    return density / (density.sum(axis=1, keepdims=True) * np.diff(EDGES))


def test_pit_bars_average_to_one_and_the_ideal_is_drawn(rng, texts):
    pit = rng.random(500)
    pit[:10] = np.nan
    figure = pit_histogram(pit, baselines={"forest": rng.random(490)}, ks=0.031)
    words = texts(figure)
    assert "490 galaxies" in words
    assert "KS = 0.031" in words
    assert "95 % if calibrated" in words
    left, right = figure.axes
    assert np.mean([bar.get_height() for bar in left.containers[0]]) == pytest.approx(1)
    assert any(np.allclose(line.get_ydata(), 1) for line in left.lines)
    assert any(np.allclose(line.get_ydata(), 0) for line in right.lines)


def test_a_uniform_pit_stays_in_the_band_and_a_skewed_one_leaves_it(rng):
    def extremes(pit):
        line = next(line for line in pit_histogram(pit).axes[1].lines if line.get_label() == "network")
        return np.abs(line.get_ydata()).max()

    uniform = rng.random(1000)
    limit = 1.36 / np.sqrt(1000)
    assert extremes(uniform) < limit
    assert extremes(uniform**1.5) > limit


def test_examples_show_a_cutout_a_pdf_and_the_truth(rng, texts):
    z = np.array([0.5, 1.0, np.nan])
    figure = example_pdfs(
        pdfs(np.array([0.5, 1.1, 0.8])), EDGES, z, rgb=rng.random((3, 8, 8, 3)), z_phot=[0.5, 1.1, 0.8], n_total=90
    )
    assert "3 of 90 galaxies" in texts(figure)
    assert sum(len(axes.images) for axes in figure.axes) == 3
    lines = [len(axes.lines) for axes in figure.axes if not axes.images]
    assert lines == [2, 2, 1]


def test_an_example_without_pdf_says_so(texts):
    assert "no PDF" in texts(example_pdfs(np.full((1, 100), np.nan), EDGES, [0.3]))
    assert "no data" in texts(example_pdfs(np.zeros((0, 100)), EDGES, []))


def test_stacked_pdfs_follow_the_truth(rng, texts):
    z = rng.uniform(0.3, 1.5, 400)
    figure = redshift_distribution(pdfs(z), EDGES, z, baselines={"forest": pdfs(z, 0.2)})
    words = texts(figure)
    assert "400 galaxies" in words
    assert "forest, stacked PDFs" in words
    top, bottom = figure.axes
    assert bottom.get_xlabel() == "redshift"
    areas = [(patch.get_data().values * np.diff(patch.get_data().edges)).sum() for patch in top.patches]
    assert np.allclose(areas, 1, atol=0.01)


@pytest.mark.parametrize("n", [0, 1])
def test_none_or_one_object_is_drawn(n, texts):
    z = np.full(n, 0.5)
    assert f"{n} galax" in texts(redshift_distribution(pdfs(z), EDGES, z))
    assert f"{n} galax" in texts(pit_histogram(z))
