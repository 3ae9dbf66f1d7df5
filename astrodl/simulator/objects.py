"""Simulate the objects of a survey: from an object's number to its images, truth maps and row of truth.

Object i is a function of (seed, i) only. Images are in electrons per second, with the noise of the sky and the photon
noise of the sources.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.config import SimulateSettings
from astrodl.errors import ConfigError
from astrodl.simulator.bands import Band
from astrodl.simulator.camera import Camera
from astrodl.simulator.fits_writer import Card, Image, tangent_cards, write_cutout
from astrodl.simulator.fourier import Floats, Grid
from astrodl.simulator.galaxies import paint_galaxy
from astrodl.simulator.galaxies.oddities import ODDITIES, OddityPainter
from astrodl.simulator.instruments import survey_bands
from astrodl.simulator.neighbours import add_chance_neighbours, add_dense_neighbours
from astrodl.simulator.noise import Noise
from astrodl.simulator.population import CLASSES, Population, distance_modulus
from astrodl.simulator.scene import Canvas, Scene
from astrodl.simulator.spectra import draw_deviation
from astrodl.simulator.templates import FluxTable
from astrodl.simulator.truth import clump_rows, galaxy_row, segment
from astrodl.simulator.votes import draw_votes, expected_votes

__all__ = ["FEATURES", "FIELD_CENTRE", "LABELS", "Observation", "Simulator", "object_id", "truth_band"]

FIELD_CENTRE = (150.1163, 2.2010)
"""Right ascension and declination of the field in degrees: that of COSMOS (Scoville et al. 2007)."""
_FIELD_SIDE = 2.0
"""Side of the field in degrees."""
_MIN_RADIUS_ARCSEC = 0.05
"""Smallest half-light radius of galaxies: smaller ones would be classified as stars."""
_MAX_RADIUS = 0.42
"""Largest half-light radius in units of half the side of the cutout."""
LABELS = ("bulge", "disk", "clump")
"""Truth maps."""
FEATURES = ("bar", "arm")
"""Those of the structure of disks."""
_UNIT = "electron/s"
"""Unit of images and maps."""


@dataclass(frozen=True)
class Observation:
    """A simulated object.

    Attributes
    ----------
    row
        Its row of the catalogue.
    clumps
        Columns of its clumps, without `object_id`.
    images, variance
        Observed images and the variance of their pixels, (bands, y, x).
    maps
        Noise-free bulge, disk and clumps in the truth band, (labels, y, x); with `band_truth` then in the other bands,
        band by band.
    segmentation
        0 sky, 1 the galaxy, 2 and up other sources, (y, x).
    features
        With `structure_truth`: noise-free light of bar and arms in the truth band, (y, x) each.
    """

    row: dict[str, Any]
    clumps: dict[str, list[float]]
    images: Floats
    variance: Floats
    maps: Floats
    segmentation: NDArray[np.int16]
    features: dict[str, Floats]


class Simulator:
    """Simulator of the objects of a survey.

    Parameters
    ----------
    settings
        The survey.
    """

    def __init__(self, settings: SimulateSettings) -> None:
        self.settings = settings
        self.bands = survey_bands(settings)
        self.truth_band = settings.bands.index(truth_band(settings))
        self.zero_points = np.array([band.zero_point for band in self.bands])
        self.count_per_flux = 10 ** (0.4 * self.zero_points)
        self.noise = Noise(self.bands, settings.size, settings.pixel_scale_arcsec, correlated=settings.correlated_noise)
        self.sky_sigma = self.noise.sky_sigma
        grid = Grid(settings.size, settings.pixel_scale_arcsec)
        self.flux_table = FluxTable(self.bands, rest_blue=True)
        self.camera = Camera(grid, self.bands, psf_size=min(25, settings.size - 1))
        self.population = Population(
            self.flux_table,
            self.truth_band,
            settings.magnitude_limit,
            (_MIN_RADIUS_ARCSEC, _MAX_RADIUS * grid.half_width),
            count_slope=settings.count_slope,
            balance=settings.balance,
        )
        self.canvas = Canvas(grid, self.flux_table, self.truth_band)
        self.oddities = OddityPainter(self.canvas, self.population, self.sky_sigma, self.count_per_flux)
        self.isophote = 10 ** (0.4 * (self.zero_points[self.truth_band] - settings.isophote)) * grid.pixel**2

    def draw_scene(self, rng: np.random.Generator) -> tuple[Scene, str]:
        """Draw the light of an object, in AB units, and the name of its oddity."""
        oddity = ""
        if rng.random() < self.settings.oddity_fraction:
            oddity = str(rng.choice(list(ODDITIES)))
            scene = self.oddities.paint(rng, oddity)
            self._deviate_from_template(rng, scene)
        else:
            scene = self._draw_galaxy(rng)
        density = self.settings.neighbours_per_arcmin2
        if density is None:
            add_chance_neighbours(rng, scene, self.canvas, self.population)
        else:
            add_dense_neighbours(rng, scene, self.canvas.grid, density, self._draw_galaxy)
        return scene, oddity

    def _draw_galaxy(self, rng: np.random.Generator) -> Scene:
        galaxy = self.population.draw(rng)
        scene = paint_galaxy(self.canvas, rng, galaxy)
        scene.scale_to_magnitude(galaxy.magnitude, self.truth_band)
        self._deviate_from_template(rng, scene)
        return scene

    def _deviate_from_template(self, rng: np.random.Generator, scene: Scene) -> None:
        """Let the galaxy's spectrum deviate from the templates, with the same magnitude in the truth band."""
        rest = self.flux_table.rest_wavelengths(scene.galaxy.z)
        magnitudes = draw_deviation(rng, self.settings.template_scatter, rest)
        factor = 10 ** (-0.4 * (magnitudes - magnitudes[self.truth_band]))
        scene.layers = [replace(lay, flux=lay.flux * factor) if lay.part else lay for lay in scene.layers]
        if scene.n_clumps:
            scene.clumps[:, 2:] *= factor

    def render(self, scene: Scene) -> tuple[Floats, Floats]:
        """Return the noise-free images (bands, y, x) and truth maps (maps, y, x) of a scene in counts."""
        planes: list[tuple[int, str | None]] = [(band, None) for band in range(len(self.bands))]
        planes += [(band, part) for band in self.map_bands for part in LABELS]
        frames = self.camera.render(scene.layers, planes)
        frames *= np.array([self.count_per_flux[band] for band, _ in planes], np.float32)[:, None, None]
        return frames[: len(self.bands)], frames[len(self.bands) :]

    @property
    def map_bands(self) -> list[int]:
        """Bands of the truth maps, the truth band first."""
        others = [band for band in range(len(self.bands)) if band != self.truth_band and self.settings.band_truth]
        return [self.truth_band, *others]

    def observe(self, rng: np.random.Generator, images: Floats) -> Floats:
        """Add the noise of sky, camera and photons."""
        return self.noise.add(rng, images, self.noise.variance(images))

    def segment(self, scene: Scene, image: Floats) -> NDArray[np.int16]:
        """Segment the noise-free image (y, x) of the truth band by the brightest source in each pixel."""
        owners = sorted({layer.owner for layer in scene.layers} - {0})
        plane = (self.truth_band, None)
        sources = [
            self.camera.render([layer for layer in scene.layers if layer.owner == owner], [plane])[0]
            * np.float32(self.count_per_flux[self.truth_band])
            for owner in owners
        ]
        galaxy = image - np.sum(sources, axis=0) if sources else image
        return segment(np.stack([galaxy, *sources]), [1, *(owner + 1 for owner in owners)], self.isophote)

    def render_features(self, scene: Scene) -> dict[str, Floats]:
        """Return the noise-free light of the galaxy's bar and spiral arms in the truth band, (y, x) in counts."""
        found = {}
        for name in FEATURES:
            layers = [layer for layer in scene.layers if layer.part and layer.feature == name]
            light = (
                self.camera.render(layers, [(self.truth_band, None)])[0]
                if layers
                else np.zeros(2 * [self.settings.size])
            )
            found[name] = (light * self.count_per_flux[self.truth_band]).astype(np.float32)
        return found

    def make(self, number: int) -> Observation:
        """Simulate object `number`."""
        rng = np.random.default_rng([self.settings.seed, number])
        ra, dec = _draw_position(rng)
        scene, oddity = self.draw_scene(rng)
        images, maps = self.render(scene)
        variance = self.noise.variance(images)
        row = {"object_id": object_id(number), "ra": ra, "dec": dec, **self.truth(scene), "oddity": oddity}
        row |= self._draw_votes(number, row)
        return Observation(
            row=row,
            clumps=clump_rows(scene, self.settings),
            images=self.noise.add(rng, images, variance),
            variance=variance,
            maps=maps,
            segmentation=self.segment(scene, images[self.truth_band]),
            features=self.render_features(scene) if self.settings.structure_truth else {},
        )

    def truth(self, scene: Scene) -> dict[str, Any]:
        """Return the true properties of a galaxy for the catalogue."""
        modulus = float(distance_modulus(np.array(scene.galaxy.z)))
        return galaxy_row(scene, self.settings, self.truth_band, modulus)

    def _draw_votes(self, number: int, row: dict[str, Any]) -> dict[str, int]:
        """Draw the votes on a galaxy, with a generator of their own so that they do not change the images."""
        if not self.settings.votes:
            return {}
        rng = np.random.default_rng([self.settings.seed, number, 1])
        resolution = row["radius_arcsec"] / self.bands[self.truth_band].psf_fwhm_arcsec
        mean = expected_votes(row["class"], row["magnitude"] - self.settings.magnitude_limit, resolution)
        counts = draw_votes(rng, self.settings.votes, mean)
        return {f"votes_{name}": int(count) for name, count in zip(CLASSES, counts, strict=True)}

    def write(self, number: int, out: Path) -> Observation:
        """Simulate object `number` and write its files."""
        observation = self.make(number)
        settings, row = self.settings, observation.row
        wcs = tangent_cards(settings.size, settings.pixel_scale_arcsec, row["ra"], row["dec"])
        calibrated = [_image_cards(band, wcs) for band in self.bands]
        primary: dict[str, Card] = {"OBJECT": (row["object_id"], "")}
        variance_cards: dict[str, Card] = {**wcs, "BUNIT": ("electron2/s2", "")}
        psf_cards: dict[str, Card] = {"PIXSCALE": (settings.pixel_scale_arcsec, "arcsec; pixel included")}
        names = [band.name for band in self.bands]
        images = [Image(*image) for image in zip(names, observation.images, calibrated, strict=True)]
        if settings.variance:
            images += [Image(f"VAR_{name}", observation.variance[i], variance_cards) for i, name in enumerate(names)]
        images += [Image(f"PSF_{name}", self.camera.psf[i], psf_cards) for i, name in enumerate(names)]
        file = f"{row['object_id']}.fits"
        write_cutout(out / "images" / file, primary, images)
        kinds = [(label, band) for band in self.map_bands for label in LABELS]
        truth = [
            Image(
                label.upper() if band == self.truth_band else f"{label.upper()}_{names[band]}", data, calibrated[band]
            )
            for (label, band), data in zip(kinds, observation.maps, strict=True)
        ]
        truth += [Image(name.upper(), data, calibrated[self.truth_band]) for name, data in observation.features.items()]
        isophote: Card = (settings.isophote, "mag / arcsec2 of the faintest pixels")
        truth.append(Image("SEGMENTATION", observation.segmentation, {**wcs, "ISOPHOTE": isophote}))
        band: Card = (names[self.truth_band], "band of the maps")
        write_cutout(out / "truth" / file, {**primary, "BAND": band}, truth)
        return observation


def _image_cards(band: Band, wcs: dict[str, Card]) -> dict[str, Card]:
    """Return the header cards of a calibrated image."""
    zero_point = round(float(band.zero_point), 6)
    return {
        **wcs,
        "BUNIT": (_UNIT, ""),
        "MAGZERO": (zero_point, "AB magnitude of one count"),
        "EXPTIME": (band.exposure_s, "s, total"),
    }


def truth_band(settings: SimulateSettings) -> str:
    """Return the band of the truth: `simulate.truth_band`, by default the middle one.

    Raises
    ------
    ConfigError
        It is not one of the survey's bands.
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
    """Return the identifier of an object."""
    return f"SIM{number:06d}"


def _draw_position(rng: np.random.Generator) -> tuple[float, float]:
    """Draw right ascension and declination in the field, in degrees."""
    east, north = rng.uniform(-_FIELD_SIDE / 2, _FIELD_SIDE / 2, 2)
    dec = FIELD_CENTRE[1] + north
    return float(FIELD_CENTRE[0] + east / np.cos(np.radians(dec))), float(dec)
