"""Elliptical and lenticular galaxies: smooth, some with bars, lenses and dust."""

from dataclasses import replace

import numpy as np

from astrodl.simulator import structure
from astrodl.simulator.scene import Canvas, Scene
from astrodl.simulator.spectra import draw_old_spectrum
from astrodl.simulator.structure import Frame
from astrodl.simulator.templates import Spectrum

__all__ = ["paint_elliptical", "paint_lenticular"]


def paint_elliptical(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint a Sersic spheroid, sometimes with an envelope or a small dust disk.

    Envelopes with another flattening and position angle produce the isophotal twists of massive ellipticals (Huang et
    al. 2013). Almost half of nearby early types have dust in their centres (Lauer et al. 2005); only the largest disks
    and lanes would be visible here.
    """
    grid, radius = canvas.grid, scene.galaxy.radius
    x, y = canvas.draw_centre(rng)
    n = float(np.clip(4.0 * 10 ** (0.12 * rng.standard_normal()), 2.0, 6.5))
    q, angle = float(1 - 0.55 * rng.beta(1.3, 2.0)), float(rng.uniform(0, np.pi))
    spectrum = draw_old_spectrum(rng, 0.12)
    envelope = float(rng.uniform(0.1, 0.35)) if rng.random() < 0.3 else 0.0
    canvas.add_layer(scene, "bulge", grid.sersic(n, radius, q, angle, x, y), spectrum, 1 - envelope)
    if envelope:
        twist = angle + rng.normal(0, 0.35)
        halo = grid.sersic(1.5, 1.6 * radius, min(1.0, q * rng.uniform(0.9, 1.3)), twist, x, y)
        bluer = replace(spectrum, template=spectrum.template + rng.uniform(0, 0.15))
        canvas.add_layer(scene, "bulge", halo, bluer, envelope)
    scene.sersic_index = n
    scene.set_orientation(q, angle)
    if rng.random() < 0.15:
        disk = Frame(x, y, float(rng.uniform(0.15, 0.5)), float(rng.uniform(0, np.pi)))
        cover = structure.draw_dust_disk(grid, disk, max(0.35 * radius, 1.2 * grid.pixel))
        canvas.add_dust_screen(scene, cover, rng.uniform(0.5, 2.0), ("bulge",))


def paint_lenticular(canvas: Canvas, rng: np.random.Generator, scene: Scene) -> None:
    """Paint a large bulge in a smooth disk, sometimes with a bar, a lens or ring, or a dust lane."""
    grid = canvas.grid
    bulge = draw_old_spectrum(rng, 0.08)
    disk = Spectrum(float(np.clip(bulge.template + rng.uniform(0.0, 0.6), 0, 3)), bulge.reddening)
    bt = float(rng.beta(3.5, 4.0) * 0.8 + 0.08)
    n = float(np.clip(rng.normal(2.8, 0.7), 1.2, 5.0))
    frame, scale = canvas.add_bulge_and_disk(rng, scene, bt, n, rng.uniform(0.25, 0.7), bulge, disk)
    # 46 % of nearby lenticulars are barred (Laurikainen et al. 2013), with shorter bars than spirals.
    twist, length = rng.uniform(0, np.pi), scale * rng.uniform(0.8, 1.4)
    if rng.random() < 0.4:
        bar = structure.draw_bar(grid, frame, length, rng.uniform(0.25, 0.45), twist)
        canvas.move_light(scene, grid.transform_unit_flux(bar), disk, rng.uniform(0.06, 0.2), "bar")
    if rng.random() < 0.3:
        lumps = grid.noise_field(rng, 12)
        lens = structure.draw_ring(grid, frame, 1.8 * scale, 0.5 * scale, 0.0, 0.3 * lumps)
        canvas.move_light(scene, grid.transform_unit_flux(lens), disk, rng.uniform(0.08, 0.22))
    if frame.q < 0.4 and rng.random() < 0.4:
        canvas.add_dust_lane(rng, scene, frame, scale, rng.uniform(0.5, 2.2))
