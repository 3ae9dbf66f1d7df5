"""The verbs train and predict: from a store to models to predictions."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

import astrodl
from astrodl import engine, normalize, tasks
from astrodl.atomic import only_one, write_text
from astrodl.config import canonical_json, parse
from astrodl.dataset import Cutouts, Direct, load
from astrodl.errors import DataError, StoreError
from astrodl.store import FLAGS, Reader
from astrodl.survey.photometry import measure
from astrodl.tasks.base import Arrays, Context, Task
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.predictions import write_block, writing

GAPS = FLAGS["missing_band"] | FLAGS["partial_coverage"] | FLAGS["padded"] | FLAGS["masked_pixels"]
"""Flags of objects with pixels without data."""
PREDICT_BLOCK = 256


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
    where = prepare_device(device, threads)
    with Direct(store) as reader, only_one(out / ".lock", "trains"):
        identity = [canonical_json(parsed), reader.fingerprint, fold, seed, threads, astrodl.__version__, where.type]
        fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        path = out / "model.safetensors"
        if _already(path, fingerprint):
            print(f"{path}: already trained with these settings and data", file=sys.stderr)
            return path
        job = kind(parsed, fit_context(kind, parsed, reader, fold))
        chosen = {part: labelled(kind, parsed, reader, part, fold) for part in ("train", "validation")}
        if len(chosen["train"]) < 2:
            raise DataError(
                f"{reader.path}: task {task} has {len(chosen['train'])} labelled training objects, needs at least 2; "
                "check data.columns and the split"
            )
        data = load(lambda indices: arrays(job, reader, indices), chosen, where)
        torch.manual_seed(engine.seed_at(seed, -2))
        network = job.build().to(where)
        validation = data["validation"] if len(chosen["validation"]) else None
        config = {"task": task, "fold": fold, "seed": seed, **parsed.model_dump(mode="json")}
        write_text(out / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
        engine.fit(
            job, network, data["train"], validation, parsed.train, out,
            seed=seed, fingerprint=fingerprint, label=f"{task} fold {fold} seed {seed}", progress=progress,
        )  # fmt: skip
        network.eval()
        with torch.no_grad():
            job.context.constants.update(job.calibrate(network, data["train"], validation))
        provenance = {"fingerprint": fingerprint, "store": reader.fingerprint, "fold": str(fold), "seed": str(seed)}
        Model(job, network, provenance).save(path)
        (out / "last.pt").unlink(missing_ok=True)
    return path


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
        n_objects = reader.n_objects
        with writing(out, attributes) as file:
            file.create_dataset("object_id", data=reader.object_id.astype(object), dtype=h5py.string_dtype())
            for start in range(0, n_objects, PREDICT_BLOCK):
                cutouts = matching(reader, first, np.arange(start, min(start + PREDICT_BLOCK, n_objects)))
                write_block(file, start, n_objects, ensemble(loaded, cutouts))
    return out


def ensemble(models: Sequence[Model], cutouts: Cutouts) -> Arrays:
    """Average the predictions of models of one task and finish them."""
    parts = [model.raw(cutouts) for model in models]
    return models[0].task.finish({key: np.mean([part[key] for part in parts], axis=0) for key in parts[0]})


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
    """Give the objects of a split that the task can train on or be scored with; none where the truth is missing."""
    indices = store.select(part, fold)
    return indices[:0] if kind.missing_truth(settings, store) else kind.labelled(settings, store, indices)


def prepare_device(device: str, threads: int | None) -> torch.device:
    """Choose the device and set the number of CPU threads."""
    if threads is not None:
        torch.set_num_threads(threads)
    return engine.choose_device(device)


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
