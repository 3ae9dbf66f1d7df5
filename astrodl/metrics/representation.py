"""Quality of representations: linear probes, agreement of two representations, nuisances that can be read from one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.metrics.bootstrap import bootstrap
from astrodl.metrics.classification import accuracy, balanced_accuracy

__all__ = [
    "angle_components",
    "leakage",
    "linear_probe",
    "neighbour_overlap",
    "probe_classes",
    "probe_values",
    "r2",
]

_Array = NDArray[np.float64]

_PENALTIES = np.logspace(-4, 4, 17)
"""Strengths of the ridge penalty of standardised vectors that are tried, per object."""
_INVERSE_PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)


def _check(*vectors: ArrayLike) -> list[_Array]:
    """Return representations as float64, (N, D) each with the same D."""
    arrays = [np.asarray(one, dtype=np.float64) for one in vectors]
    if any(one.ndim != 2 or one.shape[1] != arrays[0].shape[1] for one in arrays):
        shapes = " and ".join(str(one.shape) for one in arrays)
        raise ValueError(f"representations have shapes {shapes}; they must be (N, D) with the same D")
    if not all(np.isfinite(one).all() for one in arrays):
        raise ValueError("representations hold values that are not finite; leave those objects out")
    return arrays


def probe_classes(train: ArrayLike, train_class: ArrayLike, test: ArrayLike, *, seed: int = 0) -> NDArray[Any]:
    """Predict classes by logistic regression on a frozen representation.

    The vectors are standardised by the training objects, and the penalty is chosen by five-fold cross-validation on
    them (Alain & Bengio 2016, arXiv:1610.01644).

    Parameters
    ----------
    train, test
        Vectors, (n_train, D) and (n_test, D).
    train_class
        Classes, integers or text, (n_train,); at least two, with two objects each.
    seed
        Seed of the folds.

    Returns
    -------
    ndarray
        Classes of the test objects, (n_test,).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    first, second = _check(train, test)
    label = np.asarray(train_class)
    names, counts = np.unique(label, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        raise ValueError(
            f"train_class has the counts {dict(zip(names.tolist(), counts.tolist(), strict=True))}; at least two"
            " classes with two objects each are needed; leave the others out"
        )
    folds = StratifiedKFold(int(min(5, counts.min())), shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    search = GridSearchCV(model, {"logisticregression__C": _INVERSE_PENALTIES}, cv=folds)
    return search.fit(first, label).predict(second)


def probe_values(train: ArrayLike, train_y: ArrayLike, test: ArrayLike) -> _Array:
    """Predict a property by ridge regression on a frozen representation.

    The vectors are standardised by the training objects, and the penalty is chosen by leave-one-out cross-validation on
    them.

    Parameters
    ----------
    train, test
        Vectors, (n_train, D) and (n_test, D).
    train_y
        Property, (n_train,) or (n_train, m); objects with a NaN are left out.

    Returns
    -------
    ndarray
        (n_test,) or (n_test, m).
    """
    first, second = _check(train, test)
    y = np.asarray(train_y, dtype=np.float64)
    known = np.isfinite(y.reshape(len(y), -1)).all(axis=1)
    if known.sum() < 3:
        raise ValueError(f"{known.sum()} finite values of train_y; at least 3 are needed")
    return _ridge(int(known.sum())).fit(first[known], y[known]).predict(second)


def _ridge(n_objects: int) -> Any:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(_PENALTIES * n_objects))


def r2(predicted: ArrayLike, y: ArrayLike) -> float:
    r"""Compute the coefficient of determination, :math:`1 - \sum (y - \hat y)^2 / \sum (y - \bar y)^2`.

    It is 1 for a perfect prediction, 0 for that of the mean, and negative for worse ones. Objects with a NaN are left
    out; sums run over the components of a property that has several. NaN where y is constant.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (predicted, y))
    first, second = first.reshape(len(first), -1), second.reshape(len(second), -1)
    known = (np.isfinite(first) & np.isfinite(second)).all(axis=1)
    first, second = first[known], second[known]
    if len(second) < 2:
        return float("nan")
    total = ((second - second.mean(axis=0)) ** 2).sum()
    return float(1 - ((second - first) ** 2).sum() / total) if total > 0 else float("nan")


def linear_probe(
    train: ArrayLike,
    test: ArrayLike,
    *,
    classes: tuple[ArrayLike, ArrayLike] | None = None,
    properties: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    n_draws: int = 500,
) -> dict[str, tuple[float, float]]:
    """Measure what linear models read from a frozen representation, with bootstrap errors over test objects.

    Parameters
    ----------
    train, test
        Vectors, (n_train, D) and (n_test, D).
    classes
        Classes of the training and of the test objects; "" where they are not known.
    properties
        Name -> values of the training and of the test objects, NaN where they are not known.

    Returns
    -------
    dict
        `accuracy` and `recall`, balanced over classes, and `r2_{name}` of each property: value and standard error.
    """
    measured: dict[str, tuple[float, float]] = {}
    first, second = _check(train, test)
    if classes is not None:
        known = [np.asarray(labels).astype(str) != "" for labels in classes]
        of_train, truth = (np.asarray(labels)[chosen] for labels, chosen in zip(classes, known, strict=True))
        predicted = probe_classes(first[known[0]], of_train, second[known[1]])
        codes = np.split(np.unique(np.concatenate([predicted, truth]), return_inverse=True)[1], 2)
        measured["accuracy"] = bootstrap(accuracy, *codes, n_draws=n_draws)
        measured["recall"] = bootstrap(balanced_accuracy, *codes, n_draws=n_draws)
    for name, (of_train, truth) in (properties or {}).items():
        measured[f"r2_{name}"] = bootstrap(r2, probe_values(first, of_train, second), truth, n_draws=n_draws)
    return measured


def angle_components(angle_deg: ArrayLike, period_deg: float = 180.0) -> _Array:
    """Return cosine and sine of an angle at its period, (N,) -> (N, 2): those of a position angle have 180 degrees."""
    phase = 2 * np.pi * np.asarray(angle_deg, dtype=np.float64) / period_deg
    return np.stack([np.cos(phase), np.sin(phase)], axis=1)


def leakage(
    vectors: ArrayLike,
    nuisances: Mapping[str, ArrayLike],
    *,
    n_folds: int = 5,
    seed: int = 0,
    n_draws: int = 200,
) -> dict[str, tuple[float, float]]:
    """Measure how well nuisances can be read from a representation by cross-validated ridge regression.

    Parameters
    ----------
    vectors
        Representation, (N, D).
    nuisances
        Name -> values that should not matter, (N,) or (N, m): size, S/N, width of the point-spread function, centring,
        or orientation by `angle_components`. Objects with a NaN are left out.
    n_folds, seed
        Folds of the cross-validation, and the seed by which objects are put into them.
    n_draws
        Bootstrap draws.

    Returns
    -------
    dict
        Name -> R^2 of the objects, each predicted by a fit without its fold, and its bootstrap standard error. Zero or
        slightly below where nothing can be read.
    """
    from sklearn.model_selection import KFold, cross_val_predict

    (codes,) = _check(vectors)
    measured = {}
    for name, values in nuisances.items():
        y = np.asarray(values, dtype=np.float64)
        known = np.isfinite(y.reshape(len(y), -1)).all(axis=1)
        if len(y) != len(codes) or known.sum() < 2 * n_folds:
            raise ValueError(
                f"nuisance '{name}' has {known.sum()} finite of {len(y)} values for {len(codes)} objects; it needs one"
                f" per object, and {2 * n_folds} finite ones"
            )
        folds = KFold(n_folds, shuffle=True, random_state=seed)
        predicted = cross_val_predict(_ridge(int(known.sum())), codes[known], y[known], cv=folds)
        measured[name] = bootstrap(r2, predicted, y[known], n_draws=n_draws)
    return measured


def neighbour_overlap(first: ArrayLike, second: ArrayLike, k: int = 15) -> tuple[float, float]:
    """Compute the mean share of the k nearest neighbours of an object that two representations have in common.

    Mutual nearest neighbours of Huh et al. 2024 (arXiv:2405.07987). Dimensions are standardised; rotations of both by
    which neighbours stay do not matter. Two representations without relation have k / (N - 1).

    Parameters
    ----------
    first, second
        Vectors of the same objects, (N, D) and (N, E), without repeated objects.
    k
        Number of neighbours, below N.

    Returns
    -------
    value, error
        From 0 to 1, and the standard error over objects.
    """
    from sklearn.neighbors import NearestNeighbors

    (one,), (two,) = _check(first), _check(second)
    if len(one) != len(two) or not 1 <= k < len(one):
        raise ValueError(f"{len(one)} and {len(two)} vectors, k = {k}; both must be of the same objects, more than k")
    neighbours = []
    for codes in (one, two):
        spread = codes.std(axis=0)
        scaled = (codes - codes.mean(axis=0)) * np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
        # without the object itself
        found = NearestNeighbors(n_neighbors=k).fit(scaled).kneighbors(return_distance=False)
        neighbours.append(np.sort(found, axis=1))
    both = np.sort(np.concatenate(neighbours, axis=1), axis=1)
    shares = (both[:, 1:] == both[:, :-1]).sum(axis=1) / k
    return float(shares.mean()), float(shares.std(ddof=1) / np.sqrt(len(shares)))
