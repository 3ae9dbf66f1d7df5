"""Morphological classes from catalogue features: a random forest."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.baselines.features import impute


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
) -> NDArray[np.float64]:
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
    label = np.asarray(train_class)
    if label.shape != (len(train),) or label.dtype.kind not in "iu" or label.min() < 0:
        raise ValueError(f"train_class has shape {label.shape} and type {label.dtype}, must be ({len(train)},) from 0")
    model = RandomForestClassifier(n_trees, min_samples_leaf=min_leaf, random_state=seed, n_jobs=n_jobs)
    model.fit(train, label)
    probability = np.zeros((len(test), int(label.max()) + 1 if n_classes is None else n_classes))
    probability[:, model.classes_] = model.predict_proba(test)
    return probability
