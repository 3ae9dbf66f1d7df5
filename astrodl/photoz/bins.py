"""Photometric redshifts in bins: metrics as functions of a quantity, and the mean redshifts of tomographic bins."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from astrodl.errors import DataError
from astrodl.metrics.bins import split_equal_counts
from astrodl.metrics.pdf import mean
from astrodl.metrics.photoz import MEAN_Z_REQUIREMENT
from astrodl.photoz.densities import Pdf, select_usable
from astrodl.photoz.report import POINTS, Point, check_point, list_statistics, measure

__all__ = ["TREND_METRICS", "tomography", "trends"]

TREND_METRICS = (
    *("bias_mean", "bias_median", "sigma_mad", "eta_005", "eta_015"),
    *("crps", "pit_ks", "coverage_68", "coverage_95"),
)
# One object has no bootstrap error.
_MIN_COUNT = 2


def trends(
    z_true: ArrayLike,
    pdf: Pdf,
    edges: ArrayLike | None = None,
    *,
    against: ArrayLike,
    n_bins: int = 8,
    point: Point = "median",
    n_draws: int = 200,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Compute metrics of redshift distributions in bins of a quantity with equal numbers of objects.

    Parameters
    ----------
    z_true, pdf, edges
        As for `evaluate`, also which objects are left out.
    against
        Quantity of the bins, (N,), for example a magnitude; objects where it is not finite are left out.
    n_bins
        Largest number of bins. There are fewer where many values are equal, since objects of equal value stay in one
        bin, and where a bin would contain less than two objects.
    point, n_draws, seed
        As for `evaluate`.

    Returns
    -------
    list of dict
        For each bin, from low to high, `low`, `high` and `centre` (smallest, largest and median value of `against`),
        `n_objects`, and `metrics`, name -> {"value", "error"} with bootstrap errors: `bias_mean bias_median sigma_mad
        eta_005 eta_015` of the points, `crps pit_ks coverage_68 coverage_95` of the distributions. `pit_ks` of n
        calibrated objects is about 0.87 / sqrt(n), not 0.

    Raises
    ------
    DataError
        As for `evaluate`; or `against` has another shape or no finite value, or `n_bins` is less than one.
    StoreError
        The file cannot be read.
    """
    check_point(point)
    _check_n_bins(n_bins)
    z, density, bounds, good = select_usable(z_true, pdf, edges)
    quantity = np.asarray(against, np.float64)
    if quantity.shape != good.shape:
        raise DataError(f"against has shape {quantity.shape}, there are {len(good)} p(z); give one value for each")
    quantity = quantity[good]
    known = np.isfinite(quantity)
    if not known.any():
        raise DataError(f"against is not finite for any of {len(known)} objects; give a finite value for at least one")
    quantity = quantity[known]
    found = list_statistics(z[known], density[known], bounds, point)
    return [
        {
            "low": float(quantity[chosen].min()),
            "high": float(quantity[chosen].max()),
            "centre": float(np.median(quantity[chosen])),
            "n_objects": len(chosen),
            "metrics": {
                name: measure(found[name][0], [array[chosen] for array in found[name][1]], n_draws=n_draws, seed=seed)
                for name in TREND_METRICS
            },
        }
        for chosen in split_equal_counts(quantity, n_bins, min_count=_MIN_COUNT)
    ]


def tomography(
    z_true: ArrayLike,
    pdf: Pdf,
    edges: ArrayLike | None = None,
    *,
    n_bins: int = 5,
    point: Point = "median",
    n_draws: int = 200,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Compare stacked p(z) with the true redshifts in tomographic bins of the point estimate.

    The stack of a bin is the n(z) that a lensing analysis without calibration would use. The requirement of the LSST
    DESC Science Requirements Document (arXiv:1809.01669) is on the error of the mean redshift after all calibration: a
    smaller `bias` meets it without calibration, a larger one may be calibrated.

    Parameters
    ----------
    z_true, pdf, edges
        As for `evaluate`, also which objects are left out.
    n_bins
        Largest number of bins, of equal counts, as for `trends`.
    point
        Point estimate that defines the bins.
    n_draws, seed
        Bootstrap draws over the objects of a bin.

    Returns
    -------
    list of dict
        For each bin, from low to high, `low` and `high` (smallest and largest estimate), `n_objects`, `mean_true`,
        `mean_stack` (mean of the stacked p(z)), `mean_point` (mean estimate), `bias` = mean_stack - mean_true and its
        `error`, `requirement` = 0.002 (1 + mean_true) (weak-lensing sources, year 1; half of it in year 10), and in the
        bins between `edges` (B + 1,) the densities `density_stack` and `density_true` (B,), the histogram of the true
        redshifts over the number of all objects of the bin, also those outside the edges.

    Raises
    ------
    DataError, StoreError
        As for `evaluate`.
    """
    check_point(point)
    _check_n_bins(n_bins)
    z, density, bounds, _ = select_usable(z_true, pdf, edges)
    estimates, means = POINTS[point](density, bounds), mean(density, bounds)
    widths = np.diff(bounds)
    rows = []
    for chosen in split_equal_counts(estimates, n_bins, min_count=_MIN_COUNT):
        bias = measure(np.mean, [means[chosen] - z[chosen]], n_draws=n_draws, seed=seed)
        mean_true = float(z[chosen].mean())
        stack = (density[chosen] / (density[chosen] @ widths)[:, None]).mean(axis=0)
        rows.append(
            {
                "low": float(estimates[chosen].min()),
                "high": float(estimates[chosen].max()),
                "n_objects": len(chosen),
                "mean_true": mean_true,
                "mean_stack": float(means[chosen].mean()),
                "mean_point": float(estimates[chosen].mean()),
                "bias": bias["value"],
                "error": bias["error"],
                "requirement": MEAN_Z_REQUIREMENT * (1 + mean_true),
                "edges": bounds,
                "density_stack": stack,
                "density_true": np.histogram(z[chosen], bounds)[0] / len(chosen) / widths,
            }
        )
    return rows


def _check_n_bins(n_bins: int) -> None:
    if n_bins < 1:
        raise DataError(f"n_bins is {n_bins}, must be at least 1; give a positive number")
