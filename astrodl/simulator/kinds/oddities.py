"""Oddities: rare things injected into a known share of the cutouts, and the ordinary company of galaxies.

What is an oddity's own light (lensed arcs, quasars, tails, trails) belongs to no truth map and not to the truth
magnitude; the light of a ring and of an emission-line compact is the galaxy's.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator import structure
from astrodl.simulator.bands import Band
from astrodl.simulator.colors import Spectrum
from astrodl.simulator.fourier import Floats, Grid, Layer
from astrodl.simulator.kinds.galaxies import Painter, Scene
from astrodl.simulator.population import CLASSES, MAX_Z, MIN_Z, Galaxy, Population
from astrodl.simulator.population import KINDS as KIND_STATISTICS
from astrodl.simulator.structure import Frame

EMISSION_LINES = {"[O II]": (3728.0, 0.25), "[O III], H beta": (4985.0, 1.0), "H alpha": (6563.0, 0.6)}
"""Lines of compact starbursts: rest-frame wavelength in Angstrom, equivalent width relative to [O III] and H beta
(Cardamone et al. 2009)."""
COMPACT_KPC = 0.6
"""Median half-light radius of emission-line compacts; 0.2 dex of scatter reach from 0.3 to 1.2 kpc (van der Wel et al.
2011, Amorin et al. 2015)."""


class Oddities:
    """Makes galaxies with an oddity.

    Parameters
    ----------
    painter, population
        Where galaxies come from.
    sky_sigma
        (bands,) noise of the sky per pixel, in counts.
    count_per_flux
        (bands,) counts of a source of unit AB flux.
    """

    def __init__(
        self,
        painter: Painter,
        population: Population,
        sky_sigma: NDArray[np.float64],
        count_per_flux: NDArray[np.float64],
    ) -> None:
        self.painter = painter
        self.population = population
        self.sky_sigma = sky_sigma
        self.count_per_flux = count_per_flux

    def paint(self, rng: np.random.Generator, oddity: str) -> Scene:
        """Make a galaxy with the named oddity, its fluxes scaled to its magnitude (AB units)."""
        return KINDS[oddity](self, rng)

    def host(self, rng: np.random.Generator, kinds: tuple[str, ...], smallest: float = 0.0) -> Scene:
        """Make an ordinary galaxy of one of some classes, not smaller than a fraction of the stamp's half width."""
        galaxy = self.population.draw(rng, str(rng.choice(kinds)))
        radius = max(galaxy.radius, smallest * self.painter.grid.half_width)
        scene = self.painter.paint(rng, replace(galaxy, radius=radius))
        scene.scale_to(10 ** (-0.4 * galaxy.magnitude), self.painter.truth_band)
        return scene

    def absolute(self, galaxy: Galaxy) -> float:
        """Give the absolute magnitude of a galaxy in the truth band, without K correction."""
        return galaxy.magnitude - float(np.interp(galaxy.z, self.population.z, self.population.modulus))

    def tint(self, spectrum: Spectrum, z: float, flux: float) -> NDArray[np.float64]:
        """Give band fluxes of a spectrum with the given flux in the truth band."""
        return self.painter.tint(spectrum, z, flux)


def _ring(odd: Oddities, rng: np.random.Generator) -> Scene:
    """Make a collisional ring galaxy, knotty and blue round an off-centre nucleus (Appleton & Struck-Marcell 1996)."""
    painter, grid = odd.painter, odd.painter.grid
    # Rings are found in galaxies that are bright enough to show them.
    galaxies = [odd.population.draw(rng, str(rng.choice(["lenticular", "spiral"]))) for _ in range(3)]
    galaxy = min(galaxies, key=lambda galaxy: galaxy.magnitude)
    radius = float(np.clip(galaxy.radius, min(0.2 * grid.half_width, 0.8), 0.33 * grid.half_width))
    galaxy = replace(galaxy, radius=radius)
    scene = Scene(galaxy)
    q, angle = float(rng.uniform(0.4, 1.0)), float(rng.uniform(0, np.pi))
    x, y = painter.centre(rng)
    old = Spectrum(float(rng.uniform(0, 0.8)), float(rng.exponential(0.04)))
    young = Spectrum(float(rng.uniform(2.2, 3.3)), float(rng.exponential(0.06)), float(rng.uniform(0, 0.3)))
    bt, ring = float(rng.uniform(0.1, 0.3)), float(rng.uniform(0.35, 0.6))
    aside = rng.normal(0, 0.12 * radius, 2)
    bulge = grid.sersic(rng.uniform(1.5, 3), 0.3 * radius, 0.5 + 0.5 * q, angle, x + aside[0], y + aside[1])
    scene.layers.append(Layer("bulge", bulge, painter.tint(old, galaxy.z, bt)))
    scene.layers.append(
        Layer("disk", grid.exponential(0.7 * radius, q, angle, x, y), painter.tint(old, galaxy.z, 1 - bt - ring))
    )
    size = radius * rng.uniform(1.3, 1.9)
    lumps = grid.noise_field(rng, 80, 0.8)
    drawn = structure.draw_ring(
        grid, Frame(x, y, q, angle), size, size * rng.uniform(0.08, 0.18), rng.uniform(0.1, 0.95), lumps
    )
    scene.layers.append(Layer("disk", grid.drawn(drawn), painter.tint(young, galaxy.z, ring)))
    scene.sersic_index, scene.inclination = 1.0, float(np.degrees(np.arccos(q)))
    scene.lie(q, angle)
    scene.scale_to(10 ** (-0.4 * galaxy.magnitude), painter.truth_band)
    return scene


def _lensed_arc(odd: Oddities, rng: np.random.Generator) -> Scene:
    """Let a massive early-type galaxy lens a blue galaxy behind it into arcs, a counter-image, at times a ring."""
    grid = odd.painter.grid
    # The cross-section for lensing grows with luminosity: the most luminous of four (Auger et al. 2009).
    hosts = [odd.host(rng, ("elliptical", "elliptical", "lenticular")) for _ in range(4)]
    scene = min(hosts, key=lambda host: odd.absolute(host.galaxy))
    # 0.5 to 1.8 arcsec: as wide as galaxies do it (Bolton et al. 2008), and as the stamp holds.
    einstein = float(rng.uniform(0.26, 0.55) * min(grid.half_width, 3.2))
    q, angle = float(rng.uniform(0.6, 0.95)), float(rng.uniform(0, np.pi))
    offset, turn = einstein * rng.uniform(0.03, 0.4), rng.uniform(0, 2 * np.pi)
    size = max(float(einstein * rng.uniform(0.05, 0.13)), 0.5 * grid.pixel)
    beta_x, beta_y = deflect(grid, einstein, q, angle)
    drawn = _source(rng, beta_x - np.float32(offset * np.cos(turn)), beta_y - np.float32(offset * np.sin(turn)), size)
    spectrum = Spectrum(float(rng.uniform(2.2, 3.6)), float(rng.exponential(0.08)))
    z = float(min(scene.galaxy.z + rng.uniform(0.5, 1.5), 2.5))
    # Arcs are found where they can be seen: none is fainter than the survey's limit.
    flux = 10 ** rng.uniform(-0.9, 0.0) * scene.flux(odd.painter.truth_band)
    flux = max(flux, 10 ** (-0.4 * (odd.population.magnitude_limit - rng.uniform(0.0, 0.8))))
    scene.layers.append(Layer("", grid.drawn(drawn), odd.tint(spectrum, z, flux), owner=scene.next_owner))
    return scene


def _source(rng: np.random.Generator, x: Floats, y: Floats, size: float) -> Floats:
    """Draw an inclined exponential disk with clumps, as seen at source-plane positions relative to its centre.

    The clumps are in the source, so that each appears in every image of it.
    """
    plane = Frame(0.0, 0.0, float(rng.uniform(0.4, 1.0)), float(rng.uniform(0, np.pi)))
    cosine, sine = np.float32(np.cos(plane.angle)), np.float32(np.sin(plane.angle))
    u, v = x * cosine + y * sine, (y * cosine - x * sine) / np.float32(plane.q)
    drawn = np.exp(-np.hypot(u, v) / np.float32(size))
    for _ in range(int(rng.integers(0, 4))):
        at_u, at_v = rng.normal(0, 1.5 * size, 2).astype(np.float32)
        width = np.float32(size * rng.uniform(0.25, 0.5))
        drawn += np.float32(rng.uniform(0.5, 2.0)) * np.exp(-((u - at_u) ** 2 + (v - at_v) ** 2) / (2 * width**2))
    return drawn


def deflect(grid: Grid, einstein: float, q: float, angle: float) -> tuple[Floats, Floats]:
    """Trace rays back through a lens: theta minus the gradient of the potential b sqrt(s^2 + q x^2 + y^2 / q).

    The elliptical isothermal potential of Blandford & Kochanek (1987) with a small core s.

    Returns
    -------
    beta_x, beta_y
        Source-plane position of every sample in arcsec, in the frame of the lens.
    """
    x, y = Frame(0.0, 0.0, 1.0, angle).plane(grid)
    root = np.sqrt(np.float32((0.03 * einstein) ** 2) + q * x * x + y * y / q)
    pull = np.float32(einstein) / root.astype(np.float32)
    return x * (1 - np.float32(q) * pull), y * (1 - pull / np.float32(q))


def _quasar_host(odd: Oddities, rng: np.random.Generator) -> Scene:
    """Let a quasar outshine the centre of its host, with the spikes of the point-spread function."""
    grid = odd.painter.grid
    scene = odd.host(rng, ("elliptical", "lenticular", "spiral", "merger"))
    # In a merger it shines in the nucleus of the larger galaxy.
    nucleus = next(layer.image for layer in scene.layers if layer.part == "bulge")
    x, y = grid.place(nucleus)
    point = grid.blobs(np.array([x]), np.array([y]), np.zeros(1), np.ones(1))
    # f_nu ~ nu^-0.44 (Vanden Berk et al. 2001) is close to the young population's slope with a little dust.
    spectrum = Spectrum(4.0, float(rng.uniform(0.05, 0.3)))
    flux = float(10 ** rng.uniform(-0.2, 0.9)) * scene.flux(odd.painter.truth_band)
    scene.layers.append(Layer("", point, odd.tint(spectrum, scene.galaxy.z, flux)))
    return scene


def _jellyfish(odd: Oddities, rng: np.random.Generator) -> Scene:
    """Sweep the gas of a disk galaxy to one side, where it forms stars (Poggianti et al. 2017)."""
    grid = odd.painter.grid
    scene = odd.host(rng, ("spiral", "spiral", "irregular"), smallest=0.13)
    radius, direction = scene.galaxy.radius, rng.uniform(0, 2 * np.pi)
    n_streams = int(rng.integers(4, 8))
    places = [_streamer(rng, radius, number / (n_streams - 1) - 0.5) for number in range(n_streams)]
    along, across, weight = (np.concatenate(column) for column in zip(*places, strict=True))
    x = along * np.cos(direction) - across * np.sin(direction)
    y = along * np.sin(direction) + across * np.cos(direction)
    sharp = grid.drawn(grid.splat(x, y, weight))
    gas = grid.blurred(sharp, 0.07 * radius)
    gas = np.asarray(gas / gas[0, 0].real, np.complex64)
    n_knots = int(rng.integers(8, 24))
    bright = rng.choice(len(x), size=n_knots, replace=False, p=weight / weight.sum())
    sigma = scene.galaxy.arcsec_per_kpc * 10 ** rng.uniform(-1.0, -0.4, n_knots)
    knots = grid.blobs(x[bright], y[bright], sigma, rng.dirichlet(np.full(n_knots, 0.8)))
    flux = float(10 ** rng.uniform(-0.75, -0.2)) * scene.flux(odd.painter.truth_band)
    spectrum = Spectrum(float(rng.uniform(2.8, 3.8)), float(rng.exponential(0.05)))
    scene.layers.append(Layer("", gas, odd.tint(spectrum, scene.galaxy.z, 0.6 * flux)))
    scene.layers.append(Layer("", knots, odd.tint(replace(spectrum, young=0.5), scene.galaxy.z, 0.4 * flux)))
    return scene


def _streamer(
    rng: np.random.Generator, radius: float, lane: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Draw particles of one wavy, fading streamer: positions along and across the wind, weights."""
    along = radius * (0.2 + rng.uniform(0, rng.uniform(2.0, 4.5), 260))
    wave = 0.22 * radius * np.sin(along / radius * rng.uniform(1, 2.5) + rng.uniform(0, 2 * np.pi))
    across = 1.7 * lane * radius * (1 - 0.1 * along / radius) + wave * along / (3 * radius)
    across = across + 0.06 * radius * rng.standard_normal(260)
    return along, across, np.exp(-along / (1.8 * radius) + 0.9 * rng.standard_normal(260))


def _emission_line_compact(odd: Oddities, rng: np.random.Generator) -> Scene:
    """Make a tiny starburst whose lines brighten its bands (Cardamone et al. 2009, van der Wel et al. 2011)."""
    painter, grid = odd.painter, odd.painter.grid
    n_bands = len(odd.sky_sigma)
    bands = painter.colors.bands[:n_bands]
    z = _line_in_band(rng, np.array([band.wavelength for band in bands]))
    magnitude = max(odd.population.draw_magnitude(rng, 3.0), odd.population.magnitude_limit - 2.5)
    galaxy = odd.population.galaxy("irregular", z, magnitude, 0.0)
    radius = galaxy.arcsec_per_kpc * COMPACT_KPC * 10 ** (0.2 * rng.standard_normal())
    galaxy = replace(galaxy, radius=float(np.clip(radius, 0.4 * grid.pixel, 2.5 * grid.pixel)))
    scene = Scene(galaxy)
    x, y = painter.centre(rng)
    q, angle = float(rng.uniform(0.5, 1.0)), float(rng.uniform(0, np.pi))
    spectrum = Spectrum(float(rng.uniform(2.4, 3.6)), float(rng.exponential(0.08)))
    flux = painter.tint(spectrum, z, 1.0)
    width = 10 ** rng.uniform(2.5, 3.2)
    # Entries beyond the bands (the flux at rest) stay those of the continuum.
    flux[:n_bands] *= 1 + np.array([_line_boost(band, z, width) for band in bands])
    scene.layers.append(Layer("disk", grid.sersic(1.0, galaxy.radius, q, angle, x, y), flux))
    scene.sersic_index = 1.0
    scene.lie(q, angle)
    scene.scale_to(10 ** (-0.4 * magnitude), painter.truth_band)
    return scene


def _line_boost(band: Band, z: float, width: float) -> float:
    """Give the flux of the lines over that of the continuum in a band.

    `width` is the rest-frame equivalent width of [O III] and H beta in Angstrom; the continuum is taken as flat across
    the band.
    """
    wave, transmission = band.throughput()
    area = float(np.trapezoid(transmission, wave))
    return sum(
        width * share * (1 + z) * float(np.interp(line * (1 + z), wave, transmission, left=0.0, right=0.0)) / area
        for line, share in EMISSION_LINES.values()
    )


def _line_in_band(rng: np.random.Generator, wavelengths: NDArray[np.float64]) -> float:
    """Choose a redshift that brings one of the strong lines near the middle of a band."""
    places = [
        wavelength / line - 1
        for wavelength in wavelengths
        for line, share in EMISSION_LINES.values()
        if share > 0.5 and MIN_Z <= wavelength / line - 1 <= MAX_Z
    ]
    if not places:
        return float(rng.uniform(MIN_Z, MAX_Z))
    z = places[int(rng.integers(len(places)))]
    return float(np.clip(z + 0.06 * (1 + z) * rng.uniform(-1, 1), MIN_Z, MAX_Z))


def _satellite_trail(odd: Oddities, rng: np.random.Generator) -> Scene:
    """Let a satellite cross the field during the exposure of one band.

    Trails are out of focus, vary along the way (tumbling), and are partly removed where dithered exposures overlap.
    """
    grid = odd.painter.grid
    scene = odd.host(rng, CLASSES)
    angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.6, 0.6) * grid.half_width
    along, across = Frame(0.0, 0.0, 1.0, float(angle)).plane(grid)
    distance = np.abs(across - np.float32(offset))
    width, split = np.float32(rng.uniform(0.6, 1.6) * grid.pixel), np.float32(0.0)
    if rng.random() < 0.35:
        # The pupil's image: a trail out of focus has two ridges.
        split = np.float32(rng.uniform(1.2, 2.2)) * width
    # Scattered light and uneven sky subtraction leave faint, wide wings.
    profile = np.exp(-0.5 * ((distance - split) / width) ** 2) + 0.06 * np.exp(-distance / (4 * width))
    phase = along / np.float32(grid.half_width)
    wave = np.float32(rng.uniform(1, 5)) * phase + np.float32(rng.uniform(0, 2 * np.pi))
    course = 1 + np.float32(rng.uniform(0.0, 0.6)) * np.sin(wave)
    if rng.random() < 0.5:
        gaps = np.sin(np.float32(rng.uniform(1.5, 6)) * phase + np.float32(rng.uniform(0, 2 * np.pi)))
        course = course * (gaps > np.float32(rng.uniform(-0.8, 0.1)))
    lumps = np.exp(0.35 * grid.noise_field(rng, 96, 0.6))
    band = int(rng.integers(len(odd.sky_sigma)))
    peak = 10 ** rng.uniform(0.8, 1.5) * odd.sky_sigma[band] / odd.count_per_flux[band]
    flux = np.zeros(len(odd.painter.colors.bands))
    flux[band] = peak / 4
    scene.layers.append(Layer("", grid.drawn_as_is(profile * course * lumps), flux, owner=scene.next_owner))
    return scene


KINDS: dict[str, Callable[[Oddities, np.random.Generator], Scene]] = {
    "ring": _ring,
    "lensed_arc": _lensed_arc,
    "quasar_host": _quasar_host,
    "jellyfish": _jellyfish,
    "emission_line_compact": _emission_line_compact,
    "satellite_trail": _satellite_trail,
}
"""The oddities by the name that the truth uses."""


def add_company(rng: np.random.Generator, scene: Scene, painter: Painter, population: Population) -> None:
    """Add the neighbours on the sky that a stamp happens to hold: galaxies at any redshift, seldom a star."""
    grid = painter.grid
    for _ in range(rng.poisson(0.5)):
        x, y = (float(value) for value in rng.uniform(-1.0, 1.0, 2) * grid.half_width)
        # Up to a magnitude fainter than the catalogue goes; what is as bright as the galaxy has its own cutout.
        neighbour = population.draw(rng)
        magnitude = max(neighbour.magnitude + rng.uniform(0, 1.0), scene.galaxy.magnitude + 0.3)
        flux = 10 ** (-0.4 * magnitude)
        # What is on top of the galaxy would be called part of it.
        if np.hypot(x, y) < max(1.3 * scene.galaxy.radius, 0.25 * grid.half_width):
            continue
        if rng.random() < 0.1:
            image = grid.blobs(np.array([x]), np.array([y]), np.zeros(1), np.ones(1))
            star = painter.tint(Spectrum(float(rng.uniform(0, 4))), 0.0, flux)
            scene.layers.append(Layer("", image, star, owner=scene.next_owner))
            continue
        early = neighbour.kind in ("elliptical", "lenticular")
        spectrum = KIND_STATISTICS[neighbour.kind].spectrum
        spectrum = replace(spectrum, kind=spectrum.kind + rng.uniform(0, 0.7), reddening=float(rng.exponential(0.06)))
        q, angle = rng.uniform(0.3, 1.0), rng.uniform(0, np.pi)
        image = grid.sersic(2.5 if early else 1.0, 0.7 * neighbour.radius, q, angle, x, y)
        scene.layers.append(Layer("", image, painter.tint(spectrum, neighbour.z, flux), owner=scene.next_owner))
