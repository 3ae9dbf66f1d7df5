"""The objects of a store that a task is trained on and scored with, and the context of a network."""

import hashlib
import json
from typing import Any

import numpy as np

from astrodl.calibration.training_range import TrainingRange, select_measurements
from astrodl.data import normalize
from astrodl.errors import ConfigError, DataError
from astrodl.store import FLAGS, Reader
from astrodl.tasks.base import AnyTask, Arrays, Context
from astrodl.tasks.image_arrays import sky_noise

__all__ = [
    "adapt_settings",
    "fit_context",
    "labelled",
    "prefix_truth",
    "split_digest",
    "trainable",
    "training_arrays",
]

_GAPS = FLAGS["missing_band"] | FLAGS["partial_coverage"] | FLAGS["padded"] | FLAGS["masked_pixels"]
"""Flags of objects with pixels without data."""
_SKY_OBJECTS = 100
"""Number of objects whose sky noise is measured again."""
_SKY_TOLERANCE = 1.2


def fit_context(task_class: type[AnyTask], settings: Any, store: Reader, fold: int = 0) -> Context:
    """Fit normalisation and the task's constants on the training split.

    Raises
    ------
    DataError
        The store lacks what the task is trained on.
    """
    missing = task_class.missing_truth(settings, store)
    if missing:
        raise DataError(missing)
    chosen = labelled(task_class, settings, store, "train", fold)
    train = store.select("train", fold)
    return Context(
        survey=store.survey,
        unit=store.unit,
        bands=store.bands,
        size=store.size,
        pixel_scale_arcsec=store.pixel_scale_arcsec or 0.0,
        sees_coverage=bool((store.flags[train] & _GAPS).any()),
        normalization=normalize.fit(store.sky_sigma[train], store.bands),
        constants=task_class.fit_constants(settings, store, chosen) if len(chosen) else {},
        training_range=_fit_range(store, chosen) if len(chosen) else None,
        sky_on_border=_has_sky_on_border(store, train[:_SKY_OBJECTS]),
        split=split_digest(store),
    )


def adapt_settings(task_class: type[AnyTask], settings: Any, store: Reader) -> Any:
    """Return the settings of a task for a store: as they are, or for a survey without images.

    Raises
    ------
    ConfigError
        The store has no images, and the task or a setting needs pixels.
    """
    if store.has_images:
        return settings
    try:
        return task_class.without_images(settings, len(store.bands))
    except ConfigError as error:
        raise ConfigError(f"{store.path}: {error}") from None


def _fit_range(store: Reader, chosen: np.ndarray) -> TrainingRange:
    """Fit the ranges of the measurements of the training objects."""
    features, sky_sigma = store.features(indices=chosen), store.sky_sigma[chosen]
    scale = store.pixel_scale_arcsec
    return TrainingRange.fit(select_measurements(features, store.feature_names, sky_sigma, store.bands, scale))


def _has_sky_on_border(store: Reader, indices: np.ndarray) -> bool:
    """Return whether the noise on the border of the cutouts is that of the store, which may be of larger images."""
    if not store.has_images:
        return True
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = sky_noise(store.images(indices)) / store.sky_sigma[indices]
    known = ratio[np.isfinite(ratio) & (ratio > 0)]
    return not len(known) or bool(abs(np.log(np.median(known))) < np.log(_SKY_TOLERANCE))


def split_digest(store: Reader) -> str:
    """Return a digest of the settings that divide a survey into splits and folds; shards have that of their sample."""
    try:
        settings = json.loads(store.settings)
        split, data = settings.get("split", {}), settings.get("data", {})
        parts: list[Any] = [{key: value for key, value in split.items() if key != "sample"}]
        parts += [data.get(key) for key in ("split_column", "fold_column", "id_column", "ra_column", "dec_column")]
    except (ValueError, AttributeError):
        parts = [store.settings]
    return hashlib.sha256(json.dumps([store.survey, parts], sort_keys=True).encode()).hexdigest()[:16]


def labelled(task_class: type[AnyTask], settings: Any, store: Reader, subset: Any, fold: int = 0) -> np.ndarray:
    """Select the objects of a split that the task can train on or be scored with; none where the truth is missing.

    The training split has at most `n_train` objects. A smaller number gives a subset of a larger one.
    """
    indices = store.select(subset, fold)
    if task_class.missing_truth(settings, store):
        return indices[:0]
    chosen = task_class.labelled(settings, store, indices)
    if subset != "train" or settings.n_train is None:
        return chosen
    return np.sort(np.random.default_rng(fold).permutation(chosen)[: settings.n_train])


def trainable(task_class: type[AnyTask], settings: Any, store: Reader, fold: int = 0) -> np.ndarray:
    """Select the training objects of a fold: the labelled ones, and those with pseudo-labels."""
    unlabelled = task_class.unlabelled(settings, store, store.select("train", fold))
    return np.union1d(labelled(task_class, settings, store, "train", fold), unlabelled)


def training_arrays(task: AnyTask, store: Reader, indices: np.ndarray) -> Arrays:
    """Read inputs and targets of objects, objects first."""
    return {**task.inputs(task.read(store, indices)), **task.targets(store, indices)}


def prefix_truth(truth: Arrays) -> Arrays:
    """Return truth with the prefix ``truth_``, as `Task.score` expects it in `reference`."""
    return {f"truth_{name}": values for name, values in truth.items()}
