"""Densities in bins from arrays, ensembles and files of p(z)."""

import os
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.errors import DataError, StoreError
from astrodl.hdf5 import guarded_hdf5

__all__ = ["Ensemble", "Floats", "Pdf", "select_usable"]

_MAX_OUTSIDE = 0.01
"""Largest probability of an ensemble's p(z) outside the edges."""

Floats = NDArray[np.float64]


@runtime_checkable
class Ensemble(Protocol):
    """An ensemble of qp, or any other object with the cumulative distributions of N objects."""

    def cdf(self, x: ArrayLike) -> ArrayLike:
        """Compute the cumulative distributions at redshifts (B,): (N, B)."""


Pdf = ArrayLike | os.PathLike[str] | Ensemble
"""Densities (N, B), the path of a file, or an ensemble."""


def select_usable(
    z_true: ArrayLike, pdf: Pdf, edges: ArrayLike | None
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Select the objects with a true redshift and a p(z) that is finite, not negative and not zero everywhere.

    Returns
    -------
    z, density, edges, usable
        True redshifts (n,), densities (n, B) and bin edges (B + 1,); and which of the objects are usable, (N,).

    Raises
    ------
    DataError
        There is no usable object, the numbers of redshifts and p(z) differ, the edges do not contain the distributions,
        or qp is needed and not installed.
    StoreError
        The file cannot be read.
    """
    density, bounds = _compute_densities(pdf, edges)
    z = np.asarray(z_true, np.float64)
    if z.ndim != 1 or len(z) != len(density):
        raise DataError(f"z_true has shape {z.shape}, there are {len(density)} p(z); give one true redshift for each")
    good = np.isfinite(z) & np.isfinite(density).all(1) & (density >= 0).all(1) & (density.sum(1) > 0)
    if not good.any():
        raise DataError(f"none of {len(z)} objects has both a p(z) and a true redshift; give at least one that has")
    return z[good], density[good], bounds, good


def _compute_densities(pdf: Pdf, edges: ArrayLike | None) -> tuple[Floats, Floats]:
    """Compute densities (N, B) and edges (B + 1,)."""
    if isinstance(pdf, str | os.PathLike):
        histogram = _read_histogram(pdf)
        if histogram is not None:
            return histogram
        pdf = _read_with_qp(pdf)
    if edges is None:
        raise DataError("edges is None, accepted are bin edges (B + 1,); only files of histograms contain their own")
    bounds = np.asarray(edges, np.float64)
    return (_bin_ensemble(pdf, bounds) if isinstance(pdf, Ensemble) else np.asarray(pdf, np.float64)), bounds


def _read_histogram(path: str | os.PathLike[str]) -> tuple[Floats, Floats] | None:
    """Read a file of histograms without checks of the densities; None for another parameterisation."""
    try:
        with guarded_hdf5(path) as file:
            if bytes(file["meta/pdf_name"][0]) != b"hist":
                return None
            return np.asarray(file["data/pdfs"], np.float64), np.asarray(file["meta/bins"], np.float64).reshape(-1)
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: not a file of p(z) ({error}); give one that `qp.read` opens") from None


def _read_with_qp(path: str | os.PathLike[str]) -> Any:
    try:
        import qp
    except ImportError:
        raise DataError(f"{path}: p(z) that are no histograms need qp; install it with: pip install qp-prob") from None
    return qp.read(os.fspath(path))


def _bin_ensemble(ensemble: Ensemble, edges: Floats) -> Floats:
    """Bin an ensemble by its CDF at the edges; rows without finite values stay as they are."""
    cumulative = np.atleast_2d(np.squeeze(np.asarray(ensemble.cdf(edges), np.float64)))
    probability = np.diff(cumulative, axis=1).clip(min=0)
    total = probability.sum(1, keepdims=True)
    outside = np.isfinite(total[:, 0]) & (total[:, 0] > 0) & (total[:, 0] < 1 - _MAX_OUTSIDE)
    if outside.any():
        raise DataError(
            f"{outside.sum()} of {len(total)} p(z) have more than {_MAX_OUTSIDE:.0%} of their probability outside the "
            f"edges {edges[0]:g} to {edges[-1]:g}; give wider ones"
        )
    with np.errstate(invalid="ignore"):
        return probability / np.where(total > 0, total, 1) / np.diff(edges)
