"""Metrics of p(z) against true redshifts."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.errors import DataError
from astrodl.metrics import pdf as of_pdf
from astrodl.metrics import photoz as of_point
from astrodl.metrics.bootstrap import bootstrap
from astrodl.photoz.densities import Floats, usable

POINTS: Mapping[str, Callable[..., Floats]] = {
    "mean": of_pdf.mean,
    "median": of_pdf.median,
    "mode": of_pdf.mode,
}
OF_POINTS: Mapping[str, Callable[..., float]] = {
    "bias_mean": of_point.bias_mean,
    "bias_median": of_point.bias_median,
    "sigma_mad": of_point.sigma_mad,
    "sigma_iqr": of_point.sigma_iqr,
    "eta_005": lambda phot, spec: of_point.eta(phot, spec, 0.05),
    "eta_015": lambda phot, spec: of_point.eta(phot, spec, 0.15),
    "eta_lsst": of_point.eta_lsst,
}
OF_PIT: Mapping[str, Callable[..., float]] = {
    "pit_ks": of_pdf.pit_ks,
    "pit_cvm": of_pdf.pit_cvm,
    "pit_ad": of_pdf.pit_ad,
}

Point = Literal["mean", "median", "mode"]
Statistic = tuple[Callable[..., float], tuple[NDArray[Any], ...]]
"""A metric, and the arrays (objects first) that it is of."""


def evaluate(
    z_true: ArrayLike,
    pdf: Any,
    edges: ArrayLike | None = None,
    *,
    point: Point = "median",
    n_draws: int = 500,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure redshift distributions against true redshifts, in both conventions of the field, with bootstrap errors.

    Parameters
    ----------
    z_true
        True (spectroscopic) redshifts, (N,).
    pdf
        Densities per unit redshift (N, B) in the bins between `edges`; or an ensemble of qp; or the path of a file that
        `qp.read` opens. Only parameterisations other than ``hist`` need qp.
    edges
        Bin edges, (B + 1,). For an ensemble or a file that is not a histogram: where it is binned (by its CDF).
    point
        Which point estimate the metrics of points are of.
    n_draws, seed
        Bootstrap draws over objects.

    Returns
    -------
    dict
        `n_objects`, those that were measured; `n_unusable`, objects left out because their p(z) is NaN, negative or
        zero everywhere, or their true redshift is unknown; `point`; and `metrics`, name -> {"value", "error"}:
        `bias_mean bias_median sigma_mad sigma_iqr eta_005 eta_015 eta_lsst` of the points, `crps cde_loss pit_ks
        pit_cvm pit_ad coverage_68 coverage_95` of the distributions; definitions in `astrodl.metrics`.

    Raises
    ------
    DataError
        No usable object, p(z) of other objects, bins that do not hold the distributions, or qp is needed and absent.
    StoreError
        The file cannot be read.
    """
    check_point(point)
    z, density, bounds, good = usable(z_true, pdf, edges)
    found = statistics(z, density, bounds, point)
    return {
        "n_objects": len(z),
        "n_unusable": int((~good).sum()),
        "point": point,
        "metrics": {name: measured(*of, n_draws=n_draws, seed=seed) for name, of in found.items()},
    }


def check_point(point: str) -> None:
    """Refuse a point estimate that is not known."""
    if point not in POINTS:
        raise DataError(f"point is '{point}', accepted are {', '.join(POINTS)}")


def statistics(z: Floats, density: Floats, edges: Floats, point: Point) -> dict[str, Statistic]:
    """Name every metric with the arrays it is of, so that any choice of the objects can be measured."""
    estimates = POINTS[point](density, edges)
    pit = of_pdf.pit(density, edges, z)
    terms = {
        "crps": of_pdf.crps(density, edges, z),
        "cde_loss": of_pdf.cde_terms(density, edges, z),
        "coverage_68": np.abs(pit - 0.5) <= 0.34,
        "coverage_95": np.abs(pit - 0.5) <= 0.475,
    }
    average: Callable[..., float] = np.mean
    found: dict[str, Statistic] = {name: (metric, (estimates, z)) for name, metric in OF_POINTS.items()}
    found |= {name: (average, (term,)) for name, term in terms.items()}
    return found | {name: (metric, (pit,)) for name, metric in OF_PIT.items()}


def measured(
    metric: Callable[..., float], arrays: tuple[NDArray[Any], ...], *, n_draws: int, seed: int
) -> dict[str, float]:
    """Evaluate a metric with its bootstrap error."""
    value, error = bootstrap(metric, *arrays, n_draws=n_draws, seed=seed)
    return {"value": float(value), "error": float(error)}
