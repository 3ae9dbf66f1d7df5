import numpy as np
import pytest

from astrodl.plots.segmentation import bulge_to_total, clump_detection, segmentation_gallery


def maps(n, size=16):
    mask = np.zeros((n, size, size), dtype=bool)
    mask[:, 4:8, 9:12] = True
    share = np.full((n, size, size), 0.3)
    share[:, :3] = np.nan
    return mask, share


def test_a_row_has_five_pictures_and_two_contours(texts):
    mask, share = maps(3)
    figure = segmentation_gallery(
        np.ones((3, 16, 16, 3)), clump_truth=mask, clump_predicted=mask * 0.9, bulge_truth=share,
        bulge_predicted=share, titles=["a", "b", "c"], n_total=40,
    )  # fmt: skip
    words = texts(figure)
    assert "3 of 40 galaxies" in words
    assert "predicted bulge fraction" in words
    axes = figure.axes[0]
    # The last image is the colour scale.
    assert len(axes.images) == 3 * 5 + 1
    assert len(axes.collections) == 3 * 2


def test_a_contour_lies_on_its_clump():
    mask, share = maps(1)
    axes = segmentation_gallery(
        np.ones((1, 16, 16, 3)), clump_truth=mask, clump_predicted=0 * mask, bulge_truth=share, bulge_predicted=share
    ).axes[0]
    left, right, bottom, top = axes.images[1].get_extent()
    x, y = axes.collections[0].get_paths()[0].vertices.T
    # The clump spans columns 9 to 12 and rows 4 to 8, rows counted from the bottom; the 0.5 contour cuts half a pixel.
    assert np.allclose([x.min(), x.max()], left + (right - left) * np.array([9, 12]) / 16, atol=1e-6)
    assert np.allclose([y.max(), y.min()], bottom + (top - bottom) * np.array([4, 8]) / 16, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1])
def test_none_or_one_galaxy_without_clumps_is_drawn(n, texts):
    mask, share = maps(n)
    texts(
        segmentation_gallery(
            np.ones((n, 16, 16, 3)),
            clump_truth=0 * mask,
            clump_predicted=np.full(mask.shape, np.nan),
            bulge_truth=share,
            bulge_predicted=np.full(share.shape, np.nan),
        )
    )


def test_bulge_to_total_draws_pairs_the_diagonal_and_the_scatter(rng, texts):
    truth = rng.random(2000)
    predicted = truth + rng.normal(0, 0.05, 2000)
    truth[0] = np.nan
    figure = bulge_to_total(truth, predicted, baselines={"constant": np.full(2000, 0.5)})
    words = texts(figure)
    assert "1,999 galaxies" in words
    assert "network, RMS 0.05" in words
    assert "constant, RMS 0.29" in words
    left = figure.axes[0]
    assert (left.get_xlabel(), left.get_ylabel()) == ("true B/T", "predicted B/T")
    assert any(np.array_equal(line.get_xdata(), line.get_ydata()) for line in left.lines)
    assert sum(len(points.get_offsets()) for points in left.collections if len(points.get_offsets()) > 1) == 1999


def test_completeness_and_purity_are_the_fractions_of_each_bin(texts):
    flux = np.repeat([1.0, 10.0], 50)
    found = np.r_[np.arange(50) < 10, np.ones(50)]
    figure = clump_detection(flux, found, flux, np.ones(100), n_bins=2, label="clump flux (µJy)")
    words = texts(figure)
    assert "100 true clumps" in words
    completeness, purity = figure.axes
    assert completeness.get_xlabel() == "clump flux (µJy)"
    assert np.allclose(completeness.containers[0].lines[0].get_ydata(), [0.2, 1])
    assert np.allclose(purity.containers[0].lines[0].get_ydata(), 1)


@pytest.mark.parametrize("flux", [[], [2.0], [np.nan, 3.0], [-1.0]])
def test_few_clumps_are_drawn(flux, texts):
    found = np.ones(len(flux), dtype=bool)
    texts(clump_detection(flux, found, [], [], baselines={"unsharp mask": (flux, found, flux, found)}))
    texts(clump_detection(flux, found, flux, found, logarithmic=False))


@pytest.mark.parametrize("bt", [[], [0.4], [np.nan]])
def test_few_ratios_are_drawn(bt, texts):
    texts(bulge_to_total(bt, bt, baselines={"constant": bt}))
