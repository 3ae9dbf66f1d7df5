"""Neighbours on the sky: other galaxies and stars in the cutout."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from astrodl.simulator.fourier import Grid, Layer
from astrodl.simulator.population import CLASS_PROPERTIES, Population
from astrodl.simulator.scene import Canvas, Scene
from astrodl.simulator.templates import Spectrum

__all__ = ["add_chance_neighbours", "add_dense_neighbours"]


def add_chance_neighbours(rng: np.random.Generator, scene: Scene, canvas: Canvas, population: Population) -> None:
    """Add a few neighbours, fainter than the galaxy and not on top of it: galaxies at any redshift, rarely a star."""
    grid = canvas.grid
    for _ in range(rng.poisson(0.5)):
        x, y = (float(value) for value in rng.uniform(-1.0, 1.0, 2) * grid.half_width)
        # Up to a magnitude fainter than the catalogue; sources as bright as the galaxy have their own cutouts.
        neighbour = population.draw(rng)
        magnitude = max(neighbour.magnitude + rng.uniform(0, 1.0), scene.galaxy.magnitude + 0.3)
        flux = 10 ** (-0.4 * magnitude)
        # A source on top of the galaxy would be considered part of it.
        if np.hypot(x, y) < max(1.3 * scene.galaxy.radius, 0.25 * grid.half_width):
            continue
        if rng.random() < 0.1:
            canvas.add_source(scene, grid.point_source(x, y), Spectrum(float(rng.uniform(0, 4))), 0.0, flux)
            continue
        properties = CLASS_PROPERTIES[neighbour.morphology]
        template = properties.spectrum.template + rng.uniform(0, 0.7)
        spectrum = replace(properties.spectrum, template=template, reddening=float(rng.exponential(0.06)))
        q, angle = rng.uniform(0.3, 1.0), rng.uniform(0, np.pi)
        index = 2.5 if properties.early else 1.0
        image = grid.sersic(index, 0.7 * neighbour.radius, q, angle, x, y)
        canvas.add_source(scene, image, spectrum, neighbour.z, flux)


def add_dense_neighbours(
    rng: np.random.Generator,
    scene: Scene,
    grid: Grid,
    density: float,
    draw_galaxy: Callable[[np.random.Generator], Scene],
) -> None:
    """Add galaxies of the population anywhere in the cutout, `density` of them per square arcminute on average."""
    area = (2 * grid.half_width / 60) ** 2
    for _ in range(rng.poisson(density * area)):
        x, y = rng.uniform(-grid.half_width, grid.half_width, 2)
        phase = np.exp(-1j * (grid.kx * np.float32(x) + grid.ky * np.float32(y)))
        owner = scene.next_owner
        for layer in draw_galaxy(rng).layers:
            scene.layers.append(Layer("", layer.image * phase, layer.flux, owner=owner))
