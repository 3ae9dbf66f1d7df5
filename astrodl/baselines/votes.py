"""Fractions of votes from catalogue features: a random forest, and the mean of all galaxies."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.baselines.features import impute

Array = NDArray[np.float64]


def mean_fractions(train_share: ArrayLike, n_test: int) -> Array:
    """Give every galaxy the mean fractions of the training galaxies: (n_train, A) -> (n_test, A); NaN is left out."""
    return np.tile(np.nanmean(np.asarray(train_share, np.float64), axis=0), (n_test, 1))


def forest(
    train_x: ArrayLike,
    train_share: ArrayLike,
    test_x: ArrayLike,
    *,
    n_trees: int = 200,
    min_leaf: int = 3,
    seed: int = 0,
    n_jobs: int = 1,
) -> Array:
    """Regress the fractions by a random forest, all answers together.

    Parameters
    ----------
    train_x, test_x
        Features, (n_train, F) and (n_test, F).
    train_share
        Fractions among the votes on each question, (n_train, A); NaN, where nobody was asked, becomes the mean.
    n_trees, min_leaf, seed, n_jobs
        Of the forest.

    Returns
    -------
    ndarray
        Fractions, (n_test, A).
    """
    from sklearn.ensemble import RandomForestRegressor

    train, test = impute(train_x, test_x)
    share = np.asarray(train_share, np.float64)
    filled = np.where(np.isnan(share), mean_fractions(share, len(share)), share)
    model = RandomForestRegressor(
        n_trees, min_samples_leaf=min_leaf, max_features="sqrt", random_state=seed, n_jobs=n_jobs
    )
    return np.asarray(model.fit(train, filled).predict(test)).reshape(len(test), -1)
