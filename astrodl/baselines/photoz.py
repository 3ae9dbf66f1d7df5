"""Photometric redshifts from catalogue features: nearest neighbours and a random forest, both with p(z).

p(z) is the histogram of the redshifts of like training objects (neighbours, or members of the same leaves), smoothed by
a Gaussian of width s (1 + z). s is chosen on training objects that took no part in their own histogram.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from astrodl.baselines.features import impute, standardise

Array = NDArray[np.float64]

# From well below any useful bin to the scatter of a useless method.
WIDTHS = np.geomspace(0.002, 0.3, 26)
# Share of a flat p(z) mixed in while the width is chosen, lest a few outliers decide on it.
FLAT_SHARE = 0.02


def knn(
    train_x: ArrayLike, train_z: ArrayLike, test_x: ArrayLike, edges: ArrayLike, *, k: int = 10, n_jobs: int = 1
) -> dict[str, Array]:
    """Estimate redshifts from the k nearest training objects in standardised features.

    Parameters
    ----------
    train_x, test_x
        Features such as magnitudes and colours, (n_train, F) and (n_test, F).
    train_z
        Redshifts of the training objects, (n_train,).
    edges
        Bin edges of p(z), (B + 1,); redshifts outside count in the first or last bin.
    k
        Number of neighbours, weighted by the inverse of their distance.
    n_jobs
        Number of threads.

    Returns
    -------
    dict
        `z`: weighted mean redshift of the neighbours, (n_test,); `pdf`: densities, (n_test, B).

    Raises
    ------
    ValueError
        Fewer than two training objects, or arrays that do not fit together.
    """
    from sklearn.neighbors import NearestNeighbors

    train, test = standardise(train_x, test_x)
    z, bounds = _check(train, train_z, edges)
    bins = _bin(z, bounds)
    search = NearestNeighbors(n_neighbors=min(k, len(train) - 1), n_jobs=n_jobs).fit(train)

    def gather(x: Array | None) -> tuple[Array, Array]:
        # Without an argument scikit-learn leaves each training object out of its own neighbours.
        distance, index = search.kneighbors(x)
        weight = 1 / np.maximum(distance, 1e-9)
        weight /= weight.sum(axis=1, keepdims=True)
        return np.sum(weight * z[index], axis=1), _histogram(bins[index], weight, bounds.size - 1)

    width = _fit_width(gather(None)[1], z, bounds)
    point, histogram = gather(test)
    return {"z": point, "pdf": _smooth(histogram, bounds, width)}


def forest(
    train_x: ArrayLike,
    train_z: ArrayLike,
    test_x: ArrayLike,
    edges: ArrayLike,
    *,
    n_trees: int = 300,
    min_leaf: int = 3,
    max_features: float = 0.33,
    seed: int = 0,
    n_jobs: int = 1,
) -> dict[str, Array]:
    """Estimate redshifts by a random forest, and p(z) from the training objects in the same leaves.

    The histogram is that of a quantile regression forest (Meinshausen 2006, JMLR 7, 983).

    Parameters
    ----------
    train_x, train_z, test_x, edges, n_jobs
        As for `knn`.
    n_trees
        Number of trees.
    min_leaf
        Smallest number of training objects in a leaf.
    max_features
        Fraction of the features tried at each split.
    seed
        Seed of the forest.

    Returns
    -------
    dict
        `z`: mean prediction of the trees, (n_test,); `pdf`: densities, (n_test, B).

    Raises
    ------
    ValueError
        Fewer than two training objects, or arrays that do not fit together.
    """
    from sklearn.ensemble import RandomForestRegressor

    train, test = impute(train_x, test_x)
    z, bounds = _check(train, train_z, edges)
    bins, n_bins = _bin(z, bounds), bounds.size - 1
    model = RandomForestRegressor(
        n_trees, min_samples_leaf=min_leaf, max_features=max_features, random_state=seed, n_jobs=n_jobs
    ).fit(train, z)
    train_leaf, test_leaf = model.apply(train), model.apply(test)
    left_out, histogram = np.zeros((len(train), n_bins)), np.zeros((len(test), n_bins))
    for tree, drawn in enumerate(model.estimators_samples_):
        leaves = _leaf_histograms(train_leaf[drawn, tree], bins[drawn], n_bins)
        out_of_bag = np.setdiff1d(np.arange(len(train)), drawn)
        left_out[out_of_bag] += leaves[train_leaf[out_of_bag, tree]]
        histogram += leaves[test_leaf[:, tree]]
    # With few trees some training objects were in every draw.
    judged = left_out.sum(axis=1) > 0
    width = _fit_width(left_out[judged], z[judged], bounds)
    return {"z": model.predict(test), "pdf": _smooth(histogram, bounds, width)}


def _check(train: Array, train_z: ArrayLike, edges: ArrayLike) -> tuple[Array, Array]:
    z, bounds = np.asarray(train_z, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    if z.shape != (len(train),) or z.size < 2 or not np.isfinite(z).all():
        raise ValueError(f"train_z has shape {z.shape}, must be ({len(train)},), finite, with two objects at least")
    if bounds.ndim != 1 or bounds.size < 2 or not np.all(np.diff(bounds) > 0):
        raise ValueError("edges must be a strictly increasing sequence of at least two redshifts")
    return z, bounds


def _bin(z: Array, edges: Array) -> NDArray[np.intp]:
    return np.clip(np.searchsorted(edges, z, side="right") - 1, 0, edges.size - 2)


def _histogram(bins: NDArray[np.intp], weight: Array, n_bins: int) -> Array:
    """Add up the weights (n, k) in the bins (n, k) of each row: (n, n_bins)."""
    rows = np.arange(len(bins))[:, None] * n_bins
    total = np.bincount((rows + bins).ravel(), weight.ravel(), len(bins) * n_bins)
    return total.astype(np.float64).reshape(-1, n_bins)


def _leaf_histograms(leaf: NDArray[np.intp], bins: NDArray[np.intp], n_bins: int) -> Array:
    """Give the normalised redshift histogram of each leaf of a tree (node number, n_bins); zero for other nodes."""
    n_nodes = int(leaf.max()) + 1
    counts = np.bincount(leaf * n_bins + bins, minlength=n_nodes * n_bins).reshape(n_nodes, n_bins)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _spread(edges: Array, width: float) -> Array:
    """Give the matrix that smooths a histogram by a Gaussian of sigma = width (1 + z), kept within the edges."""
    centre = 0.5 * (edges[1:] + edges[:-1])
    cumulative = ndtr((edges[None, :] - centre[:, None]) / (width * (1 + centre[:, None])))
    probability = np.diff(cumulative, axis=1)
    return probability / probability.sum(axis=1, keepdims=True)


def _smooth(histogram: Array, edges: Array, width: float) -> Array:
    """Smooth the histograms (n, B) and normalise them to densities."""
    probability = (histogram / histogram.sum(axis=1, keepdims=True)) @ _spread(edges, width)
    return probability / np.diff(edges)


def _fit_width(histogram: Array, z: Array, edges: Array) -> float:
    """Choose the width with the largest mean log density at the true redshifts."""
    rows, bins = np.arange(len(z)), _bin(z, edges)
    flat = FLAT_SHARE / (edges[-1] - edges[0])
    likelihood = [
        np.mean(np.log((1 - FLAT_SHARE) * _smooth(histogram, edges, width)[rows, bins] + flat)) for width in WIDTHS
    ]
    return float(WIDTHS[int(np.argmax(likelihood))])
