"""Spectra of galaxies by class, drawn so that the classes overlap in colour, and how they deviate from templates."""

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator.colors import Spectrum

_NODES = np.arange(np.log(600.0), np.log(40000.0), 0.2)
"""ln(wavelength in Angstrom) of the bumps of which a deviation is made."""


def deviation(rng: np.random.Generator, scatter: float, rest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw by how many magnitudes a real spectrum deviates from its template.

    A Gaussian random curve in ln(wavelength), smooth over a fifth (a broad band), whose standard deviation is
    `scatter` at 5000 Angstrom and grows to the ultraviolet and the infrared, by a factor of 2.7 at 2000 Angstrom, as
    the template errors that photometric-redshift codes find (Brammer et al. 2008, template error function).

    Parameters
    ----------
    rng
        Source of randomness; the same number of draws whatever the wavelengths.
    scatter
        Standard deviation at 5000 Angstrom in magnitudes.
    rest
        Rest-frame wavelengths in Angstrom.
    """
    bumps = np.exp(-0.5 * ((np.log(rest)[:, None] - _NODES) / 0.2) ** 2)
    curve = bumps @ rng.standard_normal(len(_NODES)) / np.sqrt(np.sum(bumps**2, axis=1))
    return scatter * (1 + 2 * np.log(rest / 5000.0) ** 2) * curve


def old_spectrum(rng: np.random.Generator, blue_share: float) -> Spectrum:
    """Draw the spectrum of an old population; a share of them has formed stars lately."""
    if rng.random() < blue_share:
        return Spectrum(float(rng.uniform(0.8, 2.3)), float(rng.exponential(0.04)))
    return Spectrum(float(np.clip(abs(rng.normal(0, 0.3)), 0, 1.0)), float(min(rng.exponential(0.025), 0.3)))


def spiral_spectra(rng: np.random.Generator, red: bool) -> tuple[Spectrum, Spectrum, Spectrum]:
    """Draw the spectra of bulge, disk and arms."""
    kind = float(rng.uniform(0.1, 0.8)) if red else float(np.clip(rng.normal(1.7, 0.5), 0.6, 2.8))
    bulge = Spectrum(float(rng.uniform(0.0, min(kind, 1.1))), float(rng.exponential(0.06)))
    dust = float(np.clip(abs(rng.normal(0.06, 0.07)), 0, 0.4))
    disk = Spectrum(kind, dust)
    arm = Spectrum(min(kind + float(rng.uniform(0.2, 0.9)), 3.5), dust, 0.0 if red else float(rng.uniform(0, 0.1)))
    return bulge, disk, arm


def irregular_spectrum(rng: np.random.Generator) -> Spectrum:
    """Draw the spectrum of an irregular galaxy."""
    if rng.random() < 0.15:
        return Spectrum(float(rng.uniform(0.8, 1.7)), float(rng.uniform(0.05, 0.3)))
    kind = float(np.clip(rng.normal(2.4, 0.5), 1.2, 3.2))
    return Spectrum(kind, float(np.clip(rng.exponential(0.09), 0, 0.5)), float(rng.uniform(0, 0.15)))


def merger_spectra(rng: np.random.Generator, dry: bool) -> tuple[Spectrum, Spectrum]:
    """Draw the spectra of the two galaxies of a merger; dry ones are old."""
    if dry:
        return old_spectrum(rng, 0.0), old_spectrum(rng, 0.0)
    kinds = np.clip(rng.normal(1.7, 0.7, 2), 0.2, 3.0)
    dust = np.clip(rng.exponential(0.12, 2), 0, 0.6)
    first, second = (Spectrum(float(k), float(e), 0.05) for k, e in zip(kinds, dust, strict=True))
    return first, second
