"""Which galaxies a magnitude-limited survey holds: magnitudes, redshifts, luminosities, sizes, classes.

A class is drawn first, a magnitude from rising counts, then a redshift from p(z | m) ~ Phi(M_B) dV/dz with the class's
Schechter (1976) luminosity function and K correction, and a size from a size-luminosity relation through the angular
diameter distance. Colours, sizes and magnitudes are thus bound to the redshift as in a real survey.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astrodl.survey.colors import ColorTable, Spectrum

CLASSES = ("elliptical", "lenticular", "spiral", "irregular", "merger")
"""Morphological classes of the truth."""
MIN_Z, MAX_Z = 0.05, 1.5
"""Redshift range of the survey's galaxies."""
MAGNITUDE_RANGE = 4.5
"""Magnitudes between the brightest galaxies and the limit."""
COUNT_SLOPE = 0.28
"""d log10 N / dm. Real counts rise more steeply (0.3 to 0.4 at m = 22 to 24); bright galaxies are drawn somewhat more
often so that a survey of a few thousand objects holds some."""
HUBBLE, OMEGA_M = 70.0, 0.3


@dataclass(frozen=True)
class Kind:
    """The statistics of one class.

    The luminosity functions follow, in round numbers, Marzke et al. (1998) and Zucca et al. (2006), brightening by
    1.0 mag per unit redshift; the sizes follow Shen et al. (2003) and van der Wel et al. (2014).
    """

    share: float
    """Fraction of the survey."""
    magnitude: float
    """M*_B (AB) today."""
    slope: float
    """Faint-end slope of the luminosity function."""
    spectrum: Spectrum
    """Typical spectrum, for the K correction."""
    radius_kpc: float
    """Median half-light radius along the major axis at M*_B and z = 0."""
    radius_power: float
    """Exponent of the size-luminosity relation."""


KINDS = {
    "elliptical": Kind(0.20, -20.2, -0.7, Spectrum(0.1), 5.0, 0.60),
    "lenticular": Kind(0.20, -20.1, -0.8, Spectrum(0.3), 4.6, 0.45),
    "spiral": Kind(0.26, -20.3, -1.1, Spectrum(1.6), 6.2, 0.33),
    "irregular": Kind(0.18, -19.3, -1.2, Spectrum(2.5, 0.1), 5.0, 0.33),
    "merger": Kind(0.16, -20.6, -1.0, Spectrum(1.8, 0.1), 6.0, 0.33),
}
_SIZE_SCATTER = 0.16
"""Scatter of the size-luminosity relation in dex."""
_SIZE_EVOLUTION = -0.8
"""Exponent of (1 + z) in the size at fixed luminosity."""
_EVOLUTION = 1.0


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


def comoving_distance(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the comoving distance in Mpc in a flat universe with `HUBBLE` and `OMEGA_M` (Hogg 1999, equation 15)."""
    grid = np.linspace(0.0, float(np.max(z)), 2000)
    inverse = 1 / np.sqrt(OMEGA_M * (1 + grid) ** 3 + 1 - OMEGA_M)
    steps = (inverse[1:] + inverse[:-1]) / 2 * np.diff(grid)
    integral = np.concatenate([[0.0], np.cumsum(steps)])
    return 299792.458 / HUBBLE * np.interp(z, grid, integral)


class Population:
    """Draws galaxies.

    Parameters
    ----------
    colors
        Band fluxes of the survey.
    truth_band
        Index of the band in which magnitudes are limited.
    magnitude_limit
        Faintest magnitude.
    radius_range
        Smallest and largest half-light radius in arcsec: below, galaxies are points, above, they leave the cutout.
    """

    def __init__(
        self, colors: ColorTable, truth_band: int, magnitude_limit: float, radius_range: tuple[float, float]
    ) -> None:
        self.magnitude_limit = magnitude_limit
        self.radius_range = radius_range
        self.z = np.linspace(MIN_Z, MAX_Z, 146)
        distance = comoving_distance(self.z)
        self.modulus = 5 * np.log10(distance * (1 + self.z)) + 25
        self.volume = distance**2 / np.sqrt(OMEGA_M * (1 + self.z) ** 3 + 1 - OMEGA_M)
        self.arcsec_per_kpc = 206265e-3 * (1 + self.z) / distance
        self.k_correction = {
            name: colors.magnitudes_over_z(kind.spectrum, truth_band, self.z) for name, kind in KINDS.items()
        }

    def draw(self, rng: np.random.Generator, kind: str | None = None) -> Galaxy:
        """Draw a galaxy, of the given class or of one in proportion to the shares."""
        if kind is None:
            kind = str(rng.choice(CLASSES, p=[KINDS[name].share for name in CLASSES]))
        magnitude = self.draw_magnitude(rng)
        cumulative = np.cumsum(self.redshift_density(kind, magnitude))
        smallest, largest = self.radius_range
        for _ in range(12):
            place = float(np.interp(rng.random() * cumulative[-1], cumulative, np.arange(len(self.z))))
            radius = self._radius(rng, kind, magnitude, place)
            # What is larger than the cutout is not in a catalogue of cutouts of this size: draw again.
            if smallest <= radius <= largest:
                break
        return self.galaxy(kind, float(np.interp(place, np.arange(len(self.z)), self.z)), magnitude, radius)

    def galaxy(self, kind: str, z: float, magnitude: float, radius: float) -> Galaxy:
        """Make a galaxy of stated properties, its radius brought into `radius_range`."""
        scale = float(np.interp(z, self.z, self.arcsec_per_kpc))
        return Galaxy(kind, z, magnitude, float(np.clip(radius, *self.radius_range)), scale)

    def draw_magnitude(self, rng: np.random.Generator, span: float = MAGNITUDE_RANGE) -> float:
        """Draw a magnitude from the counts, at most `span` brighter than the limit."""
        lowest = 10 ** (-COUNT_SLOPE * span)
        return float(self.magnitude_limit + np.log10(rng.uniform(lowest, 1.0)) / COUNT_SLOPE)

    def redshift_density(self, kind: str, magnitude: float) -> NDArray[np.float64]:
        """Give p(z | magnitude) of a class on the grid `z`, not normalised."""
        luminosity = 10 ** (-0.4 * self._excess(kind, magnitude))
        return luminosity ** (KINDS[kind].slope + 1) * np.exp(-luminosity) * self.volume

    def _excess(self, kind: str, magnitude: float) -> NDArray[np.float64]:
        """Absolute magnitude minus M*_B(z) over the redshift grid."""
        star = KINDS[kind].magnitude - _EVOLUTION * self.z
        return magnitude - self.modulus - self.k_correction[kind] - star

    def _radius(self, rng: np.random.Generator, kind: str, magnitude: float, place: float) -> float:
        index = np.arange(len(self.z))
        z = np.interp(place, index, self.z)
        excess = np.interp(place, index, self._excess(kind, magnitude))
        statistics = KINDS[kind]
        kpc = statistics.radius_kpc * 10 ** (-0.4 * statistics.radius_power * excess) * (1 + z) ** _SIZE_EVOLUTION
        kpc *= 10 ** (_SIZE_SCATTER * rng.standard_normal())
        return float(kpc * np.interp(place, index, self.arcsec_per_kpc))
