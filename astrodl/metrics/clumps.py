"""Metrics of clumps as objects: positions are matched one to one, and counts are compared per image.

Truth comes first. Completeness and purity are ratios of sums of counts, which `bootstrap` resamples over images.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

__all__ = ["ClumpCounts", "completeness", "count_clumps", "f1", "free_response", "match_positions", "purity"]

_Counts = NDArray[np.intp]


class ClumpCounts(NamedTuple):
    """Counts of clumps per image."""

    n_truth: _Counts
    """True clumps that are detectable, (n,)."""
    n_found: _Counts
    """Those of them that are matched, (n,)."""
    n_predicted: _Counts
    """Predicted clumps, (n,)."""
    n_matched: _Counts
    """Those of them that are matched, (n,)."""


def match_positions(
    true_image: ArrayLike,
    true_yx: ArrayLike,
    found_image: ArrayLike,
    found_yx: ArrayLike,
    radius: float,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Match true and predicted clumps of the same image one to one, the closest pair first.

    Parameters
    ----------
    true_image, found_image
        Index of the image of each clump, (k,) and (m,).
    true_yx, found_yx
        Positions in pixels, (k, 2) and (m, 2).
    radius
        Largest distance of a pair in pixels.

    Returns
    -------
    partner_of_truth, partner_of_found
        Index of the match, -1 without one, (k,) and (m,).
    """
    positions = []
    for image, yx in ((true_image, true_yx), (found_image, found_yx)):
        plane = np.asarray(yx, np.float64).reshape(-1, 2)
        # images are farther apart than the radius, along a third axis
        positions.append(np.column_stack([plane, 2 * radius * np.asarray(image, np.float64)]))
    truth, found = positions
    partners = np.full(len(truth), -1), np.full(len(found), -1)
    if not len(truth) or not len(found):
        return partners
    pairs = cKDTree(truth).sparse_distance_matrix(cKDTree(found), radius, output_type="coo_matrix")
    for k in np.lexsort((pairs.col, pairs.row, pairs.data)):
        i, j = int(pairs.row[k]), int(pairs.col[k])
        if partners[0][i] < 0 and partners[1][j] < 0:
            partners[0][i], partners[1][j] = j, i
    return partners


def count_clumps(
    n_images: int,
    true_image: ArrayLike,
    is_detectable: ArrayLike,
    found_image: ArrayLike,
    partner_of_truth: ArrayLike,
    partner_of_found: ArrayLike,
) -> ClumpCounts:
    """Count true, found, predicted and matched clumps of each image.

    A predicted clump that matches a true one below the limit of detection is real: it is neither missing in the
    completeness nor wrong in the purity.

    Parameters
    ----------
    n_images
        Number of images.
    true_image, found_image
        Index of the image of each clump, (k,) and (m,).
    is_detectable
        Whether a true clump is above the limit, (k,) of bool.
    partner_of_truth, partner_of_found
        From `match_positions`.
    """
    truth, found = np.asarray(true_image, np.intp), np.asarray(found_image, np.intp)
    above, is_found = np.asarray(is_detectable, bool), np.asarray(partner_of_truth) >= 0
    chosen = (truth[above], truth[above & is_found], found, found[np.asarray(partner_of_found) >= 0])
    return ClumpCounts(*(np.bincount(images, minlength=n_images) for images in chosen))


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> float:
    total = np.sum(denominator)
    return float(np.sum(numerator) / total) if total > 0 else float("nan")


def completeness(n_truth: ArrayLike, n_found: ArrayLike) -> float:
    """Compute the fraction of true clumps that are found, over all images; NaN without any."""
    return _ratio(n_found, n_truth)


def purity(n_predicted: ArrayLike, n_matched: ArrayLike) -> float:
    """Compute the fraction of predicted clumps that are matched, over all images; NaN without any."""
    return _ratio(n_matched, n_predicted)


def f1(n_truth: ArrayLike, n_found: ArrayLike, n_predicted: ArrayLike, n_matched: ArrayLike) -> float:
    """Compute the harmonic mean of completeness and purity, 0 where nothing is found, NaN without true clumps."""
    share, pure = completeness(n_truth, n_found), purity(n_predicted, n_matched)
    if np.isnan(share):
        return float("nan")
    return 2 * share * pure / (share + pure) if share > 0 and pure > 0 else 0.0


def free_response(
    score: ArrayLike, is_matched: ArrayLike, finds_detectable: ArrayLike, n_detectable: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute completeness and purity for all thresholds of the score, and the thresholds, decreasing.

    Parameters
    ----------
    score
        Score of each predicted clump, (m,).
    is_matched
        Whether it matches a true clump, (m,).
    finds_detectable
        Whether that is a detectable one, (m,).
    n_detectable
        Number of detectable true clumps.

    Returns
    -------
    threshold, completeness, purity
        Each (m,): of the clumps with at least this score.
    """
    values = np.asarray(score, np.float64)
    order = np.argsort(-values, kind="stable")
    n_found = np.cumsum(np.asarray(finds_detectable, bool)[order])
    pure = np.cumsum(np.asarray(is_matched, bool)[order]) / np.arange(1, len(values) + 1)
    return values[order], n_found / max(n_detectable, 1), pure
