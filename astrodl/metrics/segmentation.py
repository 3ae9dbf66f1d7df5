"""Metrics of segmentation: clump masks as pixels and as objects, flux fractions, bulge-to-total ratios.

Truth comes first. Masks are (n, y, x), boolean or integer, images first. Counts are returned per image: Dice,
completeness and purity are ratios of their sums, which `bootstrap` resamples over images.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

__all__ = [
    "ClumpCounts",
    "Overlap",
    "bt_rmse",
    "bt_within",
    "clump_list",
    "completeness",
    "dice",
    "fraction_mae",
    "iou",
    "match_clumps",
    "overlap",
    "purity",
]

_Counts = NDArray[np.intp]

# Pixels are connected across corners, but not across images.
_EIGHT_NEIGHBOURS = np.stack([np.zeros((3, 3), bool), np.ones((3, 3), bool), np.zeros((3, 3), bool)])


class Overlap(NamedTuple):
    """Pixel counts of two sets of masks."""

    intersection: _Counts
    """Pixels in both masks, (n,)."""
    total: _Counts
    """Sum of the pixels of both masks, (n,)."""


class ClumpCounts(NamedTuple):
    """Object counts of two sets of clump masks."""

    n_truth: _Counts
    """True clumps, (n,)."""
    n_found: _Counts
    """True clumps that a predicted clump covers, (n,)."""
    n_predicted: _Counts
    """Predicted clumps, (n,)."""
    n_matched: _Counts
    """Predicted clumps that a true clump covers, (n,)."""


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


def match_clumps(truth: ArrayLike, predicted: ArrayLike) -> ClumpCounts:
    """Count clumps as objects.

    Clumps are the 8-connected components of the masks. A true clump is found when one predicted clump covers at least
    half of its pixels; a predicted clump is matched when one true clump covers at least half of its pixels. The limit
    is that of the PASCAL VOC challenge (Everingham et al. 2010, IJCV 88, 303), but a fraction of the area of the clump
    and not of the union, since the outer isophote of a clump is a convention. One predicted clump may find two
    neighbours; a mask of all pixels finds all clumps but is not matched.

    Parameters
    ----------
    truth, predicted
        Masks, (n, y, x).

    Returns
    -------
    ClumpCounts
        Counts per image.

    Raises
    ------
    ValueError
        Different shapes, or masks that are neither boolean nor integer.
    """
    true_mask, found_mask = _masks(truth, predicted)
    n_images = len(true_mask)
    true_label, n_true = ndimage.label(true_mask, _EIGHT_NEIGHBOURS)
    found_label, n_found = ndimage.label(found_mask, _EIGHT_NEIGHBOURS)
    both = true_mask & found_mask
    pairs, shared = np.unique(np.stack([true_label[both], found_label[both]]), axis=1, return_counts=True)
    found = _is_covered(pairs[0], shared, true_label, n_true)
    matched = _is_covered(pairs[1], shared, found_label, n_found)
    true_image, found_image = _image_of(true_label, n_true), _image_of(found_label, n_found)
    return ClumpCounts(
        np.bincount(true_image, minlength=n_images),
        np.bincount(true_image[found], minlength=n_images),
        np.bincount(found_image, minlength=n_images),
        np.bincount(found_image[matched], minlength=n_images),
    )


def _is_covered(component: NDArray, shared: NDArray, label: NDArray, n_components: int) -> NDArray[np.bool_]:
    """Return whether each component shares at least half of its pixels with one component of the other mask."""
    area = np.bincount(label.ravel(), minlength=n_components + 1)
    covered = np.zeros(n_components + 1, dtype=bool)
    np.logical_or.at(covered, component, 2 * shared >= area[component])
    return covered[1:]


def _image_of(label: NDArray, n_components: int) -> NDArray[np.intp]:
    """Return the index of the image of each component."""
    image = np.zeros(n_components + 1, dtype=np.intp)
    where = np.nonzero(label)
    image[label[where]] = where[0]
    return image[1:]


def completeness(n_truth: ArrayLike, n_found: ArrayLike) -> float:
    """Compute the fraction of true clumps that are found, over all images; NaN without any."""
    return _ratio(n_found, n_truth)


def purity(n_predicted: ArrayLike, n_matched: ArrayLike) -> float:
    """Compute the fraction of predicted clumps that are matched, over all images; NaN without any."""
    return _ratio(n_matched, n_predicted)


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


def bt_rmse(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Compute the root of the mean squared error of bulge-to-total ratios."""
    return float(np.sqrt(np.mean(_difference(truth, predicted) ** 2)))


def bt_within(truth: ArrayLike, predicted: ArrayLike, tolerance: float = 0.1) -> float:
    """Compute the fraction of bulge-to-total ratios with an error below a tolerance (Grover et al. 2021)."""
    return float(np.mean(np.abs(_difference(truth, predicted)) < tolerance))


def clump_list(mask: ArrayLike, other: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """List the clumps of one set of masks: a quantity summed over each, and whether the other set covers it.

    The true masks first give completeness against flux, the predicted masks first purity; the rule is that of
    `match_clumps`.

    Parameters
    ----------
    mask, other
        Masks, (n, y, x).
    values
        Quantity to sum over each clump, for example flux or signal-to-noise ratio per pixel, (n, y, x).

    Returns
    -------
    sums, covered
        One entry per clump of `mask`.
    """
    first, second = _masks(mask, other)
    label, n_components = ndimage.label(first, _EIGHT_NEIGHBOURS)
    other_label, _ = ndimage.label(second, _EIGHT_NEIGHBOURS)
    both = first & second
    pairs, shared = np.unique(np.stack([label[both], other_label[both]]), axis=1, return_counts=True)
    sums = np.bincount(label.ravel(), np.asarray(values, dtype=np.float64).ravel(), minlength=n_components + 1)[1:]
    return sums.astype(np.float64), _is_covered(pairs[0], shared, label, n_components)
