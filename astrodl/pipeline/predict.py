"""The verb predict: from a store and models to predictions."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

import astrodl
from astrodl.atomic import FilePath
from astrodl.data.batches import Batch, DirectReader, StreamedDataset
from astrodl.device import choose_device
from astrodl.pipeline.objects import split_digest, trainable
from astrodl.pipeline.predictions import writing
from astrodl.pipeline.suitability import InputCheck, check_models, list_files, require_other_output
from astrodl.progress import progress_bar
from astrodl.store import Reader
from astrodl.tasks.base import AnyTask, Arrays
from astrodl.tasks.model import Model, finish, load_model

__all__ = ["PREDICT_BATCH", "iterate_predictions", "model_inputs", "predict"]

PREDICT_BATCH = 128
"""Objects per batch of a prediction."""


def predict(
    task: str,
    store: FilePath,
    models: Sequence[FilePath] | FilePath,
    out: FilePath,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: bool | None = None,
    force: bool = False,
) -> Path:
    """Predict every object of a store as the mean over `models`, block by block.

    An object in the training split of some networks is predicted by the others alone (with folds: by those of its
    fold). An object in the training split of none or of all networks is predicted by all. The dataset `unseen` marks
    the objects in the training split of none, and `input_flags` those unlike the training objects.

    Parameters
    ----------
    task : str
        Name of the task.
    store : path
        Store written by `astrodl ingest`.
    models : path, or sequence of path
        Model files of the task, one per fold and seed.
    out : path
        Predictions to write (HDF5).
    device : str
        auto, cpu or cuda.
    threads : int, optional
        CPU threads.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.
    force : bool
        Predict images in another unit than that of the training, also where a task refuses them.

    Returns
    -------
    Path
        The predictions.

    Raises
    ------
    ConfigError
        No model is given, one is given twice, or the output is an input.
    StoreError
        A model is of another task, or does not fit the store or the other models.

    Examples
    --------
    >>> astrodl.predict("photoz", "store.h5", ["photoz/model.safetensors"], "photoz.h5")  # doctest: +SKIP
    """
    choose_device(device, threads)
    out, models = Path(out), list_files(models)
    require_other_output(out, store, *models)
    loaded = [load_model(path, device=device) for path in models]
    with DirectReader(store) as reader:
        check_models(reader, task, loaded, models, force=force)
        first = loaded[0].task
        attributes = {
            "task": task,
            "settings": json.dumps(first.settings.model_dump(mode="json"), sort_keys=True),
            "context": json.dumps(first.context.to_dict(), sort_keys=True),
            "models": [model.metadata["fingerprint"] for model in loaded],
            "store": reader.fingerprint,
            "astrodl_version": astrodl.__version__,
        }
        n_objects, start = reader.n_objects, 0
        check = InputCheck(loaded, reader)
        with writing(out, attributes, n_objects) as file, progress_bar(f"predict {task}", n_objects, progress) as show:
            in_training = _in_training(loaded, reader)
            file.write(0, {"unseen": np.logical_not(in_training.all(axis=0)), "object_id": np.empty(0, object)})
            for predicted in iterate_predictions(loaded, reader, ~in_training, check):
                stop = start + len(predicted["input_flags"])
                file.write(start, {"object_id": reader.block("object_id", start, stop), **predicted})
                start = stop
                show(start, "")
        for line in check.describe():
            print(f"{reader.path}: warning: {task}: {line}", file=sys.stderr)
    return out


def _in_training(models: Sequence[Model], store: Reader) -> np.ndarray:
    """Return which objects each network was trained on, or may have been: (models, N) of bool.

    Split and fold decide, so that a shard of a survey knows the objects of the sample. Networks of another survey were
    trained on none of the objects. Where the survey has been divided in another way since the training, all objects may
    have been trained on; in another store than that of the training, all of the split of which `n_train` were drawn.
    """
    in_training = np.zeros((len(models), len(store)), bool)
    for row, model in zip(in_training, models, strict=True):
        context, settings, fold = model.task.context, model.task.settings, int(model.metadata.get("fold", 0))
        if context.survey != store.survey:
            continue
        if context.split not in ("", split_digest(store)):
            row[:] = True
        elif fold < store.n_folds:
            if model.metadata.get("store") != store.fingerprint:
                settings = settings.model_copy(update={"n_train": None})
            row[trainable(type(model.task), settings, store, fold)] = True
    return in_training


def iterate_predictions(
    models: Sequence[Model], store: Reader, allowed: np.ndarray | None = None, check: InputCheck | None = None
) -> Iterator[Arrays]:
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
    check : InputCheck, optional
        Comparison of the objects with the training objects.
    """
    task, device = models[0].task, models[0].device
    used = np.ones((len(models), len(store)), bool) if allowed is None else allowed | ~allowed.any(0)
    check = InputCheck(models, store) if check is None else check

    def read(indices: np.ndarray) -> Arrays:
        cutouts = task.read(store, indices)
        check.add(indices, cutouts)
        inputs = [model.task.inputs(cutouts) for model in models]
        return {f"{number} {name}": array for number, arrays in enumerate(inputs) for name, array in arrays.items()}

    previous: tuple[list[Batch], np.ndarray, np.ndarray, torch.cuda.Event | None] | None = None
    batches = StreamedDataset(read, np.arange(len(store)), device).in_order(PREDICT_BATCH)
    for start, batch in zip(range(0, len(store), PREDICT_BATCH), batches, strict=True):
        chosen = used[:, start : start + PREDICT_BATCH]
        parts = [
            model.predict_batch(model_inputs(number, batch, chosen[number])) if chosen[number].any() else {}
            for number, model in enumerate(models)
        ]
        copied = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
        if previous is not None:
            yield _average(task, *previous)
        previous = parts, chosen, check.flags(start, chosen), copied
    if previous is not None:
        yield _average(task, *previous)


def model_inputs(number: int, batch: Batch, chosen: np.ndarray) -> Batch:
    """Return the inputs of a model: of all objects, or of those that are `chosen`."""
    prefix = f"{number} "
    inputs = {name.removeprefix(prefix): tensor for name, tensor in batch.items() if name.startswith(prefix)}
    if chosen.all():
        return inputs
    rows = torch.from_numpy(np.flatnonzero(chosen))
    return {name: tensor[rows.to(tensor.device)] for name, tensor in inputs.items()}


def _average(
    task: AnyTask, parts: list[Batch], chosen: np.ndarray, input_flags: np.ndarray, copied: torch.cuda.Event | None
) -> Arrays:
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
    return finish(task, mean, input_flags)
