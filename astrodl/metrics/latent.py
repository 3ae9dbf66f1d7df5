"""Metrics of a latent space: what can be read off it by the simplest means.

Everything is fitted on training objects and measured on test objects. For bootstrap errors call the fitting half
(`knn_predict`, `project`) once and resample the other (`classification.balanced_accuracy`, `spearman`).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree
from scipy.stats import rankdata

from astrodl.metrics.classification import balanced_accuracy

Array = NDArray[np.float64]


def _standardise(train_latent: ArrayLike, test_latent: ArrayLike) -> tuple[Array, Array]:
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
        Classes of the test objects, (n_test,); among equal votes the first in sorted order.
    """
    train, test = _standardise(train_latent, test_latent)
    names, codes = np.unique(np.asarray(train_class), return_inverse=True)
    n_neighbours = min(k, len(train))
    _, neighbours = KDTree(train).query(test, k=n_neighbours)
    votes = codes[np.reshape(neighbours, (len(test), n_neighbours))]
    counts = (votes[:, :, None] == np.arange(names.size)).sum(axis=1)
    return names[counts.argmax(axis=1)]


def knn_recall(
    train_latent: ArrayLike, train_class: ArrayLike, test_latent: ArrayLike, test_class: ArrayLike, k: int = 15
) -> float:
    """Compute the balanced recall of `knn_predict`: the mean over the test classes of the fraction recognised.

    Parameters
    ----------
    train_latent, train_class, test_latent, k
        As for `knn_predict`.
    test_class
        True classes, (n_test,).
    """
    truth = np.asarray(test_class)
    predicted = knn_predict(train_latent, train_class, test_latent, k)
    codes = np.unique(np.concatenate([predicted, truth]), return_inverse=True)[1]
    return balanced_accuracy(codes[: predicted.size], codes[predicted.size :])


def project(train_latent: ArrayLike, train_y: ArrayLike, test_latent: ArrayLike) -> Array:
    """Project on the single direction that follows a property best.

    The direction is the linear least-squares fit of the property to the training latents.

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
        raise ValueError("train_y has no finite value; nothing can be fitted")
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
    ranks = [rankdata(values[known]) for values in (first, second)]
    a, b = (rank - rank.mean() for rank in ranks)
    norm = np.sqrt((a @ a) * (b @ b))
    return float(abs(a @ b) / norm) if norm > 0 else float("nan")


def rank_correlation(train_latent: ArrayLike, train_y: ArrayLike, test_latent: ArrayLike, test_y: ArrayLike) -> float:
    """Compute how well one direction of the latent space orders a property: `spearman` of `project` on the test set.

    Parameters
    ----------
    train_latent, train_y, test_latent
        As for `project`.
    test_y
        Property of the test objects, (n_test,); objects where it is NaN are left out.
    """
    return spearman(project(train_latent, train_y, test_latent), test_y)


def active_units(latent: ArrayLike, threshold: float = 0.01) -> int:
    """Count the latent dimensions that the encoder uses.

    A dimension is active when the variance over objects of its posterior mean exceeds the threshold (Burda, Grosse &
    Salakhutdinov 2016, arXiv:1509.00519).

    Parameters
    ----------
    latent
        Posterior means, (N, L), as the encoder gives them (not standardised).
    threshold
        Smallest variance of an active dimension.
    """
    return int(np.count_nonzero(np.var(np.asarray(latent, dtype=np.float64), axis=0) > threshold))


def chi2(images: ArrayLike, reconstructions: ArrayLike, sky_sigma: ArrayLike) -> Array:
    """Compute each object's reconstruction chi^2 per pixel, ((image - reconstruction) / sky sigma)^2 averaged.

    It is 1 where the residual is nothing but the sky noise. Photon noise of the object itself is not counted, so bright
    objects lie above 1.

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
        One value per object, (N,), NaN where nothing was left.
    """
    sigma = np.asarray(sky_sigma, dtype=np.float64)[:, :, None, None]
    inverse = np.divide(1, sigma, out=np.full_like(sigma, np.nan), where=np.isfinite(sigma) & (sigma > 0))
    deviation = (np.asarray(images, dtype=np.float64) - np.asarray(reconstructions, dtype=np.float64)) * inverse
    known = np.isfinite(deviation)
    count = known.sum(axis=(1, 2, 3))
    total = np.where(known, deviation, 0)
    return np.divide((total**2).sum(axis=(1, 2, 3)), count, out=np.full(len(count), np.nan), where=count > 0)
