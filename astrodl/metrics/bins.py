"""Bins that hold equal numbers of objects."""

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["split_equal_counts"]


def split_equal_counts(values: ArrayLike, n_bins: int, *, min_count: int = 1) -> list[NDArray[np.intp]]:
    """Divide objects by a quantity into bins of equal counts.

    Objects of equal value stay in one bin, hence the counts differ, and bins may be missing, where many values are
    equal.

    Parameters
    ----------
    values
        Finite values of the quantity, (N,).
    n_bins
        Largest number of bins.
    min_count
        Number of objects that each bin should hold; there are at most N / min_count bins, but at least one.

    Returns
    -------
    list of ndarray
        Indices of the objects of each bin, from low to high values; no bin without objects.

    Raises
    ------
    ValueError
        The number of bins is less than one.
    """
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}, must be at least 1")
    quantity = np.asarray(values)
    order = np.argsort(quantity, kind="stable")
    n_bins = max(1, min(n_bins, len(quantity) // min_count))
    cuts = np.linspace(0, len(quantity), n_bins + 1).round().astype(int)
    ranked = quantity[order]
    # A cut among equal values moves to the nearer end of them.
    first, last = (np.searchsorted(ranked, ranked[cuts[1:-1]], side=side) for side in ("left", "right"))
    inner = np.where(cuts[1:-1] - first <= last - cuts[1:-1], first, last)
    return [np.sort(order[start:stop]) for start, stop in itertools.pairwise(np.unique([0, *inner, len(quantity)]))]
