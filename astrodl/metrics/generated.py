"""How far generated galaxies are from real ones, in a fixed space of measurements."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["frechet_distance", "standardize_measurements"]


def frechet_distance(real: ArrayLike, generated: ArrayLike) -> float:
    r"""Compute the Frechet distance of two samples, each taken for a normal distribution.

    .. math:: |\mu_1 - \mu_2|^2 + \mathrm{tr}\left(C_1 + C_2 - 2 (C_1 C_2)^{1/2}\right)

    (Dowson & Landau 1982, J. Multivar. Anal. 12, 450; Heusel et al. 2017, arXiv:1706.08500, in the space of a
    classifier). Two samples of one distribution are not at zero: compare with two real ones of that size.

    Parameters
    ----------
    real, generated
        Vectors, (n, D) and (m, D), without NaN.

    Raises
    ------
    ValueError
        A sample has fewer than two vectors, or the dimensions differ.
    """
    first, second = (np.asarray(sample, np.float64) for sample in (real, generated))
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise ValueError(f"samples have shapes {first.shape} and {second.shape}; give (n, D) and (m, D), n, m > 1")
    covariances = [np.atleast_2d(np.cov(sample.T)) for sample in (first, second)]
    # the trace of the root of a product of covariances, whose eigenvalues are real and positive
    root = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0)).sum()
    shift = first.mean(0) - second.mean(0)
    return float(shift @ shift + np.trace(covariances[0] + covariances[1]) - 2 * root)


def standardize_measurements(
    real: Mapping[str, ArrayLike], *samples: Mapping[str, ArrayLike]
) -> list[NDArray[np.float64]]:
    """Standardise measurements by the median and 68 % interval of real galaxies, for `frechet_distance`.

    Parameters
    ----------
    real, samples
        Name -> values, NaN where not measured, such as of `photometry.form.measure_form`.

    Returns
    -------
    list of ndarray
        Vectors of the galaxies that have all measurements, (n, D), of `real` and of each sample, clipped to +-5.
    """
    table = np.column_stack([np.asarray(real[name], np.float64) for name in real])
    low, middle, high = np.nanquantile(table, [0.16, 0.5, 0.84], axis=0)
    scale = np.maximum((high - low) / 2, 1e-6)
    found = []
    for sample in (real, *samples):
        vectors = (np.column_stack([np.asarray(sample[name], np.float64) for name in real]) - middle) / scale
        found.append(np.clip(vectors[np.isfinite(vectors).all(1)], -5, 5))
    return found
