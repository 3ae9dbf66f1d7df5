"""Oddities: rare objects that are injected into a known fraction of the cutouts.

Lensed arcs, quasars, stripped gas and satellite trails belong to no truth map and are excluded from the truth
magnitude. The light of a ring and of an emission-line compact belongs to the galaxy.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator import structure
from astrodl.simulator.bands import Band
from astrodl.simulator.fourier import Floats, Grid, Layer
from astrodl.simulator.galaxies import paint_galaxy
from astrodl.simulator.population import CLASSES, MAX_Z, MIN_Z, Population
from astrodl.simulator.scene import Canvas, Scene
from astrodl.simulator.structure import Frame
from astrodl.simulator.templates import Spectrum

__all__ = ["COMPACT_KPC", "ODDITIES", "OddityPainter", "deflect", "draw_lensed_source", "line_boost"]

_EMISSION_LINES = {"[O II]": (3728.0, 0.25), "[O III], H beta": (4985.0, 1.0), "H alpha": (6563.0, 0.6)}
"""Lines of compact starbursts: rest-frame wavelength in Angstrom, equivalent width relative to [O III] and H beta
(Cardamone et al. 2009)."""
COMPACT_KPC = 0.6
"""Median half-light radius of emission-line compacts; a scatter of 0.2 dex covers 0.3 to 1.2 kpc (van der Wel et al.
2011, Amorin et al. 2015)."""


class OddityPainter:
    """Painter of galaxies with oddities.

    Parameters
    ----------
    canvas
        Canvas of the survey.
    population
        Population of the host galaxies.
    sky_sigma
        Noise of the sky per pixel in counts, (bands,).
    count_per_flux
        Counts of a source of unit AB flux, (bands,).
    """

    def __init__(
        self,
        canvas: Canvas,
        population: Population,
        sky_sigma: NDArray[np.float64],
        count_per_flux: NDArray[np.float64],
    ) -> None:
        self.canvas = canvas
        self.population = population
        self.sky_sigma = sky_sigma
        self.count_per_flux = count_per_flux

    def paint(self, rng: np.random.Generator, oddity: str) -> Scene:
        """Paint a galaxy with the named oddity, scaled to its magnitude (AB units)."""
        return ODDITIES[oddity](self, rng)

    def paint_host(self, rng: np.random.Generator, classes: tuple[str, ...], smallest: float = 0.0) -> Scene:
        """Paint an ordinary galaxy of one of some classes, not smaller than a fraction of half the cutout."""
        galaxy = self.population.draw(rng, str(rng.choice(classes)))
        radius = max(galaxy.radius, smallest * self.canvas.grid.half_width)
        scene = paint_galaxy(self.canvas, rng, replace(galaxy, radius=radius))
        scene.scale_to_magnitude(galaxy.magnitude, self.canvas.truth_band)
        return scene


def _paint_ring(painter: OddityPainter, rng: np.random.Generator) -> Scene:
    """Paint a collisional ring galaxy: knotty, blue, with an off-centre nucleus (Appleton & Struck-Marcell 1996)."""
    canvas, grid = painter.canvas, painter.canvas.grid
    # The brightest of three galaxies, as rings are found in bright galaxies.
    galaxies = [painter.population.draw(rng, str(rng.choice(["lenticular", "spiral"]))) for _ in range(3)]
    galaxy = min(galaxies, key=lambda galaxy: galaxy.magnitude)
    radius = float(np.clip(galaxy.radius, min(0.2 * grid.half_width, 0.8), 0.33 * grid.half_width))
    scene = Scene(replace(galaxy, radius=radius))
    q, angle = float(rng.uniform(0.4, 1.0)), float(rng.uniform(0, np.pi))
    x, y = canvas.draw_centre(rng)
    old = Spectrum(float(rng.uniform(0, 0.8)), float(rng.exponential(0.04)))
    young = Spectrum(float(rng.uniform(2.2, 3.3)), float(rng.exponential(0.06)), float(rng.uniform(0, 0.3)))
    bt, fraction = float(rng.uniform(0.1, 0.3)), float(rng.uniform(0.35, 0.6))
    offset = rng.normal(0, 0.12 * radius, 2)
    bulge = grid.sersic(rng.uniform(1.5, 3), 0.3 * radius, 0.5 + 0.5 * q, angle, x + offset[0], y + offset[1])
    canvas.add_layer(scene, "bulge", bulge, old, bt)
    canvas.add_layer(scene, "disk", grid.exponential(0.7 * radius, q, angle, x, y), old, 1 - bt - fraction)
    size = radius * rng.uniform(1.3, 1.9)
    lumps = grid.noise_field(rng, 80, 0.8)
    ring = structure.draw_ring(
        grid, Frame(x, y, q, angle), size, size * rng.uniform(0.08, 0.18), rng.uniform(0.1, 0.95), lumps
    )
    canvas.add_layer(scene, "disk", grid.transform_unit_flux(ring), young, fraction)
    scene.sersic_index, scene.inclination = 1.0, float(np.degrees(np.arccos(q)))
    scene.set_orientation(q, angle)
    scene.scale_to_magnitude(galaxy.magnitude, canvas.truth_band)
    return scene


def _paint_lensed_arc(painter: OddityPainter, rng: np.random.Generator) -> Scene:
    """Paint a massive early-type galaxy that lenses a blue background galaxy into arcs, counter-images or a ring."""
    canvas, grid, population = painter.canvas, painter.canvas.grid, painter.population

    def luminosity_order(host: Scene) -> float:
        return host.galaxy.magnitude - float(np.interp(host.galaxy.z, population.z, population.modulus))

    # The cross-section for lensing grows with luminosity: the most luminous of four (Auger et al. 2009).
    hosts = [painter.paint_host(rng, ("elliptical", "elliptical", "lenticular")) for _ in range(4)]
    scene = min(hosts, key=luminosity_order)
    # 0.5 to 1.8 arcsec, as for galaxy lenses (Bolton et al. 2008), if the cutout is large enough.
    einstein = float(rng.uniform(0.26, 0.55) * min(grid.half_width, 3.2))
    q, angle = float(rng.uniform(0.6, 0.95)), float(rng.uniform(0, np.pi))
    offset, turn = einstein * rng.uniform(0.03, 0.4), rng.uniform(0, 2 * np.pi)
    size = max(float(einstein * rng.uniform(0.05, 0.13)), 0.5 * grid.pixel)
    beta_x, beta_y = deflect(grid, einstein, q, angle)
    x, y = beta_x - np.float32(offset * np.cos(turn)), beta_y - np.float32(offset * np.sin(turn))
    arcs = draw_lensed_source(rng, x, y, size)
    spectrum = Spectrum(float(rng.uniform(2.2, 3.6)), float(rng.exponential(0.08)))
    z = float(min(scene.galaxy.z + rng.uniform(0.5, 1.5), 2.5))
    # Only arcs that are brighter than about the survey's limit would be found.
    flux = 10 ** rng.uniform(-0.9, 0.0) * scene.flux(canvas.truth_band)
    flux = max(flux, 10 ** (-0.4 * (population.magnitude_limit - rng.uniform(0.0, 0.8))))
    canvas.add_source(scene, grid.transform_unit_flux(arcs), spectrum, z, flux)
    return scene


def draw_lensed_source(rng: np.random.Generator, x: Floats, y: Floats, size: float) -> Floats:
    """Draw an inclined exponential disk with clumps at source-plane positions relative to its centre.

    The clumps are in the source plane, so that each appears in every image of the source.
    """
    plane = Frame(0.0, 0.0, float(rng.uniform(0.4, 1.0)), float(rng.uniform(0, np.pi)))
    cosine, sine = np.float32(np.cos(plane.angle)), np.float32(np.sin(plane.angle))
    u, v = x * cosine + y * sine, (y * cosine - x * sine) / np.float32(plane.q)
    light = np.exp(-np.hypot(u, v) / np.float32(size))
    for _ in range(int(rng.integers(0, 4))):
        clump_u, clump_v = rng.normal(0, 1.5 * size, 2).astype(np.float32)
        width = np.float32(size * rng.uniform(0.25, 0.5))
        brightness = np.float32(rng.uniform(0.5, 2.0))
        light += brightness * np.exp(-((u - clump_u) ** 2 + (v - clump_v) ** 2) / (2 * width**2))
    return light


def deflect(grid: Grid, einstein: float, q: float, angle: float) -> tuple[Floats, Floats]:
    """Trace rays back through a lens: theta minus the gradient of the potential b sqrt(s^2 + q x^2 + y^2 / q).

    This is the elliptical isothermal potential of Blandford & Kochanek (1987) with a small core s.

    Parameters
    ----------
    einstein
        Einstein radius b in arcsec.
    q, angle
        Axis ratio of the potential, and angle of its major axis in radians.

    Returns
    -------
    beta_x, beta_y
        Source-plane position of every sample in arcsec, in the frame of the lens.
    """
    x, y = Frame(0.0, 0.0, 1.0, angle).plane(grid)
    root = np.sqrt(np.float32((0.03 * einstein) ** 2) + q * x * x + y * y / q)
    strength = np.float32(einstein) / root.astype(np.float32)
    return x * (1 - np.float32(q) * strength), y * (1 - strength / np.float32(q))


def _paint_quasar_host(painter: OddityPainter, rng: np.random.Generator) -> Scene:
    """Paint a galaxy with a bright quasar in its centre, which shows the spikes of the point-spread function."""
    canvas, grid = painter.canvas, painter.canvas.grid
    scene = painter.paint_host(rng, ("elliptical", "lenticular", "spiral", "merger"))
    # In a merger the quasar is in the nucleus of the larger galaxy.
    nucleus = next(layer.image for layer in scene.layers if layer.part == "bulge")
    point = grid.point_source(*grid.centre_of(nucleus))
    # f_nu ~ nu^-0.44 (Vanden Berk et al. 2001) is close to the slope of the young population with some dust.
    spectrum = Spectrum(4.0, float(rng.uniform(0.05, 0.3)))
    flux = float(10 ** rng.uniform(-0.2, 0.9)) * scene.flux(canvas.truth_band)
    canvas.add_layer(scene, "", point, spectrum, flux)
    return scene


def _paint_jellyfish(painter: OddityPainter, rng: np.random.Generator) -> Scene:
    """Paint a disk galaxy with gas stripped to one side, where it forms stars (Poggianti et al. 2017)."""
    canvas, grid = painter.canvas, painter.canvas.grid
    scene = painter.paint_host(rng, ("spiral", "spiral", "irregular"), smallest=0.13)
    radius, direction = scene.galaxy.radius, rng.uniform(0, 2 * np.pi)
    n_streams = int(rng.integers(4, 8))
    streams = [_draw_stream(rng, radius, number / (n_streams - 1) - 0.5) for number in range(n_streams)]
    along, across, weight = (np.concatenate(column) for column in zip(*streams, strict=True))
    x = along * np.cos(direction) - across * np.sin(direction)
    y = along * np.sin(direction) + across * np.cos(direction)
    sharp = grid.transform_unit_flux(grid.deposit(x, y, weight))
    gas = grid.blur(sharp, 0.07 * radius)
    gas = np.asarray(gas / gas[0, 0].real, np.complex64)
    n_knots = int(rng.integers(8, 24))
    bright = rng.choice(len(x), size=n_knots, replace=False, p=weight / weight.sum())
    sigma = scene.galaxy.arcsec_per_kpc * 10 ** rng.uniform(-1.0, -0.4, n_knots)
    knots = grid.gaussians(x[bright], y[bright], sigma, rng.dirichlet(np.full(n_knots, 0.8)))
    flux = float(10 ** rng.uniform(-0.75, -0.2)) * scene.flux(canvas.truth_band)
    spectrum = Spectrum(float(rng.uniform(2.8, 3.8)), float(rng.exponential(0.05)))
    canvas.add_layer(scene, "", gas, spectrum, 0.6 * flux)
    canvas.add_layer(scene, "", knots, replace(spectrum, young=0.5), 0.4 * flux)
    return scene


def _draw_stream(
    rng: np.random.Generator, radius: float, position: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Draw the particles of a wavy, fading stream of gas.

    Parameters
    ----------
    radius
        Half-light radius of the galaxy in arcsec.
    position
        Position of the stream across the wind, -0.5 to 0.5.

    Returns
    -------
    along, across, weight
        Positions along and across the wind in arcsec, and weights.
    """
    along = radius * (0.2 + rng.uniform(0, rng.uniform(2.0, 4.5), 260))
    wave = 0.22 * radius * np.sin(along / radius * rng.uniform(1, 2.5) + rng.uniform(0, 2 * np.pi))
    across = 1.7 * position * radius * (1 - 0.1 * along / radius) + wave * along / (3 * radius)
    across = across + 0.06 * radius * rng.standard_normal(260)
    return along, across, np.exp(-along / (1.8 * radius) + 0.9 * rng.standard_normal(260))


def _paint_emission_line_compact(painter: OddityPainter, rng: np.random.Generator) -> Scene:
    """Paint a compact starburst with strong emission lines (Cardamone et al. 2009, van der Wel et al. 2011)."""
    canvas, grid, population = painter.canvas, painter.canvas.grid, painter.population
    n_bands = len(painter.sky_sigma)
    bands = canvas.flux_table.bands[:n_bands]
    z = _draw_line_redshift(rng, np.array([band.wavelength for band in bands]))
    magnitude = max(population.draw_magnitude(rng, 3.0), population.magnitude_limit - 2.5)
    galaxy = population.make_galaxy("irregular", z, magnitude, 0.0)
    radius = galaxy.arcsec_per_kpc * COMPACT_KPC * 10 ** (0.2 * rng.standard_normal())
    galaxy = replace(galaxy, radius=float(np.clip(radius, 0.4 * grid.pixel, 2.5 * grid.pixel)))
    scene = Scene(galaxy)
    x, y = canvas.draw_centre(rng)
    q, angle = float(rng.uniform(0.5, 1.0)), float(rng.uniform(0, np.pi))
    spectrum = Spectrum(float(rng.uniform(2.4, 3.6)), float(rng.exponential(0.08)))
    flux = canvas.band_fluxes(spectrum, z, 1.0)
    width = 10 ** rng.uniform(2.5, 3.2)
    # The last entry, the flux in the rest-frame B band, remains that of the continuum.
    flux[:n_bands] *= 1 + np.array([line_boost(band, z, width) for band in bands])
    scene.layers.append(Layer("disk", grid.sersic(1.0, galaxy.radius, q, angle, x, y), flux))
    scene.sersic_index = 1.0
    scene.set_orientation(q, angle)
    scene.scale_to_magnitude(magnitude, canvas.truth_band)
    return scene


def line_boost(band: Band, z: float, width: float) -> float:
    """Return the flux of the emission lines over that of the continuum in a band.

    Parameters
    ----------
    band
        The band; the continuum is assumed to be flat across it.
    z
        Redshift.
    width
        Rest-frame equivalent width of [O III] and H beta in Angstrom.
    """
    wave, transmission = band.throughput()
    area = float(np.trapezoid(transmission, wave))
    return sum(
        width * relative * (1 + z) * float(np.interp(line * (1 + z), wave, transmission, left=0.0, right=0.0)) / area
        for line, relative in _EMISSION_LINES.values()
    )


def _draw_line_redshift(rng: np.random.Generator, wavelengths: NDArray[np.float64]) -> float:
    """Draw a redshift that brings one of the strong lines near the middle of a band."""
    redshifts = [
        wavelength / line - 1
        for wavelength in wavelengths
        for line, relative in _EMISSION_LINES.values()
        if relative > 0.5 and MIN_Z <= wavelength / line - 1 <= MAX_Z
    ]
    if not redshifts:
        return float(rng.uniform(MIN_Z, MAX_Z))
    z = redshifts[int(rng.integers(len(redshifts)))]
    return float(np.clip(z + 0.06 * (1 + z) * rng.uniform(-1, 1), MIN_Z, MAX_Z))


def _paint_satellite_trail(painter: OddityPainter, rng: np.random.Generator) -> Scene:
    """Paint a galaxy and the trail of a satellite in one band.

    Trails are out of focus, vary along their length (tumbling), and are partly removed where dithered exposures
    overlap.
    """
    grid = painter.canvas.grid
    scene = painter.paint_host(rng, CLASSES)
    angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.6, 0.6) * grid.half_width
    along, across = Frame(0.0, 0.0, 1.0, float(angle)).plane(grid)
    distance = np.abs(across - np.float32(offset))
    width, split = np.float32(rng.uniform(0.6, 1.6) * grid.pixel), np.float32(0.0)
    if rng.random() < 0.35:
        # A trail out of focus shows the image of the pupil: two ridges.
        split = np.float32(rng.uniform(1.2, 2.2)) * width
    # Scattered light and uneven sky subtraction leave faint, wide wings.
    profile = np.exp(-0.5 * ((distance - split) / width) ** 2) + 0.06 * np.exp(-distance / (4 * width))
    phase = along / np.float32(grid.half_width)
    wave = np.float32(rng.uniform(1, 5)) * phase + np.float32(rng.uniform(0, 2 * np.pi))
    brightness = 1 + np.float32(rng.uniform(0.0, 0.6)) * np.sin(wave)
    if rng.random() < 0.5:
        gaps = np.sin(np.float32(rng.uniform(1.5, 6)) * phase + np.float32(rng.uniform(0, 2 * np.pi)))
        brightness = brightness * (gaps > np.float32(rng.uniform(-0.8, 0.1)))
    lumps = np.exp(0.35 * grid.noise_field(rng, 96, 0.6))
    band = int(rng.integers(len(painter.sky_sigma)))
    peak = 10 ** rng.uniform(0.8, 1.5) * painter.sky_sigma[band] / painter.count_per_flux[band]
    flux = np.zeros(len(painter.canvas.flux_table.bands))
    flux[band] = peak / 4
    scene.layers.append(Layer("", grid.transform(profile * brightness * lumps), flux, owner=scene.next_owner))
    return scene


ODDITIES: dict[str, Callable[[OddityPainter, np.random.Generator], Scene]] = {
    "ring": _paint_ring,
    "lensed_arc": _paint_lensed_arc,
    "quasar_host": _paint_quasar_host,
    "jellyfish": _paint_jellyfish,
    "emission_line_compact": _paint_emission_line_compact,
    "satellite_trail": _paint_satellite_trail,
}
"""Oddities by name."""
