import numpy as np
import pytest

from astrodl.plots.segmentation import bulge_to_total, clump_detection, segmentation_gallery


def maps(n, size=16):
    mask = np.zeros((n, size, size), dtype=bool)
    mask[:, 4:8, 9:12] = True
    fraction = np.full((n, size, size), 0.3)
    fraction[:, :3] = np.nan
    return mask, fraction


def gallery(mask, predicted, fraction):
    rgb = np.ones((*mask.shape, 3))
    return segmentation_gallery(
        rgb, clump_truth=mask, clump_predicted=predicted, bulge_truth=fraction, bulge_predicted=fraction
    ).axes[0]


def test_a_row_has_five_images_and_two_contours():
    mask, fraction = maps(3)
    axes = gallery(mask, mask * 0.9, fraction)
    # The last image is the colour bar.
    assert len(axes.images) == 3 * 5 + 1
    assert len(axes.collections) == 3 * 2


def test_a_contour_lies_on_its_clump():
    mask, fraction = maps(1)
    axes = gallery(mask, 0 * mask, fraction)
    left, right, bottom, top = axes.images[1].get_extent()
    x, y = axes.collections[0].get_paths()[0].vertices.T
    # The clump spans columns 9 to 12 and rows 4 to 8, rows counted from the bottom.
    assert np.allclose([x.min(), x.max()], left + (right - left) * np.array([9, 12]) / 16, atol=1e-6)
    assert np.allclose([y.max(), y.min()], bottom + (top - bottom) * np.array([4, 8]) / 16, atol=1e-6)


def test_galaxies_without_clumps_and_bulge_have_no_contours():
    mask, fraction = maps(2)
    assert not gallery(0 * mask, np.full(mask.shape, np.nan), np.nan * fraction).collections


def test_bulge_to_total_draws_pairs_the_diagonal_and_residuals(rng):
    truth = rng.random(2000)
    predicted = truth + rng.normal(0, 0.05, 2000)
    truth[0] = np.nan
    left, right = bulge_to_total(truth, predicted, baselines={"constant": np.full(2000, 0.5)}).axes
    assert any(np.array_equal(line.get_xdata(), line.get_ydata()) for line in left.lines)
    assert sum(len(points.get_offsets()) for points in left.collections if len(points.get_offsets()) > 1) == 1999
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert [round(float(label.split()[-1]), 2) for label in labels] == [0.05, 0.29]


def test_positions_are_drawn_at_the_centres_of_pixels():
    mask, fraction = maps(1)
    axes = segmentation_gallery(
        np.ones((*mask.shape, 3)), clump_truth=mask, clump_predicted=mask, bulge_truth=fraction,
        bulge_predicted=fraction, positions=[(np.array([[5.5, 10.0]]), np.zeros((0, 2)))],
    ).axes[0]  # fmt: skip
    left, right, bottom, top = axes.images[1].get_extent()
    (marker,) = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert np.allclose(marker.get_xdata(), left + (right - left) * 10.5 / 16)
    assert np.allclose(marker.get_ydata(), bottom + (top - bottom) * 6 / 16)


def test_completeness_and_purity_are_the_fractions_of_each_bin():
    snr = np.repeat([1.0, 10.0], 50)
    is_found = np.r_[np.arange(50) < 10, np.ones(50)]
    axes = clump_detection([snr, snr / 100], is_found, np.repeat([0.25, 0.75], 20), np.arange(40) >= 20, n_bins=2).axes
    for panel, expected in zip(axes, ([0.2, 1], [0.2, 1], [0, 1]), strict=True):
        assert np.allclose(panel.containers[0].lines[0].get_ydata(), expected)


@pytest.mark.parametrize("flux", [[], [2.0], [np.nan, 3.0], [-1.0]])
def test_few_clumps_are_drawn(flux, draw):
    is_found = np.ones(len(flux), dtype=bool)
    draw(clump_detection([flux, flux], is_found, [], []))
    draw(clump_detection([flux, flux], is_found, np.abs(flux), is_found))
