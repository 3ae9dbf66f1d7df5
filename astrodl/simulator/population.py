"""Which galaxies a magnitude-limited survey holds: classes, magnitudes, redshifts, luminosities, sizes.

The number of galaxies of a class per square degree, magnitude and redshift is

    n(class, m, z) = phi(M_B, z) share(class | M_B, z) dV/dz,    M_B = m - D(z) - K(class, z),

with the evolving B-band luminosity functions of red and blue galaxies, the mix of morphological classes within either,
and K corrections that integrate the class's typical spectrum over the band-pass at every redshift. Galaxies are drawn
from this table; their sizes from the size-mass relation of their kind. Colours, sizes and magnitudes are thus bound to
the redshift as in a real survey.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator.bands import BANDS
from astrodl.simulator.colors import ColorTable, Spectrum

Array = NDArray[np.float64]

CLASSES = ("elliptical", "lenticular", "spiral", "irregular", "merger")
"""Morphological classes of the truth."""
MIN_Z, MAX_Z = 0.05, 1.5
"""Redshift range of the survey's galaxies."""
MAGNITUDE_RANGE = 4.5
"""Magnitudes between the brightest galaxies and the limit."""
_MAGNITUDE_STEP = 0.05
HUBBLE, OMEGA_M = 70.0, 0.3


@dataclass(frozen=True)
class LuminosityFunction:
    """A Schechter (1976) function of M_B (AB, Bessell) with M* = a + b z and phi* = c exp(d z)."""

    slope: float
    magnitude: float
    evolution: float
    density: float
    density_evolution: float

    def __call__(self, magnitude: Array, z: Array) -> Array:
        """Give the number per Mpc^3 and magnitude."""
        luminosity = 10 ** (-0.4 * (magnitude - self.magnitude - self.evolution * z))
        density = self.density * np.exp(self.density_evolution * z)
        return 0.4 * np.log(10) * density * luminosity ** (self.slope + 1) * np.exp(-luminosity)


# Herbel et al. 2017 (JCAP 08, 035), section 3.1 with table 1: fits to Faber et al. 2007, Ilbert et al. 2005 and others.
RED = LuminosityFunction(-0.5, -20.37196157, -0.70798041, 0.0035097, -0.70596888)
BLUE = LuminosityFunction(-1.3, -20.40492365, -0.9408582, 0.00370253, -0.10268436)


@dataclass(frozen=True)
class Kind:
    """What is typical of a class."""

    spectrum: Spectrum
    """For the K correction and the mass-to-light ratio."""
    early: bool
    """Whether its sizes are those of early or of late types."""


KINDS = {
    "elliptical": Kind(Spectrum(0.1), True),
    "lenticular": Kind(Spectrum(0.3), True),
    "spiral": Kind(Spectrum(1.6), False),
    "irregular": Kind(Spectrum(2.5, 0.1), False),
    "merger": Kind(Spectrum(1.8, 0.1), False),
}


def merger_share(z: Array) -> Array:
    """Give the fraction of mergers, 0.023 (1 + z)^2.3.

    The exponent is that of Conselice, Yang & Bluck (2009, MNRAS 394, 1956) for structurally selected mergers; the
    factor makes it pass through their 0.04 +- 0.01 at z = 0.2 and 0.13 +- 0.01 at z = 1.2 within the errors.
    """
    return 0.023 * (1 + z) ** 2.3


def elliptical_share(magnitude: Array, z: Array) -> Array:
    """Give the share of ellipticals among red galaxies: most at the bright end, few below M*.

    A logistic in M_B about one magnitude brighter than M*(z). At M* and fainter it gives the 3 : 15 (today) and 4 : 13
    (z = 0.65) of ellipticals to lenticulars of Delgado-Serrano et al. (2010, A&A 509, A78).
    """
    excess = magnitude - RED.magnitude - RED.evolution * z
    return 1 / (1 + np.exp((excess + 0.9) / 1.2))


def irregular_share(magnitude: Array, z: Array) -> Array:
    """Give the share of irregulars among blue galaxies that do not merge: dwarfs, and luminous ones in the past.

    Dwarfs: a logistic 3.6 mag fainter than M*(z), where irregulars take over from spirals (Binggeli, Sandage & Tammann
    1988, ARA&A 26, 509, figure 1). Luminous ones: a share that rises from z = 0.35 so that irregulars and mergers
    together grow as in Brinchmann et al. (1998, ApJ 499, 112), from 9 +- 3 % at z = 0.3 - 0.5 to 32 +- 12 % at
    z = 0.7 - 0.9 for I < 22.
    """
    dwarf = 1 / (1 + np.exp((BLUE.magnitude + BLUE.evolution * z + 3.6 - magnitude) / 0.6))
    luminous = np.clip(0.42 * (z - 0.35), 0.0, 0.35)
    return dwarf + (1 - dwarf) * luminous


def class_density(name: str, magnitude: Array, z: Array) -> Array:
    """Give the number of galaxies of a class per Mpc^3 and magnitude at absolute magnitudes M_B and redshifts."""
    merging = merger_share(z)
    red, blue = RED(magnitude, z), BLUE(magnitude, z)
    if name == "merger":
        return merging * (red + blue)
    if KINDS[name].early:
        share = elliptical_share(magnitude, z)
        return (1 - merging) * red * (share if name == "elliptical" else 1 - share)
    share = irregular_share(magnitude, z)
    return (1 - merging) * blue * (share if name == "irregular" else 1 - share)


def mass_to_light(spectrum: Spectrum) -> float:
    """Give log10 of the stellar mass in solar masses of a galaxy of M_B = 0 today with this spectrum.

    log(M / L_g) = -0.499 + 1.519 (g - r) of Bell et al. (2003, ApJS 149, 289, table 7), less 0.1 dex from their
    initial mass function to Chabrier's; the Sun has M_g = 5.11 (AB; Willmer 2018, ApJS 236, 47).
    """
    table = ColorTable([BANDS["LSST_g"], BANDS["LSST_r"]], rest_blue=True, max_z=0.01)
    g, r, blue = -2.5 * np.log10(table.flux(spectrum, 0.0))
    return float(-0.499 + 1.519 * (g - r) - 0.1 - 0.4 * (g - blue - 5.11))


def typical_radius(mass: Array, z: Array, *, early: bool) -> Array:
    """Give the median half-light radius along the major axis in kpc.

    Van der Wel et al. (2014, ApJ 788, 28): at 5 x 10^10 solar masses 5.6 (1 + z)^-1.48 kpc for early and
    8.9 (1 + z)^-0.75 kpc for late types (figure 6); R ~ M^0.75 for early types of more than 2 x 10^10 solar masses,
    flat below (figure 8; 0.2 here), R ~ M^0.22 for late types.

    Parameters
    ----------
    mass
        Stellar mass in solar masses.
    z
        Redshift.
    early
        Early or late type.
    """
    if not early:
        return 8.9 * (1 + z) ** -0.75 * (mass / 5e10) ** 0.22
    knee = 2e10
    steep = np.maximum(mass, knee) / 5e10
    return 5.6 * (1 + z) ** -1.48 * steep**0.75 * (np.minimum(mass, knee) / knee) ** 0.2


SIZE_SCATTER = {True: 0.12, False: 0.18}
"""Scatter of sizes in dex, of early (True) and late types (van der Wel et al. 2014, table 1: 0.10 - 0.19)."""


@dataclass(frozen=True)
class Galaxy:
    """What is drawn of a galaxy before its shape."""

    kind: str
    z: float
    magnitude: float
    radius: float
    """Half-light radius along the major axis in arcsec."""
    arcsec_per_kpc: float
    """Proper transverse scale at the redshift."""


def comoving_distance(z: Array) -> Array:
    """Give the comoving distance in Mpc in a flat universe with `HUBBLE` and `OMEGA_M` (Hogg 1999, equation 15)."""
    grid = np.linspace(0.0, float(np.max(z)), 2000)
    inverse = 1 / np.sqrt(OMEGA_M * (1 + grid) ** 3 + 1 - OMEGA_M)
    steps = (inverse[1:] + inverse[:-1]) / 2 * np.diff(grid)
    integral = np.concatenate([[0.0], np.cumsum(steps)])
    return 299792.458 / HUBBLE * np.interp(z, grid, integral)


def distance_modulus(z: Array) -> Array:
    """Give m - M in magnitudes, K correction excluded."""
    return 5 * np.log10(comoving_distance(z) * (1 + np.asarray(z))) + 25


class Population:
    """Draws galaxies.

    Parameters
    ----------
    colors
        Band fluxes of the survey, with the B band at rest.
    truth_band
        Index of the band in which magnitudes are limited.
    magnitude_limit
        Faintest magnitude.
    radius_range
        Smallest and largest half-light radius in arcsec: below, galaxies are points, above, they leave the cutout.
    count_slope
        d log10 N / dm to draw with; None: that of the luminosity functions.
    balance
        Moves the shares of the classes from those of the luminosity functions (0) to equal ones (1).
    """

    def __init__(
        self,
        colors: ColorTable,
        truth_band: int,
        magnitude_limit: float,
        radius_range: tuple[float, float],
        *,
        count_slope: float | None = None,
        balance: float = 0.0,
    ) -> None:
        assert colors.rest_blue
        self.magnitude_limit = magnitude_limit
        self.radius_range = radius_range
        self.z = np.linspace(MIN_Z, MAX_Z, 146)
        n_rows = round(MAGNITUDE_RANGE / _MAGNITUDE_STEP)
        self.magnitude = magnitude_limit - _MAGNITUDE_STEP * (np.arange(n_rows, dtype=np.float64)[::-1] + 0.5)
        distance = comoving_distance(self.z)
        self.modulus = distance_modulus(self.z)
        expansion = np.sqrt(OMEGA_M * (1 + self.z) ** 3 + 1 - OMEGA_M)
        self.volume = 299792.458 / HUBBLE * distance**2 / expansion * np.radians(1.0) ** 2
        self.arcsec_per_kpc = 206265e-3 * (1 + self.z) / distance
        self.k_correction = {name: _k_correction(colors, truth_band, name, self.z) for name in CLASSES}
        self._log_mass = {name: mass_to_light(kind.spectrum) for name, kind in KINDS.items()}
        self.density = {name: self._density(name) for name in CLASSES}
        self._prepare(count_slope, balance)

    def _density(self, name: str) -> Array:
        """Give the number per square degree, magnitude and unit redshift: (magnitude, z)."""
        return class_density(name, self.absolute(name, self.magnitude[:, None]), self.z) * self.volume

    def absolute(self, kind: str, magnitude: Array | float) -> Array:
        """Give M_B over the redshift grid of a galaxy of typical spectrum and an apparent magnitude."""
        return np.asarray(magnitude) - self.modulus - self.k_correction[kind]

    def counts(self, name: str | None = None) -> Array:
        """Give the number per square degree and magnitude of a class or of all galaxies, on the grid `magnitude`."""
        chosen = CLASSES if name is None else (name,)
        return np.trapezoid(np.sum([self.density[kind] for kind in chosen], axis=0), self.z, axis=1)

    def _prepare(self, count_slope: float | None, balance: float) -> None:
        weight = np.ones(len(self.magnitude))
        if count_slope is not None:
            weight = 10 ** (count_slope * (self.magnitude - self.magnitude_limit)) / self.counts()
        tables = {name: density * weight[:, None] for name, density in self.density.items()}
        total = np.array([table.sum() for table in tables.values()])
        self.shares = total ** (1 - balance) / np.sum(total ** (1 - balance))
        self._cumulative = {name: np.cumsum(table) / table.sum() for name, table in tables.items()}
        rows = np.sum([s * t.sum(axis=1) / t.sum() for s, t in zip(self.shares, tables.values(), strict=True)], axis=0)
        self._faintward = np.concatenate([[0.0], np.cumsum(rows)])

    def draw(self, rng: np.random.Generator, kind: str | None = None) -> Galaxy:
        """Draw a galaxy, of the given class or of one in proportion to the shares."""
        if kind is None:
            kind = str(rng.choice(CLASSES, p=self.shares))
        smallest, largest = self.radius_range
        for _ in range(12):
            magnitude, z = self._draw_place(rng, kind)
            radius = self._draw_radius(rng, kind, magnitude, z)
            # What is larger than the cutout is not in a catalogue of cutouts of this size: draw again.
            if smallest <= radius <= largest:
                break
        return self.galaxy(kind, z, magnitude, radius)

    def galaxy(self, kind: str, z: float, magnitude: float, radius: float) -> Galaxy:
        """Make a galaxy of stated properties, its radius brought into `radius_range`."""
        scale = float(np.interp(z, self.z, self.arcsec_per_kpc))
        return Galaxy(kind, z, magnitude, float(np.clip(radius, *self.radius_range)), scale)

    def draw_magnitude(self, rng: np.random.Generator, span: float = MAGNITUDE_RANGE) -> float:
        """Draw a magnitude from the counts, at most `span` brighter than the limit."""
        edges = self.magnitude_limit - _MAGNITUDE_STEP * np.arange(len(self.magnitude) + 1)[::-1]
        lowest = float(np.interp(self.magnitude_limit - span, edges, self._faintward))
        return float(np.interp(rng.uniform(lowest, self._faintward[-1]), self._faintward, edges))

    def _draw_place(self, rng: np.random.Generator, kind: str) -> tuple[float, float]:
        """Draw magnitude and redshift from the table of a class, evenly within its cells."""
        cell = int(np.searchsorted(self._cumulative[kind], rng.random()))
        row, column = divmod(min(cell, self._cumulative[kind].size - 1), len(self.z))
        magnitude = self.magnitude[row] + _MAGNITUDE_STEP * rng.uniform(-0.5, 0.5)
        z = self.z[column] + (self.z[1] - self.z[0]) * rng.uniform(-0.5, 0.5)
        return float(magnitude), float(np.clip(z, MIN_Z, MAX_Z))

    def radius(self, kind: str, magnitude: float, z: float) -> float:
        """Give the median half-light radius in arcsec along the major axis at an apparent magnitude and a redshift."""
        absolute = float(np.interp(z, self.z, self.absolute(kind, magnitude)))
        # At a given mass galaxies were as much brighter as M* was.
        evolution = (RED if KINDS[kind].early else BLUE).evolution
        mass = 10 ** (self._log_mass[kind] - 0.4 * (absolute - evolution * z))
        kpc = typical_radius(np.array(mass), np.array(z), early=KINDS[kind].early)
        return float(kpc * np.interp(z, self.z, self.arcsec_per_kpc))

    def _draw_radius(self, rng: np.random.Generator, kind: str, magnitude: float, z: float) -> float:
        scatter = SIZE_SCATTER[KINDS[kind].early] * rng.standard_normal()
        return self.radius(kind, magnitude, z) * float(10**scatter)


def _k_correction(colors: ColorTable, band: int, kind: str, z: Array) -> Array:
    """Give m - D - M_B of the typical spectrum of a class."""
    spectrum = KINDS[kind].spectrum
    return colors.magnitudes_over_z(spectrum, band, z) - colors.magnitudes_over_z(spectrum, -1, z)
