"""Photometric redshifts with p(z) from catalogue features: nearest neighbours, a random forest, and n(z) for all.

p(z) is the smoothed histogram of the redshifts of training objects: of the neighbours, of those in the same leaves, or
of all. The support vector machine is in `svm`, the fully connected networks are in `mlp`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.baselines.features import Array, impute, standardise
from astrodl.baselines.histograms import check_redshifts, find_bins, fit_width, smooth, weighted_histogram
from astrodl.metrics.pdf import median

__all__ = ["forest", "knn", "trainz"]


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
        Bin edges of p(z), (B + 1,); redshifts outside are in the first or last bin.
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
    z, bounds = check_redshifts(train, train_z, edges)
    bins = find_bins(z, bounds)
    search = NearestNeighbors(n_neighbors=min(k, len(train) - 1), n_jobs=n_jobs).fit(train)

    def average_neighbours(x: Array | None) -> tuple[Array, Array]:
        # For None scikit-learn uses the training objects and leaves each out of its own neighbours.
        distance, index = search.kneighbors(x)
        weight = 1 / np.maximum(distance, 1e-9)
        weight /= weight.sum(axis=1, keepdims=True)
        return np.sum(weight * z[index], axis=1), weighted_histogram(bins[index], weight, bounds.size - 1)

    width = fit_width(average_neighbours(None)[1], z, bounds)
    point, histogram = average_neighbours(test)
    return {"z": point, "pdf": smooth(histogram, bounds, width)}


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
    z, bounds = check_redshifts(train, train_z, edges)
    bins, n_bins = find_bins(z, bounds), bounds.size - 1
    model = RandomForestRegressor(
        n_trees, min_samples_leaf=min_leaf, max_features=max_features, random_state=seed, n_jobs=n_jobs
    ).fit(train, z)
    train_leaf, test_leaf = model.apply(train), model.apply(test)
    left_out, histogram = np.zeros((len(train), n_bins)), np.zeros((len(test), n_bins))
    for tree, in_bag in enumerate(model.estimators_samples_):
        leaves = _leaf_histograms(train_leaf[in_bag, tree], bins[in_bag], n_bins)
        out_of_bag = np.setdiff1d(np.arange(len(train)), in_bag)
        left_out[out_of_bag] += leaves[train_leaf[out_of_bag, tree]]
        histogram += leaves[test_leaf[:, tree]]
    # With few trees some training objects are in the bag of every tree.
    known = left_out.sum(axis=1) > 0
    width = fit_width(left_out[known], z[known], bounds)
    return {"z": model.predict(test), "pdf": smooth(histogram, bounds, width)}


def trainz(train_x: ArrayLike, train_z: ArrayLike, test_x: ArrayLike, edges: ArrayLike) -> dict[str, Array]:
    """Estimate the redshift distribution n(z) of the training objects for every object, without the features.

    Its PIT is uniform by construction (Schmidt et al. 2020, MNRAS 499, 1587). A method without a better CRPS and CDE
    loss has learned nothing from the features.

    Parameters
    ----------
    train_x, train_z, test_x, edges
        As for `knn`; only the number of objects is used of the features.

    Returns
    -------
    dict
        `z`: median of n(z), (n_test,); `pdf`: densities, (n_test, B), all rows equal.

    Raises
    ------
    ValueError
        Fewer than two training objects, or arrays that do not fit together.
    """
    train, test = impute(train_x, test_x)
    z, bounds = check_redshifts(train, train_z, edges)
    bins, n_bins = find_bins(z, bounds), bounds.size - 1
    total = np.bincount(bins, minlength=n_bins).astype(np.float64)
    left_out = np.tile(total, (n_bins, 1)) - np.eye(n_bins)
    width = fit_width(left_out[bins], z, bounds)
    density = np.tile(smooth(total[None], bounds, width), (len(test), 1))
    return {"z": median(density, bounds), "pdf": density}


def _leaf_histograms(leaf: NDArray[np.intp], bins: NDArray[np.intp], n_bins: int) -> Array:
    """Compute the normalised redshift histogram of each leaf of a tree (node, n_bins); zero for other nodes."""
    n_nodes = int(leaf.max()) + 1
    counts = np.bincount(leaf * n_bins + bins, minlength=n_nodes * n_bins).reshape(n_nodes, n_bins)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
