"""Scaling of linear fluxes by arsinh, per band, for arrays and tensors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

    Array = TypeVar("Array", np.ndarray, torch.Tensor)
else:
    Array = TypeVar("Array")

__all__ = ["N_SIGMA", "Normalization", "fit"]

N_SIGMA = 2.0
"""Softening in units of the sky noise."""


@dataclass(frozen=True)
class Normalization:
    r"""Invertible scaling :math:`y_b = \operatorname{arsinh}(x_b / s_b) / t` of band :math:`b`.

    It is linear near the noise, logarithmic above it, and defined for negative fluxes (Lupton, Gunn & Szalay 1999, AJ
    118, 1406).

    Parameters
    ----------
    bands : tuple of str
        Bands in the order of the channel axis.
    softening : tuple of float
        :math:`s_b`, in the unit of the images.
    stretch : float
        :math:`t`, the same for all bands, so that colours are differences of scaled images.
    """

    bands: tuple[str, ...]
    softening: tuple[float, ...]
    stretch: float = 2.0

    def apply(self, images: Array) -> Array:
        """Scale linear `images` (..., bands, y, x); NaN stays NaN."""
        scaled = images / self._softening(images)
        arsinh = np.arcsinh(scaled) if isinstance(scaled, np.ndarray) else scaled.arcsinh()
        return arsinh / self.stretch

    def invert(self, scaled: Array) -> Array:
        """Convert scaled images back to linear images."""
        arsinh = scaled * self.stretch
        linear = np.sinh(arsinh) if isinstance(arsinh, np.ndarray) else arsinh.sinh()
        return linear * self._softening(scaled)

    def _softening(self, like: Array) -> Array:
        column = np.asarray(self.softening, dtype=np.float32).reshape(-1, 1, 1)
        return column if isinstance(like, np.ndarray) else like.new_tensor(column)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Normalization":
        """Make a normalization from the values of `to_dict`."""
        return cls(tuple(values["bands"]), tuple(values["softening"]), float(values["stretch"]))


def fit(sky_sigma: np.ndarray, bands: tuple[str, ...], n_sigma: float = N_SIGMA) -> Normalization:
    """Set the softening of each band to a multiple of its typical sky noise.

    Parameters
    ----------
    sky_sigma : (N, bands) array
        Sky noise per pixel of the training objects, in the unit of the images; NaN where a band is missing.
    bands : tuple of str
        Names of the bands.
    n_sigma : float
        Softening in units of the median noise.

    Notes
    -----
    A band without noise values in all objects gets a softening of one flux unit.
    """
    usable = np.where(np.isfinite(sky_sigma) & (sky_sigma > 0), sky_sigma, np.nan)
    softening = [float(n_sigma * np.nanmedian(column)) if np.isfinite(column).any() else 1.0 for column in usable.T]
    return Normalization(bands, tuple(softening))
