"""The objects of a store that a task is trained on and scored with, and what a network must remember of them."""

from typing import Any

import numpy as np

from astrodl.data import normalize
from astrodl.data.batches import Cutouts
from astrodl.errors import DataError
from astrodl.store import FLAGS, Reader
from astrodl.tasks.base import Arrays, Context, Task

GAPS = FLAGS["missing_band"] | FLAGS["partial_coverage"] | FLAGS["padded"] | FLAGS["masked_pixels"]
"""Flags of objects with pixels without data."""


def fit_context(kind: type[Task], settings: Any, store: Reader, fold: int = 0) -> Context:
    """Fit on the training split what a network must remember: normalisation and the task's constants.

    Raises
    ------
    DataError
        The store lacks what the task trains on.
    """
    missing = kind.missing_truth(settings, store)
    if missing:
        raise DataError(missing)
    chosen = labelled(kind, settings, store, "train", fold)
    return Context(
        survey=store.survey,
        unit=store.unit,
        bands=store.bands,
        size=store.size,
        pixel_scale_arcsec=store.pixel_scale_arcsec or 0.0,
        sees_coverage=bool((store.flags[store.select("train", fold)] & GAPS).any()),
        normalization=normalize.fit(store.sky_sigma[store.select("train", fold)], store.bands),
        constants=kind.fit_constants(settings, store, chosen) if len(chosen) else {},
    )


def labelled(kind: type[Task], settings: Any, store: Reader, part: Any, fold: int = 0) -> np.ndarray:
    """Give the objects of a split that the task can train on or be scored with; none where the truth is missing.

    Of the training split `n_train` at most: those of a smaller number are among those of a larger one.
    """
    indices = store.select(part, fold)
    if kind.missing_truth(settings, store):
        return indices[:0]
    chosen = kind.labelled(settings, store, indices)
    if part != "train" or settings.n_train is None:
        return chosen
    return np.sort(np.random.default_rng(fold).permutation(chosen)[: settings.n_train])


def trainable(kind: type[Task], settings: Any, store: Reader, fold: int = 0) -> np.ndarray:
    """Give the objects that the network of a fold is trained on: labelled ones, and others where the task guesses."""
    guessed = kind.unlabelled(settings, store, store.select("train", fold))
    return np.union1d(labelled(kind, settings, store, "train", fold), guessed)


def arrays(task: Task, store: Reader, indices: np.ndarray) -> Arrays:
    """Give what a task trains on: inputs and targets of objects, objects first."""
    return {**task.inputs(Cutouts.from_store(store, indices)), **task.targets(store, indices)}


def prefixed_truth(truth: Arrays) -> Arrays:
    """Return truth with the prefix ``truth_``, as `Task.score` expects its reference."""
    return {f"truth_{name}": values for name, values in truth.items()}
