"""Judge anybody's photometric redshifts: true redshifts and p(z) are enough, no network of astrodl is needed.

import astrodl
report = astrodl.photoz.evaluate(z_true, "estimate.hdf5")      # a file of qp, as RAIL writes it
report["metrics"]["sigma_mad"]                                  # {"value": 0.021, "error": 0.001}
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.errors import DataError, StoreError
from astrodl.metrics import pdf as of_pdf
from astrodl.metrics import photoz as of_point
from astrodl.metrics.bootstrap import bootstrap

POINTS: Mapping[str, Callable[..., NDArray[np.float64]]] = {
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
LOST = 0.01
"""Probability that a p(z) may have outside the edges on which it is asked for."""

Floats = NDArray[np.float64]


def evaluate(
    z_true: ArrayLike,
    pdf: Any,
    edges: ArrayLike | None = None,
    *,
    point: Literal["mean", "median", "mode"] = "median",
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
    if point not in POINTS:
        raise DataError(f"point is '{point}', accepted are {', '.join(POINTS)}")
    density, bounds = _binned(pdf, edges)
    z = np.asarray(z_true, np.float64)
    if z.ndim != 1 or len(z) != len(density):
        raise DataError(f"z_true has shape {z.shape}, there are {len(density)} p(z); give one true redshift for each")
    usable = np.isfinite(z) & np.isfinite(density).all(1) & (density >= 0).all(1) & (density.sum(1) > 0)
    if not usable.any():
        raise DataError(f"none of {len(z)} objects has a p(z) and a true redshift; nothing can be measured")
    z, density = z[usable], density[usable]
    estimates = POINTS[point](density, bounds)
    pit = of_pdf.pit(density, bounds, z)
    terms = {
        "crps": of_pdf.crps(density, bounds, z),
        "cde_loss": of_pdf.cde_terms(density, bounds, z),
        "coverage_68": np.abs(pit - 0.5) <= 0.34,
        "coverage_95": np.abs(pit - 0.5) <= 0.475,
    }
    found = {name: bootstrap(metric, estimates, z, n_draws=n_draws, seed=seed) for name, metric in OF_POINTS.items()}
    found |= {name: bootstrap(np.mean, term, n_draws=n_draws, seed=seed) for name, term in terms.items()}
    found |= {name: bootstrap(metric, pit, n_draws=n_draws, seed=seed) for name, metric in OF_PIT.items()}
    return {
        "n_objects": len(z),
        "n_unusable": int((~usable).sum()),
        "point": point,
        "metrics": {name: {"value": float(value), "error": float(error)} for name, (value, error) in found.items()},
    }


def _binned(pdf: Any, edges: ArrayLike | None) -> tuple[Floats, Floats]:
    """Give densities (N, B) and edges (B + 1,) of whatever was given."""
    if isinstance(pdf, str | os.PathLike):
        found = _histogram(pdf)
        if found is not None:
            return found
        pdf = _with_qp(pdf)
    if edges is None:
        raise DataError("edges are not given; without them the bins of these p(z) are not known")
    bounds = np.asarray(edges, np.float64)
    return (_of_ensemble(pdf, bounds) if hasattr(pdf, "cdf") else np.asarray(pdf, np.float64)), bounds


def _histogram(path: str | os.PathLike[str]) -> tuple[Floats, Floats] | None:
    """Read a file of histograms; None where it holds another parameterisation. Bad rows are read as they are."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if bytes(file["meta/pdf_name"][0]) != b"hist":
                return None
            return np.asarray(file["data/pdfs"], np.float64), np.asarray(file["meta/bins"], np.float64).reshape(-1)
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: not a file of p(z) ({error}); give one that `qp.read` opens") from None


def _with_qp(path: str | os.PathLike[str]) -> Any:
    try:
        import qp
    except ImportError:
        raise DataError(f"{path}: holds p(z) of a form that needs qp; install it with: pip install qp-prob") from None
    return qp.read(os.fspath(path))


def _of_ensemble(ensemble: Any, edges: Floats) -> Floats:
    """Bin an ensemble by its CDF at the edges; rows with no finite values stay as they are."""
    cumulative = np.atleast_2d(np.squeeze(np.asarray(ensemble.cdf(edges), np.float64)))
    probability = np.diff(cumulative, axis=1).clip(min=0)
    total = probability.sum(1, keepdims=True)
    short = np.isfinite(total[:, 0]) & (total[:, 0] > 0) & (total[:, 0] < 1 - LOST)
    if short.any():
        raise DataError(
            f"{short.sum()} of {len(total)} p(z) have more than {LOST:.0%} of their probability outside the edges "
            f"{edges[0]:g} to {edges[-1]:g}; give wider ones"
        )
    with np.errstate(invalid="ignore"):
        return probability / np.where(total > 0, total, 1) / np.diff(edges)
