"""Vote fractions from catalogue features: a random forest, and the mean of all galaxies."""

import numpy as np
from numpy.typing import ArrayLike

from astrodl.baselines.features import Array, impute

__all__ = ["forest", "mean_fractions"]


def mean_fractions(train_fraction: ArrayLike, n_test: int) -> Array:
    """Predict the mean fractions of the training galaxies: (n_train, A) -> (n_test, A); NaN is left out."""
    return np.tile(np.nanmean(np.asarray(train_fraction, np.float64), axis=0), (n_test, 1))


def forest(
    train_x: ArrayLike,
    train_fraction: ArrayLike,
    test_x: ArrayLike,
    *,
    n_trees: int = 200,
    min_leaf: int = 3,
    seed: int = 0,
    n_jobs: int = 1,
) -> Array:
    """Predict the fractions of all answers by one random forest.

    Parameters
    ----------
    train_x, test_x
        Features, (n_train, F) and (n_test, F).
    train_fraction
        Fractions among the votes on each question, (n_train, A); NaN, for questions without votes, becomes the mean.
    n_trees
        Number of trees.
    min_leaf
        Smallest number of training objects in a leaf.
    seed
        Seed of the forest.
    n_jobs
        Number of threads.

    Returns
    -------
    ndarray
        Fractions, (n_test, A).
    """
    from sklearn.ensemble import RandomForestRegressor

    train, test = impute(train_x, test_x)
    fraction = np.asarray(train_fraction, np.float64)
    complete = np.where(np.isnan(fraction), mean_fractions(fraction, len(fraction)), fraction)
    model = RandomForestRegressor(
        n_trees, min_samples_leaf=min_leaf, max_features="sqrt", random_state=seed, n_jobs=n_jobs
    )
    return np.asarray(model.fit(train, complete).predict(test)).reshape(len(test), -1)
