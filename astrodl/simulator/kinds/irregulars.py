"""Irregular galaxies: Magellanic, patchy, clump clusters and chains, tadpoles.

The last two kinds are common in deep fields (Elmegreen et al. 2005: 178 clump clusters, 114 chains and 97 tadpoles
among 884 resolved galaxies of the Hubble Ultra Deep Field).
"""

from dataclasses import replace

import numpy as np

from astrodl.simulator import structure
from astrodl.simulator.colors import Spectrum
from astrodl.simulator.fourier import Floats
from astrodl.simulator.profiles import EXPONENTIAL_B, inclination_of
from astrodl.simulator.scene import Canvas, Scene
from astrodl.simulator.spectra import irregular_spectrum
from astrodl.simulator.structure import Arms, Frame

FORMS = {"magellanic": 0.3, "patchy": 0.4, "clumpy": 0.17, "tadpole": 0.13}
"""Share of each form."""


def paint_irregular(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint a smooth disk and, on top of it, young light without symmetry."""
    galaxy, grid = scene.galaxy, canvas.grid
    base = irregular_spectrum(rng)
    younger = replace(base, kind=min(base.kind + 0.5, 3.6))
    form = str(rng.choice(list(FORMS), p=list(FORMS.values())))
    x, y = canvas.centre(rng)
    flat = form in ("clumpy", "tadpole")
    q, angle = float(rng.uniform(0.22, 0.8) if flat else rng.uniform(0.35, 0.95)), float(rng.uniform(0, np.pi))
    scale = galaxy.radius / EXPONENTIAL_B
    frame = Frame(x, y, q, angle)
    lumps = grid.noise_field(rng, 96, 1.0)
    drawn, patchy, n_clumps = _FORMS[form](canvas, rng, frame, scale, lumps)
    canvas.lay(scene, "disk", grid.exponential(scale, q, angle, x, y), base, 1 - patchy)
    canvas.lay(scene, "disk", grid.drawn(drawn), younger, patchy)
    scene.sersic_index = 1.0
    scene.inclination = inclination_of(q, 0.2)
    scene.lie(q, angle)
    bt = float(rng.uniform(0.02, 0.15)) if rng.random() < 0.25 and not flat else 0.0
    if bt:
        core = grid.sersic(1.5, 0.25 * galaxy.radius, 0.5 + 0.5 * q, angle, x, y)
        older = Spectrum(max(base.kind - 1.2, 0.3), base.reddening)
        canvas.add_light(scene, "bulge", core, older, bt)
    if rng.random() < 0.3:
        cover = structure.draw_patches(grid, frame, 2 * scale, grid.noise_field(rng, 40, 0.8))
        canvas.absorb(scene, cover, rng.uniform(0.4, 1.5), ("disk",))
    canvas.clumps(rng, scene, drawn * (drawn > 0.08 * drawn.max()), n_clumps, brightest=0.2)


def _beside(rng: np.random.Generator, frame: Frame, distance: float, along: bool = False) -> Frame:
    """Move a frame's centre by a distance, along the major axis or anywhere."""
    turn = frame.angle + (np.pi * rng.integers(2) if along else rng.uniform(0, 2 * np.pi))
    return replace(frame, x=frame.x + distance * np.cos(turn), y=frame.y + distance * np.sin(turn))


def _magellanic(
    canvas: Canvas, rng: np.random.Generator, frame: Frame, scale: float, lumps: Floats
) -> tuple[Floats, float, int]:
    """Draw an off-centre bar and one loose arm (de Vaucouleurs & Freeman 1972)."""
    grid = canvas.grid
    aside = _beside(rng, frame, scale * rng.uniform(0.2, 0.6))
    twist = float(rng.uniform(0, np.pi))
    bar = structure.draw_bar(grid, aside, scale * rng.uniform(0.8, 1.5), rng.uniform(0.25, 0.45), twist)
    arm = Arms(
        pitch=np.radians(rng.uniform(22, 40, 1)) * rng.choice([-1, 1]),
        phase=np.array([twist]),
        strength=np.ones(1),
        start=np.array([0.8 * scale]),
        end=np.array([scale * rng.uniform(2.0, 3.5)]),
        width=float(rng.uniform(0.5, 0.9)),
    )
    light, _ = structure.draw_arms(grid, aside, scale, arm, grid.noise_field(rng, 14), lumps)
    mixed = light / light.sum() + rng.uniform(0.5, 1.2) * bar * np.exp(0.4 * lumps) / bar.sum()
    return mixed, float(rng.uniform(0.3, 0.55)), int(rng.poisson(7.0))


def _patchy(
    canvas: Canvas, rng: np.random.Generator, frame: Frame, scale: float, lumps: Floats
) -> tuple[Floats, float, int]:
    """Draw log-normal patches in a disk that lies aside."""
    aside = _beside(rng, frame, scale * rng.uniform(0.2, 0.8))
    aside = replace(aside, q=min(1.0, frame.q * rng.uniform(0.8, 1.3)))
    drawn = structure.draw_texture(canvas.grid, aside, 0.9 * scale, float(rng.uniform(0.7, 1.1)), lumps)
    return drawn, float(rng.uniform(0.3, 0.65)), int(rng.poisson(7.0))


def _clumpy(
    canvas: Canvas, rng: np.random.Generator, frame: Frame, scale: float, lumps: Floats
) -> tuple[Floats, float, int]:
    """Draw a faint flat disk, home of many clumps: a clump cluster, or seen edge-on a chain."""
    radius, _ = frame.polar(canvas.grid)
    drawn = np.exp(-((radius / np.float32(2.0 * scale)) ** 3) + np.float32(0.8) * lumps)
    return drawn, float(rng.uniform(0.45, 0.7)), int(rng.integers(5, 12))


def _tadpole(
    canvas: Canvas, rng: np.random.Generator, frame: Frame, scale: float, lumps: Floats
) -> tuple[Floats, float, int]:
    """Draw a bright head at one end of the disk."""
    head = _beside(rng, frame, scale * rng.uniform(1.0, 1.8), along=True)
    head = replace(head, q=0.5 + 0.5 * frame.q)
    drawn = structure.draw_texture(canvas.grid, head, scale * rng.uniform(0.2, 0.35), 0.7, lumps)
    return drawn, float(rng.uniform(0.3, 0.55)), int(rng.poisson(2.0))


_FORMS = {"magellanic": _magellanic, "patchy": _patchy, "clumpy": _clumpy, "tadpole": _tadpole}
