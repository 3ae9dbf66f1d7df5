"""Elliptical and lenticular galaxies: smooth, with bars, lenses and dust in some of them."""

from dataclasses import replace

import numpy as np

from astrodl.simulator import structure
from astrodl.simulator.colors import Spectrum
from astrodl.simulator.scene import Canvas, Scene
from astrodl.simulator.spectra import old_spectrum
from astrodl.simulator.structure import Frame


def paint_elliptical(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint a Sersic spheroid, in some with a round envelope or a small dust disk.

    Envelopes of other flattening and position angle make the isophotal twists of massive ellipticals (Huang et al.
    2013); almost half of nearby early types have dust in their centres (Lauer et al. 2005), of which the largest disks
    and lanes would be seen here.
    """
    grid, radius = canvas.grid, scene.galaxy.radius
    x, y = canvas.centre(rng)
    n = float(np.clip(4.0 * 10 ** (0.12 * rng.standard_normal()), 2.0, 6.5))
    q, angle = float(1 - 0.55 * rng.beta(1.3, 2.0)), float(rng.uniform(0, np.pi))
    spectrum = old_spectrum(rng, 0.12)
    envelope = float(rng.uniform(0.1, 0.35)) if rng.random() < 0.3 else 0.0
    canvas.lay(scene, "bulge", grid.sersic(n, radius, q, angle, x, y), spectrum, 1 - envelope)
    if envelope:
        twist = angle + rng.normal(0, 0.35)
        halo = grid.sersic(1.5, 1.6 * radius, min(1.0, q * rng.uniform(0.9, 1.3)), twist, x, y)
        bluer = replace(spectrum, kind=spectrum.kind + rng.uniform(0, 0.15))
        canvas.lay(scene, "bulge", halo, bluer, envelope)
    scene.sersic_index = n
    scene.lie(q, angle)
    if rng.random() < 0.15:
        disk = Frame(x, y, float(rng.uniform(0.15, 0.5)), float(rng.uniform(0, np.pi)))
        cover = structure.draw_dust_disk(grid, disk, max(0.35 * radius, 1.2 * grid.pixel))
        canvas.absorb(scene, cover, rng.uniform(0.5, 2.0), ("bulge",))


def paint_lenticular(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint a large bulge in a smooth disk, at times with a bar, a lens or ring, or a dust lane."""
    grid = canvas.grid
    bulge = old_spectrum(rng, 0.08)
    disk = Spectrum(float(np.clip(bulge.kind + rng.uniform(0.0, 0.6), 0, 3)), bulge.reddening)
    bt = float(rng.beta(3.5, 4.0) * 0.8 + 0.08)
    n = float(np.clip(rng.normal(2.8, 0.7), 1.2, 5.0))
    frame, scale = canvas.bulge_and_disk(rng, scene, bt, n, rng.uniform(0.25, 0.7), bulge, disk)
    # 46 % of nearby lenticulars are barred (Laurikainen et al. 2013), by bars shorter than those of spirals.
    twist, length = rng.uniform(0, np.pi), scale * rng.uniform(0.8, 1.4)
    if rng.random() < 0.4:
        bar = structure.draw_bar(grid, frame, length, rng.uniform(0.25, 0.45), twist)
        canvas.move_light(scene, grid.drawn(bar), disk, rng.uniform(0.06, 0.2))
    if rng.random() < 0.3:
        lumps = grid.noise_field(rng, 12)
        lens = structure.draw_ring(grid, frame, 1.8 * scale, 0.5 * scale, 0.0, 0.3 * lumps)
        canvas.move_light(scene, grid.drawn(lens), disk, rng.uniform(0.08, 0.22))
    if frame.q < 0.4 and rng.random() < 0.4:
        canvas.lane(rng, scene, frame, scale, rng.uniform(0.5, 2.2))
