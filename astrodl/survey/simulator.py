"""Objects of a simulated survey: from a number to images, truth maps and a row of truth.

Object i is a function of (seed, i) alone. Images are in electrons per second, with the noise of sky, dark current,
read-out (Gaussian) and of the source's own photons; pixels are independent (the correlation that drizzling brings is
left out).
"""

from pathlib import Path
from typing import Any

import numpy as np

from astrodl.config import SimulateSettings
from astrodl.errors import ConfigError
from astrodl.survey.bands import get_band
from astrodl.survey.colors import ColorTable
from astrodl.survey.cutout_file import Image, Value, tangent_cards, write_cutout
from astrodl.survey.fourier import Camera, Floats, Grid
from astrodl.survey.galaxies import Painter, Scene
from astrodl.survey.oddities import KINDS, Oddities, add_company
from astrodl.survey.population import Population

FIELD_CENTRE = (150.1163, 2.2010)
"""Right ascension and declination of the field in degrees: that of COSMOS (Scoville et al. 2007)."""
FIELD_SIDE = 2.0
"""Side of the field in degrees."""
LABELS = ("bulge", "disk", "clump")
"""Truth maps."""
UNIT = "electron/s"
"""Unit of images and maps."""


class Simulator:
    """Makes the objects of a survey one by one.

    Parameters
    ----------
    settings
        The survey.
    """

    def __init__(self, settings: SimulateSettings) -> None:
        self.settings = settings
        self.bands = [get_band(name, "simulate.bands") for name in settings.bands]
        self.truth_band = settings.bands.index(truth_band(settings))
        self.zero_points = np.array([band.zero_point for band in self.bands])
        self.count_per_flux = 10 ** (0.4 * self.zero_points)
        self.sky_sigma = np.array([band.sky_sigma(settings.pixel_scale_arcsec) for band in self.bands])
        self.exposure = np.array([band.exposure_s for band in self.bands])
        grid = Grid(settings.size, settings.pixel_scale_arcsec)
        colors = ColorTable(self.bands)
        self.camera = Camera(grid, self.bands, psf_size=min(25, settings.size - 1))
        self.population = Population(
            colors,
            self.truth_band,
            settings.magnitude_limit,
            (0.04 * grid.half_width, 0.42 * grid.half_width),
        )
        self.painter = Painter(grid, colors, self.truth_band)
        self.oddities = Oddities(self.painter, self.population, self.sky_sigma, self.count_per_flux)

    def scene(self, rng: np.random.Generator) -> tuple[Scene, str]:
        """Draw the light of an object, in counts, and the name of its oddity."""
        oddity = ""
        if rng.random() < self.settings.oddity_fraction:
            oddity = str(rng.choice(list(KINDS)))
            scene = self.oddities.paint(rng, oddity)
        else:
            galaxy = self.population.draw(rng)
            scene = self.painter.paint(rng, galaxy)
            scene.scale_to(10 ** (-0.4 * galaxy.magnitude), self.truth_band)
        add_company(rng, scene, self.painter, self.population)
        return scene, oddity

    def images(self, scene: Scene) -> tuple[Floats, Floats]:
        """Give the noise-free images (bands, y, x) and truth maps (labels, y, x) of a scene in counts."""
        planes: list[tuple[int, str | None]] = [(band, None) for band in range(len(self.bands))]
        planes += [(self.truth_band, part) for part in LABELS]
        frames = self.camera.images(scene.layers, planes)
        n_bands = len(self.bands)
        frames[:n_bands] *= self.count_per_flux[:, None, None].astype(np.float32)
        frames[n_bands:] *= np.float32(self.count_per_flux[self.truth_band])
        return frames[:n_bands], frames[n_bands:]

    def observe(self, rng: np.random.Generator, images: Floats) -> Floats:
        """Add the noise of sky, camera and photons."""
        variance = self.sky_sigma[:, None, None] ** 2 + np.maximum(images, 0) / self.exposure[:, None, None]
        noise = rng.standard_normal(images.shape, dtype=np.float32)
        return images + noise * np.sqrt(variance).astype(np.float32)

    def make(self, number: int) -> tuple[dict[str, Any], Floats, Floats]:
        """Make object `number`: its row of truth, observed images and truth maps."""
        rng = np.random.default_rng([self.settings.seed, number])
        ra, dec = draw_position(rng)
        scene, oddity = self.scene(rng)
        images, maps = self.images(scene)
        observed = self.observe(rng, images)
        row = {"object_id": object_id(number), "ra": ra, "dec": dec, **self.truth(scene), "oddity": oddity}
        return row, observed, maps

    def truth(self, scene: Scene) -> dict[str, Any]:
        """Give what is known of a galaxy."""
        total = scene.flux(self.truth_band)
        return {
            "z": scene.galaxy.z,
            "class": scene.galaxy.kind,
            "bt": float(np.clip(scene.flux(self.truth_band, "bulge") / total, 0.0, 1.0)),
            "sersic_index": scene.sersic_index,
            "radius_arcsec": scene.galaxy.radius,
            "magnitude": float(-2.5 * np.log10(total)),
            "inclination": scene.inclination,
            "n_clumps": scene.n_clumps,
        }

    def write(self, number: int, out: Path) -> dict[str, Any]:
        """Make and write object `number`; give its row of truth."""
        row, observed, maps = self.make(number)
        settings = self.settings
        wcs = tangent_cards(settings.size, settings.pixel_scale_arcsec, row["ra"], row["dec"])
        calibrated = [
            {**wcs, "BUNIT": (UNIT, ""), "MAGZERO": (round(float(zero_point), 6), "AB magnitude of one count")}
            for zero_point in self.zero_points
        ]
        primary: dict[str, tuple[Value, str]] = {"OBJECT": (row["object_id"], "")}
        images = [
            Image(band.name, data, cards) for band, data, cards in zip(self.bands, observed, calibrated, strict=True)
        ]
        psf_cards: dict[str, tuple[Value, str]] = {"PIXSCALE": (settings.pixel_scale_arcsec, "arcsec; pixel included")}
        images += [
            Image(f"PSF_{band.name}", psf, psf_cards) for band, psf in zip(self.bands, self.camera.psf, strict=True)
        ]
        cards = calibrated[self.truth_band]
        truth = [Image(label.upper(), data, cards) for label, data in zip(LABELS, maps, strict=True)]
        write_cutout(out / "images" / f"{row['object_id']}.fits", primary, images)
        band = self.bands[self.truth_band].name
        write_cutout(out / "truth" / f"{row['object_id']}.fits", {**primary, "BAND": (band, "band of the maps")}, truth)
        return row


def truth_band(settings: SimulateSettings) -> str:
    """Give the band of the truth: the one set, or the middle one.

    Raises
    ------
    ConfigError
        The band set is not among the survey's bands.
    """
    if settings.truth_band is None:
        return settings.bands[len(settings.bands) // 2]
    if settings.truth_band not in settings.bands:
        raise ConfigError(
            f"simulate.truth_band: band '{settings.truth_band}' is not among the survey's bands "
            f"(accepted: {', '.join(settings.bands)}); correct the name or add the band"
        )
    return settings.truth_band


def object_id(number: int) -> str:
    """Give the identifier of an object."""
    return f"SIM{number:06d}"


def draw_position(rng: np.random.Generator) -> tuple[float, float]:
    """Draw right ascension and declination in the field (degrees)."""
    east, north = rng.uniform(-FIELD_SIDE / 2, FIELD_SIDE / 2, 2)
    dec = FIELD_CENTRE[1] + north
    return float(FIELD_CENTRE[0] + east / np.cos(np.radians(dec))), float(dec)
