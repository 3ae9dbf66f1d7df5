"""Photometric redshifts from catalogue features by support vector regression."""

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from astrodl.baselines.features import Array, standardise
from astrodl.baselines.histograms import check_redshifts, find_bins, fit_width, smooth, weighted_histogram

if TYPE_CHECKING:
    from sklearn.svm import SVR

__all__ = ["svm"]

# Grid of cost and gamma for targets of unit variance, gamma in units of one over the number of features.
_COSTS = (1.0, 4.0, 16.0)
_GAMMAS = (0.3, 1.0, 3.0)
_EPSILON = 0.08
# Objects of the grid search, enough to rank its points; the time grows with the square.
_N_SEARCH = 2000


def svm(
    train_x: ArrayLike,
    train_z: ArrayLike,
    test_x: ArrayLike,
    edges: ArrayLike,
    *,
    n_folds: int = 5,
    n_similar: int = 300,
    max_train: int = 10_000,
    seed: int = 0,
) -> dict[str, Array]:
    """Estimate redshifts by support vector regression, and p(z) from its residuals in cross-validation.

    A machine with a Gaussian kernel predicts ln(1 + z) (Wadadekar 2005, PASP 117, 79, for the method in photo-z), which
    minimises the absolute error in units of 1 + z. Cost and width of the kernel have the smallest mean absolute error
    in a threefold cross-validation on up to 2,000 training objects.

    p(z) is the distribution of the cross-validation residuals (z - prediction) / (1 + prediction) of training objects
    with similar predictions, shifted to the prediction and smoothed as for `photoz.knn`.

    Parameters
    ----------
    train_x, test_x
        Features such as magnitudes and colours, (n_train, F) and (n_test, F).
    train_z
        Redshifts of the training objects, (n_train,), above -1.
    edges
        Bin edges of p(z), (B + 1,); redshifts outside are in the first or last bin.
    n_folds
        Number of folds, at most the number of training objects.
    n_similar
        Number of training objects with the nearest predictions whose residuals form a p(z).
    max_train
        Largest number of training objects, drawn at random from more; the time grows with the square (10,000 take a
        minute).
    seed
        Seed of the draw and of the folds.

    Returns
    -------
    dict
        `z`: prediction of the machine, (n_test,); `pdf`: densities, (n_test, B).

    Raises
    ------
    ValueError
        Fewer than two training objects, or arrays that do not fit together.
    """
    train, test = standardise(train_x, test_x)
    z, bounds = check_redshifts(train, train_z, edges)
    if z.min() <= -1:
        raise ValueError(f"train_z has redshifts down to {z.min():g}, must lie above -1")
    chosen = np.random.default_rng(seed).permutation(len(z))[:max_train]
    train, z = train[chosen], z[chosen]
    target = np.log1p(z)
    centre, scale = target.mean(), target.std() or 1.0
    target = (target - centre) / scale
    machine = _search_grid(train[:_N_SEARCH], target[:_N_SEARCH])
    left_out = np.expm1(scale * _cross_predict(machine, train, target, n_folds) + centre)
    point = np.expm1(scale * machine.fit(train, target).predict(test) + centre)

    residual = (z - left_out) / (1 + left_out)
    histogram = _shift_residuals(left_out, left_out, residual, bounds, n_similar, leave_out_own=True)
    width = fit_width(histogram, z, bounds)
    return {"z": point, "pdf": smooth(_shift_residuals(point, left_out, residual, bounds, n_similar), bounds, width)}


def _search_grid(x: Array, target: Array) -> "SVR":
    """Make the machine with the smallest mean absolute error in cross-validation; objects are in random order."""
    from sklearn.svm import SVR

    machines = [
        SVR(kernel="rbf", C=cost, gamma=gamma / x.shape[1], epsilon=_EPSILON, cache_size=500)
        for cost, gamma in product(_COSTS, _GAMMAS)
    ]
    return min(machines, key=lambda machine: np.abs(_cross_predict(machine, x, target, 3) - target).mean())


def _cross_predict(machine: "SVR", x: Array, target: Array, n_folds: int) -> Array:
    """Predict each fold by a machine trained on the others: (n,)."""
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    fold = np.arange(len(x)) % min(n_folds, len(x))
    return np.asarray(cross_val_predict(machine, x, target, cv=PredefinedSplit(fold)))


def _shift_residuals(
    predicted: Array,
    train_predicted: Array,
    residual: Array,
    edges: Array,
    n_similar: int,
    *,
    leave_out_own: bool = False,
) -> Array:
    """Shift the residuals of the training objects with the nearest predictions to each prediction: histograms (n, B).

    With `leave_out_own`, the objects are the training objects in the same order, and their own residual is left out.
    """
    order = np.argsort(train_predicted, kind="stable")
    # At least two, so that one remains without the own residual.
    sorted_residual, n_similar = residual[order], min(max(n_similar, 2), len(residual))
    first = np.searchsorted(train_predicted[order], predicted) - n_similar // 2
    nearest = first.clip(0, len(residual) - n_similar)[:, None] + np.arange(n_similar)
    weight = np.ones(nearest.shape)
    if leave_out_own:
        weight[order[nearest] == np.arange(len(predicted))[:, None]] = 0
    bins = find_bins(predicted[:, None] + sorted_residual[nearest] * (1 + predicted[:, None]), edges)
    return weighted_histogram(bins, weight, edges.size - 1)
