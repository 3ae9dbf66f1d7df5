"""Metrics of class probabilities and of predicted classes.

`probability` is (N, C) with rows that sum to one, `label` holds the true class as an integer from 0 to C - 1, and
`predicted` the arg-max of the probability. All functions except `confusion` and `reliability` return one number.
Probabilities that are not finite raise `ValueError`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.metrics import outliers

__all__ = [
    "Reliability",
    "accuracy",
    "auc",
    "balanced_accuracy",
    "brier",
    "confusion",
    "ece",
    "macro_f1",
    "reliability",
    "set_coverage",
    "set_size",
]


def _classes(predicted: ArrayLike, label: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    chosen, truth = np.asarray(predicted), np.asarray(label)
    if chosen.ndim != 1 or chosen.size == 0 or chosen.shape != truth.shape:
        raise ValueError(
            f"predicted has shape {chosen.shape}, label {truth.shape}; both must be (N,): give the arg-max"
        )
    for name, values in (("predicted", chosen), ("label", truth)):
        if values.dtype.kind not in "iu" or values.min() < 0:
            raise ValueError(f"{name} must hold classes as integers from 0 (is {values.dtype})")
    return chosen.astype(np.intp), truth.astype(np.intp)


def _probabilities(probability: ArrayLike, label: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    values = np.asarray(probability, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"probability has shape {values.shape}, must be (N, C)")
    _, truth = _classes(np.zeros(len(values), dtype=int), label)
    if truth.max() >= values.shape[1]:
        raise ValueError(f"label holds class {truth.max()}, probability has {values.shape[1]} classes")
    if not np.isfinite(values).all():
        raise ValueError("probability holds values that are not finite; leave those objects out")
    return values, truth


def confusion(predicted: ArrayLike, label: ArrayLike, n_classes: int | None = None) -> NDArray[np.intp]:
    """Count objects by true class (rows) and predicted class (columns).

    Parameters
    ----------
    predicted
        Predicted classes, (N,).
    label
        True classes, (N,).
    n_classes
        Number of classes; by default one more than the highest class that occurs.

    Returns
    -------
    ndarray
        Counts, (n_classes, n_classes).
    """
    chosen, truth = _classes(predicted, label)
    size = int(max(chosen.max(), truth.max())) + 1 if n_classes is None else n_classes
    if max(chosen.max(), truth.max()) >= size:
        raise ValueError(f"class {max(chosen.max(), truth.max())} occurs, n_classes is {size}")
    return np.bincount(truth * size + chosen, minlength=size * size).reshape(size, size)


def accuracy(predicted: ArrayLike, label: ArrayLike) -> float:
    """Compute the fraction of objects with the correct class."""
    chosen, truth = _classes(predicted, label)
    return float(np.mean(chosen == truth))


def balanced_accuracy(predicted: ArrayLike, label: ArrayLike) -> float:
    """Compute the mean recall over the classes that occur in `label`."""
    counts = confusion(predicted, label)
    n_true = counts.sum(axis=1)
    return float(np.mean(np.diag(counts)[n_true > 0] / n_true[n_true > 0]))


def macro_f1(predicted: ArrayLike, label: ArrayLike) -> float:
    """Compute the mean of 2 TP / (2 TP + FP + FN) over the classes that occur in `label` or `predicted`."""
    counts = confusion(predicted, label)
    total = counts.sum(axis=1) + counts.sum(axis=0)
    return float(np.mean(2 * np.diag(counts)[total > 0] / total[total > 0]))


def auc(probability: ArrayLike, label: ArrayLike) -> float:
    """Compute the mean area under the one-versus-rest ROC curves of the classes.

    Classes without positive or without negative objects are left out; NaN where none remains.
    """
    values, truth = _probabilities(probability, label)
    areas = np.array([outliers.auc(values[:, k], truth == k) for k in np.unique(truth)])
    areas = areas[np.isfinite(areas)]
    return float(np.mean(areas)) if areas.size else float("nan")


def brier(probability: ArrayLike, label: ArrayLike) -> float:
    """Compute the Brier score, the mean over objects of the sum over classes of (p - [class is true])^2.

    From 0 to 2 (Brier 1950, Monthly Weather Review 78, 1), twice the usual binary score when there are two classes.
    """
    values, truth = _probabilities(probability, label)
    at_truth = values[np.arange(truth.size), truth]
    return float(np.mean(np.sum(values**2, axis=1) - 2 * at_truth + 1))


class Reliability(NamedTuple):
    """A reliability diagram: mean confidence and accuracy in bins of the confidence."""

    edges: NDArray[np.float64]
    """Bin edges, (bins + 1,)."""
    confidence: NDArray[np.float64]
    """Mean probability of the predicted class, NaN in empty bins, (bins,)."""
    accuracy: NDArray[np.float64]
    """Fraction of correct predictions, NaN in empty bins, (bins,)."""
    n_objects: NDArray[np.intp]
    """Number of objects, (bins,)."""


def reliability(probability: ArrayLike, label: ArrayLike, bins: int = 15) -> Reliability:
    """Compute the mean confidence and the accuracy of the predicted class in bins of confidence of equal width.

    A confidence on an edge belongs to the bin below it (Guo et al. 2017, arXiv:1706.04599).
    """
    values, truth = _probabilities(probability, label)
    edges = np.linspace(0, 1, bins + 1)
    top = values.max(axis=1)
    index = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    n_or_nan = np.where(count > 0, count, np.nan)
    correct = values.argmax(axis=1) == truth
    confidence = np.bincount(index, weights=top, minlength=bins) / n_or_nan
    return Reliability(edges, confidence, np.bincount(index, weights=correct, minlength=bins) / n_or_nan, count)


def ece(probability: ArrayLike, label: ArrayLike, bins: int = 15) -> float:
    """Compute the expected calibration error.

    Mean of abs(accuracy - confidence) over the bins of `reliability`, weighted by their number of objects (Naeini et
    al. 2015, AAAI; Guo et al. 2017, arXiv:1706.04599). It is biased high for few objects.
    """
    diagram = reliability(probability, label, bins)
    gap = np.abs(diagram.accuracy - diagram.confidence)
    return float(np.nansum(gap * diagram.n_objects) / diagram.n_objects.sum())


def _sets(sets: ArrayLike) -> NDArray[np.bool_]:
    members = np.asarray(sets)
    if members.ndim != 2 or len(members) == 0 or members.dtype != np.bool_:
        raise ValueError(f"sets has shape {members.shape} and type {members.dtype}, must be (N, C) of bool")
    return members


def set_coverage(sets: ArrayLike, label: ArrayLike) -> float:
    """Compute the fraction of objects whose true class is in their set, (N, C) of bool."""
    members = _sets(sets)
    _, truth = _probabilities(members, label)
    return float(np.mean(members[np.arange(truth.size), truth]))


def set_size(sets: ArrayLike) -> float:
    """Compute the mean number of classes in a set, (N, C) of bool."""
    return float(np.mean(_sets(sets).sum(axis=1)))
