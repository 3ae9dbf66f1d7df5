"""Morphological classes from catalogue features: a random forest, support vector machines, fully connected networks."""

from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from astrodl.baselines.features import impute, standardise
from astrodl.baselines.networks import ensemble

if TYPE_CHECKING:
    from sklearn.svm import SVC

Array = NDArray[np.float64]
Classes = NDArray[np.intp]

# Of the machine, gamma in units of one over the number of features.
COSTS = (10.0, 30.0, 100.0, 300.0, 1000.0)
GAMMAS = (0.1, 0.2, 0.4, 0.8)
# Objects that the costs and gammas are compared on, enough to rank them: the time goes with the square.
N_COMPARED = 4000
N_FOLDS = 5


def forest(
    train_x: ArrayLike,
    train_class: ArrayLike,
    test_x: ArrayLike,
    *,
    n_classes: int | None = None,
    n_trees: int = 300,
    min_leaf: int = 2,
    seed: int = 0,
    n_jobs: int = 1,
) -> Array:
    """Classify by a random forest on concentration, asymmetry, Gini, M20, colours and the like.

    Parameters
    ----------
    train_x, test_x
        Features, (n_train, F) and (n_test, F).
    train_class
        Classes as integers from 0, (n_train,).
    n_classes
        Number of classes C; by default one more than the highest in `train_class`.
    n_trees
        Number of trees.
    min_leaf
        Smallest number of training objects in a leaf.
    seed
        Seed of the forest.
    n_jobs
        Number of threads.

    Returns
    -------
    ndarray
        Probabilities, (n_test, C), zero for classes without training objects.

    Raises
    ------
    ValueError
        Classes that are not integers from 0, or arrays that do not fit together.
    """
    from sklearn.ensemble import RandomForestClassifier

    train, test = impute(train_x, test_x)
    label, n_columns = _check(train, train_class, n_classes)
    model = RandomForestClassifier(n_trees, min_samples_leaf=min_leaf, random_state=seed, n_jobs=n_jobs)
    model.fit(train, label)
    probability = np.zeros((len(test), n_columns))
    probability[:, model.classes_] = model.predict_proba(test)
    return probability


def svm(
    train_x: ArrayLike,
    train_class: ArrayLike,
    test_x: ArrayLike,
    *,
    n_classes: int | None = None,
    max_train: int = 20_000,
    seed: int = 0,
) -> Array:
    """Classify by support vector machines with a Gaussian kernel, one for each pair of classes.

    Cost and width of the kernel are those with the best accuracy in a threefold cross-validation on up to 4,000
    training objects. The margin of each machine becomes a probability by a logistic function fitted on objects it was
    trained without (Platt 1999), and the probabilities of the pairs are coupled to those of the classes (Wu, Lin & Weng
    2004, JMLR 5, 975, second method).

    Parameters
    ----------
    train_x, train_class, test_x, n_classes
        As for `forest`.
    max_train
        Objects to train on, a random choice where there are more: the time goes with the square.
    seed
        Seed of the choice of objects and of the division into parts.

    Returns
    -------
    ndarray
        Probabilities, (n_test, C), zero for classes without training objects. Against a class with a single training
        object, which no machine can be calibrated on, the share of the objects is the probability of the pair.

    Raises
    ------
    ValueError
        As for `forest`.
    """
    train, test = standardise(train_x, test_x)
    label, n_columns = _check(train, train_class, n_classes)
    chosen = np.random.default_rng(seed).permutation(len(label))[:max_train]
    train, label = train[chosen], label[chosen]
    present = np.unique(label)
    probability = np.zeros((len(test), n_columns))
    if len(present) == 1:
        probability[:, present] = 1
        return probability
    best = _choose(train[:N_COMPARED], label[:N_COMPARED])
    wins = np.zeros((len(test), len(present), len(present)))
    for first, second in combinations(range(len(present)), 2):
        pair = np.isin(label, present[[first, second]])
        share = _second_of_pair(train[pair], label[pair] == present[second], test, best, seed).clip(1e-7, 1 - 1e-7)
        wins[:, second, first], wins[:, first, second] = share, 1 - share
    probability[:, present] = _couple(wins)
    return probability


def mlp(
    train_x: ArrayLike,
    train_class: ArrayLike,
    test_x: ArrayLike,
    *,
    n_classes: int | None = None,
    **training: Any,
) -> Array:
    """Classify by an ensemble of fully connected networks trained with cross-entropy; see `networks.ensemble`.

    Their schedule is that of the networks for redshifts. With 7,000 simulated galaxies, other epochs, dropout, noise,
    widths and weight decay changed the accuracy on a validation split by less than its error of 0.013.

    Parameters
    ----------
    train_x, train_class, test_x, n_classes
        As for `forest`. Features may be missing: a 0/1 column more tells the networks.
    **training
        What else `networks.ensemble` takes: `n_networks`, `widths`, `epochs`, `seed` ...

    Returns
    -------
    ndarray
        Probabilities, (n_test, C), small for classes without training objects.

    Raises
    ------
    ValueError
        As for `forest`, or no network.
    """
    label, n_columns = _check(np.asarray(train_x), train_class, n_classes)
    truth = torch.from_numpy(label)
    return ensemble(
        train_x,
        test_x,
        n_columns,
        lambda logits, rows: functional.cross_entropy(logits, truth[rows]),
        **training,
    )


def _check(train: Array, train_class: ArrayLike, n_classes: int | None) -> tuple[Classes, int]:
    """Give the classes (n_train,) and their number; raise `ValueError` where they do not fit the features."""
    label = np.asarray(train_class)
    if label.shape != (len(train),) or label.dtype.kind not in "iu" or label.min() < 0:
        raise ValueError(f"train_class has shape {label.shape} and type {label.dtype}, must be ({len(train)},) from 0")
    return label.astype(np.intp), int(label.max()) + 1 if n_classes is None else n_classes


def _choose(x: Array, label: Classes) -> tuple[float, float]:
    """Find the cost and the gamma with the best accuracy in cross-validation, each class spread over the parts."""
    kept = np.bincount(label)[label] >= 3
    x, label = x[kept], label[kept]
    pairs = list(product(COSTS, GAMMAS))
    if len(np.unique(label)) < 2:
        return pairs[len(pairs) // 2]
    part = np.empty(len(label), np.intp)
    part[np.argsort(label, kind="stable")] = np.arange(len(label)) % 3

    def n_right(cost: float, gamma: float) -> int:
        return sum(
            int((_machine(cost, gamma, x.shape[1]).fit(x[~out], label[~out]).predict(x[out]) == label[out]).sum())
            for out in (part == number for number in range(3))
        )

    return max(pairs, key=lambda pair: n_right(*pair))


def _machine(cost: float, gamma: float, n_features: int) -> "SVC":
    from sklearn.svm import SVC

    return SVC(kernel="rbf", C=cost, gamma=gamma / n_features, cache_size=500)


def _second_of_pair(x: Array, second: NDArray[np.bool_], test: Array, best: tuple[float, float], seed: int) -> Array:
    """Give the probability that test objects are of the second class of a pair, (n_test,)."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold

    n_folds = min(N_FOLDS, int(second.sum()), int((~second).sum()))
    if n_folds < 2:
        return np.full(len(test), second.mean())
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    model = CalibratedClassifierCV(_machine(*best, x.shape[1]), cv=folds, ensemble=False)
    return np.asarray(model.fit(x, second).predict_proba(test)[:, 1], np.float64)


def _couple(wins: Array) -> Array:
    r"""Couple pairs to classes: (n, C, C) of the probability of i where it is i or j -> (n, C).

    Minimises :math:`\sum_{i \ne j} (r_{ji} p_i - r_{ij} p_j)^2` for probabilities p that sum to one.
    """
    n_classes = wins.shape[1]
    system = np.ones((len(wins), n_classes + 1, n_classes + 1))
    system[:, :-1, :-1] = -wins * wins.transpose(0, 2, 1)
    diagonal = np.arange(n_classes)
    system[:, diagonal, diagonal] = np.square(wins).sum(axis=1)
    system[:, -1, -1] = 0
    right = np.zeros((len(wins), n_classes + 1, 1))
    right[:, -1] = 1
    solution = np.linalg.solve(system, right)[:, :-1, 0].clip(0)
    return np.asarray(solution / solution.sum(axis=1, keepdims=True))
