"""Population of a magnitude-limited survey: classes, magnitudes, redshifts, luminosities and sizes of galaxies.

The number of galaxies of a class per square degree, magnitude and redshift is

    n(class, m, z) = phi(M_B, z) fraction(class | M_B, z) dV/dz,    M_B = m - D(z) - K(class, z),

with the evolving B-band luminosity functions of red and blue galaxies, the fractions of morphological classes in each
of them, and K corrections from the typical spectrum of the class. Galaxies are drawn from this table, and their sizes
from the size-mass relation of their class. Colours, sizes and magnitudes thus depend on redshift as in a real survey.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator.bands import BANDS
from astrodl.simulator.templates import FluxTable, Spectrum

__all__ = [
    "BLUE",
    "CLASSES",
    "CLASS_PROPERTIES",
    "MAX_Z",
    "MIN_Z",
    "RED",
    "SIZE_SCATTER",
    "ClassProperties",
    "Galaxy",
    "LuminosityFunction",
    "Population",
    "class_density",
    "comoving_distance",
    "distance_modulus",
    "elliptical_fraction",
    "irregular_fraction",
    "mass_to_light",
    "merger_fraction",
    "typical_radius",
]

_Floats = NDArray[np.float64]

CLASSES = ("elliptical", "lenticular", "spiral", "irregular", "merger")
"""Morphological classes of the truth."""
MIN_Z, MAX_Z = 0.05, 1.5
"""Redshift range of the survey's galaxies."""
_MAGNITUDE_RANGE = 4.5
"""Difference between the limiting magnitude and the brightest galaxies."""
_MAGNITUDE_STEP = 0.05
_HUBBLE, _OMEGA_M = 70.0, 0.3
_LIGHT_SPEED_KM_S = 299792.458
_MAX_DRAWS = 12


@dataclass(frozen=True)
class LuminosityFunction:
    """A Schechter (1976) function of M_B (AB, Bessell) with M* = a + b z and phi* = c exp(d z)."""

    slope: float
    magnitude: float
    evolution: float
    density: float
    density_evolution: float

    def __call__(self, magnitude: _Floats, z: _Floats) -> _Floats:
        """Return the number per Mpc^3 and magnitude."""
        luminosity = 10 ** (-0.4 * (magnitude - self.magnitude - self.evolution * z))
        density = self.density * np.exp(self.density_evolution * z)
        return 0.4 * np.log(10) * density * luminosity ** (self.slope + 1) * np.exp(-luminosity)


# Herbel et al. 2017 (JCAP 08, 035), section 3.1 with table 1: fits to Faber et al. 2007, Ilbert et al. 2005 and others.
RED = LuminosityFunction(-0.5, -20.37196157, -0.70798041, 0.0035097, -0.70596888)
BLUE = LuminosityFunction(-1.3, -20.40492365, -0.9408582, 0.00370253, -0.10268436)


@dataclass(frozen=True)
class ClassProperties:
    """Typical properties of a class."""

    spectrum: Spectrum
    """Typical spectrum, for the K correction and the mass-to-light ratio."""
    early: bool
    """Whether sizes are those of early or of late types."""


CLASS_PROPERTIES = {
    "elliptical": ClassProperties(Spectrum(0.1), True),
    "lenticular": ClassProperties(Spectrum(0.3), True),
    "spiral": ClassProperties(Spectrum(1.6), False),
    "irregular": ClassProperties(Spectrum(2.5, 0.1), False),
    "merger": ClassProperties(Spectrum(1.8, 0.1), False),
}


def merger_fraction(z: _Floats) -> _Floats:
    """Return the fraction of mergers, 0.023 (1 + z)^2.3.

    The exponent is that of Conselice, Yang & Bluck (2009, MNRAS 394, 1956) for structurally selected mergers. The
    factor agrees with their 0.04 +- 0.01 at z = 0.2 and 0.13 +- 0.01 at z = 1.2 within the errors.
    """
    return 0.023 * (1 + z) ** 2.3


def elliptical_fraction(magnitude: _Floats, z: _Floats) -> _Floats:
    """Return the fraction of ellipticals among red galaxies, which is high at the bright end and low below M*.

    A logistic function of M_B, centred about one magnitude brighter than M*(z). At M* and fainter it agrees with the
    ratio of ellipticals to lenticulars of 3 : 15 (today) and 4 : 13 (z = 0.65) of Delgado-Serrano et al. (2010, A&A
    509, A78).
    """
    excess = magnitude - RED.magnitude - RED.evolution * z
    return 1 / (1 + np.exp((excess + 0.9) / 1.2))


def irregular_fraction(magnitude: _Floats, z: _Floats) -> _Floats:
    """Return the fraction of irregulars among blue galaxies that are not mergers: dwarfs, and luminous ones at high z.

    Dwarfs: a logistic function centred 3.6 mag fainter than M*(z), where irregulars become more common than spirals
    (Binggeli, Sandage & Tammann 1988, ARA&A 26, 509, figure 1). Luminous irregulars: a fraction that increases from
    z = 0.35 so that irregulars and mergers together evolve as in Brinchmann et al. (1998, ApJ 499, 112), from 9 +- 3 %
    at z = 0.3 - 0.5 to 32 +- 12 % at z = 0.7 - 0.9 for I < 22.
    """
    dwarf = 1 / (1 + np.exp((BLUE.magnitude + BLUE.evolution * z + 3.6 - magnitude) / 0.6))
    luminous = np.clip(0.42 * (z - 0.35), 0.0, 0.35)
    return dwarf + (1 - dwarf) * luminous


def class_density(name: str, magnitude: _Floats, z: _Floats) -> _Floats:
    """Return the number of galaxies of a class per Mpc^3 and magnitude at absolute magnitudes M_B and redshifts."""
    merging = merger_fraction(z)
    red, blue = RED(magnitude, z), BLUE(magnitude, z)
    if name == "merger":
        return merging * (red + blue)
    if CLASS_PROPERTIES[name].early:
        fraction = elliptical_fraction(magnitude, z)
        return (1 - merging) * red * (fraction if name == "elliptical" else 1 - fraction)
    fraction = irregular_fraction(magnitude, z)
    return (1 - merging) * blue * (fraction if name == "irregular" else 1 - fraction)


def mass_to_light(spectrum: Spectrum) -> float:
    """Return log10 of the stellar mass in solar masses of a galaxy with M_B = 0 at z = 0.

    log(M / L_g) = -0.499 + 1.519 (g - r) of Bell et al. (2003, ApJS 149, 289, table 7), minus 0.1 dex from their
    initial mass function to Chabrier's; the Sun has M_g = 5.11 (AB; Willmer 2018, ApJS 236, 47).
    """
    table = FluxTable([BANDS["LSST_g"], BANDS["LSST_r"]], rest_blue=True, max_z=0.01)
    g, r, blue = -2.5 * np.log10(table.flux(spectrum, 0.0))
    return float(-0.499 + 1.519 * (g - r) - 0.1 - 0.4 * (g - blue - 5.11))


def typical_radius(mass: _Floats, z: _Floats, *, early: bool) -> _Floats:
    """Return the median half-light radius along the major axis in kpc.

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
    """Properties of a galaxy that are drawn before its structure."""

    morphology: str
    """Its class, one of `CLASSES`."""
    z: float
    magnitude: float
    radius: float
    """Half-light radius along the major axis in arcsec."""
    arcsec_per_kpc: float
    """Proper transverse scale at the redshift."""


def comoving_distance(z: _Floats) -> _Floats:
    """Return the comoving distance in Mpc, for H_0 = 70 km / s / Mpc and Omega_m = 0.3, flat (Hogg 1999, eq. 15)."""
    grid = np.linspace(0.0, float(np.max(z)), 2000)
    inverse = 1 / np.sqrt(_OMEGA_M * (1 + grid) ** 3 + 1 - _OMEGA_M)
    steps = (inverse[1:] + inverse[:-1]) / 2 * np.diff(grid)
    integral = np.concatenate([[0.0], np.cumsum(steps)])
    return _LIGHT_SPEED_KM_S / _HUBBLE * np.interp(z, grid, integral)


def distance_modulus(z: _Floats) -> _Floats:
    """Return m - M in magnitudes, without K correction."""
    return 5 * np.log10(comoving_distance(z) * (1 + np.asarray(z))) + 25


class Population:
    """Population of galaxies to draw from.

    Parameters
    ----------
    flux_table
        Band fluxes of the survey, with the rest-frame B band.
    truth_band
        Index of the band of magnitudes.
    magnitude_limit
        Faintest magnitude.
    radius_range
        Smallest and largest half-light radius in arcsec: smaller galaxies are points, larger ones do not fit in the
        cutout.
    count_slope
        d log10 N / dm of the number counts; None: from the luminosity functions.
    balance
        Interpolates the fractions of the classes from the luminosity functions (0) to equal ones (1).
    """

    def __init__(
        self,
        flux_table: FluxTable,
        truth_band: int,
        magnitude_limit: float,
        radius_range: tuple[float, float],
        *,
        count_slope: float | None = None,
        balance: float = 0.0,
    ) -> None:
        assert flux_table.rest_blue
        self.magnitude_limit = magnitude_limit
        self.radius_range = radius_range
        self.z = np.linspace(MIN_Z, MAX_Z, 146)
        n_rows = round(_MAGNITUDE_RANGE / _MAGNITUDE_STEP)
        self.magnitude = magnitude_limit - _MAGNITUDE_STEP * (np.arange(n_rows, dtype=np.float64)[::-1] + 0.5)
        distance = comoving_distance(self.z)
        self.modulus = distance_modulus(self.z)
        expansion = np.sqrt(_OMEGA_M * (1 + self.z) ** 3 + 1 - _OMEGA_M)
        self.volume = _LIGHT_SPEED_KM_S / _HUBBLE * distance**2 / expansion * np.radians(1.0) ** 2
        self.arcsec_per_kpc = 206265e-3 * (1 + self.z) / distance
        self.k_correction = {name: _k_correction(flux_table, truth_band, name, self.z) for name in CLASSES}
        self._log_mass = {name: mass_to_light(properties.spectrum) for name, properties in CLASS_PROPERTIES.items()}
        self.density = {name: self._density(name) for name in CLASSES}
        self._tabulate(count_slope, balance)

    def _density(self, name: str) -> _Floats:
        """Return the number per square degree, magnitude and unit redshift, (magnitude, z)."""
        return class_density(name, self.absolute_magnitude(name, self.magnitude[:, None]), self.z) * self.volume

    def absolute_magnitude(self, name: str, magnitude: _Floats | float) -> _Floats:
        """Return M_B on the redshift grid for an apparent magnitude and the typical spectrum of a class."""
        return np.asarray(magnitude) - self.modulus - self.k_correction[name]

    def counts(self, name: str | None = None) -> _Floats:
        """Return the number per square degree and magnitude of a class (default: all), on the grid `magnitude`."""
        classes = CLASSES if name is None else (name,)
        return np.trapezoid(np.sum([self.density[each] for each in classes], axis=0), self.z, axis=1)

    def _tabulate(self, count_slope: float | None, balance: float) -> None:
        """Tabulate the cumulative distributions to draw from."""
        weight = np.ones(len(self.magnitude))
        if count_slope is not None:
            weight = 10 ** (count_slope * (self.magnitude - self.magnitude_limit)) / self.counts()
        tables = {name: density * weight[:, None] for name, density in self.density.items()}
        total = np.array([table.sum() for table in tables.values()])
        self.fractions = total ** (1 - balance) / np.sum(total ** (1 - balance))
        self._cumulative = {name: np.cumsum(table) / table.sum() for name, table in tables.items()}
        rows = np.sum(
            [f * t.sum(axis=1) / t.sum() for f, t in zip(self.fractions, tables.values(), strict=True)], axis=0
        )
        self._cumulative_counts = np.concatenate([[0.0], np.cumsum(rows)])

    def draw(self, rng: np.random.Generator, name: str | None = None) -> Galaxy:
        """Draw a galaxy of a class, by default of any class in proportion to the fractions."""
        if name is None:
            name = str(rng.choice(CLASSES, p=self.fractions))
        smallest, largest = self.radius_range
        for _ in range(_MAX_DRAWS):
            magnitude, z = self._draw_magnitude_and_z(rng, name)
            radius = self._draw_radius(rng, name, magnitude, z)
            # A survey of cutouts of this size does not contain galaxies that are larger: draw again.
            if smallest <= radius <= largest:
                break
        return self.make_galaxy(name, z, magnitude, radius)

    def make_galaxy(self, name: str, z: float, magnitude: float, radius: float) -> Galaxy:
        """Return a galaxy with given properties, its radius clipped to `radius_range`."""
        scale = float(np.interp(z, self.z, self.arcsec_per_kpc))
        return Galaxy(name, z, magnitude, float(np.clip(radius, *self.radius_range)), scale)

    def draw_magnitude(self, rng: np.random.Generator, span: float = _MAGNITUDE_RANGE) -> float:
        """Draw a magnitude from the number counts, at most `span` brighter than the limit."""
        edges = self.magnitude_limit - _MAGNITUDE_STEP * np.arange(len(self.magnitude) + 1)[::-1]
        counts = self._cumulative_counts
        lowest = float(np.interp(self.magnitude_limit - span, edges, counts))
        return float(np.interp(rng.uniform(lowest, counts[-1]), counts, edges))

    def _draw_magnitude_and_z(self, rng: np.random.Generator, name: str) -> tuple[float, float]:
        """Draw magnitude and redshift from the table of a class, uniformly within its cells."""
        cell = int(np.searchsorted(self._cumulative[name], rng.random()))
        row, column = divmod(min(cell, self._cumulative[name].size - 1), len(self.z))
        magnitude = self.magnitude[row] + _MAGNITUDE_STEP * rng.uniform(-0.5, 0.5)
        z = self.z[column] + (self.z[1] - self.z[0]) * rng.uniform(-0.5, 0.5)
        return float(magnitude), float(np.clip(z, MIN_Z, MAX_Z))

    def median_radius(self, name: str, magnitude: float, z: float) -> float:
        """Return the median half-light radius in arcsec along the major axis at an apparent magnitude and redshift."""
        absolute = float(np.interp(z, self.z, self.absolute_magnitude(name, magnitude)))
        early = CLASS_PROPERTIES[name].early
        # The luminosity at a given mass evolves like M*.
        evolution = (RED if early else BLUE).evolution
        mass = 10 ** (self._log_mass[name] - 0.4 * (absolute - evolution * z))
        kpc = typical_radius(np.array(mass), np.array(z), early=early)
        return float(kpc * np.interp(z, self.z, self.arcsec_per_kpc))

    def _draw_radius(self, rng: np.random.Generator, name: str, magnitude: float, z: float) -> float:
        scatter = SIZE_SCATTER[CLASS_PROPERTIES[name].early] * rng.standard_normal()
        return self.median_radius(name, magnitude, z) * float(10**scatter)


def _k_correction(flux_table: FluxTable, band: int, name: str, z: _Floats) -> _Floats:
    """Return m - D - M_B of the typical spectrum of a class."""
    spectrum = CLASS_PROPERTIES[name].spectrum
    return flux_table.magnitudes_over_z(spectrum, band, z) - flux_table.magnitudes_over_z(spectrum, -1, z)
