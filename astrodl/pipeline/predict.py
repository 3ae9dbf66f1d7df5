"""The verb predict: from a store and models to predictions."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

import astrodl
from astrodl.atomic import FilePath
from astrodl.data.batches import Batch, Cutouts, DirectReader, StreamedDataset
from astrodl.device import choose_device
from astrodl.errors import StoreError
from astrodl.photometry.features import measure
from astrodl.pipeline.objects import trainable
from astrodl.pipeline.predictions import write_block, writing
from astrodl.progress import progress_bar
from astrodl.store import Reader
from astrodl.tasks.base import AnyTask, Arrays
from astrodl.tasks.model import Model, load_model

__all__ = ["PREDICT_BATCH", "iterate_predictions", "predict"]

PREDICT_BATCH = 128
"""Objects per batch of a prediction."""


def predict(
    task: str,
    store: FilePath,
    models: Sequence[FilePath],
    out: FilePath,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: bool | None = None,
) -> Path:
    """Predict every object of a store as the mean over `models`, block by block.

    An object in the training split of some networks is predicted by the others alone (with folds: by those of its
    fold). An object in the training split of none or of all networks is predicted by all. The dataset `unseen` marks
    the objects in the training split of none.

    Parameters
    ----------
    task : str
        Name of the task.
    store : path
        Store written by `astrodl ingest`.
    models : sequence of path
        Model files of the task, one per fold and seed.
    out : path
        Predictions to write (HDF5).
    device : str
        auto, cpu or cuda.
    threads : int, optional
        CPU threads.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.

    Returns
    -------
    Path
        The predictions.

    Raises
    ------
    StoreError
        A model is of another task, or the store lacks a band.

    Examples
    --------
    >>> astrodl.predict("photoz", "store.h5", ["photoz/model.safetensors"], "photoz.h5")  # doctest: +SKIP
    """
    choose_device(device, threads)
    out = Path(out)
    loaded = [load_model(path, device=device) for path in models]
    for path, model in zip(models, loaded, strict=True):
        if model.task.name != task:
            raise StoreError(f"{path}: a model of task {model.task.name}, not of {task}; give models of {task}")
    first = loaded[0].task
    with DirectReader(store) as reader:
        _check_compatible(reader, first, models[0])
        attributes = {
            "task": task,
            "settings": json.dumps(first.settings.model_dump(mode="json"), sort_keys=True),
            "context": json.dumps(first.context.to_dict(), sort_keys=True),
            "models": [model.metadata["fingerprint"] for model in loaded],
            "store": reader.fingerprint,
            "astrodl_version": astrodl.__version__,
        }
        n_objects, start = reader.n_objects, 0
        with writing(out, attributes) as file, progress_bar(f"predict {task}", n_objects, progress) as show:
            names = file.create_dataset("object_id", (n_objects,), h5py.string_dtype(), track_times=False)
            in_training = _in_training(loaded, reader)
            file.create_dataset("unseen", data=~in_training.all(0), track_times=False)
            for predicted in iterate_predictions(loaded, reader, ~in_training):
                write_block(file, start, n_objects, predicted)
                stop = start + len(next(iter(predicted.values())))
                names[start:stop] = reader.block("object_id", start, stop).astype(object)
                start = stop
                show(start, "")
    return out


def _in_training(models: Sequence[Model], store: Reader) -> np.ndarray:
    """Return which objects each network was trained on: (models, N) of bool.

    Split and fold decide, so that a shard of a survey knows the objects of the sample. Networks of another survey were
    trained on none of the objects.
    """
    in_training = np.zeros((len(models), len(store)), bool)
    n_folds = max(int(store.fold.max(initial=0)), 0) + 1
    for row, model in zip(in_training, models, strict=True):
        fold = int(model.metadata.get("fold", 0))
        if model.task.context.survey == store.survey and fold < n_folds:
            row[trainable(type(model.task), model.task.settings, store, fold)] = True
    return in_training


def iterate_predictions(models: Sequence[Model], store: Reader, allowed: np.ndarray | None = None) -> Iterator[Arrays]:
    """Yield the finished predictions of all objects of a store in batches, averaged over models of one task.

    A thread reads and prepares the next batches while the networks predict. On a CUDA device, predictions are copied to
    the host and finished there while the device computes the next batch.

    Parameters
    ----------
    models : sequence of Model
        Models of one task.
    store : Reader
        The store to predict.
    allowed : (models, N) array of bool, optional
        Models that may predict an object; an object that none may predict is predicted by all. By default all may.
    """
    task, device = models[0].task, models[0].device
    used = np.ones((len(models), len(store)), bool) if allowed is None else allowed | ~allowed.any(0)

    def read(indices: np.ndarray) -> Arrays:
        cutouts = _read_cutouts(store, task, indices)
        inputs = [model.task.inputs(cutouts) for model in models]
        return {f"{number} {name}": array for number, arrays in enumerate(inputs) for name, array in arrays.items()}

    previous: tuple[list[Batch], np.ndarray, torch.cuda.Event | None] | None = None
    batches = StreamedDataset(read, np.arange(len(store)), device).in_order(PREDICT_BATCH)
    for start, batch in zip(range(0, len(store), PREDICT_BATCH), batches, strict=True):
        chosen = used[:, start : start + PREDICT_BATCH]
        parts = [
            model.predict_batch(_model_inputs(number, batch, chosen[number])) if chosen[number].any() else {}
            for number, model in enumerate(models)
        ]
        copied = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
        if previous is not None:
            yield _average(task, *previous)
        previous = parts, chosen, copied
    if previous is not None:
        yield _average(task, *previous)


def _model_inputs(number: int, batch: Batch, chosen: np.ndarray) -> Batch:
    """Return the inputs of a model: of all objects, or of those that are `chosen`."""
    prefix = f"{number} "
    inputs = {name.removeprefix(prefix): tensor for name, tensor in batch.items() if name.startswith(prefix)}
    if chosen.all():
        return inputs
    rows = torch.from_numpy(np.flatnonzero(chosen))
    return {name: tensor[rows.to(tensor.device)] for name, tensor in inputs.items()}


def _average(task: AnyTask, parts: list[Batch], chosen: np.ndarray, copied: torch.cuda.Event | None) -> Arrays:
    """Average the predictions of the models, each over the objects for which it is `chosen` (models, objects)."""
    if copied is not None:
        copied.synchronize()
    mean: Arrays = {}
    for part, rows in zip(parts, chosen, strict=True):
        for key, tensor in part.items():
            values = tensor.numpy()
            total = mean.setdefault(key, np.zeros((chosen.shape[1], *values.shape[1:]), values.dtype))
            total[rows] += values
    counts = chosen.sum(0)
    for key, total in mean.items():
        mean[key] = total / counts.reshape(-1, *[1] * (total.ndim - 1)).astype(total.dtype)
    return task.finish(mean)


def _read_cutouts(store: Reader, task: AnyTask, indices: np.ndarray) -> Cutouts:
    """Read objects in the bands of the task, in its order; features are measured again where the bands differ."""
    bands = task.context.bands
    if store.bands == bands:
        return task.read(store, indices)
    columns = store.band_indices(bands)
    images, sky = store.images(indices)[:, columns], store.sky_sigma[indices][:, columns]
    features, _ = measure(images, sky_sigma=sky, pixel_scale_arcsec=store.pixel_scale_arcsec)
    if "ebv" in store.feature_names:
        features = np.column_stack([features, store.features(["ebv"], indices)])
    planes = {name: store.plane(name, indices)[:, columns] for name in task.planes if name in store.planes}
    return Cutouts(images, sky, features, planes)


def _check_compatible(store: Reader, task: AnyTask, model: FilePath) -> None:
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
