"""Attributions summed over bands and radii."""

from collections.abc import Sequence

import numpy as np

__all__ = ["RADIUS_EDGES", "band_share", "break_wavelength", "radius_share", "smooth_maps"]

RADIUS_EDGES = (0.0, 0.5, 1.0, 2.0, 3.0, np.inf)
"""Edges of the annuli in units of the half-light radius."""
_BREAK_ANGSTROM = 4000.0


def smooth_maps(maps: np.ndarray, side: int = 4) -> np.ndarray:
    """Sum maps (N, C, H, W) over squares of `side` pixels, in which contributions of single noisy pixels cancel."""
    height, width = (n - n % side for n in maps.shape[-2:])
    cut = maps[..., :height, :width]
    return cut.reshape(*maps.shape[:2], height // side, side, width // side, side).sum((3, 5))


def band_share(maps: np.ndarray) -> np.ndarray:
    """Return the share of each band in the modulus of the attributions of squares of 4 pixels, (N, C), rows sum to one.

    A row is NaN where all attributions are zero.
    """
    energy = np.abs(smooth_maps(maps)).sum((2, 3), dtype=np.float64)
    total = energy.sum(1, keepdims=True)
    return np.divide(energy, total, out=np.full_like(energy, np.nan), where=total > 0)


def radius_share(maps: np.ndarray, radius_pixels: np.ndarray, edges: Sequence[float] = RADIUS_EDGES) -> np.ndarray:
    """Return the share of annuli around the centre in the modulus of the attributions, (N, K), rows sum to one.

    Parameters
    ----------
    maps : (N, C, H, W) array
    radius_pixels : (N,) array
        Half-light radius of each object; a row is NaN where it is not known.
    edges : sequence of K + 1 numbers
        Edges of the annuli in units of the half-light radius.
    """
    height, width = maps.shape[-2:]
    y, x = np.indices((height, width))
    distance = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    energy = np.abs(maps.sum(1, dtype=np.float64))
    shares = np.full((len(maps), len(edges) - 1), np.nan)
    for row, one, radius in zip(shares, energy, radius_pixels, strict=True):
        if np.isfinite(radius) and radius > 0 and one.sum() > 0:
            ring = np.digitize(distance / radius, edges) - 1
            row[:] = np.bincount(ring.ravel(), one.ravel(), len(edges) - 1)[: len(edges) - 1] / one.sum()
    return shares


def break_wavelength(z: np.ndarray) -> np.ndarray:
    """Return the observed wavelength in angstrom of the 4000 angstrom break at redshift z."""
    return _BREAK_ANGSTROM * (1 + np.asarray(z, np.float64))
