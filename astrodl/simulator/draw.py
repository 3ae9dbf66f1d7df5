"""Objects of a simulated survey: from a number to images, truth maps and a row of truth.

Object i is a function of (seed, i) alone. Images are in electrons per second, with the noise of the sky and of the
source's own photons.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.config import SimulateSettings
from astrodl.errors import ConfigError
from astrodl.simulator.bands import Band
from astrodl.simulator.colors import ColorTable
from astrodl.simulator.fourier import Camera, Floats, Grid, Layer
from astrodl.simulator.instruments import bands_of
from astrodl.simulator.kinds.galaxies import Painter, Scene
from astrodl.simulator.kinds.oddities import KINDS, Oddities, add_company
from astrodl.simulator.noise import Noise
from astrodl.simulator.population import CLASSES, Population, distance_modulus
from astrodl.simulator.spectra import deviation
from astrodl.simulator.truth import clump_rows, galaxy_row, segment
from astrodl.simulator.volunteers import draw_votes, expected_votes
from astrodl.simulator.write import Image, Value, tangent_cards, write_cutout

FIELD_CENTRE = (150.1163, 2.2010)
"""Right ascension and declination of the field in degrees: that of COSMOS (Scoville et al. 2007)."""
FIELD_SIDE = 2.0
"""Side of the field in degrees."""
SMALLEST_RADIUS = 0.05
"""Half-light radius in arcsec below which galaxies are not drawn: they would count as stars."""
LABELS = ("bulge", "disk", "clump")
"""Truth maps."""
UNIT = "electron/s"
"""Unit of images and maps."""


@dataclass(frozen=True)
class Observation:
    """An object with all that is known of it.

    Attributes
    ----------
    row
        Its line of the catalogue.
    clumps
        Columns of its clumps, without `object_id`.
    images, variance
        (bands, y, x) observed images and the variance of their pixels.
    maps
        (labels, y, x) noise-free bulge, disk and clumps in the truth band.
    segmentation
        (y, x) 0 sky, 1 the galaxy, 2 and up others.
    """

    row: dict[str, Any]
    clumps: dict[str, list[float]]
    images: Floats
    variance: Floats
    maps: Floats
    segmentation: NDArray[np.int16]


class Simulator:
    """Makes the objects of a survey one by one.

    Parameters
    ----------
    settings
        The survey.
    """

    def __init__(self, settings: SimulateSettings) -> None:
        self.settings = settings
        self.bands = bands_of(settings)
        self.truth_band = settings.bands.index(truth_band(settings))
        self.zero_points = np.array([band.zero_point for band in self.bands])
        self.count_per_flux = 10 ** (0.4 * self.zero_points)
        self.noise = Noise(self.bands, settings.size, settings.pixel_scale_arcsec, correlated=settings.correlated_noise)
        self.sky_sigma, self.exposure = self.noise.sky_sigma, self.noise.exposure
        grid = Grid(settings.size, settings.pixel_scale_arcsec)
        self.colors = ColorTable(self.bands, rest_blue=True)
        self.camera = Camera(grid, self.bands, psf_size=min(25, settings.size - 1))
        self.population = Population(
            self.colors,
            self.truth_band,
            settings.magnitude_limit,
            (SMALLEST_RADIUS, 0.42 * grid.half_width),
            count_slope=settings.count_slope,
            balance=settings.balance,
        )
        self.painter = Painter(grid, self.colors, self.truth_band)
        self.oddities = Oddities(self.painter, self.population, self.sky_sigma, self.count_per_flux)
        self.isophote = 10 ** (0.4 * (self.zero_points[self.truth_band] - settings.isophote)) * grid.pixel**2

    def scene(self, rng: np.random.Generator) -> tuple[Scene, str]:
        """Draw the light of an object, in AB units, and the name of its oddity."""
        oddity = ""
        if rng.random() < self.settings.oddity_fraction:
            oddity = str(rng.choice(list(KINDS)))
            scene = self.oddities.paint(rng, oddity)
            self._deviate(rng, scene)
        else:
            scene = self._galaxy(rng)
        if self.settings.neighbours_per_arcmin2 is None:
            add_company(rng, scene, self.painter, self.population)
        else:
            self._add_neighbours(rng, scene, self.settings.neighbours_per_arcmin2)
        return scene, oddity

    def _galaxy(self, rng: np.random.Generator) -> Scene:
        galaxy = self.population.draw(rng)
        scene = self.painter.paint(rng, galaxy)
        scene.scale_to(10 ** (-0.4 * galaxy.magnitude), self.truth_band)
        self._deviate(rng, scene)
        return scene

    def _deviate(self, rng: np.random.Generator, scene: Scene) -> None:
        """Let the galaxy's spectrum deviate from the templates; its magnitude in the truth band stays."""
        rest = self.colors.rest_wavelengths(scene.galaxy.z)
        magnitudes = deviation(rng, self.settings.template_scatter, rest)
        factor = 10 ** (-0.4 * (magnitudes - magnitudes[self.truth_band]))
        scene.layers = [replace(lay, flux=lay.flux * factor) if lay.part else lay for lay in scene.layers]
        if scene.n_clumps:
            scene.clumps[:, 2:] *= factor

    def _add_neighbours(self, rng: np.random.Generator, scene: Scene, density: float) -> None:
        """Put galaxies of the population anywhere in the stamp."""
        grid = self.painter.grid
        area = (2 * grid.half_width / 60) ** 2
        for _ in range(rng.poisson(density * area)):
            x, y = rng.uniform(-grid.half_width, grid.half_width, 2)
            phase = np.exp(-1j * (grid.kx * np.float32(x) + grid.ky * np.float32(y)))
            owner = scene.next_owner
            for layer in self._galaxy(rng).layers:
                scene.layers.append(Layer("", layer.image * phase, layer.flux, owner=owner))

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
        return self.noise.add(rng, images, self.noise.variance(images))

    def segmentation(self, scene: Scene, image: Floats) -> NDArray[np.int16]:
        """Say whose light is brightest in each pixel of the noise-free image (y, x) of the truth band."""
        owners = sorted({layer.owner for layer in scene.layers} - {0})
        plane = (self.truth_band, None)
        sources = [
            self.camera.images([layer for layer in scene.layers if layer.owner == owner], [plane])[0]
            * np.float32(self.count_per_flux[self.truth_band])
            for owner in owners
        ]
        galaxy = image - np.sum(sources, axis=0) if sources else image
        return segment(np.stack([galaxy, *sources]), [1, *(owner + 1 for owner in owners)], self.isophote)

    def make(self, number: int) -> Observation:
        """Make object `number`."""
        rng = np.random.default_rng([self.settings.seed, number])
        ra, dec = draw_position(rng)
        scene, oddity = self.scene(rng)
        images, maps = self.images(scene)
        variance = self.noise.variance(images)
        row = {"object_id": object_id(number), "ra": ra, "dec": dec, **self.truth(scene), "oddity": oddity}
        row |= self._votes(number, row)
        return Observation(
            row=row,
            clumps=clump_rows(scene, self.settings),
            images=self.noise.add(rng, images, variance),
            variance=variance,
            maps=maps,
            segmentation=self.segmentation(scene, images[self.truth_band]),
        )

    def truth(self, scene: Scene) -> dict[str, Any]:
        """Give what is known of a galaxy."""
        modulus = float(distance_modulus(np.array(scene.galaxy.z)))
        return galaxy_row(scene, self.settings, self.truth_band, modulus)

    def _votes(self, number: int, row: dict[str, Any]) -> dict[str, int]:
        """Let volunteers vote on a galaxy; randomness of its own, so that votes change no image."""
        if not self.settings.votes:
            return {}
        rng = np.random.default_rng([self.settings.seed, number, 1])
        resolution = row["radius_arcsec"] / self.bands[self.truth_band].psf_fwhm_arcsec
        mean = expected_votes(row["class"], row["magnitude"] - self.settings.magnitude_limit, resolution)
        counts = draw_votes(rng, self.settings.votes, mean)
        return {f"votes_{name}": int(count) for name, count in zip(CLASSES, counts, strict=True)}

    def write(self, number: int, out: Path) -> Observation:
        """Make and write object `number`."""
        made = self.make(number)
        settings, name = self.settings, made.row["object_id"]
        wcs = tangent_cards(settings.size, settings.pixel_scale_arcsec, made.row["ra"], made.row["dec"])
        calibrated = [_cards(band, wcs) for band in self.bands]
        primary: dict[str, tuple[Value, str]] = {"OBJECT": (name, "")}
        images = [
            Image(b.name, data, cards) for b, data, cards in zip(self.bands, made.images, calibrated, strict=True)
        ]
        if settings.variance:
            unit: dict[str, tuple[Value, str]] = {**wcs, "BUNIT": ("electron2/s2", "")}
            images += [Image(f"VAR_{b.name}", data, unit) for b, data in zip(self.bands, made.variance, strict=True)]
        psf_cards: dict[str, tuple[Value, str]] = {"PIXSCALE": (settings.pixel_scale_arcsec, "arcsec; pixel included")}
        images += [Image(f"PSF_{b.name}", psf, psf_cards) for b, psf in zip(self.bands, self.camera.psf, strict=True)]
        write_cutout(out / "images" / f"{name}.fits", primary, images)
        cards = calibrated[self.truth_band]
        truth = [Image(label.upper(), data, cards) for label, data in zip(LABELS, made.maps, strict=True)]
        isophote: tuple[Value, str] = (settings.isophote, "mag / arcsec2 of the faintest pixels")
        truth.append(Image("SEGMENTATION", made.segmentation, {**wcs, "ISOPHOTE": isophote}))
        band = self.bands[self.truth_band].name
        write_cutout(out / "truth" / f"{name}.fits", {**primary, "BAND": (band, "band of the maps")}, truth)
        return made


def _cards(band: Band, wcs: dict[str, tuple[Value, str]]) -> dict[str, tuple[Value, str]]:
    """Give the cards of a calibrated image."""
    zero_point = round(float(band.zero_point), 6)
    return {
        **wcs,
        "BUNIT": (UNIT, ""),
        "MAGZERO": (zero_point, "AB magnitude of one count"),
        "EXPTIME": (band.exposure_s, "s, total"),
    }


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
