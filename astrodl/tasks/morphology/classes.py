"""The classes of a survey, and the objects whose class a network knows."""

import sys

import numpy as np

from astrodl import distributed
from astrodl.errors import DataError
from astrodl.store import Reader
from astrodl.tasks.base import Arrays
from astrodl.tasks.catalog_columns import class_names
from astrodl.tasks.morphology.settings import MorphologySettings

__all__ = ["list_classes", "of_known_class"]


def list_classes(
    settings: MorphologySettings, store: Reader, train: np.ndarray, used: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Return the classes, and the number of training objects of each; warn of a class without any.

    Parameters
    ----------
    settings : MorphologySettings
        The classes, if they are given.
    store : Reader
        The store.
    train, used : (n,) array
        Labelled objects that are trained on; and that are trained on, validated or tested in any fold. The classes are
        those of the latter, so that they are the same for all folds.

    Raises
    ------
    DataError
        A class that no object has, or fewer than two classes with training objects.
    """
    column = store.column(settings.target)
    names = class_names(column)
    order = float if np.asarray(column).dtype.kind in "biuf" else str
    classes = list(settings.classes or sorted(set(names[used].tolist()), key=order))
    found, counts = (np.array([(names[part] == name).sum() for name in classes], int) for part in (used, train))
    absent = [name for name, count in zip(classes, found, strict=True) if not count]
    if (counts > 0).sum() < 2 or absent:
        listed = ", ".join(f"{name} {count}" for name, count in zip(classes, counts, strict=True))
        raise DataError(
            f"{store.path}: column '{settings.target}' has the classes {listed or 'none'} in the training split"
            + (f", and no object of '{absent[0]}' in any split" if absent else "")
            + "; at least two classes with training objects are needed: correct tasks.morphology.classes"
        )
    for name, count, n_used in zip(classes, counts, found, strict=True):
        if not count and distributed.is_main():
            print(
                f"{store.path}: class '{name}' of column '{settings.target}' has no training objects ({n_used} for "
                "validation or test); the network cannot learn it",
                file=sys.stderr,
            )
    return classes, counts


def of_known_class(predictions: Arrays, truth: Arrays, *, quiet: bool = False) -> tuple[Arrays, Arrays]:
    """Return predictions and truth of the objects whose class the network knows; say how many are left out."""
    known = truth["label"] >= 0
    if known.all():
        return predictions, truth
    if not quiet:
        print(
            f"morphology: {(~known).sum()} of {len(known)} objects have a class that the network does not know; they "
            "are left out of the metrics",
            file=sys.stderr,
        )
    kept = [{name: values[known] for name, values in arrays.items()} for arrays in (predictions, truth)]
    return kept[0], kept[1]
