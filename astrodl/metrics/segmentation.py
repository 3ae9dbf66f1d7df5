"""Metrics of segmentation: clump masks as pixels, flux fractions, bulge-to-total ratios.

Truth comes first. Masks are (n, y, x), boolean or integer, images first. Counts are returned per image: Dice is a ratio
of their sums, which `bootstrap` resamples over images. Clumps as objects: `astrodl.metrics.clumps`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Overlap",
    "bt_bias",
    "bt_rmse",
    "bt_within",
    "dice",
    "fraction_mae",
    "iou",
    "iou_per_image",
    "overlap",
]

_Counts = NDArray[np.intp]


class Overlap(NamedTuple):
    """Pixel counts of two sets of masks."""

    intersection: _Counts
    """Pixels in both masks, (n,)."""
    total: _Counts
    """Sum of the pixels of both masks, (n,)."""


def _masks(truth: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    masks = np.asarray(truth), np.asarray(predicted)
    if masks[0].ndim != 3 or masks[0].shape != masks[1].shape:
        raise ValueError(f"masks have shapes {masks[0].shape} and {masks[1].shape}; both must be (n, y, x)")
    if any(mask.dtype.kind not in "biu" for mask in masks):
        raise ValueError("masks must be boolean or integer; apply a threshold to probabilities or fluxes first")
    return masks[0].astype(bool), masks[1].astype(bool)


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> float:
    """Divide the sums; NaN where the denominator is zero."""
    total = np.sum(denominator)
    return float(np.sum(numerator) / total) if total > 0 else float("nan")


def overlap(truth: ArrayLike, predicted: ArrayLike) -> Overlap:
    """Count the pixels of each image for `dice` and `iou`."""
    true_mask, found_mask = _masks(truth, predicted)
    intersection = np.count_nonzero(true_mask & found_mask, axis=(1, 2))
    return Overlap(intersection, np.count_nonzero(true_mask, axis=(1, 2)) + np.count_nonzero(found_mask, axis=(1, 2)))


def dice(intersection: ArrayLike, total: ArrayLike) -> float:
    """Compute the Dice coefficient pooled over the pixels of all images.

    ``2 |A and B| / (|A| + |B|)`` (Dice 1945, Ecology 26, 297) of the sums over images: images are weighted by
    their clump area, and empty ones need no convention. NaN where all masks are empty.

    Parameters
    ----------
    intersection, total
        Counts per image from `overlap`, (n,).
    """
    return _ratio(2 * np.asarray(intersection), total)


def iou(intersection: ArrayLike, total: ArrayLike) -> float:
    """Compute the intersection over union pooled over the pixels of all images; parameters as for `dice`."""
    return _ratio(intersection, np.asarray(total) - np.asarray(intersection))


def iou_per_image(truth: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """Compute the intersection over union of the masks of each image, (n,); NaN where both are empty."""
    intersection, total = overlap(truth, predicted)
    union = total - intersection
    return np.divide(intersection, union, out=np.full(len(union), np.nan), where=union > 0)


def fraction_mae(truth: ArrayLike, predicted: ArrayLike, weight: ArrayLike) -> NDArray[np.float64]:
    """Compute the flux-weighted mean absolute error of a flux-fraction map of each object.

    Parameters
    ----------
    truth, predicted
        Fraction of the flux in a component, (n, y, x) or (n, components, y, x).
    weight
        Weight of the pixels, usually the true flux, that broadcasts against the maps; negative and NaN weights count
        as zero. Pixels with zero weight are ignored, even NaN.

    Returns
    -------
    ndarray
        One error per object, (n,), NaN where all weights are zero; the metric is the mean (`numpy.nanmean`).
    """
    error = np.abs(np.asarray(predicted, dtype=np.float64) - np.asarray(truth, dtype=np.float64))
    weights = np.nan_to_num(np.broadcast_to(np.asarray(weight, dtype=np.float64), error.shape), nan=0.0).clip(min=0)
    axes = tuple(range(1, error.ndim))
    total = weights.sum(axis=axes)
    weighted = np.where(weights > 0, error * weights, 0).sum(axis=axes)
    return np.divide(weighted, total, out=np.full(len(error), np.nan), where=total > 0)


def _difference(truth: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    difference = np.asarray(predicted, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
    if difference.ndim != 1 or difference.size == 0 or not np.isfinite(difference).all():
        raise ValueError(f"bulge-to-total ratios (shape {difference.shape}) must be (N,) with N > 0, and finite")
    return difference


def bt_bias(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Compute the mean difference, predicted minus true, of bulge-to-total ratios."""
    return float(np.mean(_difference(truth, predicted)))


def bt_rmse(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Compute the root of the mean squared error of bulge-to-total ratios."""
    return float(np.sqrt(np.mean(_difference(truth, predicted) ** 2)))


def bt_within(truth: ArrayLike, predicted: ArrayLike, tolerance: float = 0.1) -> float:
    """Compute the fraction of bulge-to-total ratios with an error below a tolerance (Grover et al. 2021)."""
    return float(np.mean(np.abs(_difference(truth, predicted)) < tolerance))
