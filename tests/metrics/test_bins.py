from itertools import pairwise

import numpy as np
import pytest

from astrodl.metrics.bins import split_equal_counts


@pytest.mark.parametrize(
    ("values", "n_bins", "min_count", "sizes"),
    [
        (np.arange(40), 8, 2, [5] * 8),
        (np.arange(43), 4, 2, [11, 11, 10, 11]),
        (np.repeat([0, 1], [30, 70]), 3, 2, [30, 70]),
        (np.repeat([0, 1, 2], [90, 5, 5]), 2, 2, [90, 10]),
        (np.zeros(20), 5, 2, [20]),
        (np.arange(3), 8, 2, [3]),
        (np.arange(3), 8, 1, [1, 1, 1]),
        (np.arange(35), 8, 10, [12, 11, 12]),
        ([], 8, 1, []),
    ],
)
def test_bins_have_equal_counts_and_do_not_separate_equal_values(values, n_bins: int, min_count: int, sizes) -> None:
    bins = split_equal_counts(values, n_bins, min_count=min_count)
    assert [len(chosen) for chosen in bins] == sizes
    assert sorted(index for chosen in bins for index in chosen) == list(range(len(values)))


def test_bins_go_from_low_to_high_values() -> None:
    values = np.random.default_rng(0).normal(size=100)
    bins = split_equal_counts(values, 7)
    assert all(values[low].max() < values[high].min() for low, high in pairwise(bins))


def test_a_number_of_bins_below_one_raises() -> None:
    with pytest.raises(ValueError, match="n_bins is 0"):
        split_equal_counts(np.arange(5), 0)
