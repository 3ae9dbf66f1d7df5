"""Closed forms for bulge plus disk: half-light radius, concentration, inclination."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv

from astrodl.simulator.fourier import sersic_b

__all__ = ["EXPONENTIAL_B", "disk_inclination", "equivalent_index", "half_light_radius"]

EXPONENTIAL_B = sersic_b(1.0)
"""Half-light radius of an exponential disk in scale lengths, 1.678."""
_RADII = np.geomspace(1e-3, 30, 600)


def disk_inclination(q: float, thickness: float) -> float:
    """Return the inclination in degrees of an oblate disk of axis ratio q (Hubble 1926)."""
    return float(np.degrees(np.arccos(np.sqrt(max(q**2 - thickness**2, 0) / (1 - thickness**2)))))


def _enclosed_light(bt: float, n: float, ratio: float) -> NDArray[np.float64]:
    """Return the light of bulge plus exponential disk within `_RADII`, in half-light radii of the disk.

    Parameters
    ----------
    bt
        Bulge-to-total flux ratio.
    n
        Sersic index of the bulge.
    ratio
        Half-light radius of the bulge over that of the disk.
    """
    bulge = gammainc(2 * n, sersic_b(n) * (_RADII / ratio) ** (1 / n))
    return bt * bulge + (1 - bt) * gammainc(2.0, EXPONENTIAL_B * _RADII)


def half_light_radius(bt: float, n: float, ratio: float) -> float:
    """Return the half-light radius of bulge plus disk in half-light radii of the disk."""
    return float(np.interp(0.5, _enclosed_light(bt, n, ratio), _RADII))


def equivalent_index(bt: float, n: float, ratio: float) -> float:
    """Return the index of the Sersic profile with the concentration r_80 / r_20 of bulge plus disk."""
    light = _enclosed_light(bt, n, ratio)
    concentration = np.interp(0.8, light, _RADII) / np.interp(0.2, light, _RADII)
    return float(np.interp(np.log(concentration), _CONCENTRATIONS, _INDICES))


def _log_concentration(n: float) -> float:
    return float(n * (np.log(gammaincinv(2 * n, 0.8)) - np.log(gammaincinv(2 * n, 0.2))))


_INDICES = np.geomspace(0.3, 10, 60)
_CONCENTRATIONS = np.array([_log_concentration(n) for n in _INDICES])
"""ln(r_80 / r_20) of Sersic profiles."""
