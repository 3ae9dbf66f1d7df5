"""Spectral templates and their fluxes through band-passes, tabulated over redshift and reddening.

Spectra: the empirical templates of Coleman, Wu & Weedman (1980), E, Sbc, Scd and Im, as shipped with GalSim, and a
young population f_lambda ~ lambda^-2.2 (the slope of an unreddened starburst, Leitherer et al. 1999) for clumps.
Dust: the starburst attenuation curve of Calzetti et al. (2000), applied in the rest frame.

Absolute magnitudes are AB magnitudes in Bessell's (1990) B band in the rest frame. That flux may be the last entry of
every flux vector, so that the sum over the components of a galaxy gives its absolute magnitude.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator.bands import Band

__all__ = ["REST_BLUE", "TEMPLATES", "FluxTable", "Spectrum", "calzetti"]

TEMPLATES = ("E", "Sbc", "Scd", "Im")
"""CWW templates in order of increasing star formation."""
_MAX_Z = 2.6
"""Largest tabulated redshift (lensed sources are more distant than the galaxies of the survey)."""
_Z_STEP = 0.01
_REDDENINGS = np.linspace(0.0, 0.8, 9)
_REFERENCE_WAVELENGTH = 4400.0
"""Rest-frame wavelength in Angstrom at which spectra are normalised and mixed."""
# Bessell 1990 (PASP 102, 1181), table 2: from 3600 to 5600 Angstrom in steps of 100.
_BESSELL_B = np.array(
    [0, 30, 134, 567, 920, 978, 1000, 978, 935, 853, 740, 640, 536, 424, 325, 235, 150, 95, 43, 9, 0], dtype=float
)


@dataclass(frozen=True)
class Spectrum:
    """A spectrum: a mixture of templates, reddened by dust."""

    template: float
    """0 (E), 1 (Sbc), 2 (Scd), 3 (Im), 4 (young population); mixtures of two in between."""
    reddening: float = 0.0
    """Colour excess E(B-V) in magnitudes."""
    young: float = 0.0
    """Fraction of the young population in the unreddened light at 4400 Angstrom."""


class _RestBlue(Band):
    """The B band of Bessell (1990) in the rest frame; it has no observed wavelength."""

    def throughput(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        wave = np.linspace(3600.0, 5600.0, 401)
        return wave, np.interp(wave, np.linspace(3600.0, 5600.0, len(_BESSELL_B)), _BESSELL_B)

    @property
    def wavelength(self) -> float:
        return float("nan")


REST_BLUE = _RestBlue("B", "", "Angstrom", "gaussian", 0.0, 0.0, 0.0)


class FluxTable:
    """Table of the band fluxes of spectra.

    Parameters
    ----------
    bands
        Band-passes, in the order of flux vectors.
    rest_blue
        Append the rest-frame B band, at the same distance, to flux vectors (and `bands`): -2.5 log10 of that flux is
        M_B plus the distance modulus.
    max_z
        Largest redshift of the table.
    """

    def __init__(self, bands: Sequence[Band], *, rest_blue: bool = False, max_z: float = _MAX_Z) -> None:
        self.bands = (*bands, REST_BLUE) if rest_blue else tuple(bands)
        self.rest_blue = rest_blue
        self.z = np.arange(0.0, max_z + _Z_STEP / 2, _Z_STEP)
        tables = [_integrate(*band.throughput(), self.z) for band in bands]
        if rest_blue:
            tables.append(np.repeat(_integrate(*REST_BLUE.throughput(), np.zeros(1)), len(self.z), axis=2))
        self.log_flux = np.stack(tables, axis=-1)
        self._wavelengths = np.array([band.wavelength for band in bands])

    def rest_wavelengths(self, z: float) -> NDArray[np.float64]:
        """Return the rest-frame wavelength in Angstrom of every entry of a flux vector."""
        rest = self._wavelengths / (1 + z)
        return np.append(rest, _REFERENCE_WAVELENGTH) if self.rest_blue else rest

    def flux(self, spectrum: Spectrum, z: float) -> NDArray[np.float64]:
        """Return the flux in each band in units of the AB flux of the spectrum at rest-frame 4400 Angstrom.

        A galaxy of absolute magnitude M at 4400 Angstrom (before reddening) and distance modulus D has the apparent
        magnitude M + D - 2.5 log10(flux).

        Parameters
        ----------
        spectrum
            The spectrum.
        z
            Redshift, from 0 to the largest of the table.

        Returns
        -------
        ndarray
            Fluxes, proportional to f_nu, (bands,); one more with `rest_blue`.
        """
        low = min(int(spectrum.template), len(TEMPLATES) - 1)
        fraction = (spectrum.template - low) * (1 - spectrum.young)
        lower = np.exp(self._interpolate(low, spectrum.reddening, z))
        upper = np.exp(self._interpolate(low + 1, spectrum.reddening, z))
        mixed = (1 - spectrum.young - fraction) * lower + fraction * upper
        if spectrum.young > 0:
            mixed = mixed + spectrum.young * np.exp(self._interpolate(len(TEMPLATES), spectrum.reddening, z))
        return mixed

    def magnitudes_over_z(self, spectrum: Spectrum, band: int, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return -2.5 log10(flux) of one entry of the flux vector at many redshifts."""
        log_flux = np.array([np.log(self.flux(spectrum, float(value))[band]) for value in z])
        return -2.5 / np.log(10) * log_flux

    def _interpolate(self, template: int, reddening: float, z: float) -> NDArray[np.float64]:
        row = np.clip(reddening / (_REDDENINGS[1] - _REDDENINGS[0]), 0, len(_REDDENINGS) - 1 - 1e-9)
        column = np.clip(z / _Z_STEP, 0, len(self.z) - 1 - 1e-9)
        i, j = int(row), int(column)
        u, v = row - i, column - j
        block = self.log_flux[template, i : i + 2, j : j + 2]
        return (
            (1 - u) * (1 - v) * block[0, 0]
            + (1 - u) * v * block[0, 1]
            + u * (1 - v) * block[1, 0]
            + u * v * block[1, 1]
        )

    def attenuation(self, optical_depth: float, z: float) -> NDArray[np.float64]:
        """Return exp(-tau) in each band for a dust screen of an optical depth at rest-frame 5500 Angstrom."""
        rest = self.rest_wavelengths(z)
        return np.exp(-optical_depth * calzetti(rest) / calzetti(np.array([5500.0])))


def calzetti(wavelength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return k(lambda) = A(lambda) / E(B-V) of Calzetti et al. (2000), equation 4, with R_V = 4.05.

    The wavelength is in Angstrom. The curve is constant below 1200 Angstrom and beyond 2.2 micron.
    """
    micron = np.clip(np.asarray(wavelength, dtype=float) / 1e4, 0.12, 2.2)
    blue = 2.659 * (-2.156 + 1.509 / micron - 0.198 / micron**2 + 0.011 / micron**3) + 4.05
    red = 2.659 * (-1.857 + 1.040 / micron) + 4.05
    return np.maximum(np.where(micron < 0.63, blue, red), 0.0)


def _integrate(
    wave: NDArray[np.float64], transmission: NDArray[np.float64], z: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ln(flux) in one band of all templates, reddenings and redshifts, (template, reddening, z)."""
    weight = transmission / wave / np.sum(transmission / wave)
    rest = wave / (1 + z[:, None])
    log_light = _log_templates(rest)
    dimming = 0.4 * np.log(10) * calzetti(rest)
    light = np.exp(log_light[:, None] - _REDDENINGS[:, None, None] * dimming)
    flux = np.einsum("trzw,w->trz", light, weight) * (1 + z)
    return np.log(np.maximum(flux, 1e-30))


def _log_templates(rest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln(f_nu) of the templates at rest-frame wavelengths, zero at the reference, (template, *rest.shape)."""
    import galsim

    folder = Path(galsim.meta_data.share_dir) / "SEDs"
    curves = []
    for name in TEMPLATES:
        wave, density = np.loadtxt(folder / f"CWW_{name}_ext.sed", unpack=True)
        # Linear interpolation in f_lambda, as GalSim does with the same tables.
        light = np.maximum(np.interp(rest, wave, density), 1e-12) * rest**2
        reference = np.interp(_REFERENCE_WAVELENGTH, wave, density) * _REFERENCE_WAVELENGTH**2
        curves.append(np.log(light / reference))
    curves.append(-0.2 * np.log(rest / _REFERENCE_WAVELENGTH))
    return np.stack(curves)
