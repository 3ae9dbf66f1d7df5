"""Photometric redshifts from catalogue features by support vector regression."""

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.baselines.features import standardise
from astrodl.baselines.histograms import check, fit_width, in_bins, smooth, weighted_histogram

if TYPE_CHECKING:
    from sklearn.svm import SVR

Array = NDArray[np.float64]

# With the target scaled to unit variance, and gamma in units of one over the number of features.
COSTS = (1.0, 4.0, 16.0)
GAMMAS = (0.3, 1.0, 3.0)
EPSILON = 0.08
# Objects that the costs and gammas are compared on, enough to rank them: the time goes with the square.
N_COMPARED = 2000


def svm(
    train_x: ArrayLike,
    train_z: ArrayLike,
    test_x: ArrayLike,
    edges: ArrayLike,
    *,
    n_folds: int = 5,
    n_like: int = 300,
    max_train: int = 10_000,
    seed: int = 0,
) -> dict[str, Array]:
    """Estimate redshifts by support vector regression, and p(z) from its residuals on training objects left out.

    A machine with a Gaussian kernel predicts ln(1 + z), so that what it minimises is the absolute error in units of
    1 + z (Wadadekar 2005, PASP 117, 79, for the method in photo-z). Cost and width of the kernel are those with the
    least mean absolute error in a threefold cross-validation on up to 2,000 training objects.

    p(z) is the distribution of the residuals (z - prediction) / (1 + prediction) that training objects with like
    predictions have under machines trained without them, shifted to the prediction and smoothed as for `photoz.knn`.

    Parameters
    ----------
    train_x, test_x
        Features such as magnitudes and colours, (n_train, F) and (n_test, F).
    train_z
        Redshifts of the training objects, (n_train,), above -1.
    edges
        Bin edges of p(z), (B + 1,); redshifts outside count in the first or last bin.
    n_folds
        Parts of the training objects that are left out in turn; as many as there are objects where those are fewer.
    n_like
        Number of training objects, those with the nearest predictions, whose residuals make a p(z).
    max_train
        Objects to train on, a random choice where there are more: the time goes with the square (10,000 take a minute).
    seed
        Seed of the choice of objects and of the division into parts.

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
    z, bounds = check(train, train_z, edges)
    if z.min() <= -1:
        raise ValueError(f"train_z has redshifts down to {z.min():g}, must lie above -1")
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(z))[:max_train]
    train, z = train[chosen], z[chosen]
    target = np.log1p(z)
    centre, scale = target.mean(), target.std() or 1.0
    target = (target - centre) / scale
    cost, gamma = _choose(train[:N_COMPARED], target[:N_COMPARED])
    part = np.arange(len(z)) % min(n_folds, len(z))
    left_out = np.expm1(scale * _out_of_part(train, target, part, cost, gamma) + centre)
    point = np.expm1(scale * _machine(cost, gamma, train.shape[1]).fit(train, target).predict(test) + centre)

    residual = (z - left_out) / (1 + left_out)
    histogram = _shifted(left_out, left_out, residual, bounds, n_like, own=True)
    width = fit_width(histogram, z, bounds)
    return {"z": point, "pdf": smooth(_shifted(point, left_out, residual, bounds, n_like), bounds, width)}


def _machine(cost: float, gamma: float, n_features: int) -> "SVR":
    from sklearn.svm import SVR

    return SVR(kernel="rbf", C=cost, gamma=gamma / n_features, epsilon=EPSILON, cache_size=500)


def _out_of_part(x: Array, target: Array, part: NDArray[np.intp], cost: float, gamma: float) -> Array:
    """Predict each part by a machine trained on the others: (n,)."""
    predicted = np.empty_like(target)
    for number in range(part.max() + 1):
        out = part == number
        predicted[out] = _machine(cost, gamma, x.shape[1]).fit(x[~out], target[~out]).predict(x[out])
    return predicted


def _choose(x: Array, target: Array) -> tuple[float, float]:
    """Find the cost and the gamma with the least absolute error in cross-validation; objects are in random order."""
    part = np.arange(len(x)) % min(3, len(x))
    pairs = list(product(COSTS, GAMMAS))
    errors = [np.abs(_out_of_part(x, target, part, *pair) - target).mean() for pair in pairs]
    return pairs[int(np.argmin(errors))]


def _shifted(
    predicted: Array, train_predicted: Array, residual: Array, edges: Array, n_like: int, *, own: bool = False
) -> Array:
    """Shift the residuals of the training objects with the nearest predictions to each prediction: (n, B).

    With `own`, the objects are the training objects in the same order, and lose their own residual.
    """
    order = np.argsort(train_predicted, kind="stable")
    # Two at least, lest an object that loses its own has none.
    sorted_residual, n_like = residual[order], min(max(n_like, 2), len(residual))
    first = np.searchsorted(train_predicted[order], predicted) - n_like // 2
    nearest = first.clip(0, len(residual) - n_like)[:, None] + np.arange(n_like)
    weight = np.ones(nearest.shape)
    if own:
        weight[order[nearest] == np.arange(len(predicted))[:, None]] = 0
    bins = in_bins(predicted[:, None] + sorted_residual[nearest] * (1 + predicted[:, None]), edges)
    return weighted_histogram(bins, weight, edges.size - 1)
