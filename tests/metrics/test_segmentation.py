import numpy as np
import pytest
from scipy import ndimage

from astrodl.metrics import segmentation


def blank(n: int = 1, size: int = 16) -> np.ndarray:
    return np.zeros((n, size, size), dtype=bool)


def blobs(n: int, seed: int) -> np.ndarray:
    """Draw random blobs of a few pixels."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(n, 24, 24)), (0, 1.2, 1.2))
    return noise > 0.25


def test_dice_and_iou_of_equal_masks_are_one_and_of_disjoint_ones_zero() -> None:
    mask = blobs(3, 0)
    equal, disjoint = segmentation.overlap(mask, mask), segmentation.overlap(mask, ~mask)
    assert segmentation.dice(*equal) == segmentation.iou(*equal) == 1
    assert segmentation.dice(*disjoint) == segmentation.iou(*disjoint) == 0


def test_dice_of_half_overlapping_squares_is_a_half_and_iou_a_third() -> None:
    truth, predicted = blank(), blank()
    truth[0, 4:8, 4:8], predicted[0, 4:8, 6:10] = True, True
    overlap = segmentation.overlap(truth, predicted)
    assert segmentation.dice(*overlap) == pytest.approx(1 / 2)
    assert segmentation.iou(*overlap) == pytest.approx(1 / 3)


def test_dice_is_pooled_over_images() -> None:
    truth, predicted = blobs(6, 1), blobs(6, 2) | blobs(6, 1)
    expected = 2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())
    assert segmentation.dice(*segmentation.overlap(truth, predicted)) == pytest.approx(expected)


def test_dice_of_empty_masks_is_nan() -> None:
    assert np.isnan(segmentation.dice(*segmentation.overlap(blank(), blank())))
    assert np.isnan(segmentation.iou(*segmentation.overlap(blank(), blank())))


def test_empty_images_do_not_change_a_pooled_metric() -> None:
    truth, predicted = blobs(2, 1), blobs(2, 3)
    padded = segmentation.overlap(np.concatenate([truth, blank(3, 24)]), np.concatenate([predicted, blank(3, 24)]))
    assert segmentation.dice(*padded) == segmentation.dice(*segmentation.overlap(truth, predicted))


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (blank(1), blank(2), "shapes"),
        (blank()[0], blank()[0], r"\(n, y, x\)"),
        (blank(), np.zeros((1, 16, 16)), "apply a threshold"),
    ],
)
def test_invalid_masks_raise(truth, predicted, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segmentation.overlap(truth, predicted)


def test_fraction_error_is_weighted_by_flux() -> None:
    truth, predicted = np.zeros((2, 1, 2)), np.array([[[0.4, 0.0]], [[0.1, 0.1]]])
    error = segmentation.fraction_mae(truth, predicted, np.array([[[1.0, 3.0]], [[1.0, 1.0]]]))
    assert error == pytest.approx([0.1, 0.1])


def test_fraction_error_ignores_pixels_without_weight() -> None:
    random = np.random.default_rng(0)
    truth, predicted, weight = random.uniform(size=(3, 4, 8, 8))[:3]
    expected = segmentation.fraction_mae(truth, predicted, np.where(weight > 0.5, weight, 0))
    truth[weight <= 0.5], predicted[weight <= 0.5] = np.nan, 7
    assert np.array_equal(segmentation.fraction_mae(truth, predicted, np.where(weight > 0.5, weight, np.nan)), expected)
    assert np.array_equal(segmentation.fraction_mae(truth, predicted, np.where(weight > 0.5, weight, -1)), expected)


def test_fraction_error_of_several_components_is_their_mean() -> None:
    truth, predicted = np.random.default_rng(0).uniform(size=(2, 5, 3, 8, 8))
    weight = np.random.default_rng(1).uniform(size=(5, 1, 8, 8))
    each = [segmentation.fraction_mae(truth[:, k], predicted[:, k], weight[:, 0]) for k in range(3)]
    assert segmentation.fraction_mae(truth, predicted, weight) == pytest.approx(np.mean(each, axis=0))


def test_fraction_error_without_flux_is_nan() -> None:
    assert np.isnan(segmentation.fraction_mae(np.ones((1, 2, 2)), np.ones((1, 2, 2)), np.zeros((1, 2, 2)))).all()


def test_bt_metrics_of_a_known_scatter() -> None:
    error = np.random.default_rng(0).normal(0, 0.1, 40000)
    assert segmentation.bt_rmse(np.full(40000, 0.5), 0.5 + error) == pytest.approx(0.1, rel=0.02)
    assert segmentation.bt_within(np.full(40000, 0.5), 0.5 + error) == pytest.approx(0.6827, abs=0.01)


@pytest.mark.parametrize("metric", [segmentation.bt_rmse, segmentation.bt_within])
@pytest.mark.parametrize(("truth", "predicted"), [([0.5, np.nan], [0.5, 0.5]), ([], [])])
def test_bulge_to_total_ratios_that_are_not_finite_raise(metric, truth: list, predicted: list) -> None:
    with pytest.raises(ValueError, match="finite"):
        metric(truth, predicted)


def test_iou_of_each_image() -> None:
    truth, found = np.zeros((2, 3, 4, 4), bool)
    truth[0, :2], found[0, 1:3] = True, True
    truth[1, 0] = True
    np.testing.assert_allclose(segmentation.iou_per_image(truth, found), [1 / 3, 0, np.nan])
