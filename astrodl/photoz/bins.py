"""Photometric redshifts in bins: metrics as functions of a quantity, and the mean redshifts of tomographic bins."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.errors import DataError
from astrodl.metrics import pdf as of_pdf
from astrodl.photoz.densities import Floats, usable
from astrodl.photoz.report import POINTS, Point, Statistic, check_point, measured, statistics

OF_TRENDS = (
    *("bias_mean", "bias_median", "sigma_mad", "eta_005", "eta_015"),
    *("crps", "pit_ks", "coverage_68", "coverage_95"),
)
REQUIREMENT = 0.002
"""Largest error of the mean redshift of a bin of source galaxies over 1 + z, for weak lensing in the first year of LSST
(LSST DESC Science Requirements Document, arXiv:1809.01669); 0.001 after ten years."""


def trends(
    z_true: ArrayLike,
    pdf: Any,
    edges: ArrayLike | None = None,
    *,
    against: ArrayLike,
    n_bins: int = 8,
    point: Point = "median",
    n_draws: int = 200,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measure redshift distributions in bins of a quantity that hold equal numbers of objects.

    Parameters
    ----------
    z_true, pdf, edges
        As for `evaluate`; objects that it would leave out are left out.
    against
        Quantity to bin in, (N,), for example a magnitude; objects where it is not finite are left out.
    n_bins
        Number of bins. Objects of one value stay in one bin, hence there are fewer where many values are equal; and
        never more than half as many as objects.
    point, n_draws, seed
        As for `evaluate`.

    Returns
    -------
    list of dict
        For each bin, in rising order, `low`, `high` and `centre` (smallest, largest and median value of `against` in
        it), `n_objects`, and `metrics`, name -> {"value", "error"} with bootstrap errors: `bias_mean bias_median
        sigma_mad eta_005 eta_015` of the points, `crps pit_ks coverage_68 coverage_95` of the distributions. `pit_ks`
        of n calibrated objects is about 0.87 / sqrt(n), not 0.

    Raises
    ------
    DataError
        As for `evaluate`, and where `against` does not fit the objects or is nowhere finite.
    StoreError
        The file cannot be read.
    """
    check_point(point)
    z, density, bounds, good = usable(z_true, pdf, edges)
    quantity = np.asarray(against, np.float64)
    if quantity.shape != good.shape:
        raise DataError(f"against has shape {quantity.shape}, there are {len(good)} p(z); give one value for each")
    quantity = quantity[good]
    known = np.isfinite(quantity)
    if not known.any():
        raise DataError(f"against is not finite for any of {len(known)} objects; there is nothing to bin in")
    quantity = quantity[known]
    found = statistics(z[known], density[known], bounds, point)
    return [
        {
            "low": float(quantity[chosen].min()),
            "high": float(quantity[chosen].max()),
            "centre": float(np.median(quantity[chosen])),
            "n_objects": len(chosen),
            "metrics": {name: _within(found[name], chosen, n_draws, seed) for name in OF_TRENDS},
        }
        for chosen in equal_counts(quantity, n_bins)
    ]


def tomography(
    z_true: ArrayLike,
    pdf: Any,
    edges: ArrayLike | None = None,
    *,
    n_bins: int = 5,
    point: Point = "median",
    n_draws: int = 200,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Compare stacked p(z) with the true redshifts in tomographic bins of the point estimate.

    The stack is what a lensing analysis would take for the n(z) of a bin if it calibrated nothing. The requirement of
    the LSST DESC Science Requirements Document (arXiv:1809.01669) is on the error of the mean redshift that remains
    after all calibration; a smaller `bias` meets it without any, a larger one can still be calibrated away.

    Parameters
    ----------
    z_true, pdf, edges
        As for `evaluate`; objects that it would leave out are left out.
    n_bins
        Number of bins, of equal counts; fewer where many estimates are equal, as for `trends`.
    point
        Which point estimate the bins are cut in.
    n_draws, seed
        Bootstrap draws over the objects of a bin.

    Returns
    -------
    list of dict
        For each bin, in rising order, `low` and `high` (smallest and largest estimate in it), `n_objects`, `mean_true`,
        `mean_stack` (mean of the stacked p(z)), `mean_point` (mean estimate), `bias` = mean_stack - mean_true and its
        `error`, `requirement` = 0.002 (1 + mean_true) (weak-lensing sources, year 1; half of it in year 10), and over
        the bins between `edges` (B + 1,) the densities `density_stack` and `density_true` (B,), the histogram of true
        redshifts over all objects of the bin; those outside the edges are missing from it, not from `mean_true`.

    Raises
    ------
    DataError, StoreError
        As for `evaluate`.
    """
    check_point(point)
    z, density, bounds, _ = usable(z_true, pdf, edges)
    estimates, means = POINTS[point](density, bounds), of_pdf.mean(density, bounds)
    widths = np.diff(bounds)
    rows = []
    for chosen in equal_counts(estimates, n_bins):
        bias = measured(np.mean, (means[chosen] - z[chosen],), n_draws=n_draws, seed=seed)
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
                "requirement": REQUIREMENT * (1 + mean_true),
                "edges": bounds,
                "density_stack": stack,
                "density_true": np.histogram(z[chosen], bounds)[0] / len(chosen) / widths,
            }
        )
    return rows


def equal_counts(values: Floats, n_bins: int) -> list[NDArray[np.intp]]:
    """Divide objects by a quantity into bins of equal counts, without parting equal values; give indices by bin."""
    if n_bins < 1:
        raise DataError(f"n_bins is {n_bins}, must be at least 1")
    order = np.argsort(values, kind="stable")
    # One object has no bootstrap error.
    n_bins = max(1, min(n_bins, len(values) // 2))
    cuts = np.linspace(0, len(values), n_bins + 1).round().astype(int)
    ranked = values[order]
    # A cut among equal values moves to the nearer end of them.
    first, last = (np.searchsorted(ranked, ranked[cuts[1:-1]], side=side) for side in ("left", "right"))
    inner = np.where(cuts[1:-1] - first <= last - cuts[1:-1], first, last)
    return [np.sort(order[start:stop]) for start, stop in itertools.pairwise(np.unique([0, *inner, len(values)]))]


def _within(statistic: Statistic, chosen: NDArray[np.intp], n_draws: int, seed: int) -> dict[str, float]:
    metric, arrays = statistic
    return measured(metric, tuple(array[chosen] for array in arrays), n_draws=n_draws, seed=seed)
