"""Whether models fit a store and each other, and whether its objects are like those that they were trained on."""

import os
import sys
from collections.abc import Sequence

import numpy as np

from astrodl.atomic import FilePath
from astrodl.calibration.training_range import select_measurements
from astrodl.data.batches import Cutouts
from astrodl.errors import ConfigError, StoreError
from astrodl.photometry.features import feature_names
from astrodl.pipeline.objects import split_digest
from astrodl.store import Reader
from astrodl.tasks.bands import list_features
from astrodl.tasks.base import Context
from astrodl.tasks.inputs import scale_free_features
from astrodl.tasks.model import Model, has_data

__all__ = [
    "SCALE_TOLERANCE",
    "InputCheck",
    "check_models",
    "check_train_store",
    "list_files",
    "require_other_output",
    "warn_of_overlap",
]

_SAMPLE = 20_000
"""Number of objects whose measurements are kept for the comparison of medians."""
SCALE_TOLERANCE = 0.02
"""Largest relative difference of pixel scales without a warning."""


def list_files(paths: Sequence[FilePath] | FilePath) -> list[FilePath]:
    """Return paths as a list; a single one may be given by itself."""
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)


def require_other_output(out: FilePath, *inputs: FilePath | None) -> None:
    """Check that the output is none of the inputs, which it would replace.

    Raises
    ------
    ConfigError
        It is one of them.
    """
    for path in inputs:
        if path is not None and os.path.realpath(out) == os.path.realpath(path):
            raise ConfigError(f"{out}: is an input of this step and would be replaced; give another output")


def check_models(
    store: Reader, task: str, models: Sequence[Model], paths: Sequence[FilePath], *, force: bool = False
) -> None:
    """Check that every model is of the task, fits the store, and can be averaged with the others.

    Another unit or pixel scale, and another division of the survey, are warned of. Another unit is refused for tasks
    that divide light (`Task.needs_unit`), unless `force`.

    Raises
    ------
    ConfigError
        No model is given, or one is given twice.
    StoreError
        A model does not fit.
    """
    if not models:
        raise ConfigError(f"models: none is given; give the model.safetensors of each fold and seed of {task}")
    seen: dict[str, FilePath] = {}
    warned: set[str] = set()
    for path, model in zip(paths, models, strict=True):
        if model.task.name != task:
            raise StoreError(f"{path}: a model of task {model.task.name}, not of {task}; give models of {task}")
        fingerprint = model.metadata["fingerprint"]
        if fingerprint in seen:
            raise ConfigError(f"{path}: the same training as {seen[fingerprint]}; give each model once")
        seen[fingerprint] = path
        if model.task.needs_unit and store.unit != model.task.context.unit and not force:
            raise StoreError(
                f"{store.path}: unit {store.unit}, {path} was trained in {model.task.context.unit}: {task} would be "
                "meaningless; calibrate the images, train on this store, or give --force"
            )
        _check_model(store, model, path, warned)
        _check_pair(models[0], model, paths[0], path)


def _check_model(store: Reader, model: Model, path: FilePath, warned: set[str]) -> None:
    """Check that a model can take the images of a store."""
    context = model.task.context
    lines = _compare_images(store, context, f"{path} takes", "the model was")
    if context.survey == store.survey and context.split not in ("", split_digest(store)):
        lines.append(
            f"{store.path}: the survey '{store.survey}' has been divided in another way since {path} was trained, so "
            "any object may have been a training object ('unseen' is false); train again"
        )
    for line in lines:
        if line not in warned:
            warned.add(line)
            print(line, file=sys.stderr)


def _compare_images(store: Reader, trained: Context | Reader, has: str, was: str) -> list[str]:
    """Check that the images of a store are like those of a training; describe differences that may be meant.

    Raises
    ------
    StoreError
        A band is missing, or the size is another one.
    """
    lacking = [band for band in trained.bands if band not in store.bands]
    if lacking:
        raise StoreError(
            f"{store.path}: band '{lacking[0]}' is not in the store (has {', '.join(store.bands)}), {has} "
            f"{', '.join(trained.bands)}; set data.bands and ingest again, or train with the bands of this store"
        )
    if store.has_images != (trained.size > 0):
        kinds = ("a survey with images", "a survey without images")
        here, there = kinds if store.has_images else kinds[::-1]
        raise StoreError(f"{store.path}: {here}, {was} trained on {there}; train on surveys of this kind")
    if store.size != trained.size:
        raise StoreError(
            f"{store.path}: cutouts of {store.size} pixels, {has} {trained.size}; ingest with data.size {trained.size}"
        )
    scale, expected, lines = store.pixel_scale_arcsec, trained.pixel_scale_arcsec, []
    if store.unit != trained.unit:
        lines.append(f"{store.path}: unit {store.unit}, {was} trained in {trained.unit}")
    if scale and expected and abs(scale / expected - 1) > SCALE_TOLERANCE:
        lines.append(f"{store.path}: {scale:.3f} arcsec per pixel, {was} trained at {expected:.3f}")
    return lines


def check_train_store(store: Reader, train_store: Reader) -> None:
    """Check that baselines trained on one store can predict another; differences that may be meant are warned of.

    Raises
    ------
    StoreError
        The store lacks a band of the training store, or has cutouts of another size.
    """
    lines = _compare_images(store, train_store, f"{train_store.path} has", "the baselines are")
    features = [scale_free_features(list_features(one, train_store.bands)) for one in (store, train_store)]
    differing = sorted(set(features[0]).symmetric_difference(features[1]))
    if differing:
        lines.append(
            f"{store.path}: {', '.join(differing)}: not in both this store and {train_store.path}; the baselines do "
            "without"
        )
    for line in lines:
        print(line, file=sys.stderr)


def warn_of_overlap(store: Reader, test: np.ndarray, train_store: Reader, train: np.ndarray) -> None:
    """Warn of test objects that baselines of the same survey are trained on, in another store or division of it."""
    if store.path == train_store.path or store.survey != train_store.survey:
        return
    n_seen = int(np.isin(store.object_id[test], train_store.object_id[train]).sum())
    if n_seen:
        print(
            f"{store.path}: the baselines are trained on {n_seen} of {len(test)} test objects, so that their metrics "
            f"are too good; divide the survey as in {train_store.path}",
            file=sys.stderr,
        )


def _check_pair(first: Model, other: Model, first_path: FilePath, path: FilePath) -> None:
    """Check that the predictions of two models mean the same, so that they can be averaged."""
    a, b = first.task, other.task
    pairs = {
        "bands": (a.context.bands, b.context.bands),
        "unit": (a.context.unit, b.context.unit),
        **{name: (a.context.constants.get(name), b.context.constants.get(name)) for name in ("classes", "edges")},
        **{name: (getattr(a.settings, name, None), getattr(b.settings, name, None)) for name in ("tree",)},
    }
    for name, (here, there) in pairs.items():
        if here != there:
            raise StoreError(
                f"{path}: {name} {_short(there)}, {first_path} has {_short(here)}, so that they cannot be averaged; "
                "give models of one training"
            )


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class InputCheck:
    """Compare the objects of a store with the training objects of models, while they are predicted.

    Parameters
    ----------
    models : sequence of Model
        Models of one task.
    store : Reader
        The store to predict.
    """

    def __init__(self, models: Sequence[Model], store: Reader):
        self._models = models
        self._bands, self._scale = models[0].task.context.bands, store.pixel_scale_arcsec
        own = store.feature_names
        self._names = own if store.bands == self._bands else feature_names(self._bands, store.size, self._scale)
        self._stride = -(-len(store) // _SAMPLE) or 1
        self._measured: list[dict[str, np.ndarray]] = []
        self._kept_flags: list[np.ndarray] = []
        self._by_model: dict[int, np.ndarray] = {}

    def add(self, indices: np.ndarray, cutouts: Cutouts) -> None:
        """Compare the objects of a batch, in the order of the store; any thread may call this."""
        measured = select_measurements(cutouts.features, self._names, cutouts.sky_sigma, self._bands, self._scale)
        with_data = has_data(cutouts)
        self._by_model[int(indices[0])] = np.stack([model.flag(measured, with_data) for model in self._models])
        kept = indices % self._stride == 0
        self._measured.append({name: values[kept] for name, values in measured.items()})

    def flags(self, start: int, chosen: np.ndarray) -> np.ndarray:
        """Return bits of `INPUT_FLAGS` for the batch from `start` on, over the models that predict an object."""
        flags = np.bitwise_or.reduce(np.where(chosen, self._by_model.pop(start), np.int16(0)), axis=0)
        self._kept_flags.append(flags)
        return flags

    def describe(self) -> list[str]:
        """Describe how the objects differ from the training objects, in one line per kind of measurement."""
        training_range = self._models[0].task.context.training_range
        if training_range is None or not self._kept_flags:
            return []
        measured = {name: np.concatenate([part[name] for part in self._measured]) for name in self._measured[0]}
        return training_range.describe(measured, np.concatenate(self._kept_flags))
