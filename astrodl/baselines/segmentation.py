"""Classical segmentation: an unsharp mask for clumps, constants and a radial profile for bulge and disk.

The unsharp mask subtracts a smoothed copy from the image, as the clumpiness index does (Conselice 2003, ApJS 147, 1),
and selects pixels with an excess over both the noise and the smooth light.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from astrodl.baselines.features import Array, impute
from astrodl.metrics.segmentation import iou_per_image

__all__ = [
    "UnsharpMask",
    "boosted_bt",
    "boosted_values",
    "central_segment",
    "constant_bt",
    "fit_central_segment",
    "fit_unsharp_mask",
    "forest_bt",
    "radial_fraction",
    "unsharp_mask",
]

# Width of the smoothing that suppresses single noise pixels, about the PSF.
_FINE_PIXELS = 1.0
# Widths that `fit_unsharp_mask` tries for the smooth copy.
_COARSE_PIXELS = (2.5, 4.0, 6.0)
# Thresholds that `fit_central_segment` tries, in units of the noise of single pixels.
_SIGNIFICANCES = (0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
# Contrasts that it tries; smaller steps do not change masks of a few pixels.
_CONTRASTS = np.linspace(0, 2, 101)


@dataclass(frozen=True)
class UnsharpMask:
    """Settings of an unsharp mask."""

    coarse_pixels: float = 4.0
    """Gaussian sigma of the smooth copy, in pixels."""
    contrast: float = 0.3
    """Smallest excess over the smooth copy, as a fraction of it."""
    significance: float = 3.0
    """Smallest excess in units of its noise."""
    core_pixels: float = 3.0
    """Radius around the centre of the image that is left out, since a bulge has an excess too."""


def unsharp_mask(images: ArrayLike, sky_sigma: ArrayLike, settings: UnsharpMask | None = None) -> NDArray[np.bool_]:
    """Mask the clumps of galaxies at the centre of single-band images.

    Parameters
    ----------
    images
        Fluxes in the band of the clumps, (n, y, x); NaN counts as no flux and is never a clump.
    sky_sigma
        Standard deviation of the sky per pixel, (n,).
    settings
        Widths and thresholds, usually from `fit_unsharp_mask`.

    Returns
    -------
    ndarray
        Masks, (n, y, x).
    """
    chosen = settings or UnsharpMask()
    return _contrast(images, sky_sigma, chosen) > chosen.contrast


def fit_unsharp_mask(
    images: ArrayLike, sky_sigma: ArrayLike, truth: ArrayLike, start: UnsharpMask | None = None
) -> UnsharpMask:
    """Choose the smoothing and the contrast with the best pooled Dice coefficient on training images.

    Parameters
    ----------
    images, sky_sigma
        As for `unsharp_mask`.
    truth
        True clump masks, (n, y, x).
    start
        Settings that are not fitted (significance, core radius).

    Returns
    -------
    UnsharpMask
        Settings for `unsharp_mask`.
    """
    fixed, mask = start or UnsharpMask(), np.asarray(truth, dtype=bool)
    best, best_dice = fixed, -1.0
    for coarse_pixels in _COARSE_PIXELS:
        candidate = replace(fixed, coarse_pixels=coarse_pixels)
        contrast = _contrast(images, sky_sigma, candidate)
        dice = 2 * _count_above(contrast[mask]) / np.maximum(_count_above(contrast) + np.count_nonzero(mask), 1)
        if dice.max() > best_dice:
            best_dice = float(dice.max())
            best = replace(candidate, contrast=float(_CONTRASTS[int(dice.argmax())]))
    return best


def _count_above(contrast: Array) -> NDArray[np.intp]:
    """Count the pixels above each of `_CONTRASTS`."""
    positive = np.sort(contrast[contrast > 0])
    return positive.size - np.searchsorted(positive, _CONTRASTS, side="right")


def _contrast(images: ArrayLike, sky_sigma: ArrayLike, settings: UnsharpMask) -> Array:
    """Compute the excess over the smooth light; -1 if it is not significant, NaN or near the centre."""
    fluxes = np.asarray(images, dtype=np.float64)
    sigma = np.asarray(sky_sigma, dtype=np.float64)
    if fluxes.ndim != 3 or sigma.shape != (len(fluxes),):
        raise ValueError(f"images have shape {fluxes.shape}, sky_sigma {sigma.shape}; must be (n, y, x) and (n,)")
    known = np.isfinite(fluxes)
    fluxes = np.where(known, fluxes, 0)
    smooth = _blur(fluxes, settings.coarse_pixels)
    excess = _blur(fluxes, _FINE_PIXELS) - smooth
    noise = sigma[:, None, None] * _noise_factor(settings.coarse_pixels)
    y, x = np.indices(fluxes.shape[1:]) - (np.array(fluxes.shape[1:]) - 1)[:, None, None] / 2
    candidate = known & (excess > settings.significance * noise) & (np.hypot(y, x) > settings.core_pixels)
    # The ratio is meaningless where the light is fainter than the noise.
    return np.where(candidate, excess / np.maximum(smooth, noise), -1)


def _blur(images: Array, sigma_pixels: float) -> Array:
    return ndimage.gaussian_filter(images, (0, sigma_pixels, sigma_pixels), mode="nearest")


def _noise_factor(coarse_pixels: float) -> float:
    """Compute the standard deviation of the excess for white noise with standard deviation one."""
    impulse = np.zeros((1, 65, 65))
    impulse[0, 32, 32] = 1
    return float(np.sqrt(np.sum((_blur(impulse, _FINE_PIXELS) - _blur(impulse, coarse_pixels)) ** 2)))


def constant_bt(train_bt: ArrayLike, n_objects: int) -> Array:
    """Predict the mean bulge-to-total ratio of the training objects, (n_objects,)."""
    return np.full(n_objects, np.nanmean(np.asarray(train_bt, dtype=np.float64)))


def forest_bt(
    train_x: ArrayLike, train_bt: ArrayLike, test_x: ArrayLike, *, n_trees: int = 300, seed: int = 0, n_jobs: int = 1
) -> Array:
    """Predict bulge-to-total ratios by a random forest on catalogue features.

    Parameters
    ----------
    train_x, test_x
        Features, (n_train, F) and (n_test, F).
    train_bt
        Bulge-to-total ratios, (n_train,).
    n_trees
        Number of trees.
    seed
        Seed of the forest.
    n_jobs
        Number of threads.

    Returns
    -------
    ndarray
        Bulge-to-total ratios, (n_test,).
    """
    from sklearn.ensemble import RandomForestRegressor

    train, test = impute(train_x, test_x)
    model = RandomForestRegressor(n_trees, min_samples_leaf=3, max_features=0.33, random_state=seed, n_jobs=n_jobs)
    return model.fit(train, np.asarray(train_bt, dtype=np.float64)).predict(test)


def boosted_bt(train_x: ArrayLike, train_bt: ArrayLike, test_x: ArrayLike, *, seed: int = 0) -> Array:
    """Predict bulge-to-total ratios by gradient boosting on catalogue features; parameters as for `forest_bt`."""
    return np.clip(boosted_values(train_x, train_bt, test_x, seed=seed), 0, 1)


def boosted_values(train_x: ArrayLike, train_y: ArrayLike, test_x: ArrayLike, *, seed: int = 0) -> Array:
    """Predict any quantity by gradient boosting on catalogue features; objects where it is NaN are left out."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    train, test = impute(train_x, test_x)
    model = HistGradientBoostingRegressor(
        learning_rate=0.05, max_iter=200, max_leaf_nodes=15, min_samples_leaf=10, random_state=seed
    )
    values = np.asarray(train_y, dtype=np.float64)
    known = np.isfinite(values)
    return np.asarray(model.fit(train[known], values[known]).predict(test), np.float64)


def radial_fraction(train_fraction: ArrayLike, train_weight: ArrayLike) -> Array:
    """Compute the mean flux-fraction map of the training objects as a function of the radius in whole pixels.

    Parameters
    ----------
    train_fraction
        Fraction of the flux in a component, (n, y, x).
    train_weight
        Weight of the pixels, usually the flux, (n, y, x); pixels where it is not positive are left out.

    Returns
    -------
    ndarray
        The map to predict for every object, (y, x); the mean over all pixels at radii without weight.
    """
    fraction, weight = np.asarray(train_fraction, dtype=np.float64), np.asarray(train_weight, dtype=np.float64)
    weight = np.where(np.isfinite(fraction) & (weight > 0), weight, 0)
    total, flux = (np.where(weight > 0, fraction * weight, 0).sum(axis=0), weight.sum(axis=0))
    y, x = np.indices(flux.shape) - (np.array(flux.shape) - 1)[:, None, None] / 2
    radius = np.hypot(y, x).astype(int)
    in_ring, ring_flux = (np.bincount(radius.ravel(), plane.ravel()) for plane in (total, flux))
    overall = total.sum() / flux.sum() if flux.sum() > 0 else 0.0
    profile = np.divide(in_ring, ring_flux, out=np.full(ring_flux.shape, overall), where=ring_flux > 0)
    return profile[radius]


def central_segment(
    images: ArrayLike, sky_sigma: ArrayLike, significance: float = 1.5, contrast: float = 0.001, n_pixels: int = 5
) -> NDArray[np.bool_]:
    """Segment images with photutils, with deblending, and return the source at their centre.

    Detection on the image smoothed by the fine width, above `significance` times the noise of single pixels.

    Parameters
    ----------
    images
        Fluxes (n, y, x), sky subtracted; NaN counts as no flux.
    sky_sigma
        Standard deviation of the sky per pixel, (n,).
    significance, contrast, n_pixels
        Threshold, least share of a deblended source, and least area, as in photutils.

    Returns
    -------
    ndarray
        (n, y, x); the nearest source within three pixels of the centre, or nothing.
    """
    from photutils.segmentation import deblend_sources, detect_sources
    from photutils.utils.exceptions import NoDetectionsWarning

    masks = np.zeros(np.shape(images), bool)
    for mask, image, sigma in zip(masks, np.asarray(images, np.float64), np.asarray(sky_sigma), strict=True):
        smooth = ndimage.gaussian_filter(np.nan_to_num(image), _FINE_PIXELS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoDetectionsWarning)
            found = detect_sources(smooth, significance * sigma, n_pixels)
        if found is None:
            continue
        numbers = deblend_sources(smooth, found, n_pixels, contrast=contrast, progress_bar=False).data
        middle = tuple(side // 2 for side in image.shape)
        near = numbers[middle[0] - 3 : middle[0] + 4, middle[1] - 3 : middle[1] + 4]
        y, x = np.nonzero(near)
        if len(y):
            own = near[y, x][np.argmin((y - 3) ** 2 + (x - 3) ** 2)]
            mask |= numbers == own
    return masks


def fit_central_segment(images: ArrayLike, sky_sigma: ArrayLike, segment: ArrayLike) -> float:
    """Return the threshold of `central_segment` with the best mean intersection over union with true segments."""
    truth = np.asarray(segment, bool)
    scores = [
        np.nanmean(iou_per_image(truth, central_segment(images, sky_sigma, significance)))
        for significance in _SIGNIFICANCES
    ]
    return _SIGNIFICANCES[int(np.argmax(scores))]
