"""The training loop of all tasks, with exact resume.

Random numbers depend on (seed, update) only: the order of an epoch comes from (seed, epoch), and torch's global
generator is seeded before every update. A run that is killed and resumed from `last.pt` therefore ends in bitwise the
same weights (on a CPU, with the same number of threads), although no generator state is saved.

An update never waits for the device. An update whose loss or gradient is not finite is skipped there, and
`collect_results` reads the outcome every `COLLECT_INTERVAL` updates on a GPU, and after every update on a CPU. Several
processes can train one network: see `astrodl.distributed`.
"""

import copy
import hashlib
import json
import math
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from astrodl import distributed
from astrodl.atomic import write_text
from astrodl.config import TrainSettings
from astrodl.data.batches import Batch, Dataset, epoch_order
from astrodl.device import autocast, choose_memory_format, to_memory_format
from astrodl.errors import AstrodlError
from astrodl.models.blocks import set_training_mode
from astrodl.progress import Show, progress_bar
from astrodl.training.checkpoint import catch_sigterm, load_checkpoint, save_checkpoint
from astrodl.training.optimizers import (
    average_gradients,
    learning_rate_factor,
    limit_norms,
    parameters_of,
    penalize,
    share_of_alike_layers,
    step_unless,
    update_average,
)
from astrodl.training.state import EpochRow, NetworkT, Trainable, TrainingState
from astrodl.training.statistics import has_statistics, refresh_statistics

__all__ = [
    "COLLECT_INTERVAL",
    "SAVE_SECONDS",
    "Stopped",
    "TrainingError",
    "TrainingState",
    "collect_results",
    "compile_network",
    "derive_seed",
    "fit",
    "update",
]

SAVE_SECONDS = 20.0
"""Shortest time between two checkpoints; it changes the cost of a kill, never the result."""
COLLECT_INTERVAL = 16
"""Updates on a GPU between two calls of `collect_results`, for which the host waits."""
VALIDATION_BATCH = 256
N_STATISTICS = 8
"""Number of batches from which the running statistics of the moving average are computed."""


class TrainingError(AstrodlError):
    """The loss or its gradient is not finite."""


class Stopped(SystemExit):
    """The process received SIGTERM and saved its state."""


def fit(
    task: Trainable[NetworkT],
    network: NetworkT,
    train: Dataset,
    validation: Dataset | None,
    settings: TrainSettings,
    folder: Path,
    *,
    seed: int,
    fingerprint: str,
    sampling: np.ndarray | None = None,
    label: str = "train",
    progress: bool | None = None,
    after_epoch: Callable[[int, NetworkT], None] | None = None,
) -> list[EpochRow]:
    """Train `network` in place; it ends with the weights of the best validation loss, or with the last ones.

    Parameters
    ----------
    task : Trainable
        Phases, losses, augmentation, validation.
    network : nn.Module
        Initialised network on the device of `train`, the same on all ranks.
    train, validation : Dataset
        The two splits, complete on every rank; without validation the last weights are kept.
    settings : TrainSettings
        Settings of the loop; the batch size is that of all ranks together.
    folder : Path
        Folder of `last.pt` and `history.jsonl`, which rank 0 writes.
    seed : int
        Seed of order, augmentation and noise.
    fingerprint : str
        Identity of settings and data; a checkpoint with another one is not resumed.
    sampling : (N,) array, optional
        Relative frequencies with which the training objects of an epoch are drawn, with replacement; by default each
        object comes once.
    label : str
        Name of the progress bar.
    progress : bool, optional
        Draw a progress bar; by default if standard error is a terminal, else write one line per epoch.
    after_epoch : callable, optional
        Called on rank 0 after each epoch with its number from 1 and the network that is kept; it may not change it.

    Returns
    -------
    list of EpochRow
        The history.

    Raises
    ------
    TrainingError
        The loss or its gradient is not finite.
    Stopped
        The process received SIGTERM; the run can be resumed.
    """
    network = network.to(memory_format=choose_memory_format(network))  # type: ignore[call-overload]
    distributed.local_batch_size(settings.batch_size)  # raises if the ranks cannot share a batch
    if not validation and (settings.patience is not None or settings.schedule == "plateau"):
        warnings.warn("train.patience and schedule plateau have no effect without validation objects", stacklevel=2)
    state = TrainingState(task, network, settings, seed)
    _resume(state, folder / "last.pt", fingerprint)
    shown = progress if distributed.is_main() else False
    total = max(1, len(train) // settings.batch_size) * settings.epochs
    with torch.random.fork_rng(), progress_bar(label, total, shown) as show:
        _train(state, train, validation, folder, fingerprint, sampling, total, show, after_epoch)
    network.load_state_dict(state.best if state.best is not None else state.evaluated.state_dict())
    return state.history


def _train(
    state: TrainingState[NetworkT],
    train: Dataset,
    validation: Dataset | None,
    folder: Path,
    fingerprint: str,
    sampling: np.ndarray | None,
    total: int,
    show: Show,
    after_epoch: Callable[[int, NetworkT], None] | None,
) -> None:
    """Make the updates up to number `total`, or until the patience is over; save checkpoints and history."""
    settings = state.settings
    network = compile_network(state.task, state.network, settings)
    per_epoch = total // settings.epochs
    precision = autocast(train.device, settings.precision)
    interval = COLLECT_INTERVAL if train.device.type == "cuda" else 1
    started = saved = time.monotonic()
    first_step = state.step
    with catch_sigterm() as stop:
        while state.step < total and not _out_of_patience(state):
            epoch, position = divmod(state.step, per_epoch)
            if position == 0 or state.step == first_step:
                batches = _epoch_batches(train, settings.batch_size, epoch, slice(position, None), state.seed, sampling)
            update(state, network, next(batches), total, precision, stop=bool(stop))
            state.step += 1
            ended = position + 1 == per_epoch
            if not ended and state.step % interval:  # the same updates on all ranks
                continue
            stopping = collect_results(state)
            if ended:
                rate = (state.step - first_step) * settings.batch_size / (time.monotonic() - started)
                last = state.step == total
                if last or (epoch + 1) % settings.validate_every == 0:
                    _refresh_average(state, train, epoch, sampling, precision)
                _finish_epoch(state, epoch, validation, precision, rate, last=last)
                if distributed.is_main():
                    write_text(folder / "history.jsonl", "".join(json.dumps(row) + "\n" for row in state.history))
                    if after_epoch is not None:
                        with torch.no_grad():
                            after_epoch(epoch + 1, state.evaluated.eval())
            show(state.step, _describe(state.history))
            if stopping or time.monotonic() - saved > SAVE_SECONDS:
                save_checkpoint({"fingerprint": fingerprint, **state.state_dict()}, folder / "last.pt")
                saved = time.monotonic()
            if stopping:
                raise Stopped(128 + signal.SIGTERM)


def _resume(state: TrainingState, checkpoint: Path, fingerprint: str) -> None:
    """Restore the state from a checkpoint with the same fingerprint, if there is one."""
    saved = load_checkpoint(checkpoint, fingerprint, state.network)
    if saved is not None:
        state.load_state_dict(saved)
        if distributed.is_main():
            print(f"{checkpoint}: resumed at update {state.step}", file=sys.stderr)


def compile_network(task: Trainable[NetworkT], network: NetworkT, settings: TrainSettings) -> NetworkT:
    """Pass the network through `torch.compile` if the settings ask for it and the task has a single phase."""
    if not settings.compile:
        return network
    if len(task.phases) > 1:
        warnings.warn("train.compile has no effect on a network whose parts are trained in turns", stacklevel=2)
        return network
    mode = settings.compile if isinstance(settings.compile, str) else None
    return cast(NetworkT, torch.compile(network, mode=mode))


def _epoch_batches(
    train: Dataset, batch_size: int, epoch: int, positions: slice, seed: int, sampling: np.ndarray | None
) -> Iterator[Batch]:
    """Yield this rank's rows of the batches of an epoch at `positions`."""
    n_used = min(len(train), max(1, len(train) // batch_size) * batch_size)
    order = epoch_order(len(train), epoch, seed, train.device, sampling)[: distributed.drop_remainder(n_used)]
    return train.batches([distributed.local_rows(part) for part in order.split(batch_size)[positions]])


def update(
    state: TrainingState[NetworkT],
    network: NetworkT,
    batch: Batch,
    total: int,
    precision: AbstractContextManager,
    *,
    stop: bool = False,
) -> None:
    """Make one update of the phase whose turn it is; it is skipped on the device if it is not finite.

    Parameters
    ----------
    state : TrainingState
        State of the training; the outcome is appended to `state.pending`.
    network : nn.Module
        `state.network`, or its compiled form.
    batch : dict of Tensor
        This rank's rows of the batch.
    total : int
        Number of updates of the training.
    precision : context manager
        Autocast of the forward pass.
    stop : bool
        Whether this rank was asked to stop; all ranks learn of it with the gradients.
    """
    settings, task = state.settings, state.task
    torch.manual_seed(derive_seed(state.seed, state.step))
    phase = state.cycle[state.step % len(state.cycle)]
    optimizer = state.optimizers[phase]
    if not state.network.training:
        set_training_mode(state.network)
    with precision:
        augmented = to_memory_format(task.augment(batch), state.memory_format)
        loss, terms = task.loss(network, augmented, phase, state.step / total)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    values = [value.detach().float() for value in (loss, *terms.values())]
    row = average_gradients(optimizer, torch.stack([loss.new_full((), float(stop)), *values]))
    penalize(optimizer, settings.l1, settings.l2)
    norm = nn.utils.clip_grad_norm_(parameters_of(optimizer), math.inf if settings.clip is None else settings.clip)
    finite = torch.isfinite(row[1]) & torch.isfinite(norm)
    rate = settings.peak_rate * state.rate_factor * learning_rate_factor(state.step / total, settings)
    step_unless(optimizer, rate, ~finite)
    if settings.max_norm is not None:
        limit_norms(state.network, settings.max_norm)
    if state.average is not None:
        update_average(state.average, state.network, min(settings.ema, (1 + state.step) / (10 + state.step)))
    prefix = f"{phase}_" if len(state.cycle) > 1 else ""
    names = [prefix + name for name in ("loss", *terms)]
    state.pending.append((state.step, names, torch.cat([finite[None].float(), row])))


def collect_results(state: TrainingState) -> bool:
    """Wait for the device, add the terms of the pending updates to `state.sums`, and return whether to stop.

    Raises
    ------
    TrainingError
        An update was skipped because its loss or gradient was not finite.
    """
    rows = torch.cat([row for _, _, row in state.pending]).tolist()
    stopping = False
    for step, names, _ in state.pending:
        finite, stops, *values = rows[: 2 + len(names)]
        rows = rows[2 + len(names) :]
        if not finite:
            listed = ", ".join(f"{name} {value:.4g}" for name, value in zip(names, values, strict=True))
            raise TrainingError(
                f"update {step}, phase {state.cycle[step % len(state.cycle)]}: the loss or its gradient is not finite "
                f"({listed}); lower train.learning_rate or look for extreme values in the images"
            )
        stopping |= stops > 0
        for name, value in zip(names, values, strict=True):
            entry = state.sums.setdefault(name, [0.0, 0])
            entry[0] += value
            entry[1] += 1
    state.pending.clear()
    return stopping


def _refresh_average(
    state: TrainingState, train: Dataset, epoch: int, sampling: np.ndarray | None, precision: AbstractContextManager
) -> None:
    """Set the running statistics of the moving average to those of the first batches of an epoch."""
    if state.average is None or not has_statistics(state.average):
        return
    torch.manual_seed(derive_seed(state.seed, -3))
    batches = _epoch_batches(train, state.settings.batch_size, epoch, slice(N_STATISTICS), state.seed, sampling)
    with precision:
        augmented = (to_memory_format(state.task.augment(batch), state.memory_format) for batch in batches)
        refresh_statistics(state.task, state.average, augmented)


def _finish_epoch(
    state: TrainingState,
    epoch: int,
    validation: Dataset | None,
    precision: AbstractContextManager,
    rate: float,
    *,
    last: bool,
) -> None:
    """Append a row to the history; validate if due, keep the best weights, lower the rate on a plateau."""
    settings = state.settings
    factor = learning_rate_factor(epoch / settings.epochs, settings)
    row: EpochRow = {
        "epoch": epoch,
        "step": state.step,
        "learning_rate": settings.peak_rate * state.rate_factor * factor,
        "train": {name: total / count for name, (total, count) in state.sums.items()},
        "images_per_second": rate,
    }
    state.sums = {}
    if alike := share_of_alike_layers(state.network):
        row["alike"] = alike
    if validation is not None and len(validation) > 0 and ((epoch + 1) % settings.validate_every == 0 or last):
        row["validation"] = _evaluate(state, validation, precision)
        if row["validation"]["loss"] < state.best_loss:
            state.best_loss, state.best_epoch = row["validation"]["loss"], epoch
            if settings.patience is not None:
                state.best = copy.deepcopy(state.evaluated.state_dict())
        elif settings.schedule == "plateau" and _is_flat(state, epoch):
            state.rate_factor *= 0.5
            state.lowered_epoch = epoch
    state.history.append(row)


def _evaluate(state: TrainingState, validation: Dataset, precision: AbstractContextManager) -> dict[str, float]:
    """Average the task's validation terms over all objects; each rank evaluates its rows of a batch."""
    if len(validation) < distributed.world_size():
        with distributed.single_process():
            return _evaluate(state, validation, precision)
    network = state.evaluated.eval()
    indices = torch.arange(len(validation), device=validation.device)
    parts = indices.tensor_split(max(1, len(validation) // VALIDATION_BATCH))
    names: list[str] = []
    sums = torch.zeros((), dtype=torch.float64, device=validation.device)
    torch.manual_seed(derive_seed(state.seed, -1))
    with torch.no_grad(), precision:
        for batch in validation.batches([distributed.local_rows(part) for part in parts]):
            n_objects = len(next(iter(batch.values())))
            values = state.task.validate(network, to_memory_format(batch, state.memory_format))
            names = list(values)
            sums = sums + torch.stack([value.double() for value in values.values()]) * n_objects
    return dict(zip(names, (distributed.all_reduce_(sums) / len(validation)).tolist(), strict=True))


def derive_seed(seed: int, step: int) -> int:
    """Return a 63-bit seed that depends on `seed` and `step` only."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{step}".encode()).digest()[:8], "little") >> 1


def _out_of_patience(state: TrainingState) -> bool:
    """Return whether the validation loss has not improved for `patience` epochs; the history alone decides."""
    patience = state.settings.patience
    if patience is None or not state.history or state.best_epoch < 0:
        return False
    return state.history[-1]["epoch"] - state.best_epoch >= patience


def _is_flat(state: TrainingState, epoch: int) -> bool:
    """Return whether the validation loss has not improved for a third of the patience at the present learning rate."""
    return epoch - max(state.best_epoch, state.lowered_epoch) >= max(1, (state.settings.patience or 6) // 3)


def _describe(history: list[EpochRow]) -> str:
    """Return training loss, validation loss and speed of the last epoch as text."""
    if not history:
        return ""
    row, first = history[-1], next(iter(history[0]["train"]))  # the loss of the first phase
    values = [f"train {row['train'][first]:.4g}"] if first in row["train"] else []
    if "validation" in row:
        values.append(f"validation {row['validation']['loss']:.4g}")
    return ", ".join([*values, f"{row['images_per_second']:.0f} images/s"])
