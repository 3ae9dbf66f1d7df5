"""The verb train: from a store to a model."""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import astrodl
from astrodl import distributed, tasks
from astrodl.atomic import FilePath, exclusive_lock, write_text
from astrodl.config import canonical_json, parse
from astrodl.data.batches import Dataset, DirectReader, ResidentDataset, load_splits
from astrodl.device import choose_device
from astrodl.errors import ConfigError, DataError, StoreError
from astrodl.pipeline.objects import adapt_settings, fit_context, labelled, trainable, training_arrays
from astrodl.pipeline.warm_start import warm_start
from astrodl.plots.style import save
from astrodl.store import Reader
from astrodl.tasks.base import AnyTask
from astrodl.tasks.model import Model, load_model
from astrodl.training import loop
from astrodl.training.diagnosis import diagnose
from astrodl.training.memory import require_memory

__all__ = ["MAX_SHEETS", "train"]

MAX_SHEETS = 4
"""Figures of the progress of a training, at most."""


class _Prepared(NamedTuple):
    """A training that may begin."""

    network: nn.Module
    train: Dataset
    validation: Dataset | None
    sampling: np.ndarray | None
    """Relative frequencies with which training objects are drawn, (n,); None: all alike."""
    provenance: dict[str, str]
    """The model that the weights start from, if any."""


def train(
    task: str,
    store: FilePath,
    out: FilePath,
    *,
    settings: Mapping[str, Any] | None = None,
    fold: int = 0,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    progress: bool | None = None,
    force: bool = False,
) -> Path:
    """Train one network; an interrupted run with the same settings and data is resumed.

    Processes that `torchrun` or `srun` starts together train one network. The result is that of one process, within
    rounding.

    Parameters
    ----------
    task : str
        Name of the task.
    store : path
        Store written by `astrodl ingest`.
    out : path
        Folder for `model.safetensors`, `history.jsonl`, `config.json`, and figures in `progress` where the task draws
        any.
    settings : mapping, optional
        The task's section; defaults otherwise.
    fold, seed : int
        Fold held out for validation; seed of weights, order and augmentation.
    device : str
        auto, cpu or cuda.
    threads : int, optional
        CPU threads; the result is reproducible for the same number.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.
    force : bool
        Replace a model of other settings or data that is in `out`.

    Returns
    -------
    Path
        The model file.

    Raises
    ------
    ConfigError
        `out` holds a model of other settings or data.
    DataError
        The store lacks what the task is trained on.

    Examples
    --------
    >>> astrodl.train("photoz", "store.h5", "photoz", settings={"train": {"epochs": 5}})  # doctest: +SKIP
    """
    out, task_class = Path(out), tasks.get(task)
    if out.is_file():
        raise ConfigError(f"{out}: is a file, must be a folder for the model; give another --out")
    parsed = parse(task_class.Settings, settings or {}, f"tasks.{task}")
    path = out / "model.safetensors"
    with distributed.process_group(device), DirectReader(store) as reader, _folder_lock(out):
        parsed = adapt_settings(task_class, parsed, reader)
        where = choose_device(device, threads)
        identity = [canonical_json(parsed), reader.fingerprint, fold, seed, threads, astrodl.__version__, where.type]
        fingerprint = _digest(identity, task_class.models_used(parsed))
        if _is_done(path, fingerprint, force):
            return path
        trained = task_class(parsed, fit_context(task_class, parsed, reader, fold))
        prepared = _prepare(trained, reader, fold, seed, where)
        network = prepared.network
        if distributed.is_main():
            config = {"task": task, "fold": fold, "seed": seed, **parsed.model_dump(mode="json")}
            write_text(out / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
            _remove_progress(out)
        history = loop.fit(
            trained, network, prepared.train, prepared.validation, parsed.train, out, seed=seed,
            fingerprint=fingerprint, sampling=prepared.sampling, label=f"{task} fold {fold} seed {seed}",
            progress=progress, after_epoch=partial(_draw_progress, trained, prepared.validation, out),
        )  # fmt: skip
        if distributed.is_main():
            if (diagnosis := diagnose(history)) is not None:
                print(f"{out / 'history.jsonl'}: {diagnosis}", file=sys.stderr)
            provenance = {"fingerprint": fingerprint, "store": reader.fingerprint, "fold": str(fold), "seed": str(seed)}
            _calibrate(trained, prepared)
            Model(trained, network, {**provenance, **prepared.provenance}).save(path)
            (out / "last.pt").unlink(missing_ok=True)
    return path


def _is_done(path: Path, fingerprint: str, force: bool) -> bool:
    """Return whether this training has ended before; refuse to replace the model of another one unless `force`."""
    if distributed.broadcast(distributed.is_main() and _is_trained(path, fingerprint)):
        if distributed.is_main():
            print(f"{path}: already trained with these settings and data", file=sys.stderr)
        return True
    if distributed.broadcast(path.exists() and not force):
        raise ConfigError(
            f"{path}: holds a model of other settings, data or version; give another --out, or --force to replace it"
        )
    return False


def _digest(identity: list[Any], models: Iterable[str]) -> str:
    """Return the fingerprint of a training and of the models that it uses."""
    used = [load_model(model, device="cpu").metadata["fingerprint"] for model in models]
    return hashlib.sha256(json.dumps([*identity, *used]).encode()).hexdigest()


def _calibrate(trained: AnyTask, prepared: _Prepared) -> None:
    """Fit constants of the task after training, on this process alone."""
    with distributed.single_process(), torch.no_grad():
        fitted = trained.calibrate(prepared.network.eval(), prepared.train, prepared.validation)
    trained.context.constants.update(fitted)


def _draw_progress(trained: AnyTask, held_out: Dataset | None, folder: Path, epoch: int, network: nn.Module) -> None:
    """Save what the task draws of held-out objects: after the last epoch, and every few before it."""
    n_epochs = trained.settings.train.epochs
    if held_out is None or (n_epochs - epoch) % max(1, -(-n_epochs // MAX_SHEETS)):
        return
    if (figure := trained.draw_progress(network, held_out)) is not None:
        save(figure, folder / "progress" / f"epoch{epoch:04d}.png")


def _remove_progress(folder: Path) -> None:
    """Remove the figures of a former training, unless it is resumed."""
    if not (folder / "last.pt").exists():
        for path in (folder / "progress").glob("epoch*.png"):
            path.unlink()


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder lock on the main process for all processes of a training."""
    with exclusive_lock(folder / ".lock", "trains") if distributed.is_main() else nullcontext():
        distributed.broadcast(True)
        yield
        distributed.broadcast(True)


def _prepare(task: AnyTask, store: Reader, fold: int, seed: int, device: torch.device) -> _Prepared:
    """Build the network, and load the training and validation objects.

    Raises
    ------
    DataError
        There are too few training objects, or there is not enough memory.
    """
    chosen = {
        "train": trainable(type(task), task.settings, store, fold),
        "validation": labelled(type(task), task.settings, store, "validation", fold),
    }
    least = max(2, distributed.world_size())  # one for each process
    if len(chosen["train"]) < least:
        raise DataError(
            f"{store.path}: task {task.name} has {len(chosen['train'])} labelled training objects, needs at least "
            f"{least}; check data.columns and the split{', or use fewer processes' if least > 2 else ''}"
        )
    torch.manual_seed(loop.derive_seed(seed, -2))
    network = task.build().to(device)
    read = partial(training_arrays, task, store)
    sample = ResidentDataset.load(read, chosen["train"][:2], device)
    n_objects = sum(map(len, chosen.values()))
    require_memory(task, network, sample, n_objects, task.settings.train, f"tasks.{task.name}")
    loaded = load_splits(read, chosen, device)
    task.start(network, loaded["train"])
    provenance = warm_start(task, network)
    validation = loaded["validation"] if len(chosen["validation"]) else None
    return _Prepared(network, loaded["train"], validation, task.sampling(store, chosen["train"]), provenance)


def _is_trained(path: Path, fingerprint: str) -> bool:
    if not path.exists():
        return False
    try:
        return load_model(path, device="cpu").metadata.get("fingerprint") == fingerprint
    except StoreError:
        return False
