"""Painters of galaxies, by morphological class, and of oddities.

Spectra, sizes, bulge fractions and structure of the classes overlap: some spirals are red, some ellipticals blue, some
mergers dry and many disks smooth. Neither colour nor concentration alone determines the class.
"""

from collections.abc import Callable

import numpy as np

from astrodl.simulator.galaxies.early_types import paint_elliptical, paint_lenticular
from astrodl.simulator.galaxies.irregulars import paint_irregular
from astrodl.simulator.galaxies.mergers import paint_merger
from astrodl.simulator.galaxies.spirals import paint_spiral
from astrodl.simulator.population import Galaxy
from astrodl.simulator.scene import Canvas, Scene

__all__ = ["paint_galaxy"]

_PAINTERS: dict[str, Callable[[Canvas, np.random.Generator, Scene], None]] = {
    "elliptical": paint_elliptical,
    "lenticular": paint_lenticular,
    "spiral": paint_spiral,
    "irregular": paint_irregular,
    "merger": paint_merger,
}


def paint_galaxy(canvas: Canvas, rng: np.random.Generator, galaxy: Galaxy) -> Scene:
    """Paint a galaxy of its class; fluxes in the truth band are fractions of the galaxy."""
    scene = Scene(galaxy)
    _PAINTERS[galaxy.morphology](canvas, rng, scene)
    return scene
