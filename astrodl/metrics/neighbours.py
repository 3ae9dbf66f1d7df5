"""Nearest neighbours of a few objects among many vectors, exact, in blocks: memory does not grow with the objects."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

__all__ = ["METRICS", "DistanceMetric", "Moments", "Scaling", "nearest"]

DistanceMetric = Literal["standardized", "whitened", "euclidean"]
METRICS: tuple[str, ...] = get_args(DistanceMetric)
_Array = NDArray[np.float64]

_LEAST_VARIANCE = 1e-4
"""Variance of a principal component, over that of the first, below which `whitened` leaves it out: vectors that were
computed in bfloat16 have noise of this order."""


@dataclass(frozen=True)
class Scaling:
    """A linear map of vectors after which distances are Euclidean.

    Attributes
    ----------
    matrix : (d,) or (d, m) array
        Factor of each dimension, or weights of the m principal components.
    """

    matrix: _Array

    def __call__(self, vectors: ArrayLike) -> _Array:
        """Scale vectors, (n, d) -> (n, d) or (n, m)."""
        values = np.asarray(vectors, np.float64)
        return values * self.matrix if self.matrix.ndim == 1 else values @ self.matrix


class Moments:
    """Mean and covariance of vectors that come in blocks.

    Vectors with a value that is not finite are left out and counted.

    Parameters
    ----------
    dimension : int
        Number of dimensions d.
    metric : str
        One of `METRICS`: what `scaling` will need.
    """

    def __init__(self, dimension: int, metric: DistanceMetric = "standardized"):
        if metric not in METRICS:
            raise ValueError(f"metric = '{metric}'; must be one of {', '.join(METRICS)}")
        self.metric, self.n_used, self.n_left_out = metric, 0, 0
        self._shift: _Array | None = None
        self._sum = np.zeros(dimension)
        self._square = np.zeros((dimension, dimension) if metric == "whitened" else dimension)

    def add(self, vectors: ArrayLike) -> None:
        """Add a block, (n, d)."""
        values = np.asarray(vectors, np.float64)
        n_given = len(values)
        values = values[np.isfinite(values).all(axis=1)]
        self.n_used += len(values)
        self.n_left_out += n_given - len(values)
        if not len(values) or self.metric == "euclidean":
            return
        if self._shift is None:  # squares of numbers near their mean keep their digits
            self._shift = values.mean(axis=0)
        values = values - self._shift
        self._sum += values.sum(axis=0)
        self._square += values.T @ values if self.metric == "whitened" else (values**2).sum(axis=0)

    def scaling(self) -> Scaling:
        r"""Return the scaling of the metric.

        - standardized: each dimension is divided by its standard deviation. A constant one counts for nothing.
        - whitened: the principal components of the standardised dimensions are divided by theirs, so that the distance
          is that of Mahalanobis (1936), :math:`\sqrt{(x - y)^T C^{-1} (x - y)}`. Those with less than 1e-4 of the
          variance of the first are left out.
        - euclidean: vectors as they are.
        """
        n = max(self.n_used, 1)
        if self.metric == "euclidean":
            return Scaling(np.ones(len(self._sum)))
        mean = self._sum / n
        square = self._square if self._square.ndim == 1 else np.diagonal(self._square)
        variance = square / n - mean**2
        # what rounding leaves of a constant is no spread
        spread = np.sqrt(np.where(variance > 1e-12 * np.max(variance, initial=0), variance, 0))
        inverse = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
        if self.metric == "standardized":
            return Scaling(inverse)
        correlation = (self._square / n - np.outer(mean, mean)) * np.outer(inverse, inverse)
        strength, components = np.linalg.eigh(correlation)
        kept = strength > _LEAST_VARIANCE * np.max(strength, initial=0)
        return Scaling(inverse[:, None] * components[:, kept] / np.sqrt(strength[kept]))


def nearest(
    blocks: Iterable[ArrayLike], queries: ArrayLike, k: int, scaling: Scaling, exclude: ArrayLike | None = None
) -> tuple[NDArray[np.int64], _Array]:
    """Find the k nearest vectors of each query, exactly.

    Parameters
    ----------
    blocks : iterable of (n, d) arrays
        Consecutive vectors. Those with a value that is not finite are no neighbours.
    queries : (q, d) array
        Finite vectors.
    k : int
        Number of neighbours.
    scaling : Scaling
        See `Moments.scaling`.
    exclude : (q,) array of int, optional
        Row that is no neighbour of a query, such as its own.

    Returns
    -------
    rows : (q, m) array of int
        Rows of the neighbours, nearest first; of equal distances, the first row first. m is k, or less where there are
        fewer vectors.
    distances : (q, m) array
        Their distances.
    """
    centres = scaling(queries)
    skipped = np.full(len(centres), -1) if exclude is None else np.asarray(exclude)
    rows = [np.empty(0, np.int64)] * len(centres)
    distances = [np.empty(0)] * len(centres)
    start = 0
    for block in blocks:
        values = np.asarray(block)
        # differences and not products of vectors, whose rounding would blur the order of near ones
        found = cdist(centres, scaling(np.where(np.isfinite(values), values, np.nan)))
        for number, distance in enumerate(found):
            if start <= skipped[number] < start + len(values):
                distance[skipped[number] - start] = np.nan
            limit = distances[number][-1] if len(distances[number]) == k else np.inf
            # an equal distance in a later row changes nothing
            close = np.flatnonzero(distance < limit)
            if len(close) > k:
                close = close[distance[close] <= np.partition(distance[close], k - 1)[k - 1]]
            merged = np.concatenate([distances[number], distance[close]])
            order = np.argsort(merged, kind="stable")[:k]
            distances[number] = merged[order]
            rows[number] = np.concatenate([rows[number], start + close])[order]
        start += len(values)
    length = min((len(found) for found in rows), default=0)
    return np.array([found[:length] for found in rows]), np.array([found[:length] for found in distances])
