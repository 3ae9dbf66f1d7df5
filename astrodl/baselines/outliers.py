"""Outlier scores from catalogue features; a higher score means a more unusual object."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.baselines.features import impute, standardise

__all__ = ["isolation_forest", "knn_distance"]


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
