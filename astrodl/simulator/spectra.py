"""Spectra of the classes of galaxies, which overlap in colour, and deviations of real spectra from templates."""

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator.templates import Spectrum

__all__ = [
    "draw_deviation",
    "draw_irregular_spectrum",
    "draw_merger_spectra",
    "draw_old_spectrum",
    "draw_spiral_spectra",
]

_NODES = np.arange(np.log(600.0), np.log(40000.0), 0.2)
"""ln(wavelength in Angstrom) of the Gaussians that make up a deviation."""


def draw_deviation(rng: np.random.Generator, scatter: float, rest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw the deviation of a real spectrum from its template in magnitudes.

    The deviation is a Gaussian random curve in ln(wavelength), smooth over a fifth (a broad band). Its standard
    deviation is `scatter` at 5000 Angstrom and increases to the ultraviolet and infrared, by a factor of 2.7 at 2000
    Angstrom, like the template errors in photometric-redshift codes (Brammer et al. 2008, template error function).

    Parameters
    ----------
    rng
        Random generator; the number of draws does not depend on the wavelengths.
    scatter
        Standard deviation at 5000 Angstrom in magnitudes.
    rest
        Rest-frame wavelengths in Angstrom.
    """
    bumps = np.exp(-0.5 * ((np.log(rest)[:, None] - _NODES) / 0.2) ** 2)
    curve = bumps @ rng.standard_normal(len(_NODES)) / np.sqrt(np.sum(bumps**2, axis=1))
    return scatter * (1 + 2 * np.log(rest / 5000.0) ** 2) * curve


def draw_old_spectrum(rng: np.random.Generator, blue_fraction: float) -> Spectrum:
    """Draw the spectrum of an old population; a fraction of them had recent star formation."""
    if rng.random() < blue_fraction:
        return Spectrum(float(rng.uniform(0.8, 2.3)), float(rng.exponential(0.04)))
    return Spectrum(float(np.clip(abs(rng.normal(0, 0.3)), 0, 1.0)), float(min(rng.exponential(0.025), 0.3)))


def draw_spiral_spectra(rng: np.random.Generator, red: bool) -> tuple[Spectrum, Spectrum, Spectrum]:
    """Draw the spectra of bulge, disk and arms of a spiral."""
    template = float(rng.uniform(0.1, 0.8)) if red else float(np.clip(rng.normal(1.7, 0.5), 0.6, 2.8))
    bulge = Spectrum(float(rng.uniform(0.0, min(template, 1.1))), float(rng.exponential(0.06)))
    dust = float(np.clip(abs(rng.normal(0.06, 0.07)), 0, 0.4))
    disk = Spectrum(template, dust)
    arm_template = min(template + float(rng.uniform(0.2, 0.9)), 3.5)
    arm = Spectrum(arm_template, dust, 0.0 if red else float(rng.uniform(0, 0.1)))
    return bulge, disk, arm


def draw_irregular_spectrum(rng: np.random.Generator) -> Spectrum:
    """Draw the spectrum of an irregular galaxy."""
    if rng.random() < 0.15:
        return Spectrum(float(rng.uniform(0.8, 1.7)), float(rng.uniform(0.05, 0.3)))
    template = float(np.clip(rng.normal(2.4, 0.5), 1.2, 3.2))
    return Spectrum(template, float(np.clip(rng.exponential(0.09), 0, 0.5)), float(rng.uniform(0, 0.15)))


def draw_merger_spectra(rng: np.random.Generator, dry: bool) -> tuple[Spectrum, Spectrum]:
    """Draw the spectra of the two galaxies of a merger; those of dry mergers are old."""
    if dry:
        return draw_old_spectrum(rng, 0.0), draw_old_spectrum(rng, 0.0)
    templates = np.clip(rng.normal(1.7, 0.7, 2), 0.2, 3.0)
    dust = np.clip(rng.exponential(0.12, 2), 0, 0.6)
    first, second = (Spectrum(float(t), float(e), 0.05) for t, e in zip(templates, dust, strict=True))
    return first, second
