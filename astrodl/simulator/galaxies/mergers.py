"""Mergers: encounters of two galaxies, and remnants with shells."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator import structure
from astrodl.simulator.fourier import Fourier
from astrodl.simulator.galaxies import encounters
from astrodl.simulator.profiles import equivalent_index
from astrodl.simulator.scene import Canvas, Scene
from astrodl.simulator.spectra import draw_merger_spectra
from astrodl.simulator.structure import Frame
from astrodl.simulator.templates import Spectrum

__all__ = ["MIN_RADIUS_PIXELS", "paint_merger"]

MIN_RADIUS_PIXELS = 5.0
"""Smallest half-light radius: an unresolved pair would not be classified as a merger."""
_SHELL_FRACTION = 0.25
"""Fraction of remnants with shells among mergers that are large enough."""
_MIN_SHELL_RADIUS_PIXELS = 7.0
"""Smallest half-light radius at which shells can be distinguished from a halo."""
_MIN_SEPARATION_PIXELS = 4.0
"""Nuclei closer than that look like one; such views are used only for large galaxies with long tails."""
_MIN_TAIL_EDGE_PIXELS = 9.0
"""Smallest edge of the larger disk at which tails alone identify a merger."""


def paint_merger(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint an encounter of two galaxies or a remnant with shells."""
    pixel = canvas.grid.pixel
    scene.galaxy = replace(scene.galaxy, radius=max(scene.galaxy.radius, MIN_RADIUS_PIXELS * pixel))
    shells = rng.random() < _SHELL_FRACTION and scene.galaxy.radius > _MIN_SHELL_RADIUS_PIXELS * pixel
    (_paint_remnant if shells else _paint_encounter)(canvas, rng, scene)


def _paint_encounter(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint two galaxies with tails, bridge and a nucleus each; 15 % are dry mergers of old stars without gas."""
    galaxy, grid = scene.galaxy, canvas.grid
    # The half-light radius of a simulated disk is 0.45 of its edge; a pair is about twice as large.
    edge = 1.45 * galaxy.radius
    dry = bool(rng.random() < 0.15)
    tails = edge > _MIN_TAIL_EDGE_PIXELS * grid.pixel and not dry
    nuclei, particles, ratio = _draw_view(rng, _MIN_SEPARATION_PIXELS * grid.pixel / edge, tails)
    x, y = canvas.draw_centre(rng)
    spectra = draw_merger_spectra(rng, dry)
    masses = np.array([1.0, ratio]) / (1 + ratio)
    # Dry mergers are two spheroids in faint common debris.
    bt = float(rng.uniform(0.45, 0.75) if dry else rng.beta(2.0, 5.0) * 0.7 + 0.05)
    envelope = float(rng.uniform(0.05, 0.2))
    halo = grid.exponential(0.6 * edge, rng.uniform(0.6, 1.0), rng.uniform(0, np.pi), x, y)
    canvas.add_layer(scene, "disk", halo, spectra[0], envelope * (1 - bt))
    bodies = np.zeros((grid.samples, grid.samples), np.float32)
    for number, (mass, spectrum) in enumerate(zip(masses, spectra, strict=True)):
        image = _draw_debris(canvas, rng, np.split(particles, 2)[number] * edge + (x, y), nuclei * edge + (x, y), edge)
        canvas.add_layer(scene, "disk", image, spectrum, (1 - envelope) * (1 - bt) * mass)
        bodies += np.float32(mass) * grid.to_map(image)
        core = replace(spectrum, template=max(spectrum.template - 1.0, 0.0), young=0.0)
        radius = edge * rng.uniform(0.08, 0.2) * np.sqrt(mass) * (1.3 if dry else 1.0)
        nucleus = grid.sersic(
            rng.uniform(1.0, 3.5), radius, rng.uniform(0.6, 1), rng.uniform(0, np.pi), *(nuclei[number] * edge + (x, y))
        )
        canvas.add_layer(scene, "bulge", nucleus, core, bt * mass)
    scene.sersic_index = equivalent_index(bt, 2.5, 0.35)
    if not dry and rng.random() < 0.6:
        middle = nuclei.mean(axis=0) * edge + (x, y)
        cover = structure.draw_dust_clouds(
            grid, Frame(float(middle[0]), float(middle[1]), 1.0, 0.0), 1.2 * edge, grid.noise_field(rng, 40, 0.8)
        )
        canvas.add_dust_screen(scene, cover, rng.uniform(0.6, 2.5), ("bulge", "disk"))
    weight = bodies * (bodies > 0.04 * bodies.max())
    canvas.add_clumps(rng, scene, weight, int(rng.poisson(0.3 if dry else 4.5)))


def _draw_view(
    rng: np.random.Generator, min_separation: float, tails: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Draw an encounter and a line of sight that show a merger: two nuclei or, if `tails`, long tails.

    Returns
    -------
    nuclei, particles, mass_ratio
        Sky positions in units of the larger disk's edge, (2, 2) and (n, 2), and the ratio of the masses.
    """
    snapshots = encounters.encounter_snapshots()
    for _ in range(16):
        snapshot = snapshots[int(rng.integers(len(snapshots)))]
        nuclei, particles = encounters.project(snapshot, rng)
        separation = float(np.hypot(*(nuclei[0] - nuclei[1])))
        tail_fraction = float(np.mean(np.hypot(particles[:, 0], particles[:, 1]) > 1.5))
        if min_separation < separation < 2.4 or (tails and separation <= min_separation and tail_fraction > 0.3):
            break
    return nuclei, particles, snapshot.mass_ratio


def _draw_debris(
    canvas: Canvas,
    rng: np.random.Generator,
    positions: NDArray[np.float64],
    nuclei: NDArray[np.float64],
    edge: float,
) -> Fourier:
    """Draw test particles with log-normal luminosities, smoothed less in the galaxies than in their thin tails."""
    grid = canvas.grid
    distance = np.min([np.hypot(*(positions - nucleus).T) for nucleus in nuclei], axis=0)
    weight = np.exp(0.5 * rng.standard_normal(len(positions)))
    far = distance > 0.75 * edge
    image = np.zeros((grid.samples, grid.samples // 2 + 1), np.complex64)
    for members, width in ((~far, 0.05), (far, 0.09)):
        deposited = grid.deposit(positions[members, 0], positions[members, 1], weight[members])
        image += grid.blur(grid.transform(deposited), max(width * edge, 0.4 * grid.pixel))
    total = float(image[0, 0].real)
    return np.asarray(image / total if total > 0 else image, np.complex64)


def _paint_remnant(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint an early-type galaxy with the shells and the core of a small galaxy that it has accreted."""
    galaxy, grid = scene.galaxy, canvas.grid
    x, y = canvas.draw_centre(rng)
    radius = 0.8 * galaxy.radius
    old, young = draw_merger_spectra(rng, bool(rng.random() < 0.5))
    old = replace(old, template=min(old.template, 1.2))
    q, angle, n = float(rng.uniform(0.6, 1.0)), float(rng.uniform(0, np.pi)), float(rng.uniform(2.0, 4.0))
    shells, core = float(rng.uniform(0.15, 0.32)), float(rng.uniform(0.07, 0.16))
    canvas.add_layer(scene, "bulge", grid.sersic(n, radius, q, angle, x, y), old, 1 - shells - core)
    centre = np.array([x, y])
    stars = encounters.project_shells(rng) * radius
    image = _draw_debris(canvas, rng, stars + centre, centre[None], 1.3 * radius)
    spectrum = Spectrum(min(old.template + rng.uniform(0, 0.8), 2.5), old.reddening)
    canvas.add_layer(scene, "disk", image, spectrum, shells)
    # The core of the small galaxy is at the position of one of its stars.
    distance = np.hypot(stars[:, 0], stars[:, 1])
    nearest = max(0.5 * radius, _MIN_SEPARATION_PIXELS * grid.pixel)
    candidates = np.flatnonzero((distance > nearest) & (distance < 1.8 * radius))
    position = stars[rng.choice(candidates)] if len(candidates) else stars[np.argmin(distance)]
    nucleus = grid.sersic(1.5, 0.22 * radius, rng.uniform(0.6, 1.0), rng.uniform(0, np.pi), *(position + centre))
    canvas.add_layer(scene, "bulge", nucleus, replace(young, young=0.0), core)
    scene.sersic_index = n
    if rng.random() < 0.35:
        cover = structure.draw_dust_clouds(grid, Frame(x, y, 0.4, angle), radius, grid.noise_field(rng, 40, 0.8))
        canvas.add_dust_screen(scene, cover, rng.uniform(0.6, 2.0), ("bulge",))
