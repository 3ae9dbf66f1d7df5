"""Metrics of p(z) against true redshifts."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.errors import DataError
from astrodl.metrics import pdf as pdf_metrics
from astrodl.metrics import photoz as point_metrics
from astrodl.metrics.bootstrap import bootstrap
from astrodl.photoz.densities import Floats, Pdf, select_usable

__all__ = ["POINTS", "POINT_METRICS", "Point", "Statistic", "check_point", "evaluate", "list_statistics", "measure"]

POINTS: Mapping[str, Callable[..., Floats]] = {
    "mean": pdf_metrics.mean,
    "median": pdf_metrics.median,
    "mode": pdf_metrics.mode,
}
POINT_METRICS: Mapping[str, Callable[..., float]] = {
    "bias_mean": point_metrics.bias_mean,
    "bias_median": point_metrics.bias_median,
    "sigma_mad": point_metrics.sigma_mad,
    "sigma_iqr": point_metrics.sigma_iqr,
    "eta_005": partial(point_metrics.eta, threshold=0.05),
    "eta_015": partial(point_metrics.eta, threshold=0.15),
    "eta_lsst": point_metrics.eta_lsst,
}
_PIT_METRICS: Mapping[str, Callable[..., float]] = {
    "coverage_68": partial(pdf_metrics.coverage, level=0.68),
    "coverage_95": partial(pdf_metrics.coverage, level=0.95),
    "pit_ks": pdf_metrics.pit_ks,
    "pit_cvm": pdf_metrics.pit_cvm,
    "pit_ad": pdf_metrics.pit_ad,
}

Point = Literal["mean", "median", "mode"]
Statistic = tuple[Callable[..., float], tuple[NDArray[Any], ...]]
"""A metric and its arrays, objects first."""


def evaluate(
    z_true: ArrayLike,
    pdf: Pdf,
    edges: ArrayLike | None = None,
    *,
    point: Point = "median",
    n_draws: int = 500,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute all metrics of redshift distributions, in both conventions of the field, with bootstrap errors.

    Parameters
    ----------
    z_true
        True (spectroscopic) redshifts, (N,).
    pdf
        Densities per unit redshift (N, B) in the bins between `edges`; or an ensemble of qp; or the path of a file that
        `qp.read` opens. Only parameterisations other than ``hist`` need qp.
    edges
        Bin edges, (B + 1,). An ensemble, or a file that is not a histogram, is binned between them by its CDF.
    point
        Point estimate of the point metrics.
    n_draws, seed
        Bootstrap draws over objects.

    Returns
    -------
    dict
        `n_objects`, the number of usable objects; `n_unusable`, the number of objects whose p(z) is NaN, negative or
        zero everywhere, or whose true redshift is unknown; `point`; and `metrics`, name -> {"value", "error"}:
        `bias_mean bias_median sigma_mad sigma_iqr eta_005 eta_015 eta_lsst` of the points, `crps cde_loss pit_ks
        pit_cvm pit_ad coverage_68 coverage_95` of the distributions; definitions in `astrodl.metrics`.

    Raises
    ------
    DataError
        There is no usable object, the numbers of redshifts and p(z) differ, the edges do not contain the distributions,
        or qp is needed and not installed.
    StoreError
        The file cannot be read.
    """
    check_point(point)
    z, density, bounds, good = select_usable(z_true, pdf, edges)
    found = list_statistics(z, density, bounds, point)
    return {
        "n_objects": len(z),
        "n_unusable": int((~good).sum()),
        "point": point,
        "metrics": {name: measure(*statistic, n_draws=n_draws, seed=seed) for name, statistic in found.items()},
    }


def check_point(point: str) -> None:
    """Raise `DataError` for an unknown point estimate."""
    if point not in POINTS:
        raise DataError(f"point is '{point}', accepted are {', '.join(POINTS)}; choose one of them")


def list_statistics(z: Floats, density: Floats, edges: Floats, point: Point) -> dict[str, Statistic]:
    """Return every metric with its arrays, so that it can be computed for any choice of the objects.

    Parameters
    ----------
    z, density, edges
        True redshifts (N,), densities (N, B) and bin edges (B + 1,), as returned by `select_usable`.
    point
        Point estimate of the point metrics.
    """
    estimates = POINTS[point](density, edges)
    pit = pdf_metrics.pit(density, edges, z)
    mean: Callable[..., float] = np.mean
    found: dict[str, Statistic] = {name: (metric, (estimates, z)) for name, metric in POINT_METRICS.items()}
    found["crps"] = mean, (pdf_metrics.crps(density, edges, z),)
    found["cde_loss"] = mean, (pdf_metrics.cde_loss(density, edges, z),)
    return found | {name: (metric, (pit,)) for name, metric in _PIT_METRICS.items()}


def measure(
    metric: Callable[..., float], arrays: Iterable[NDArray[Any]], *, n_draws: int, seed: int
) -> dict[str, float]:
    """Compute a metric and its bootstrap error."""
    value, error = bootstrap(metric, *arrays, n_draws=n_draws, seed=seed)
    return {"value": float(value), "error": float(error)}
