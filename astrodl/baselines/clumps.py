"""Classical finders of clumps: each makes a map whose peaks are clumps, and is tuned on training images.

`unsharp`
    Significance of the excess over a smoothed copy, in regions of a least area and contrast (Guo et al. 2015, ApJ 800,
    39, select clumps in this way).
`residual`
    Significance of the residual of a smooth model, the median of the pixels on the same ellipse.
`dog`
    Difference of Gaussians, the scale-space detector of blobs (Lindeberg 1998, IJCV 30, 79), in units of its noise.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from astrodl.metrics.clumps import free_response, match_positions
from astrodl.photometry.clumps import Clumps, find_peaks

__all__ = ["FINDERS", "FinderSettings", "find_clumps", "tune_finder"]

Array = NDArray[np.float64]

_MATCH_PIXELS = 2.0
_LEAST_SCORE = 1.5
"""Least significance that the tuning considers."""


@dataclass(frozen=True)
class FinderSettings:
    """A tuned finder."""

    finder: str
    """Key of `FINDERS`."""
    threshold: float
    """Least value of a peak."""
    options: Mapping[str, float]
    """Options of the finder."""


def unsharp(images: Array, sigma: Array, *, width: float, contrast: float, area: float, core: float) -> Array:
    """Return the significance of the excess, zero outside of regions with this contrast and area."""
    smooth, fine = _blur(images, width), _blur(images, 1.0)
    excess = fine - smooth
    noise = sigma[:, None, None] * _noise(1.0, width)
    chosen = (excess > contrast * np.maximum(smooth, noise)) & (excess > _LEAST_SCORE * noise) & _outside(images, core)
    eight = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])
    regions, n_regions = ndimage.label(chosen, eight)
    large = np.bincount(regions.ravel(), minlength=n_regions + 1) >= area
    large[0] = False
    return np.where(large[regions], excess / noise, 0.0)


def residual(images: Array, sigma: Array, *, width: float, core: float) -> Array:
    """Return the significance of the residual of the median on ellipses, smoothed by a Gaussian of `width` pixels."""
    left = np.stack([image - _elliptical_median(image) for image in images])
    noise = sigma[:, None, None] * _noise(width)
    return np.where(_outside(images, core), _blur(left, width) / noise, 0.0)


def dog(images: Array, sigma: Array, *, width: float, core: float) -> Array:
    """Return the difference of Gaussians of `width` and 1.6 `width` pixels, in units of its noise."""
    difference = _blur(images, width) - _blur(images, 1.6 * width)
    noise = sigma[:, None, None] * _noise(width, 1.6 * width)
    return np.where(_outside(images, core), difference / noise, 0.0)


FINDERS: Mapping[str, Callable[..., Array]] = {"unsharp": unsharp, "residual": residual, "dog": dog}
_GRIDS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "unsharp": {"width": (2.5, 4.0), "contrast": (0.02, 0.08, 0.2), "area": (3, 6), "core": (2.0, 4.0)},
    "residual": {"width": (0.7, 1.2), "core": (0.0, 2.0, 4.0)},
    "dog": {"width": (0.8, 1.2, 1.7), "core": (2.0, 4.0)},
}


def find_clumps(images: ArrayLike, sky_sigma: ArrayLike, settings: FinderSettings) -> Clumps:
    """Find clumps in single-band images of galaxies at their centres.

    Parameters
    ----------
    images
        Fluxes, (n, y, x); NaN counts as no flux.
    sky_sigma
        Standard deviation of the sky per pixel, (n,).
    settings
        From `tune_finder`.

    Returns
    -------
    Clumps
        Peaks; their value is the significance.
    """
    return find_peaks(_map(images, sky_sigma, settings.finder, settings.options), settings.threshold, 1.5)


def tune_finder(
    finder: str, images: ArrayLike, sky_sigma: ArrayLike, truth: Clumps, is_detectable: ArrayLike
) -> FinderSettings:
    """Choose options and threshold of a finder with the best F1 of clumps as objects on training images.

    Parameters
    ----------
    finder
        Key of `FINDERS`.
    images, sky_sigma
        As for `find_clumps`.
    truth
        True clumps.
    is_detectable
        Whether they count in the completeness, (k,) of bool.

    Returns
    -------
    FinderSettings
        Settings for `find_clumps`.
    """
    above, best, best_f1 = np.asarray(is_detectable, bool), FinderSettings(finder, np.inf, {}), -1.0
    positions = np.column_stack([truth.y, truth.x])
    for options in _grid(finder):
        found = find_peaks(_map(images, sky_sigma, finder, options), _LEAST_SCORE, 1.5)
        _, own = match_positions(
            truth.image, positions, found.image, np.column_stack([found.y, found.x]), _MATCH_PIXELS
        )  # fmt: skip
        finds = np.where(own >= 0, above[own], False) if len(above) else np.zeros(len(own), bool)
        threshold, share, pure = free_response(found.value, own >= 0, finds, int(above.sum()))
        scores = 2 * share * pure / np.maximum(share + pure, 1e-9)
        if len(scores) and scores.max() > best_f1:
            best_f1 = float(scores.max())
            best = FinderSettings(finder, float(threshold[int(scores.argmax())]), options)
    return best


def _grid(finder: str) -> Iterator[dict[str, float]]:
    grid = _GRIDS[finder]
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _map(images: ArrayLike, sky_sigma: ArrayLike, finder: str, options: Mapping[str, float]) -> Array:
    fluxes, sigma = np.asarray(images, np.float64), np.asarray(sky_sigma, np.float64)
    if fluxes.ndim != 3 or sigma.shape != (len(fluxes),):
        raise ValueError(f"images have shape {fluxes.shape}, sky_sigma {sigma.shape}; must be (n, y, x) and (n,)")
    known = np.isfinite(fluxes)
    usable = np.where(np.isfinite(sigma) & (sigma > 0), sigma, np.inf)
    significance = FINDERS[finder](np.where(known, fluxes, 0.0), usable, **options)
    return np.where(known, significance, 0.0)


def _blur(images: Array, sigma_pixels: float) -> Array:
    return ndimage.gaussian_filter(images, (0, sigma_pixels, sigma_pixels), mode="nearest")


def _noise(fine: float, coarse: float | None = None) -> float:
    """Return the standard deviation of smoothed white noise of standard deviation one, or of a difference of two."""
    impulse = np.zeros((1, 65, 65))
    impulse[0, 32, 32] = 1
    smoothed = _blur(impulse, fine) - (0 if coarse is None else _blur(impulse, coarse))
    return float(np.sqrt(np.sum(smoothed**2)))


def _outside(images: Array, radius: float) -> NDArray[np.bool_]:
    """Return the pixels farther from the centre than a radius: a bulge is no clump."""
    y, x = np.indices(images.shape[1:]) - (np.array(images.shape[1:]) - 1)[:, None, None] / 2
    outside: NDArray[np.bool_] = np.hypot(y, x) > radius
    return outside


def _elliptical_median(image: Array) -> Array:
    """Return a smooth model: the median of the pixels at the same radius of an ellipse, interpolated."""
    y, x = np.indices(image.shape) - (np.array(image.shape) - 1)[:, None, None] / 2
    near = np.hypot(y, x) < min(image.shape) / 3
    weight = np.where(near, np.clip(image, 0, None), 0)
    total = weight.sum()
    radius = np.hypot(y, x)
    if total > 0:
        xx, yy, xy = ((weight * part).sum() / total for part in (x * x, y * y, x * y))
        values, vectors = np.linalg.eigh([[xx, xy], [xy, yy]])
        q = np.sqrt(np.clip(values[0] / max(values[1], 1e-12), 0.05, 1))
        u, v = vectors[0, 1] * x + vectors[1, 1] * y, vectors[0, 0] * x + vectors[1, 0] * y
        radius = np.hypot(u * np.sqrt(q), v / np.sqrt(q))
    ring = np.minimum(radius, min(image.shape) / 2).astype(int)
    profile = ndimage.median(image, ring, np.arange(ring.max() + 1))
    return np.interp(radius, np.arange(len(profile)) + 0.5, profile)
