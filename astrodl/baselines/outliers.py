"""Outlier scores from catalogue features; a higher score means a more unusual object."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.baselines.features import Array, impute, standardise
from astrodl.baselines.latent import pca

__all__ = [
    "isolation_forest",
    "knn_distance",
    "local_outlier_factor",
    "one_class_svm",
    "principal_components",
    "whiten",
]

_MAX_OBJECTS = 10_000
"""Training objects of methods whose time grows with the square of their number."""


def isolation_forest(
    train_x: ArrayLike, test_x: ArrayLike, seed: int = 0, *, n_trees: int = 300, n_jobs: int = 1
) -> NDArray[np.float64]:
    """Compute scores from the number of random cuts that isolate an object (Liu, Ting & Zhou 2008, ICDM).

    Parameters
    ----------
    train_x, test_x
        Features, (n_train, F) and (n_test, F).
    seed
        Seed of the forest.
    n_trees
        Number of trees.
    n_jobs
        Number of threads.

    Returns
    -------
    ndarray
        Scores of the test objects from 0 to 1, (n_test,).
    """
    from sklearn.ensemble import IsolationForest

    train, test = impute(train_x, test_x)
    model = IsolationForest(n_estimators=n_trees, random_state=seed, n_jobs=n_jobs).fit(train)
    return -model.score_samples(test)


def knn_distance(train_x: ArrayLike, test_x: ArrayLike, k: int = 10, *, n_jobs: int = 1) -> NDArray[np.float64]:
    """Compute the mean distance to the k nearest training objects in standardised features.

    Parameters
    ----------
    train_x, test_x
        Features, (n_train, F) and (n_test, F). No test object may be a training object: it would be its own
        neighbour.
    k
        Number of neighbours; all training objects where there are fewer.
    n_jobs
        Number of threads.

    Returns
    -------
    ndarray
        Scores of the test objects, (n_test,).
    """
    from sklearn.neighbors import NearestNeighbors

    train, test = standardise(train_x, test_x)
    search = NearestNeighbors(n_neighbors=min(k, len(train)), n_jobs=n_jobs).fit(train)
    return search.kneighbors(test)[0].mean(axis=1)


def whiten(train_x: ArrayLike, test_x: ArrayLike, *, ridge: float = 0.05) -> tuple[Array, Array]:
    """Rotate standardised features to their principal axes, and scale these to unit variance.

    Parameters
    ----------
    train_x, test_x
        Features, (n_train, F) and (n_test, F).
    ridge
        Variance that is added to that of each axis: magnitudes in neighbouring apertures are nearly the same number.

    Returns
    -------
    tuple of ndarray
        Whitened features; not all have unit variance.
    """
    train, test = standardise(train_x, test_x)
    variance, axes = np.linalg.eigh(np.atleast_2d(np.cov(train.T)))
    axes = axes / np.sqrt(np.maximum(variance, 0) + ridge)
    return train @ axes, test @ axes


def one_class_svm(train_x: ArrayLike, test_x: ArrayLike, *, nu: float = 0.05) -> NDArray[np.float64]:
    """Compute the distance outside of the support of the training objects (Schoelkopf et al. 2001, NeCo 13, 1443).

    Parameters
    ----------
    train_x, test_x
        Features, (n_train, F) and (n_test, F); of more than 10,000 training objects an even selection.
    nu
        Fraction of training objects that may lie outside.

    Returns
    -------
    ndarray
        Scores of the test objects, (n_test,).
    """
    from sklearn.svm import OneClassSVM

    train, test = standardise(train_x, test_x)
    return -OneClassSVM(nu=nu, gamma="scale").fit(_thin(train)).decision_function(test)


def local_outlier_factor(train_x: ArrayLike, test_x: ArrayLike, k: int = 20) -> NDArray[np.float64]:
    """Compute the density of the neighbours relative to that at the object (Breunig et al. 2000, SIGMOD, 93).

    Parameters
    ----------
    train_x, test_x
        Features, (n_train, F) and (n_test, F); of more than 10,000 training objects an even selection.
    k
        Number of neighbours; all training objects where there are fewer.

    Returns
    -------
    ndarray
        Scores of the test objects, about 1 for ordinary ones, (n_test,).
    """
    from sklearn.neighbors import LocalOutlierFactor

    train, test = standardise(train_x, test_x)
    train = _thin(train)
    model = LocalOutlierFactor(n_neighbors=max(1, min(k, len(train) - 1)), novelty=True).fit(train)
    return -model.score_samples(test)


def principal_components(
    train_images: ArrayLike, test_images: ArrayLike, n_components: int = 32
) -> tuple[tuple[Array, Array], NDArray[np.float64]]:
    """Project images on the principal components of the training images.

    Parameters
    ----------
    train_images, test_images
        Flattened images, (n_train, pixels) and (n_test, pixels).
    n_components
        Number of components, fewer where there are fewer objects or pixels.

    Returns
    -------
    codes : tuple of ndarray
        Coordinates of training and test objects.
    residual : ndarray
        Root mean square of what the components leave of the test images, (n_test,).
    """
    train, test = np.asarray(train_images, np.float32), np.asarray(test_images, np.float32)
    found = pca(train, test, min(n_components, *train.shape))
    residual = np.sqrt(np.mean((test - found.other_reconstruction) ** 2, axis=1, dtype=np.float64))
    return (found.train_latent.astype(np.float64), found.other_latent.astype(np.float64)), residual


def _thin(train: Array) -> Array:
    return train[:: -(-len(train) // _MAX_OBJECTS)]
