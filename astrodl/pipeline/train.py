"""The verb train: from a store to a model."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import astrodl
from astrodl import distributed, tasks
from astrodl.atomic import only_one, write_text
from astrodl.config import canonical_json, parse
from astrodl.data.batches import Direct, Resident, load
from astrodl.device import choose_device
from astrodl.errors import DataError, StoreError
from astrodl.pipeline.objects import arrays, fit_context, labelled, trainable
from astrodl.pipeline.warm_start import warm_start
from astrodl.store import Reader
from astrodl.tasks.base import Task
from astrodl.tasks.model import Model, load_model
from astrodl.training import loop
from astrodl.training.diagnosis import diagnose
from astrodl.training.memory import require_room


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
    with distributed.joined(device), Direct(store) as reader, _in_turn(out):
        where = choose_device(device, threads)
        identity = [canonical_json(parsed), reader.fingerprint, fold, seed, threads, astrodl.__version__, where.type]
        identity += [load_model(Path(path), device="cpu").metadata["fingerprint"] for path in kind.models_used(parsed)]
        fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        if distributed.agreed(distributed.first() and _already(path, fingerprint)):
            if distributed.first():
                print(f"{path}: already trained with these settings and data", file=sys.stderr)
            return path
        job = kind(parsed, fit_context(kind, parsed, reader, fold))
        ready = _prepared(job, reader, fold, seed, where)
        if distributed.first():
            config = {"task": task, "fold": fold, "seed": seed, **parsed.model_dump(mode="json")}
            write_text(out / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
        history = loop.fit(
            job, ready.network, ready.train, ready.validation, parsed.train, out, seed=seed, fingerprint=fingerprint,
            sampling=ready.sampling, label=f"{task} fold {fold} seed {seed}", progress=progress,
        )  # fmt: skip
        if distributed.first():
            if (diagnosis := diagnose(history)) is not None:
                print(f"{out / 'history.jsonl'}: {diagnosis}", file=sys.stderr)
            with distributed.alone(), torch.no_grad():
                job.context.constants.update(job.calibrate(ready.network.eval(), ready.train, ready.validation))
            provenance = {"fingerprint": fingerprint, "store": reader.fingerprint, "fold": str(fold), "seed": str(seed)}
            Model(job, ready.network, {**provenance, **ready.provenance}).save(path)
            (out / "last.pt").unlink(missing_ok=True)
    return path


@contextmanager
def _in_turn(folder: Path) -> Iterator[None]:
    """Keep other trainings out of the folder; the first rank holds the lock for all, and the others leave with it."""
    with only_one(folder / ".lock", "trains") if distributed.first() else nullcontext():
        distributed.agreed(True)
        yield
        distributed.agreed(True)


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
    torch.manual_seed(loop.seed_at(seed, -2))
    network = task.build()
    provenance = warm_start(task, network)
    network = network.to(device)
    prepare = partial(arrays, task, store)
    some = Resident.prepared(prepare, chosen["train"][:2], device)
    require_room(task, network, some, sum(map(len, chosen.values())), task.settings.train, section)
    loaded = load(prepare, chosen, device)
    validation = loaded["validation"] if len(chosen["validation"]) else None
    return Prepared(network, loaded["train"], validation, task.sampling(store, chosen["train"]), provenance)


def _already(path: Path, fingerprint: str) -> bool:
    if not path.exists():
        return False
    try:
        return load_model(path, device="cpu").metadata.get("fingerprint") == fingerprint
    except StoreError:
        return False
