"""Preparation of catalogue features, fitted on the training objects alone."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Array", "impute", "standardise"]

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
    from sklearn.impute import SimpleImputer

    arrays = [np.array(x, dtype=np.float64) for x in (train_x, *other_x)]
    if any(x.ndim != 2 or x.shape[1] != arrays[0].shape[1] for x in arrays) or len(arrays[0]) == 0:
        shapes = ", ".join(str(x.shape) for x in arrays)
        raise ValueError(f"features have shapes {shapes}; all must be (N, F) with the same F, and training objects")
    for x in arrays:
        x[~np.isfinite(x)] = np.nan
    imputer = SimpleImputer(strategy="median", keep_empty_features=True).fit(arrays[0])
    return [imputer.transform(x) for x in arrays]


def standardise(train_x: ArrayLike, *other_x: ArrayLike) -> list[Array]:
    """Impute, then subtract the training mean and divide by the training standard deviation.

    Parameters, results and errors as for `impute`; constant features become zero for the training objects.
    """
    from sklearn.preprocessing import StandardScaler

    arrays = impute(train_x, *other_x)
    scaler = StandardScaler().fit(arrays[0])
    return [scaler.transform(x) for x in arrays]
