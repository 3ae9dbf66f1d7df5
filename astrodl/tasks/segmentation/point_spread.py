"""Description of the point-spread function as a vector, for networks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.store import Reader
from astrodl.tasks.inputs import fit_standardization

__all__ = ["describe_psf", "encircled_energy", "fit_psf_scaling"]

RADII_PIXELS = (1.0, 2.0, 3.0, 5.0)
_LEAST_SCALE = 0.005
"""Smallest scatter of an encircled energy that is worth a difference of one."""


def encircled_energy(psf: NDArray[np.floating]) -> NDArray[np.float32]:
    """Measure the share of the light within 1, 2, 3 and 5 pixels of the centre of point-spread functions.

    Parameters
    ----------
    psf
        Images centred on pixel ``k // 2``, (n, bands, k, k).

    Returns
    -------
    ndarray
        (n, 4 bands); NaN where a function is missing.
    """
    side = psf.shape[-1]
    axis = np.arange(side) - side // 2
    # a pixel on the circle counts with the part inside, to first order
    weight = np.clip(np.array(RADII_PIXELS)[:, None, None] + 0.5 - np.hypot(axis[:, None], axis), 0, 1)
    total = psf.sum((-2, -1), dtype=np.float64)
    inside = np.einsum("nbyx,ryx->nbr", psf.astype(np.float64), weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = inside / total[..., None]
    share[~(np.isfinite(total) & (total > 0))] = np.nan
    return share.reshape(len(psf), -1).astype(np.float32)


def fit_psf_scaling(store: Reader, train: np.ndarray, most: int = 2000) -> dict[str, Any] | None:
    """Fit location and scale of the description over training objects; None where the store has no such plane."""
    if "psf" not in store.planes:
        return None
    sample = train[:: max(1, -(-len(train) // most))]
    fitted = fit_standardization(encircled_energy(store.plane("psf", sample)))
    return {"mean": fitted["mean"], "scale": np.maximum(fitted["scale"], _LEAST_SCALE).tolist()}


def describe_psf(psf: NDArray[np.floating], scaling: dict[str, Any]) -> NDArray[np.float32]:
    """Return the scaled encircled energies, (n, 4 bands); the mean where a function is missing."""
    scaled = (encircled_energy(psf) - np.array(scaling["mean"], np.float32)) / np.array(scaling["scale"], np.float32)
    described: NDArray[np.float32] = np.nan_to_num(scaled, nan=0.0).clip(-5, 5)
    return described
