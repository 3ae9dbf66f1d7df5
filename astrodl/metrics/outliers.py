"""Metrics of outlier scores; a higher score means a more unusual object.

`truth` is whether each object is an (injected or known) oddity. Scores that are not finite raise `ValueError`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

__all__ = ["auc", "average_precision", "recall_top"]


def _check(score: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, odd = np.asarray(score, dtype=np.float64), np.asarray(truth)
    if values.ndim != 1 or values.size == 0 or odd.shape != values.shape:
        raise ValueError(f"score has shape {values.shape}, truth {odd.shape}; both must be (N,) with N > 0")
    if not np.isfinite(values).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(values))} scores are not finite; leave those objects out")
    return values, odd.astype(bool)


def auc(score: ArrayLike, truth: ArrayLike) -> float:
    """Compute the area under the ROC curve.

    The probability that an oddity has a higher score than a normal object, where ties count half (the Mann-Whitney
    statistic, Hanley & McNeil 1982, Radiology 143, 29).

    Parameters
    ----------
    score
        Scores, (N,).
    truth
        Whether each object is an oddity, (N,).

    Returns
    -------
    float
        0.5 for a random score, 1 for a perfect one; NaN without any oddity or without any normal object.

    Raises
    ------
    ValueError
        No objects, different shapes, or scores that are not finite.
    """
    values, odd = _check(score, truth)
    n_odd = np.count_nonzero(odd)
    n_normal = odd.size - n_odd
    if n_odd == 0 or n_normal == 0:
        return float("nan")
    rank_sum = float(rankdata(values)[odd].sum())
    return (rank_sum - n_odd * (n_odd + 1) / 2) / (n_odd * n_normal)


def average_precision(score: ArrayLike, truth: ArrayLike) -> float:
    """Compute the average precision, the sum over thresholds of the increase in recall times the precision.

    Objects with equal scores share a threshold. NaN without any oddity; parameters and errors as for `auc`.
    """
    values, odd = _check(score, truth)
    if not odd.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    last_of_ties = np.append(np.diff(values[order]) != 0, True)
    n_found = np.cumsum(odd[order])[last_of_ties]
    precision = n_found / (np.flatnonzero(last_of_ties) + 1)
    gain = np.diff(n_found, prepend=0) / n_found[-1]
    return float(np.sum(gain * precision))


def recall_top(score: ArrayLike, truth: ArrayLike, fraction: float) -> float:
    """Compute the recall of oddities among the objects with the highest scores.

    The top contains `fraction` N objects, rounded, and at least one. Objects that share its lowest score count in
    proportion where not all of them fit, so that their order does not matter. The recall stays below 1 if there are
    more oddities than objects in the top.

    Parameters
    ----------
    score, truth
        As for `auc`.
    fraction
        Size of the top as a fraction of all objects, 0 to 1.

    Returns
    -------
    float
        Recall from 0 to 1; NaN without any oddity.
    """
    values, odd = _check(score, truth)
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction}, must be above 0 and at most 1")
    if not odd.any():
        return float("nan")
    n_top = max(1, round(fraction * values.size))
    edge = np.partition(values, values.size - n_top)[values.size - n_top]
    above, tied = values > edge, values == edge
    weight = (n_top - np.count_nonzero(above)) / np.count_nonzero(tied)
    return float((np.count_nonzero(odd & above) + weight * np.count_nonzero(odd & tied)) / np.count_nonzero(odd))
