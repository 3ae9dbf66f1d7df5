"""Preparation of catalogue features, fitted on the training objects alone."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def impute(train_x: ArrayLike, *other_x: ArrayLike) -> list[Array]:
    """Replace features that are NaN or infinite by the training median (zero where no training value is finite).

    Parameters
    ----------
    train_x
        Features of the training objects, (n_train, F).
    *other_x
        Features of other objects, (n, F).

    Returns
    -------
    list of ndarray
        The same arrays with finite values only, training objects first.

    Raises
    ------
    ValueError
        No training objects, or different numbers of features.
    """
    arrays = [np.array(x, dtype=np.float64) for x in (train_x, *other_x)]
    train = arrays[0]
    if any(x.ndim != 2 or x.shape[1] != train.shape[1] for x in arrays) or len(train) == 0:
        shapes = ", ".join(str(x.shape) for x in arrays)
        raise ValueError(f"features have shapes {shapes}; all must be (N, F) with the same F, and training objects")
    for x in arrays:
        x[~np.isfinite(x)] = np.nan
    # A column without any finite value would make nanmedian warn.
    known = np.isfinite(train).any(axis=0)
    median = np.zeros(train.shape[1])
    median[known] = np.nanmedian(train[:, known], axis=0)
    return [np.where(np.isnan(x), median, x) for x in arrays]


def standardise(train_x: ArrayLike, *other_x: ArrayLike) -> list[Array]:
    """Impute, then subtract the training mean and divide by the training standard deviation.

    Parameters, results and errors as for `impute`; constant features become zero for the training objects.
    """
    arrays = impute(train_x, *other_x)
    centre, spread = arrays[0].mean(axis=0), arrays[0].std(axis=0)
    scale = np.where(spread > 0, spread, 1)
    return [(x - centre) / scale for x in arrays]
