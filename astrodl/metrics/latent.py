"""Metrics of a latent space: how well classes and properties follow from it.

`knn_predict` and `project` are fitted on training objects. Their predictions of the test objects are measured by
`classification.balanced_accuracy` and `spearman`, which can be bootstrapped without fitting again.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree
from scipy.stats import spearmanr

__all__ = ["active_units", "chi2", "knn_predict", "project", "spearman"]

_Array = NDArray[np.float64]


def _standardise(train_latent: ArrayLike, test_latent: ArrayLike) -> tuple[_Array, _Array]:
    """Subtract the training mean and divide by the training standard deviation; constant dimensions become zero."""
    train, test = np.asarray(train_latent, dtype=np.float64), np.asarray(test_latent, dtype=np.float64)
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise ValueError(f"latents have shapes {train.shape} and {test.shape}; both must be (N, L) with the same L")
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise ValueError("latents hold values that are not finite; leave those objects out")
    centre, spread = train.mean(axis=0), train.std(axis=0)
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
    return (train - centre) * scale, (test - centre) * scale


def knn_predict(train_latent: ArrayLike, train_class: ArrayLike, test_latent: ArrayLike, k: int = 15) -> NDArray:
    """Predict classes by a majority of the k nearest training objects in the standardised latent space.

    Parameters
    ----------
    train_latent, test_latent
        Latent vectors, (n_train, L) and (n_test, L).
    train_class
        Classes, integers or text, (n_train,).
    k
        Number of neighbours; all training objects where there are fewer.

    Returns
    -------
    ndarray
        Classes of the test objects, (n_test,); where votes are equal, the first class in sorted order.
    """
    train, test = _standardise(train_latent, test_latent)
    names, codes = np.unique(np.asarray(train_class), return_inverse=True)
    n_neighbours = min(k, len(train))
    _, neighbours = KDTree(train).query(test, k=n_neighbours)
    votes = codes[np.reshape(neighbours, (len(test), n_neighbours))]
    counts = (votes[:, :, None] == np.arange(names.size)).sum(axis=1)
    return names[counts.argmax(axis=1)]


def project(train_latent: ArrayLike, train_y: ArrayLike, test_latent: ArrayLike) -> _Array:
    """Predict a property by a linear least-squares fit to the training latents.

    Parameters
    ----------
    train_latent, test_latent
        Latent vectors, (n_train, L) and (n_test, L).
    train_y
        Property, (n_train,); objects where it is NaN are left out.

    Returns
    -------
    ndarray
        Fitted value of each test object, (n_test,).
    """
    train, test = _standardise(train_latent, test_latent)
    y = np.asarray(train_y, dtype=np.float64)
    known = np.isfinite(y)
    if not known.any():
        raise ValueError("train_y has no finite value; at least one is needed for the fit")
    design = np.column_stack([np.ones(np.count_nonzero(known)), train[known]])
    coefficients = np.linalg.lstsq(design, y[known], rcond=None)[0]
    return coefficients[0] + test @ coefficients[1:]


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Compute the absolute value of Spearman's rank correlation, ties sharing their mean rank.

    Pairs with a NaN are left out; NaN where fewer than two pairs remain or one variable is constant.
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    known = np.isfinite(first) & np.isfinite(second)
    if np.count_nonzero(known) < 2:
        return float("nan")
    x, y = first[known], second[known]
    # SciPy warns of constant input.
    return float("nan") if np.ptp(x) == 0 or np.ptp(y) == 0 else float(abs(spearmanr(x, y).statistic))


def active_units(latent: ArrayLike, threshold: float = 0.01) -> int:
    """Count the latent dimensions that the encoder uses.

    A dimension is active when the variance over objects of its posterior mean is above the threshold (Burda, Grosse &
    Salakhutdinov 2016, arXiv:1509.00519).

    Parameters
    ----------
    latent
        Posterior means from the encoder, not standardised, (N, L).
    threshold
        Smallest variance of an active dimension.
    """
    return int(np.count_nonzero(np.var(np.asarray(latent, dtype=np.float64), axis=0) > threshold))


def chi2(images: ArrayLike, reconstructions: ArrayLike, sky_sigma: ArrayLike) -> _Array:
    """Compute each object's reconstruction chi^2 per pixel, ((image - reconstruction) / sky sigma)^2 averaged.

    It is 1 if the residual is pure sky noise. Photon noise of the object itself is not included, so that bright objects
    have values above 1.

    Parameters
    ----------
    images, reconstructions
        Fluxes, (N, bands, y, x); pixels that are NaN in either are left out.
    sky_sigma
        Standard deviation of the sky per pixel in the same unit, (N, bands); bands where it is not positive and finite
        are left out.

    Returns
    -------
    ndarray
        One value per object, (N,), NaN where no pixel remains.
    """
    sigma = np.asarray(sky_sigma, dtype=np.float64)[:, :, None, None]
    inverse = np.divide(1, sigma, out=np.full_like(sigma, np.nan), where=np.isfinite(sigma) & (sigma > 0))
    deviation = (np.asarray(images, dtype=np.float64) - np.asarray(reconstructions, dtype=np.float64)) * inverse
    known = np.isfinite(deviation)
    count = known.sum(axis=(1, 2, 3))
    total = np.where(known, deviation, 0)
    return np.divide((total**2).sum(axis=(1, 2, 3)), count, out=np.full(len(count), np.nan), where=count > 0)
