"""Fit a Sersic bulge and an exponential disk to simulated galaxies: the classical rival of the network, and its limit.

The galaxies are drawn again without neighbours, and the fit knows their true point-spread function and noise and starts
from the true light of the components: no fit of these images can do better.
"""

import json
import time
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import least_squares

from astrodl.config import SimulateSettings
from astrodl.simulator.fourier import Layer
from astrodl.simulator.objects import Simulator
from astrodl.simulator.profiles import EXPONENTIAL_B

__all__ = ["Galaxy", "draw_galaxies", "fit_all", "fit_galaxy", "fit_single", "known_templates", "smooth_twin"]

Array = NDArray[np.float64]
MISFIT = 0.1
"""Error of the model as a share of the light, in quadrature with the noise: galaxies have arms, bars and clumps."""
PRIOR = np.array([[np.log(0.35), np.log(2.3)], [0.45, 0.45]])
"""Mean and width of ln of the ratio of the radii and ln of the Sersic index, which fits of two components need."""
_PART = {"bulge": 0, "disk": 1}
_LOW = {"bulge": [-4.0, np.log(0.5), 0.1], "disk": [-3.0, 0.1]}
_HIGH = {"bulge": [1.0, np.log(7.0), 1.0], "disk": [1.0, 1.0]}
"""Bounds of ln half-light radius (arcsec), ln Sersic index (bulge), axis ratio; angles and positions are free."""


class Galaxy(NamedTuple):
    """A simulated galaxy without neighbours."""

    images: Array
    """Observed, (bands, y, x)."""
    sigma: Array
    """Noise of the pixels, (bands, y, x)."""
    parts: Array
    """Noise-free bulge, disk and clumps in all bands, (bands, 3, y, x)."""


class _Drawer:
    """Draw the galaxies of a simulated survey again."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / "simulate.json").read_text("utf-8"))["settings"]
        self.simulator = Simulator(SimulateSettings(**{**settings, "band_truth": True}))

    @cached_property
    def order(self) -> list[int]:
        """Position of each band among the truth maps."""
        return [self.simulator.map_bands.index(band) for band in range(len(self.simulator.bands))]

    def draw(self, number: int) -> Galaxy:
        simulator = self.simulator
        rng = np.random.default_rng([simulator.settings.seed, number])
        rng.uniform(size=2)  # the position on the sky
        scene, _ = simulator.draw_scene(rng)
        scene.layers = [layer for layer in scene.layers if layer.owner == 0 and layer.part]
        images, maps = simulator.render(scene)
        variance = simulator.noise.variance(images)
        parts = maps.reshape(len(self.order), 3, *maps.shape[1:])[self.order]
        return Galaxy(
            simulator.noise.add(rng, images, variance).astype(float),
            np.sqrt(variance).astype(float),
            parts.astype(float),
        )


def draw_galaxies(folder: Path, numbers: list[int]) -> tuple[Simulator, list[Galaxy]]:
    """Draw galaxies by number, from the folder of `astrodl simulate`."""
    drawer = _Drawer(folder)
    return drawer.simulator, [drawer.draw(number) for number in numbers]


def known_templates(galaxy: Galaxy, band: int) -> float:
    """Return B/T from a linear fit of the true images of the components: the limit that the noise alone sets."""
    design = (galaxy.parts[band] / galaxy.sigma[band]).reshape(3, -1)
    scale = np.linalg.lstsq(design.T, (galaxy.images[band] / galaxy.sigma[band]).ravel(), rcond=None)[0]
    flux = np.clip(scale, 0, None) * galaxy.parts[band].sum((1, 2))
    return float(flux[0] / max(flux.sum(), 1e-30))


class _Model:
    """Components with shapes common to all bands, and fluxes per band that are solved for at each step."""

    def __init__(self, simulator: Simulator, images: Array, sigma: Array, bands: list[int], parts: tuple[str, ...]):
        self.camera, self.grid = simulator.camera, simulator.canvas.grid
        self.images, self.sigma, self.bands, self.parts = images, sigma, bands, parts
        self.flux = np.zeros((len(parts), len(bands)))
        smooth = np.clip(gaussian_filter(images, (0, 1, 1)), 0, None)
        self.sigma = np.hypot(sigma, MISFIT * smooth)

    def draw(self, p: Array) -> Array:
        """Return the components of unit flux, (components, bands, y, x)."""
        x, y, rest, planes = p[0], p[1], list(p[2:]), []
        for part in self.parts:
            if part == "bulge":
                radius, n, q, angle = np.exp(rest[0]), np.exp(rest[1]), rest[2], rest[3]
                image, rest = self.grid.sersic(n, radius, q, angle, x, y), rest[4:]
            else:
                scale, q, angle = np.exp(rest[0]) / EXPONENTIAL_B, rest[1], rest[2]
                image, rest = self.grid.exponential(scale, q, angle, x, y), rest[3:]
            layer = Layer(part, image, np.ones(len(self.camera.psf)))
            planes.append(self.camera.render([layer], [(band, None) for band in self.bands]))
        return np.stack(planes).astype(float)

    def residual(self, p: Array) -> Array:
        """Return the residuals in units of the noise, clipped softly, so that clumps and arms weigh less."""
        unit = self.draw(p)
        out = []
        for number, band in enumerate(self.bands):
            design = (unit[:, number] / self.sigma[band]).reshape(len(self.parts), -1)
            data = (self.images[band] / self.sigma[band]).ravel()
            self.flux[:, number] = _positive(design, data) * unit[:, number].sum((1, 2))
            out.append(data - (self.flux[:, number] / unit[:, number].sum((1, 2))) @ design)
        soft = 3 * np.arcsinh(np.concatenate(out) / 3)
        if len(self.parts) == 1:
            return soft
        shape = np.array([p[2] - p[6], p[3]])
        return np.concatenate([soft, (shape - PRIOR[0]) / PRIOR[1]])

    def fit(self, first: Array) -> Array:
        """Return the best parameters; `flux` is then that of the components."""
        low, high, size = [-0.3, -0.3], [0.3, 0.3], [0.02, 0.02]
        for part in self.parts:
            low += [*_LOW[part], -np.inf]
            high += [*_HIGH[part], np.inf]
            size += [0.3] * len(_LOW[part]) + [0.3]
        start = np.clip(first, np.array(low) + 1e-3, np.array(high) - 1e-3)
        steps = 0.03 * np.array(size)  # the images are in single precision

        def slope(p: Array) -> Array:
            here = self.residual(p)
            away = np.where(p + steps > high, -steps, steps)
            return np.stack([(self.residual(p + d) - here) / d.sum() for d in np.diag(away)], axis=1)

        fitted = least_squares(
            self.residual, start, slope, bounds=(low, high), x_scale=size, max_nfev=40, ftol=1e-5, xtol=1e-5
        )
        self.residual(fitted.x)
        best: Array = fitted.x
        return best


def _positive(design: Array, data: Array) -> Array:
    """Solve least squares with non-negative amplitudes, for one or two components."""
    gram, right = design @ design.T, design @ data
    best = np.asarray(np.linalg.lstsq(gram, right, rcond=None)[0], np.float64)
    if (best >= 0).all():
        return best
    single = np.clip(right / np.maximum(np.diag(gram), 1e-30), 0, None)
    gain = single * right
    return np.asarray(np.where(np.arange(len(gain)) == gain.argmax(), single, 0.0), np.float64)


def _start(galaxy: Galaxy, band: int, pixel: float) -> dict[str, Array]:
    """Return starting parameters of each component from the moments of its true light."""
    found = {}
    for part, number in _PART.items():
        light = np.clip(galaxy.parts[band, number], 0, None)
        if light.sum() <= 0:
            light = np.clip(galaxy.parts[band].sum(0), 0, None)
        y, x = (np.indices(light.shape) - (np.array(light.shape) - 1)[:, None, None] / 2) * pixel
        weight = light / light.sum()
        cx, cy = (weight * x).sum(), (weight * y).sum()
        xx, yy, xy = ((weight * a * b).sum() for a, b in ((x - cx, x - cx), (y - cy, y - cy), (x - cx, y - cy)))
        angle = 0.5 * np.arctan2(2 * xy, xx - yy)
        root = np.hypot((xx - yy) / 2, xy)
        q = np.sqrt(max((xx + yy) / 2 - root, 1e-6) / ((xx + yy) / 2 + root))
        r = np.hypot(x - cx, y - cy).ravel()
        order = np.argsort(r)
        half = r[order][np.searchsorted(np.cumsum(weight.ravel()[order]), 0.5)]
        shape = [np.log(max(half, 0.02)), np.log(2.5), q, angle] if part == "bulge" else [np.log(half), q, angle]
        found[part] = np.array(shape)
    return found


def _truest_start(simulator: Simulator, galaxy: Galaxy, band: int) -> Array:
    """Return the parameters that fit the noise-free light of bulge and disk, each by itself."""
    start, shapes, middle = _start(galaxy, band, simulator.settings.pixel_scale_arcsec), [], []
    for part, number in _PART.items():
        light = galaxy.parts[:, number]
        if light[band].sum() > 1e-3 * galaxy.parts[band].sum():
            model = _Model(simulator, light, np.broadcast_to(galaxy.sigma[band], light.shape) / 10, [band], (part,))
            best = model.fit(np.concatenate([[0, 0], start[part]]))
            middle.append(best[:2])
            shapes.append(best[2:])
        else:
            shapes.append(start[part])
    return np.concatenate([np.mean(middle, axis=0), *shapes])


def fit_galaxy(simulator: Simulator, galaxy: Galaxy, first: Array, band: int, bands: list[int]) -> tuple[float, float]:
    """Fit a galaxy in some bands from the parameters `first`; return B/T in `band`, and the seconds that it took."""
    start = time.process_time()
    model = _Model(simulator, galaxy.images, galaxy.sigma, bands, ("bulge", "disk"))
    model.fit(first)
    flux = model.flux[:, bands.index(band)]
    return float(flux[0] / max(flux.sum(), 1e-30)), time.process_time() - start


def fit_single(simulator: Simulator, galaxy: Galaxy, first: Array, band: int) -> tuple[float, float]:
    """Fit one Sersic profile; return half-light radius (arcsec) and index."""
    start = np.concatenate([first[:2], [first[6], 0.5, *first[7:9]]])
    _, _, radius, n, *_ = _Model(simulator, galaxy.images, galaxy.sigma, [band], ("bulge",)).fit(start)
    return float(np.exp(radius)), float(np.exp(n))


def smooth_twin(simulator: Simulator, galaxy: Galaxy, first: Array, rng: np.random.Generator) -> Galaxy:
    """Return a galaxy with the bulge and disk of another one, and nothing else: no arms, bars, dust and clumps."""
    bands = list(range(len(simulator.bands)))
    unit = _Model(simulator, galaxy.images, galaxy.sigma, bands, ("bulge", "disk")).draw(first)
    flux = galaxy.parts[:, :2].sum((2, 3)).T + np.array([np.zeros(len(bands)), galaxy.parts[:, 2].sum((1, 2))])
    parts = np.clip(unit * (flux / unit.sum((2, 3)))[:, :, None, None], 0, None).swapaxes(0, 1)
    images = parts.sum(1).astype(np.float32)
    variance = simulator.noise.variance(images)
    noisy = simulator.noise.add(rng, images, variance).astype(float)
    return Galaxy(noisy, np.sqrt(variance).astype(float), np.concatenate([parts, 0 * parts[:, :1]], axis=1))


def fit_all(folder: Path, numbers: list[int], band: int) -> dict[str, Array]:
    """Fit galaxies and their smooth twins in one band and in all; return B/T by method, true ones, and seconds."""
    simulator, galaxies = draw_galaxies(folder, numbers)
    everything = list(range(len(simulator.bands)))
    rows = []
    for number, galaxy in zip(numbers, galaxies, strict=True):
        first = _truest_start(simulator, galaxy, band)
        twin = smooth_twin(simulator, galaxy, first, np.random.default_rng([number, 2]))
        row = {"templates": known_templates(galaxy, band)}
        for kind, one in (("truth", galaxy), ("twin_truth", twin)):
            light = one.parts[band].sum((1, 2))
            row[kind] = light[0] / light.sum()
        for (kind, one), (name, bands) in product(
            (("", galaxy), ("twin_", twin)), (("one", [band]), ("all", everything))
        ):
            row[f"{kind}{name}"], row[f"{kind}{name}_seconds"] = fit_galaxy(simulator, one, first, band, bands)
        row["single_radius"], row["single_sersic_index"] = fit_single(simulator, galaxy, first, band)
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
