"""Mergers: encounters of two disks, remnants with shells, old galaxies that share an envelope."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator import structure
from astrodl.simulator.colors import Spectrum
from astrodl.simulator.fourier import Fourier
from astrodl.simulator.kinds import encounters
from astrodl.simulator.profiles import equivalent_index
from astrodl.simulator.scene import Canvas, Scene
from astrodl.simulator.spectra import merger_spectra
from astrodl.simulator.structure import Frame

SMALLEST_PIXELS = 5.0
"""Smallest half-light radius in pixels: no one would call a pair a merger that is not resolved."""
SHELL_SHARE = 0.25
"""Share of remnants with shells among mergers large enough to show them."""
_SHELL_PIXELS = 7.0
"""Smallest half-light radius in pixels at which shells can be told from a halo."""
_NEAREST_PIXELS = 4.0
"""Nuclei nearer than that look like one; such a view is taken only where the tails are long and the galaxy large."""
_TAIL_PIXELS = 9.0
"""Smallest edge of the larger disk in pixels at which tails alone tell a merger."""


def paint_merger(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint a merger of one of two kinds."""
    pixel = canvas.grid.pixel
    scene.galaxy = replace(scene.galaxy, radius=max(scene.galaxy.radius, SMALLEST_PIXELS * pixel))
    shells = rng.random() < SHELL_SHARE and scene.galaxy.radius > _SHELL_PIXELS * pixel
    (_shells if shells else _encounter)(canvas, rng, scene)


def _encounter(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint two galaxies with tails and bridge, each with a nucleus; one in eight is of old stars and without gas."""
    galaxy, grid = scene.galaxy, canvas.grid
    # A disk of the library has its half-light radius at 0.45 of its edge; a pair is about twice as large.
    edge = 1.45 * galaxy.radius
    dry = bool(rng.random() < 0.15)
    tails = edge > _TAIL_PIXELS * grid.pixel and not dry
    nuclei, particles, ratio = _view(rng, _NEAREST_PIXELS * grid.pixel / edge, tails)
    x, y = canvas.centre(rng)
    spectra = merger_spectra(rng, dry)
    masses = np.array([1.0, ratio]) / (1 + ratio)
    # Old pairs are two spheroids in common, faint debris.
    bt = float(rng.uniform(0.45, 0.75) if dry else rng.beta(2.0, 5.0) * 0.7 + 0.05)
    envelope = float(rng.uniform(0.05, 0.2))
    halo = grid.exponential(0.6 * edge, rng.uniform(0.6, 1.0), rng.uniform(0, np.pi), x, y)
    canvas.lay(scene, "disk", halo, spectra[0], envelope * (1 - bt))
    bodies = np.zeros((grid.samples, grid.samples), np.float32)
    for number, (mass, spectrum) in enumerate(zip(masses, spectra, strict=True)):
        image = _debris(canvas, rng, np.split(particles, 2)[number] * edge + (x, y), nuclei * edge + (x, y), edge)
        canvas.lay(scene, "disk", image, spectrum, (1 - envelope) * (1 - bt) * mass)
        bodies += np.float32(mass) * grid.smoothed(image, 0.0)
        core = replace(spectrum, kind=max(spectrum.kind - 1.0, 0.0), young=0.0)
        radius = edge * rng.uniform(0.08, 0.2) * np.sqrt(mass) * (1.3 if dry else 1.0)
        nucleus = grid.sersic(
            rng.uniform(1.0, 3.5), radius, rng.uniform(0.6, 1), rng.uniform(0, np.pi), *(nuclei[number] * edge + (x, y))
        )
        canvas.lay(scene, "bulge", nucleus, core, bt * mass)
    scene.sersic_index = equivalent_index(bt, 2.5, 0.35)
    if not dry and rng.random() < 0.6:
        middle = nuclei.mean(axis=0) * edge + (x, y)
        cover = structure.draw_patches(
            grid, Frame(float(middle[0]), float(middle[1]), 1.0, 0.0), 1.2 * edge, grid.noise_field(rng, 40, 0.8)
        )
        canvas.absorb(scene, cover, rng.uniform(0.6, 2.5), ("bulge", "disk"))
    weight = bodies * (bodies > 0.04 * bodies.max())
    canvas.clumps(rng, scene, weight, int(rng.poisson(0.3 if dry else 4.5)))


def _view(
    rng: np.random.Generator, nearest: float, tails: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Choose an encounter and a direction that show a merger: two nuclei, or if that may do tails that reach far.

    Returns
    -------
    nuclei, particles, mass_ratio
        (2, 2) and (n, 2) sky positions in units of the larger disk's edge.
    """
    snapshots = encounters.library()
    for _ in range(16):
        snapshot = snapshots[int(rng.integers(len(snapshots)))]
        nuclei, particles = encounters.project(snapshot, rng)
        apart = float(np.hypot(*(nuclei[0] - nuclei[1])))
        reach = float(np.mean(np.hypot(particles[:, 0], particles[:, 1]) > 1.5))
        if nearest < apart < 2.4 or (tails and apart <= nearest and reach > 0.3):
            break
    return nuclei, particles, snapshot.mass_ratio


def _debris(
    canvas: Canvas,
    rng: np.random.Generator,
    places: NDArray[np.float64],
    nuclei: NDArray[np.float64],
    edge: float,
) -> Fourier:
    """Draw test particles with log-normal luminosities, smoothed less in the bodies than in the thin tails."""
    grid = canvas.grid
    distance = np.min([np.hypot(*(places - nucleus).T) for nucleus in nuclei], axis=0)
    weight = np.exp(0.5 * rng.standard_normal(len(places)))
    far = distance > 0.75 * edge
    image = np.zeros((grid.samples, grid.samples // 2 + 1), np.complex64)
    for members, width in ((~far, 0.05), (far, 0.09)):
        drops = grid.splat(places[members, 0], places[members, 1], weight[members])
        image += grid.blurred(grid.drawn_as_is(drops), max(width * edge, 0.4 * grid.pixel))
    total = float(image[0, 0].real)
    return np.asarray(image / total if total > 0 else image, np.complex64)


def _shells(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint an early-type galaxy that has swallowed a small one: shells on both sides, at times its core."""
    galaxy, grid = scene.galaxy, canvas.grid
    x, y = canvas.centre(rng)
    radius = 0.8 * galaxy.radius
    old, young = merger_spectra(rng, bool(rng.random() < 0.5))
    old = replace(old, kind=min(old.kind, 1.2))
    q, angle, n = float(rng.uniform(0.6, 1.0)), float(rng.uniform(0, np.pi)), float(rng.uniform(2.0, 4.0))
    share, core = float(rng.uniform(0.15, 0.32)), float(rng.uniform(0.07, 0.16))
    canvas.lay(scene, "bulge", grid.sersic(n, radius, q, angle, x, y), old, 1 - share - core)
    centre = np.array([x, y])
    stars = encounters.project_shells(rng) * radius
    image = _debris(canvas, rng, stars + centre, centre[None], 1.3 * radius)
    canvas.lay(scene, "disk", image, Spectrum(min(old.kind + rng.uniform(0, 0.8), 2.5), old.reddening), share)
    # What is left of the core of the small galaxy lies among its stars.
    near = np.hypot(stars[:, 0], stars[:, 1])
    seen = np.flatnonzero((near > max(0.5 * radius, _NEAREST_PIXELS * grid.pixel)) & (near < 1.8 * radius))
    place = stars[rng.choice(seen)] if len(seen) else stars[np.argmin(near)]
    nucleus = grid.sersic(1.5, 0.22 * radius, rng.uniform(0.6, 1.0), rng.uniform(0, np.pi), *(place + centre))
    canvas.lay(scene, "bulge", nucleus, replace(young, young=0.0), core)
    scene.sersic_index = n
    if rng.random() < 0.35:
        cover = structure.draw_patches(grid, Frame(x, y, 0.4, angle), radius, grid.noise_field(rng, 40, 0.8))
        canvas.absorb(scene, cover, rng.uniform(0.6, 2.0), ("bulge",))
