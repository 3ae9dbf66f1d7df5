import numpy as np
import pytest

from astrodl.metrics import clumps
from astrodl.metrics.bootstrap import bootstrap


def test_the_closest_pairs_of_the_same_image_are_matched_one_to_one() -> None:
    truth = [[10, 10], [10, 12], [5, 5]]
    found = [[10, 11.2], [10, 13.5], [5, 5]]
    of_truth, of_found = clumps.match_positions([0, 0, 0], truth, [0, 0, 1], found, 2.0)
    # the first prediction is nearer to the second clump; the other image's is not taken
    assert list(of_truth) == [-1, 0, -1]
    assert list(of_found) == [1, -1, -1]


def test_matching_is_that_of_a_loop_over_pairs() -> None:
    random = np.random.default_rng(0)
    images = [np.sort(random.integers(0, 4, size)) for size in (60, 50)]
    positions = [random.uniform(0, 20, (size, 2)) for size in (60, 50)]
    distance = np.hypot(*(positions[0][:, None] - positions[1][None]).transpose(2, 0, 1))
    distance[images[0][:, None] != images[1][None]] = np.inf
    expected = np.full(60, -1)
    while distance.min() <= 2:
        i, j = np.unravel_index(distance.argmin(), distance.shape)
        expected[i] = j
        distance[i], distance[:, j] = np.inf, np.inf
    of_truth, of_found = clumps.match_positions(images[0], positions[0], images[1], positions[1], 2.0)
    assert np.array_equal(of_truth, expected)
    assert np.array_equal(np.sort(of_found[of_found >= 0]), np.flatnonzero(of_truth >= 0))


def test_nothing_matches_nothing() -> None:
    of_truth, of_found = clumps.match_positions([], [], [0], [[1, 1]], 2.0)
    assert len(of_truth) == 0
    assert list(of_found) == [-1]


def test_a_faint_true_clump_is_neither_missing_nor_wrong() -> None:
    counts = clumps.count_clumps(2, [0, 0, 1], [True, False, True], [0, 0, 1], [-1, 1, -1], [-1, 1, -1])
    assert [list(values) for values in counts] == [[1, 1], [0, 0], [2, 1], [1, 0]]
    assert clumps.completeness(counts.n_truth, counts.n_found) == 0
    assert clumps.purity(counts.n_predicted, counts.n_matched) == pytest.approx(1 / 3)


def test_f1_is_the_harmonic_mean() -> None:
    assert clumps.f1([10], [8], [16], [8]) == pytest.approx(2 * 0.8 * 0.5 / 1.3)
    assert clumps.f1([10], [0], [0], [0]) == 0
    assert np.isnan(clumps.f1([0], [0], [3], [0]))


def test_completeness_is_a_ratio_statistic_over_images() -> None:
    random = np.random.default_rng(0)
    n_truth = random.integers(0, 5, 200)
    n_found = random.binomial(n_truth, 0.7)
    value, error = bootstrap(clumps.completeness, n_truth, n_found)
    assert value == n_found.sum() / n_truth.sum()
    assert error == pytest.approx(np.sqrt(0.7 * 0.3 / n_truth.sum()), rel=0.3)


def test_the_free_response_counts_clumps_above_each_score() -> None:
    threshold, completeness, purity = clumps.free_response(
        [0.9, 0.2, 0.7, 0.5], [True, False, True, True], [True, False, False, True], 4
    )
    assert list(threshold) == [0.9, 0.7, 0.5, 0.2]
    assert list(completeness) == [0.25, 0.25, 0.5, 0.5]
    assert list(purity) == [1, 1, 1, 0.75]
