"""The verbs train and predict: from a store to models to predictions."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from torch import nn

import astrodl
from astrodl import engine, normalize, ranks, tasks
from astrodl.atomic import only_one, write_text
from astrodl.config import canonical_json, parse
from astrodl.dataset import Batch, Cutouts, Direct, Resident, Streamed, load
from astrodl.device import choose_device
from astrodl.diagnosis import diagnose
from astrodl.errors import DataError, StoreError
from astrodl.memory import require_room
from astrodl.progress import progress_bar
from astrodl.store import FLAGS, Reader
from astrodl.survey.photometry import measure
from astrodl.tasks.base import Arrays, Context, Task
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.predictions import write_block, writing
from astrodl.tasks.transfer import warm_start

GAPS = FLAGS["missing_band"] | FLAGS["partial_coverage"] | FLAGS["padded"] | FLAGS["masked_pixels"]
"""Flags of objects with pixels without data."""
PREDICT_BATCH = 128


class Prepared(NamedTuple):
    """A training that may begin."""

    network: nn.Module
    train: Resident
    validation: Resident | None
    sampling: np.ndarray | None
    """Relative frequencies of the training objects, if they are not alike."""
    provenance: dict[str, str]
    """Where the weights come from, if not from scratch."""


def train(
    task: str,
    store: Path,
    out: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    fold: int = 0,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    progress: bool | None = None,
) -> Path:
    """Train one network; continue where an interrupted run with the same settings and data stopped.

    Processes that `torchrun` or `srun` started together train it together, and end in the same network as one alone
    would, within rounding.

    Parameters
    ----------
    task : str
        Name of the task.
    store : Path
        Store written by `astrodl ingest`.
    out : Path
        Folder for `model.safetensors`, `history.jsonl`, `config.json`.
    settings : mapping, optional
        The task's section; defaults otherwise.
    fold, seed : int
        Fold held out for validation; seed of weights, order and augmentation.
    device : str
        auto, cpu or cuda.
    threads : int, optional
        CPU threads; the result is reproducible for the same number.
    progress : bool, optional
        Progress bar; by default where standard error is a terminal.

    Returns
    -------
    Path
        The model file.

    Raises
    ------
    DataError
        The store lacks what the task trains on.
    """
    kind = tasks.get(task)
    parsed = parse(kind.Settings, settings or {}, f"tasks.{task}")
    path = out / "model.safetensors"
    with ranks.joined(device), Direct(store) as reader, _in_turn(out):
        where = prepare_device(device, threads)
        identity = [canonical_json(parsed), reader.fingerprint, fold, seed, threads, astrodl.__version__, where.type]
        identity += [load_model(Path(path), device="cpu").metadata["fingerprint"] for path in kind.models_used(parsed)]
        fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        if ranks.agreed(ranks.first() and _already(path, fingerprint)):
            if ranks.first():
                print(f"{path}: already trained with these settings and data", file=sys.stderr)
            return path
        job = kind(parsed, fit_context(kind, parsed, reader, fold))
        ready = _prepared(job, reader, fold, seed, where)
        if ranks.first():
            config = {"task": task, "fold": fold, "seed": seed, **parsed.model_dump(mode="json")}
            write_text(out / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
        history = engine.fit(
            job, ready.network, ready.train, ready.validation, parsed.train, out, seed=seed, fingerprint=fingerprint,
            sampling=ready.sampling, label=f"{task} fold {fold} seed {seed}", progress=progress,
        )  # fmt: skip
        if ranks.first():
            if (diagnosis := diagnose(history)) is not None:
                print(f"{out / 'history.jsonl'}: {diagnosis}", file=sys.stderr)
            with ranks.alone(), torch.no_grad():
                job.context.constants.update(job.calibrate(ready.network.eval(), ready.train, ready.validation))
            provenance = {"fingerprint": fingerprint, "store": reader.fingerprint, "fold": str(fold), "seed": str(seed)}
            Model(job, ready.network, {**provenance, **ready.provenance}).save(path)
            (out / "last.pt").unlink(missing_ok=True)
    return path


@contextmanager
def _in_turn(folder: Path) -> Iterator[None]:
    """Keep other trainings out of the folder; the first rank holds the lock for all, and the others leave with it."""
    with only_one(folder / ".lock", "trains") if ranks.first() else nullcontext():
        ranks.agreed(True)
        yield
        ranks.agreed(True)


def _prepared(task: Task, store: Reader, fold: int, seed: int, device: torch.device) -> Prepared:
    """Make the network, and the objects to train on and to validate with.

    Raises
    ------
    DataError
        There are too few to train on, or not enough memory.
    """
    kind, section = type(task), f"tasks.{task.name}"
    chosen = {
        "train": trainable(kind, task.settings, store, fold),
        "validation": labelled(kind, task.settings, store, "validation", fold),
    }
    if len(chosen["train"]) < 2:
        raise DataError(
            f"{store.path}: task {task.name} has {len(chosen['train'])} labelled training objects, needs at least 2; "
            "check data.columns and the split"
        )
    torch.manual_seed(engine.seed_at(seed, -2))
    network = task.build()
    provenance = warm_start(task, network)
    network = network.to(device)
    prepare = partial(arrays, task, store)
    some = Resident.prepared(prepare, chosen["train"][:2], device)
    require_room(task, network, some, sum(map(len, chosen.values())), task.settings.train, section)
    loaded = load(prepare, chosen, device)
    validation = loaded["validation"] if len(chosen["validation"]) else None
    return Prepared(network, loaded["train"], validation, task.sampling(store, chosen["train"]), provenance)


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
    prepare_device(device, threads)
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


def prepare_device(device: str, threads: int | None) -> torch.device:
    """Choose the device and set the number of CPU threads."""
    if threads is not None:
        torch.set_num_threads(threads)
    return choose_device(device)


def arrays(task: Task, store: Reader, indices: np.ndarray) -> Arrays:
    """Give what a task trains on: inputs and targets of objects, objects first."""
    return {**task.inputs(Cutouts.from_store(store, indices)), **task.targets(store, indices)}


def _already(path: Path, fingerprint: str) -> bool:
    if not path.exists():
        return False
    try:
        return load_model(path, device="cpu").metadata.get("fingerprint") == fingerprint
    except StoreError:
        return False
