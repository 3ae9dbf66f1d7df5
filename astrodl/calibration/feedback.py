"""Order objects anew from a few labels: a Gaussian process around the score that was found without labels.

The labels say which objects are interesting. What a label teaches is the difference between it and what the score
promised, and it counts for objects of like measurements only: far from all labels the order is that of the score.
Hence a few labels cannot spoil the list (compare Lochner & Bassett 2021, Astronomy and Computing 36, 100481).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

__all__ = ["Ranking", "describe_objects", "learn_ranking"]

_Array = NDArray[np.float64]

_EXPECTED = 0.05
"""Share of objects that are interesting, before any label."""
_LENGTH = 2**0.5
"""Reach of a label per square root of the number of dimensions: the typical distance of two objects."""
_NOISE = 0.3
"""Standard error of a label, between 0 and 1: people differ, and so do objects of like measurements."""
_COMPONENTS = 16
"""Most principal components of a group of measurements."""
_BLOCK = 20_000


class Ranking(NamedTuple):
    """The new order of N objects."""

    score: _Array
    """Expected interest, (N,): about 0 for what is boring, about 1 for what is interesting; NaN without a score."""
    error: _Array
    """Its standard error, (N,): 1 far from all labels."""


def describe_objects(groups: Sequence[ArrayLike]) -> _Array:
    """Return vectors in which objects of like measurements are close, (N, D).

    Each group is standardised robustly, clipped at five times its scatter, and rotated to its principal components of
    unit variance, at most 16. Missing values become the median.

    Parameters
    ----------
    groups : sequence of (N, k) arrays
        Measurements, such as features and latent vectors.
    """
    described = []
    for group in groups:
        values = np.asarray(group, np.float64)
        values = np.where(np.isfinite(values), values, np.nan)
        values = values[:, np.isfinite(values).any(0)]
        low, middle, high = np.nanpercentile(values, [16, 50, 84], axis=0) if values.size else np.zeros((3, 0))
        scaled = np.nan_to_num((values - middle) / np.maximum((high - low) / 2, 1e-9)).clip(-5, 5)
        scaled -= scaled.mean(0)
        variance, axes = np.linalg.eigh(scaled.T @ scaled / max(len(scaled), 1))
        kept = np.argsort(-variance)[:_COMPONENTS]
        kept = kept[variance[kept] > 1e-6 * variance.max(initial=0)]
        described.append(scaled @ (axes[:, kept] / np.sqrt(variance[kept])))
    return np.concatenate(described, axis=1)


def learn_ranking(score: ArrayLike, vectors: ArrayLike, labelled: ArrayLike, interest: ArrayLike) -> Ranking:
    """Order objects by score and labels.

    The interest before any label is m = u^(1 / 0.05 - 1), where u is the rank of the score between 0 and 1: its mean is
    0.05. A Gaussian process with the kernel exp(-r^2 / (4 D)) of the distance r of two vectors describes what labels
    add to m (Rasmussen & Williams 2006, section 2.7). Its parameters are fixed, because a few labels, all of them from
    the top of the list, cannot tell them.

    Parameters
    ----------
    score : (N,) array
        Score that was found without labels, higher for more unusual objects; NaN for objects without data.
    vectors : (N, D) array
        Vectors that `describe_objects` returned.
    labelled : (n,) array of int
        Objects with a label, each once.
    interest : (n,) array
        1 for interesting objects, 0 for others.

    Returns
    -------
    Ranking
        Expected interest and its error.
    """
    values, places = np.asarray(score, np.float64), np.asarray(vectors, np.float64)
    indices, known = np.asarray(labelled, np.int64), np.isfinite(values)
    prior = np.full(len(values), np.nan)
    prior[known] = (rankdata(values[known]) / (known.sum() + 1)) ** (1 / _EXPECTED - 1)
    error = np.where(known, 1.0, np.nan)
    usable = known[indices]
    if not usable.any():
        return Ranking(prior, error)
    indices = indices[usable]
    process = GaussianProcessRegressor(
        RBF(_LENGTH * np.sqrt(max(places.shape[1], 1)), "fixed"), alpha=_NOISE**2, optimizer=None
    )
    process.fit(places[indices], np.asarray(interest, np.float64)[usable] - prior[indices])
    learned = prior.copy()
    rows = np.flatnonzero(known)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        change, deviation = process.predict(places[block], return_std=True)
        learned[block] += change
        error[block] = deviation
    return Ranking(learned, error)
