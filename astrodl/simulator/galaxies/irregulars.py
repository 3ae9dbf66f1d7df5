"""Irregular galaxies: Magellanic, patchy, clumpy (clump clusters and chains), tadpoles.

Clumpy galaxies and tadpoles are common in deep fields (Elmegreen et al. 2005: 178 clump clusters, 114 chains and 97
tadpoles among 884 resolved galaxies of the Hubble Ultra Deep Field).
"""

from dataclasses import replace

import numpy as np

from astrodl.simulator import structure
from astrodl.simulator.fourier import Floats
from astrodl.simulator.profiles import EXPONENTIAL_B, disk_inclination
from astrodl.simulator.scene import Canvas, Scene
from astrodl.simulator.spectra import draw_irregular_spectrum
from astrodl.simulator.structure import Arms, Frame
from astrodl.simulator.templates import Spectrum

__all__ = ["paint_irregular"]

_FRACTIONS = {"magellanic": 0.3, "patchy": 0.4, "clumpy": 0.17, "tadpole": 0.13}
"""Fraction of each form."""


def paint_irregular(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint a smooth disk with asymmetric young light."""
    galaxy, grid = scene.galaxy, canvas.grid
    base = draw_irregular_spectrum(rng)
    younger = replace(base, template=min(base.template + 0.5, 3.6))
    form = str(rng.choice(list(_FRACTIONS), p=list(_FRACTIONS.values())))
    x, y = canvas.draw_centre(rng)
    flat = form in ("clumpy", "tadpole")
    q, angle = float(rng.uniform(0.22, 0.8) if flat else rng.uniform(0.35, 0.95)), float(rng.uniform(0, np.pi))
    scale = galaxy.radius / EXPONENTIAL_B
    frame = Frame(x, y, q, angle)
    lumps = grid.noise_field(rng, 96, 1.0)
    light, fraction, n_clumps = _DRAW_FORM[form](canvas, rng, frame, scale, lumps)
    canvas.add_layer(scene, "disk", grid.exponential(scale, q, angle, x, y), base, 1 - fraction)
    canvas.add_layer(scene, "disk", grid.transform_unit_flux(light), younger, fraction)
    scene.sersic_index = 1.0
    scene.inclination = disk_inclination(q, 0.2)
    scene.set_orientation(q, angle)
    bt = float(rng.uniform(0.02, 0.15)) if rng.random() < 0.25 and not flat else 0.0
    if bt:
        core = grid.sersic(1.5, 0.25 * galaxy.radius, 0.5 + 0.5 * q, angle, x, y)
        older = Spectrum(max(base.template - 1.2, 0.3), base.reddening)
        canvas.add_fraction(scene, "bulge", core, older, bt)
    if rng.random() < 0.3:
        cover = structure.draw_dust_clouds(grid, frame, 2 * scale, grid.noise_field(rng, 40, 0.8))
        canvas.add_dust_screen(scene, cover, rng.uniform(0.4, 1.5), ("disk",))
    canvas.add_clumps(rng, scene, light * (light > 0.08 * light.max()), n_clumps, brightest=0.2)


# Each form returns the young light (a map), its fraction of the galaxy's flux, and the number of clumps.


def _offset_frame(rng: np.random.Generator, frame: Frame, distance: float, along: bool = False) -> Frame:
    """Move the centre of a frame by a distance, along the major axis or in a random direction."""
    turn = frame.angle + (np.pi * rng.integers(2) if along else rng.uniform(0, 2 * np.pi))
    return replace(frame, x=frame.x + distance * np.cos(turn), y=frame.y + distance * np.sin(turn))


def _draw_magellanic(
    canvas: Canvas, rng: np.random.Generator, frame: Frame, scale: float, lumps: Floats
) -> tuple[Floats, float, int]:
    """Draw an off-centre bar and one loose arm (de Vaucouleurs & Freeman 1972)."""
    grid = canvas.grid
    offset = _offset_frame(rng, frame, scale * rng.uniform(0.2, 0.6))
    twist = float(rng.uniform(0, np.pi))
    bar = structure.draw_bar(grid, offset, scale * rng.uniform(0.8, 1.5), rng.uniform(0.25, 0.45), twist)
    arm = Arms(
        pitch=np.radians(rng.uniform(22, 40, 1)) * rng.choice([-1, 1]),
        phase=np.array([twist]),
        strength=np.ones(1),
        start=np.array([0.8 * scale]),
        end=np.array([scale * rng.uniform(2.0, 3.5)]),
        width=float(rng.uniform(0.5, 0.9)),
    )
    arm_light, _ = structure.draw_arms(grid, offset, scale, arm, grid.noise_field(rng, 14), lumps)
    light = arm_light / arm_light.sum() + rng.uniform(0.5, 1.2) * bar * np.exp(0.4 * lumps) / bar.sum()
    return light, float(rng.uniform(0.3, 0.55)), int(rng.poisson(7.0))


def _draw_patchy(
    canvas: Canvas, rng: np.random.Generator, frame: Frame, scale: float, lumps: Floats
) -> tuple[Floats, float, int]:
    """Draw log-normal patches in an off-centre disk."""
    offset = _offset_frame(rng, frame, scale * rng.uniform(0.2, 0.8))
    offset = replace(offset, q=min(1.0, frame.q * rng.uniform(0.8, 1.3)))
    light = structure.draw_patchy_disk(canvas.grid, offset, 0.9 * scale, float(rng.uniform(0.7, 1.1)), lumps)
    return light, float(rng.uniform(0.3, 0.65)), int(rng.poisson(7.0))


def _draw_clumpy(
    canvas: Canvas, rng: np.random.Generator, frame: Frame, scale: float, lumps: Floats
) -> tuple[Floats, float, int]:
    """Draw a faint flat disk with many clumps: a clump cluster, or a chain if edge-on."""
    radius, _ = frame.polar(canvas.grid)
    light = np.exp(-((radius / np.float32(2.0 * scale)) ** 3) + np.float32(0.8) * lumps)
    return light, float(rng.uniform(0.45, 0.7)), int(rng.integers(5, 12))


def _draw_tadpole(
    canvas: Canvas, rng: np.random.Generator, frame: Frame, scale: float, lumps: Floats
) -> tuple[Floats, float, int]:
    """Draw a bright head at one end of the disk."""
    head = _offset_frame(rng, frame, scale * rng.uniform(1.0, 1.8), along=True)
    head = replace(head, q=0.5 + 0.5 * frame.q)
    light = structure.draw_patchy_disk(canvas.grid, head, scale * rng.uniform(0.2, 0.35), 0.7, lumps)
    return light, float(rng.uniform(0.3, 0.55)), int(rng.poisson(2.0))


_DRAW_FORM = {
    "magellanic": _draw_magellanic,
    "patchy": _draw_patchy,
    "clumpy": _draw_clumpy,
    "tadpole": _draw_tadpole,
}
