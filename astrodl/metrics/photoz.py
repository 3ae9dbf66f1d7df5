"""Metrics of photometric redshift point estimates, in both conventions of the field.

Residuals are normalised, dz = (z_phot - z_spec) / (1 + z_spec). Papers on images (Pasquet et al. 2019, A&A 621, A26)
quote the mean, sigma_MAD and the fraction beyond 0.05 (0.15 for deep surveys); the LSST Science Book (Abell et al.
2009, arXiv:0912.0201), RAIL and qp quote the median, sigma_IQR and the fraction beyond max(0.06, 3 sigma_IQR).

All functions take point estimates and spectroscopic redshifts of the same objects. Redshifts that are not finite raise
`ValueError`: a comparison with NaN is false, so that an object without an estimate would not count as an outlier.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "MEAN_Z_REQUIREMENT",
    "bias_mean",
    "bias_median",
    "eta",
    "eta_lsst",
    "residual",
    "sigma_iqr",
    "sigma_mad",
    "tomographic_bias",
]

MEAN_Z_REQUIREMENT = 0.002
"""Largest error of the mean redshift of a bin of source galaxies over 1 + z, for weak lensing in the first year of LSST
(LSST DESC Science Requirements Document, arXiv:1809.01669); 0.001 after ten years."""


def residual(z_phot: ArrayLike, z_spec: ArrayLike) -> NDArray[np.float64]:
    """Compute the normalised residuals (z_phot - z_spec) / (1 + z_spec).

    Parameters
    ----------
    z_phot
        Point estimates, (N,).
    z_spec
        Spectroscopic (true) redshifts, (N,).

    Returns
    -------
    ndarray
        One residual per object, (N,).

    Raises
    ------
    ValueError
        No objects, different shapes, values that are not finite, or z_spec <= -1.
    """
    phot, spec = np.asarray(z_phot, dtype=np.float64), np.asarray(z_spec, dtype=np.float64)
    if phot.shape != spec.shape or phot.ndim != 1 or phot.size == 0:
        raise ValueError(f"z_phot has shape {phot.shape}, z_spec {spec.shape}; both must be (N,) with N > 0")
    good = np.isfinite(phot) & np.isfinite(spec) & (spec > -1)
    if not good.all():
        n_bad = np.count_nonzero(~good)
        raise ValueError(
            f"{n_bad} of {phot.size} redshift pairs are not finite or z_spec <= -1; leave such objects out"
        )
    return (phot - spec) / (1 + spec)


def bias_mean(z_phot: ArrayLike, z_spec: ArrayLike) -> float:
    """Compute the mean residual (the bias of Pasquet et al. 2019)."""
    return float(np.mean(residual(z_phot, z_spec)))


def bias_median(z_phot: ArrayLike, z_spec: ArrayLike) -> float:
    """Compute the median residual (the bias of the LSST Science Book)."""
    return float(np.median(residual(z_phot, z_spec)))


def sigma_mad(z_phot: ArrayLike, z_spec: ArrayLike) -> float:
    """Compute 1.4826 median(abs(dz - median(dz))), which is the standard deviation of a Gaussian."""
    difference = residual(z_phot, z_spec)
    return float(1.4826 * np.median(np.abs(difference - np.median(difference))))


def sigma_iqr(z_phot: ArrayLike, z_spec: ArrayLike) -> float:
    """Compute the interquartile range over 1.349, which is the standard deviation of a Gaussian."""
    low, high = np.percentile(residual(z_phot, z_spec), [25, 75])
    return float((high - low) / 1.349)


def eta(z_phot: ArrayLike, z_spec: ArrayLike, threshold: float = 0.05) -> float:
    """Compute the fraction of objects with abs(dz) above a threshold."""
    return float(np.mean(np.abs(residual(z_phot, z_spec)) > threshold))


def eta_lsst(z_phot: ArrayLike, z_spec: ArrayLike) -> float:
    """Compute the fraction of objects with abs(dz) above max(0.06, 3 sigma_IQR)."""
    return eta(z_phot, z_spec, max(0.06, 3 * sigma_iqr(z_phot, z_spec)))


def tomographic_bias(z_phot: ArrayLike, z_mean: ArrayLike, z_spec: ArrayLike, n_bins: int = 5) -> float:
    """Compute the largest error of the mean redshift over 1 + z among tomographic bins of equal counts in z_phot.

    Parameters
    ----------
    z_phot
        Point estimates that define the bins, (N,).
    z_mean
        Mean of each p(z), (N,); the mean over a bin is the mean of its stacked p(z).
    z_spec
        True redshifts, (N,).
    n_bins
        Number of bins.

    Returns
    -------
    float
        Largest abs(mean(z_mean) - mean(z_spec)) / (1 + mean(z_spec)). For few objects it is mostly sampling noise.
    """
    residual(z_phot, z_spec)
    # Not `split_equal_counts`, which keeps equal values together: the draws of the bootstrap are full of them.
    order, mean, spec = np.argsort(z_phot, kind="stable"), np.asarray(z_mean, float), np.asarray(z_spec, float)
    parts = [part for part in np.array_split(order, n_bins) if part.size]
    return max(float(abs(mean[part].mean() - spec[part].mean()) / (1 + spec[part].mean())) for part in parts)
