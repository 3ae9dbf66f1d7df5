import numpy as np
import pytest
from scipy import ndimage

from astrodl.metrics import segmentation
from astrodl.metrics.bootstrap import bootstrap


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


def test_a_clump_is_found_when_half_of_it_is_covered() -> None:
    truth, half, less = blank(), blank(), blank()
    truth[0, 2:6, 2:6] = True
    half[0, 2:6, 2:4] = True
    less[0, 2:6, 2:4], less[0, 5, 3] = True, False
    assert [int(count[0]) for count in segmentation.match_clumps(truth, half)] == [1, 1, 1, 1]
    assert [int(count[0]) for count in segmentation.match_clumps(truth, less)] == [1, 0, 1, 1]


def test_pieces_of_a_clump_do_not_find_it_but_are_matched() -> None:
    truth, pieces = blank(), blank()
    truth[0, 2:8, 2:8] = True
    pieces[0, 2:8, 2:4], pieces[0, 2:8, 6:8] = True, True
    counts = segmentation.match_clumps(truth, pieces)
    assert [int(count[0]) for count in counts] == [1, 0, 2, 2]


def test_a_mask_of_all_pixels_finds_all_clumps_and_is_not_matched() -> None:
    truth = blank()
    truth[0, 2:4, 2:4], truth[0, 10:12, 10:12] = True, True
    counts = segmentation.match_clumps(truth, ~blank())
    assert segmentation.completeness(counts.n_truth, counts.n_found) == 1
    assert segmentation.purity(counts.n_predicted, counts.n_matched) == 0


def test_pixels_are_connected_across_corners_but_not_across_images() -> None:
    mask = blank(2)
    mask[0, 3, 3] = mask[0, 4, 4] = mask[1, 4, 4] = True
    assert list(segmentation.match_clumps(mask, mask).n_truth) == [1, 1]


def slow_counts(truth: np.ndarray, predicted: np.ndarray) -> list[int]:
    """Count by a loop over clumps of one image."""
    eight = np.ones((3, 3))
    labels = [ndimage.label(mask, eight) for mask in (truth, predicted)]
    result = []
    for (own, n_own), (other, n_other) in (labels, labels[::-1]):
        hits = 0
        for k in range(1, n_own + 1):
            inside = own == k
            hits += any(2 * (inside & (other == m)).sum() >= inside.sum() for m in range(1, n_other + 1))
        result += [n_own, hits]
    return result


def test_clumps_are_counted_as_by_a_loop_over_them() -> None:
    truth, predicted = blobs(8, 4), blobs(8, 5) | np.roll(blobs(8, 4), 1, axis=2)
    counts = segmentation.match_clumps(truth, predicted)
    assert [list(row) for row in np.stack(counts, axis=1)] == [
        slow_counts(t, p) for t, p in zip(truth, predicted, strict=True)
    ]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_counts_do_not_change_when_both_masks_are_rotated(turns: int) -> None:
    truth, predicted = blobs(4, 6), blobs(4, 7)
    turned = [np.rot90(mask, turns, axes=(1, 2)) for mask in (truth, predicted)]
    assert np.array_equal(segmentation.match_clumps(*turned), segmentation.match_clumps(truth, predicted))
    assert np.array_equal(segmentation.overlap(*turned), segmentation.overlap(truth, predicted))


def test_integer_masks_count_as_boolean_ones() -> None:
    truth, predicted = blobs(2, 6), blobs(2, 7)
    as_integers = segmentation.match_clumps(truth.astype(np.uint8), 3 * predicted.astype(int))
    assert np.array_equal(as_integers, segmentation.match_clumps(truth, predicted))


def test_listed_clumps_carry_their_flux_and_agree_with_the_counts() -> None:
    truth, predicted = blobs(6, 4), blobs(6, 5) | blobs(6, 4) & (np.arange(24) < 12)
    flux = np.random.default_rng(0).uniform(size=truth.shape)
    counts = segmentation.match_clumps(truth, predicted)
    sums, covered = segmentation.clump_list(truth, predicted, flux)
    assert len(sums) == counts.n_truth.sum()
    assert covered.sum() == counts.n_found.sum()
    assert sums.sum() == pytest.approx(flux[truth].sum())
    assert segmentation.clump_list(predicted, truth, flux)[1].sum() == counts.n_matched.sum()
    sums, covered = segmentation.clump_list(blank(), blank(), np.ones((1, 16, 16)))
    assert len(sums) == len(covered) == 0


def test_completeness_and_purity_are_ratio_statistics_over_objects() -> None:
    counts = segmentation.match_clumps(blobs(30, 4), blobs(30, 4) & (np.arange(24) < 12))
    value, error = bootstrap(segmentation.completeness, counts.n_truth, counts.n_found)
    assert value == counts.n_found.sum() / counts.n_truth.sum()
    assert 0 < error < 0.1
    assert np.isnan(segmentation.purity([0, 0], [0, 0]))


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (blank(1), blank(2), "shapes"),
        (blank()[0], blank()[0], r"\(n, y, x\)"),
        (blank(), np.zeros((1, 16, 16)), "apply a threshold"),
    ],
)
def test_invalid_masks_raise(truth, predicted, message: str) -> None:
    for function in (segmentation.overlap, segmentation.match_clumps):
        with pytest.raises(ValueError, match=message):
            function(truth, predicted)


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
