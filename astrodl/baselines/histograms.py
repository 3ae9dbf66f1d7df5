"""Smoothed histograms of redshifts: how the classical photo-z methods make p(z).

A histogram is smoothed by a Gaussian of width s (1 + z). s is chosen on training objects that took no part in their own
histogram.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

# From well below any useful bin to the scatter of a useless method.
WIDTHS = np.geomspace(0.002, 0.3, 26)
# Share of a flat p(z) mixed in while the width is chosen, lest a few outliers decide on it.
FLAT_SHARE = 0.02


def check(train: Array, train_z: ArrayLike, edges: ArrayLike) -> tuple[Array, Array]:
    """Check redshifts (n_train,) and edges (B + 1,); raise `ValueError` where they do not fit the features."""
    z, bounds = np.asarray(train_z, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    if z.shape != (len(train),) or z.size < 2 or not np.isfinite(z).all():
        raise ValueError(f"train_z has shape {z.shape}, must be ({len(train)},), finite, with two objects at least")
    if bounds.ndim != 1 or bounds.size < 2 or not np.all(np.diff(bounds) > 0):
        raise ValueError("edges must be a strictly increasing sequence of at least two redshifts")
    return z, bounds


def in_bins(z: Array, edges: Array) -> NDArray[np.intp]:
    """Give the bins of redshifts of any shape; those outside the edges are in the first or last."""
    return np.clip(np.searchsorted(edges, z, side="right") - 1, 0, edges.size - 2)


def weighted_histogram(bins: NDArray[np.intp], weight: Array, n_bins: int) -> Array:
    """Add up the weights (n, k) in the bins (n, k) of each row: (n, n_bins)."""
    rows = np.arange(len(bins))[:, None] * n_bins
    total = np.bincount((rows + bins).ravel(), weight.ravel(), len(bins) * n_bins)
    return total.astype(np.float64).reshape(-1, n_bins)


def _spread(edges: Array, width: float) -> Array:
    """Give the matrix that smooths a histogram by a Gaussian of sigma = width (1 + z), kept within the edges."""
    centre = 0.5 * (edges[1:] + edges[:-1])
    cumulative = ndtr((edges[None, :] - centre[:, None]) / (width * (1 + centre[:, None])))
    probability = np.diff(cumulative, axis=1)
    return probability / probability.sum(axis=1, keepdims=True)


def smooth(histogram: Array, edges: Array, width: float) -> Array:
    """Smooth the histograms (n, B) and normalise them to densities."""
    probability = (histogram / histogram.sum(axis=1, keepdims=True)) @ _spread(edges, width)
    return probability / np.diff(edges)


def fit_width(histogram: Array, z: Array, edges: Array) -> float:
    """Choose the width with the largest mean log density at the true redshifts."""
    rows, bins = np.arange(len(z)), in_bins(z, edges)
    flat = FLAT_SHARE / (edges[-1] - edges[0])
    likelihood = [
        np.mean(np.log((1 - FLAT_SHARE) * smooth(histogram, edges, width)[rows, bins] + flat)) for width in WIDTHS
    ]
    return float(WIDTHS[int(np.argmax(likelihood))])


def median(density: Array, edges: Array) -> Array:
    """Give the redshift below which half of each density (n, B) lies, (n,)."""
    share = density * np.diff(edges)
    upper = np.cumsum(share, axis=1)
    bins = (upper < 0.5 * upper[:, -1:]).sum(axis=1)
    rows = np.arange(len(density))
    above = (upper[rows, bins] - 0.5 * upper[:, -1]) / share[rows, bins]
    return edges[bins + 1] - above * np.diff(edges)[bins]
