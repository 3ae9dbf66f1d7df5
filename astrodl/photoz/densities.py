"""Whatever holds p(z), as densities in bins."""

import os
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.errors import DataError, StoreError

LOST = 0.01
"""Probability that a p(z) may have outside the edges on which it is asked for."""

Floats = NDArray[np.float64]


def usable(z_true: ArrayLike, pdf: Any, edges: ArrayLike | None) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Give redshifts, densities and edges of the objects that can be measured, and which of the given ones they are.

    Raises
    ------
    DataError
        No such object, p(z) of other objects, bins that do not hold the distributions, or qp is needed and absent.
    StoreError
        The file cannot be read.
    """
    density, bounds = binned(pdf, edges)
    z = np.asarray(z_true, np.float64)
    if z.ndim != 1 or len(z) != len(density):
        raise DataError(f"z_true has shape {z.shape}, there are {len(density)} p(z); give one true redshift for each")
    good = np.isfinite(z) & np.isfinite(density).all(1) & (density >= 0).all(1) & (density.sum(1) > 0)
    if not good.any():
        raise DataError(f"none of {len(z)} objects has a p(z) and a true redshift; nothing can be measured")
    return z[good], density[good], bounds, good


def binned(pdf: Any, edges: ArrayLike | None) -> tuple[Floats, Floats]:
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
