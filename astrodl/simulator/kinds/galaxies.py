"""Galaxies of the five classes: how a drawn galaxy becomes layers of light and a row of truth.

Spectra, sizes, bulge fractions and structure of the classes overlap: some spirals are red, some ellipticals blue, some
mergers dry, many disks smooth, so that neither colour nor concentration alone tells the class.
"""

from collections.abc import Callable

import numpy as np

from astrodl.simulator.kinds.early_types import paint_elliptical, paint_lenticular
from astrodl.simulator.kinds.irregulars import paint_irregular
from astrodl.simulator.kinds.mergers import paint_merger
from astrodl.simulator.kinds.spirals import paint_spiral
from astrodl.simulator.population import Galaxy
from astrodl.simulator.scene import Canvas, Scene

__all__ = ["Painter", "Scene"]

_PAINTERS: dict[str, Callable[[Canvas, np.random.Generator, Scene], None]] = {
    "elliptical": paint_elliptical,
    "lenticular": paint_lenticular,
    "spiral": paint_spiral,
    "irregular": paint_irregular,
    "merger": paint_merger,
}


class Painter(Canvas):
    """Makes galaxies on a grid; parameters as for `Canvas`."""

    def paint(self, rng: np.random.Generator, galaxy: Galaxy) -> Scene:
        """Make a galaxy of its class."""
        scene = Scene(galaxy)
        _PAINTERS[galaxy.kind](self, rng, scene)
        return scene
