"""The verb predict: from a store and models to predictions."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

import astrodl
from astrodl.data.batches import Batch, Cutouts, Direct, Streamed
from astrodl.device import choose_device
from astrodl.errors import StoreError
from astrodl.photometry.measure import measure
from astrodl.pipeline.objects import trainable
from astrodl.pipeline.predictions import write_block, writing
from astrodl.progress import progress_bar
from astrodl.store import Reader
from astrodl.tasks.base import Arrays, Task
from astrodl.tasks.model import Model, load_model

PREDICT_BATCH = 128


def predict(
    task: str,
    store: Path,
    models: Sequence[Path],
    out: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: bool | None = None,
) -> Path:
    """Predict every object of a store as the mean over `models`, block by block.

    An object that some networks were trained on is predicted by the others alone (with folds: by those of its fold),
    an object that none or all were trained on by all. Which objects no network had been trained on is written beside.

    Raises
    ------
    StoreError
        A model is of another task, or the store lacks a band.
    """
    choose_device(device, threads)
    loaded = [load_model(path, device=device) for path in models]
    for path, model in zip(models, loaded, strict=True):
        if model.task.name != task:
            raise StoreError(f"{path}: a model of task {model.task.name}, not of {task}; give models of {task}")
    first = loaded[0].task
    with Direct(store) as reader:
        check_compatible(reader, first, models[0])
        attributes = {
            "task": task,
            "settings": json.dumps(first.settings.model_dump(mode="json"), sort_keys=True),
            "context": json.dumps(first.context.to_dict(), sort_keys=True),
            "models": [model.metadata["fingerprint"] for model in loaded],
            "store": reader.fingerprint,
            "astrodl_version": astrodl.__version__,
        }
        n_objects, done = reader.n_objects, 0
        with writing(out, attributes) as file, progress_bar(f"predict {task}", n_objects, progress) as show:
            names = file.create_dataset("object_id", (n_objects,), h5py.string_dtype(), track_times=False)
            trained_on = in_training(loaded, reader)
            file.create_dataset("unseen", data=~trained_on.all(0), track_times=False)
            for predicted in predictions_of(loaded, reader, ~trained_on):
                write_block(file, done, n_objects, predicted)
                end = done + len(next(iter(predicted.values())))
                names[done:end] = reader.block("object_id", done, end).astype(object)
                done = end
                show(done, "")
    return out


def in_training(models: Sequence[Model], store: Reader) -> np.ndarray:
    """Tell which objects of a store each network was trained on: (models, N) of bool.

    Objects are told by split and fold, so that a shard of a survey knows those of its sample. Networks of another
    survey saw none.
    """
    trained_on = np.zeros((len(models), len(store)), bool)
    n_folds = max(int(store.fold.max(initial=0)), 0) + 1
    for row, model in zip(trained_on, models, strict=True):
        fold = int(model.metadata.get("fold", 0))
        if model.task.context.survey == store.survey and fold < n_folds:
            row[trainable(type(model.task), model.task.settings, store, fold)] = True
    return trained_on


def predictions_of(models: Sequence[Model], store: Reader, wanted: np.ndarray | None = None) -> Iterator[Arrays]:
    """Yield the finished predictions of all objects of a store, batch after batch, averaged over models of one task.

    A thread reads and prepares the next batches while the networks work on one; on a CUDA device results travel to the
    host, and are finished there, while the next batch is computed.

    Parameters
    ----------
    models, store
        Of one task; what is predicted.
    wanted
        Which models an object is predicted by, (models, N) of bool; by all where it is by none, and by default.
    """
    task, device = models[0].task, models[0].device
    wanted = np.ones((len(models), len(store)), bool) if wanted is None else wanted | ~wanted.any(0)

    def prepare(indices: np.ndarray) -> Arrays:
        cutouts = matching(store, task, indices)
        inputs = [model.task.inputs(cutouts) for model in models]
        return {f"{number} {name}": array for number, arrays in enumerate(inputs) for name, array in arrays.items()}

    before: tuple[list[Batch], np.ndarray, Any] | None = None
    batches = Streamed(prepare, np.arange(len(store)), device).in_order(PREDICT_BATCH)
    for start, batch in zip(range(0, len(store), PREDICT_BATCH), batches, strict=True):
        chosen = wanted[:, start : start + PREDICT_BATCH]
        parts = [
            model.predict_batch(_inputs_of(number, batch, chosen[number])) if chosen[number].any() else {}
            for number, model in enumerate(models)
        ]
        arrived = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
        if before is not None:
            yield _averaged(task, *before)
        before = parts, chosen, arrived
    if before is not None:
        yield _averaged(task, *before)


def _inputs_of(number: int, batch: Batch, chosen: np.ndarray) -> Batch:
    """Give the inputs of a model: of all objects, or of those that are `chosen`."""
    prefix = f"{number} "
    inputs = {name.removeprefix(prefix): tensor for name, tensor in batch.items() if name.startswith(prefix)}
    if chosen.all():
        return inputs
    rows = torch.from_numpy(np.flatnonzero(chosen))
    return {name: tensor[rows.to(tensor.device)] for name, tensor in inputs.items()}


def _averaged(task: Task, parts: list[Batch], chosen: np.ndarray, arrived: Any) -> Arrays:
    """Average what the models predicted, each of the objects for which it was `chosen` (models, objects)."""
    if arrived is not None:
        arrived.synchronize()
    mean: Arrays = {}
    for part, rows in zip(parts, chosen, strict=True):
        for key, tensor in part.items():
            values = tensor.numpy()
            total = mean.setdefault(key, np.zeros((chosen.shape[1], *values.shape[1:]), values.dtype))
            total[rows] += values
    counts = chosen.sum(0)
    return task.finish({key: total / _along(counts, total) for key, total in mean.items()})


def _along(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    return counts.reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)


def matching(store: Reader, task: Task, indices: np.ndarray) -> Cutouts:
    """Read objects with the bands of the task, in its order; with other bands features are measured anew."""
    bands = task.context.bands
    if store.bands == bands:
        return Cutouts.from_store(store, indices)
    columns = store.band_indices(bands)
    images, sky = store.images(indices)[:, columns], store.sky_sigma[indices][:, columns]
    features, _ = measure(images, sky_sigma=sky, pixel_scale_arcsec=store.pixel_scale_arcsec)
    if "ebv" in store.feature_names:
        features = np.column_stack([features, store.features(["ebv"], indices)])
    return Cutouts(images, sky, features)


def check_compatible(store: Reader, task: Task, model: Path) -> None:
    """Refuse a store of another size or without the bands; warn of another unit or pixel scale.

    Raises
    ------
    StoreError
        The network cannot take these images.
    """
    context = task.context
    store.band_indices(context.bands)
    if store.size != context.size:
        raise StoreError(
            f"{store.path}: cutouts of {store.size} pixels, {model} takes {context.size}; "
            f"ingest with data.size {context.size}"
        )
    scale = store.pixel_scale_arcsec
    if store.unit != context.unit:
        print(f"{store.path}: unit {store.unit}, the model was trained in {context.unit}", file=sys.stderr)
    if scale and context.pixel_scale_arcsec and abs(scale / context.pixel_scale_arcsec - 1) > 0.02:
        print(
            f"{store.path}: {scale:.3f} arcsec per pixel, the model was trained at {context.pixel_scale_arcsec:.3f}",
            file=sys.stderr,
        )
