"""Spiral galaxies: grand-design and flocculent arms, bars, rings, dust and clumps."""

from dataclasses import dataclass

import numpy as np

from astrodl.simulator import structure
from astrodl.simulator.fourier import Floats
from astrodl.simulator.scene import Canvas, Scene
from astrodl.simulator.spectra import draw_spiral_spectra
from astrodl.simulator.structure import Arms, Frame
from astrodl.simulator.templates import Spectrum

__all__ = ["bar_fraction", "draw_pitch_angle", "paint_spiral"]


def bar_fraction(z: float) -> float:
    """Return the fraction of barred spirals: 65 % at z = 0.2, falling to 20 % at z = 0.84 (Sheth et al. 2008)."""
    return float(np.interp(z, [0.2, 0.84], [0.65, 0.2]))


def draw_pitch_angle(rng: np.random.Generator, z: float) -> float:
    """Draw a pitch angle in radians, larger at high z (Reshetnikov et al. 2023): 16 degrees at z = 0, 22 at z = 1."""
    return float(np.radians(np.clip(rng.normal(16 + 6 * min(z, 1.0), 5.5), 8, 38)))


@dataclass(frozen=True)
class _Pattern:
    """Spiral arms of a galaxy."""

    light: Floats
    dust: Floats
    sense: int
    """1 if azimuth grows outwards, else -1."""


def paint_spiral(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint a bulge, a disk, arms (from the ends of the bar, if any), and dust and clumps along the arms."""
    grid, z = canvas.grid, scene.galaxy.z
    red = bool(rng.random() < 0.15)
    bulge, disk, arm = draw_spiral_spectra(rng, red)
    bt = float(np.clip(rng.beta(1.2, 5.5) * 0.9 + 0.01, 0.01, 0.65))
    n = float(np.clip(rng.normal(1.8, 0.7), 0.7, 4.0))
    frame, scale = canvas.add_bulge_and_disk(rng, scene, bt, n, rng.uniform(0.12, 0.4), bulge, disk)
    barred = bool(rng.random() < bar_fraction(z))
    twist, length = float(rng.uniform(0, np.pi)), float(scale * rng.uniform(0.8, 1.6))
    start = length if barred else float(scale * rng.uniform(0.4, 0.9))
    # Two thirds of isolated galaxies without a bar are flocculent, and less than a third of barred ones (Elmegreen &
    # Elmegreen 1982); 38 % of all (Wei et al. 2024).
    flocculent = rng.random() < (0.28 if barred else 0.48)
    draw_pattern = _draw_flocculent if flocculent else _draw_grand_design
    pattern = draw_pattern(canvas, rng, frame, scale, start, twist if barred else float(rng.uniform(0, np.pi)), z)
    scene.winding = "anticlockwise" if pattern.sense > 0 else "clockwise"
    # Edge-on, arms overlap and are hidden by the dust lane.
    visible = float(np.clip((frame.q - 0.25) / 0.3, 0.1, 1.0))
    fraction = visible * rng.uniform(0.25, 0.55) * (0.7 if red else 1.0)
    canvas.move_light(scene, grid.transform_unit_flux(pattern.light), arm, fraction, "arm")
    if barred:
        _add_bar(canvas, rng, scene, frame, length, twist, bulge, arm)
    if frame.q < 0.42:
        canvas.add_dust_lane(rng, scene, frame, scale, rng.uniform(0.6, 2.5))
    elif rng.random() < 0.7:
        canvas.add_dust_screen(scene, pattern.dust, rng.uniform(0.2, 0.9), ("disk",))
    radius, _ = frame.polar(grid)
    outside = (radius > 0.4 * scene.galaxy.radius) & (radius < 2.2 * scene.galaxy.radius)
    ridge = pattern.light * (pattern.light > 0.1 * pattern.light.max()) * outside
    canvas.add_clumps(rng, scene, ridge, int(rng.poisson((1.5 if red else 6.0) * max(visible, 0.4))), brightest=0.05)


def _draw_grand_design(
    canvas: Canvas, rng: np.random.Generator, frame: Frame, scale: float, start: float, phase: float, z: float
) -> _Pattern:
    """Draw two to four long arms that differ from each other.

    Four of five spirals have two inner arms, and more further out (Wei et al. 2024). The pitch angles of the arms of a
    galaxy differ by half of their mean (Reshetnikov et al. 2023).
    """
    grid = canvas.grid
    n = int(rng.choice([2, 3, 4], p=[0.5, 0.25, 0.25]))
    n_inner = 2 if rng.random() < 0.82 else n
    pitch = draw_pitch_angle(rng, z) * 10 ** (0.1 * rng.standard_normal(n))
    outer = np.arange(n) >= n_inner
    turns = np.where(outer, np.arange(n) + rng.uniform(0.3, 0.7), np.arange(n) * 2 / n_inner) * np.pi
    sense = int(rng.choice([-1, 1]))
    arms = Arms(
        pitch=pitch * sense,
        phase=phase + turns + 0.25 * rng.standard_normal(n),
        strength=rng.uniform(0.7, 1.0, n) * np.where(outer, 0.7, 1.0),
        start=np.where(outer, start + scale * rng.uniform(0.5, 1.3, n), start),
        end=scale * rng.uniform(2.2, 4.5, n),
        width=float(rng.uniform(0.24, 0.5)),
    )
    wander, lumps = grid.noise_field(rng, 14), grid.noise_field(rng, 96, 0.7)
    return _Pattern(*structure.draw_arms(grid, frame, scale, arms, wander, lumps), sense)


def _draw_flocculent(
    canvas: Canvas, rng: np.random.Generator, frame: Frame, scale: float, start: float, phase: float, z: float
) -> _Pattern:
    """Draw many short arms: noise sheared along a spiral."""
    pitch = 1.2 * draw_pitch_angle(rng, z)
    sense = int(rng.choice([-1, 1]))
    contrast, noise = rng.uniform(0.7, 1.1), structure.draw_sheared_noise(rng)
    arms = structure.draw_flocculent_arms(canvas.grid, frame, scale, sense * pitch, 0.5 * start, phase, contrast, noise)
    return _Pattern(*arms, sense)


def _add_bar(
    canvas: Canvas,
    rng: np.random.Generator,
    scene: Scene,
    frame: Frame,
    length: float,
    twist: float,
    old: Spectrum,
    young: Spectrum,
) -> None:
    """Add a bar and, in a third of the galaxies, an inner ring around its ends (Buta et al. 2015)."""
    grid = canvas.grid
    bar = structure.draw_bar(grid, frame, length, rng.uniform(0.22, 0.4), twist)
    canvas.move_light(scene, grid.transform_unit_flux(bar), old, rng.uniform(0.08, 0.25), "bar")
    if rng.random() < 0.33:
        ring = structure.draw_ring(
            grid, frame, 1.05 * length, 0.16 * length, rng.uniform(0, 0.3), 0.6 * grid.noise_field(rng, 60, 0.7)
        )
        canvas.move_light(scene, grid.transform_unit_flux(ring), young, rng.uniform(0.05, 0.15))
