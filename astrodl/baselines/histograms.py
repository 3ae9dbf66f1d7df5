"""Smoothed histograms of redshifts, the p(z) of the classical photo-z methods.

A histogram is smoothed by a Gaussian of width s (1 + z). s is fitted on histograms of training objects that do not
contain the object itself.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from astrodl.baselines.features import Array

__all__ = ["check_redshifts", "find_bins", "fit_width", "smooth", "weighted_histogram"]

# From less than any useful bin width to the scatter of a useless method.
_WIDTHS = np.geomspace(0.002, 0.3, 26)
# Fraction of a flat p(z) in the fit of the width, so that a few outliers do not dominate it.
_FLAT_FRACTION = 0.02


def check_redshifts(train: Array, train_z: ArrayLike, edges: ArrayLike) -> tuple[Array, Array]:
    """Check redshifts (n_train,) and edges (B + 1,); raise `ValueError` where they do not fit the features."""
    z, bounds = np.asarray(train_z, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    if z.shape != (len(train),) or z.size < 2 or not np.isfinite(z).all():
        raise ValueError(f"train_z has shape {z.shape}, must be ({len(train)},), finite, with at least two objects")
    if bounds.ndim != 1 or bounds.size < 2 or not np.all(np.diff(bounds) > 0):
        raise ValueError("edges must be a strictly increasing sequence of at least two redshifts")
    return z, bounds


def find_bins(z: Array, edges: Array) -> NDArray[np.intp]:
    """Return the bins of redshifts of any shape; those outside the edges are in the first or last bin."""
    return np.clip(np.searchsorted(edges, z, side="right") - 1, 0, edges.size - 2)


def weighted_histogram(bins: NDArray[np.intp], weight: Array, n_bins: int) -> Array:
    """Sum the weights (n, k) in the bins (n, k) of each row: (n, n_bins)."""
    rows = np.arange(len(bins))[:, None] * n_bins
    total = np.bincount((rows + bins).ravel(), weight.ravel(), len(bins) * n_bins)
    return total.astype(np.float64).reshape(-1, n_bins)


def _smoothing_matrix(edges: Array, width: float) -> Array:
    """Compute the matrix (B, B) of a Gaussian of sigma = width (1 + z), normalised between the edges."""
    centre = 0.5 * (edges[1:] + edges[:-1])
    cumulative = ndtr((edges[None, :] - centre[:, None]) / (width * (1 + centre[:, None])))
    probability = np.diff(cumulative, axis=1)
    return probability / probability.sum(axis=1, keepdims=True)


def smooth(histogram: Array, edges: Array, width: float) -> Array:
    """Smooth histograms (n, B) and normalise them to densities."""
    probability = (histogram / histogram.sum(axis=1, keepdims=True)) @ _smoothing_matrix(edges, width)
    return probability / np.diff(edges)


def fit_width(histogram: Array, z: Array, edges: Array) -> float:
    """Choose the width with the largest mean logarithm of the density at the true redshifts."""
    rows, bins = np.arange(len(z)), find_bins(z, edges)
    flat = _FLAT_FRACTION / (edges[-1] - edges[0])
    likelihood = [
        np.mean(np.log((1 - _FLAT_FRACTION) * smooth(histogram, edges, width)[rows, bins] + flat)) for width in _WIDTHS
    ]
    return float(_WIDTHS[int(np.argmax(likelihood))])
