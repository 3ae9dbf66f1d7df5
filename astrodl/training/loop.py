"""The one training loop, for all tasks, with exact resume.

Randomness is a function of (seed, update): the order of an epoch comes from (seed, epoch), and torch's global generator
is seeded before every update. A run that is killed and resumed from `last.pt` therefore ends in bitwise the same
weights (on a CPU, with the same number of threads) without any generator state being saved.

Within an update nothing waits for the device: an update whose loss or gradient is not finite is refused there, and the
loop looks at what happened every `LOOK` updates on a GPU, every update on a CPU. Several processes train as one: see
`astrodl.distributed`.
"""

import copy
import hashlib
import json
import math
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from astrodl import distributed
from astrodl.atomic import replacing, write_text
from astrodl.config import TrainSettings
from astrodl.data.batches import Batch, Resident, order_of_epoch
from astrodl.device import arranged, autocast, layout
from astrodl.errors import AstrodlError
from astrodl.models.blocks import learning
from astrodl.progress import progress_bar
from astrodl.training.optimizers import (
    average_gradients,
    follow,
    limit_norms,
    make_optimizer,
    move,
    penalize,
    schedule,
    weights,
)

SAVE_SECONDS = 20.0
"""Least time between two checkpoints; it changes what a kill costs, never the result."""
LOOK = 16
"""Updates on a GPU between two looks at its losses, for which the host has to wait."""
VALIDATION_BATCH = 256

State = dict[str, Any]


class Trainable(Protocol):
    """What the loop asks of a task."""

    phases: Mapping[str, int]
    """Phase -> number of consecutive updates in a cycle."""

    def parameters(self, network: nn.Module, phase: str) -> Iterable[nn.Parameter]:
        """Give the parameters that a phase updates."""

    def augment(self, batch: Batch) -> Batch:
        """Augment a training batch."""

    def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss of a phase and its named terms, after the fraction `done` of all updates."""

    def validate(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Give named batch means; `loss` is what early stopping looks at."""


class TrainingError(AstrodlError):
    """Training cannot go on: the loss or its gradient is not finite."""


class Stopped(SystemExit):
    """SIGTERM arrived; the state was saved."""


@dataclass
class Fit:
    """Everything that changes while training; what of it is saved is in `state` and `restore`."""

    task: Trainable
    network: nn.Module
    settings: TrainSettings
    seed: int
    step: int = 0
    sums: dict[str, list[float]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float = math.inf
    best_epoch: int = -1
    best: State | None = None
    factor: float = 1.0
    unseen: list[tuple[int, list[str], Tensor]] = field(default_factory=list)
    """Updates that were not looked at: step, names, and a row of whether all is finite, `stop`, and named values."""

    def __post_init__(self) -> None:
        self.optimizers = {
            phase: make_optimizer(self.task.parameters(self.network, phase), self.settings)
            for phase in self.task.phases
        }
        self.cycle = [phase for phase, updates in self.task.phases.items() for _ in range(updates)]
        self.average = copy.deepcopy(self.network).requires_grad_(False) if self.settings.ema else None
        self.layout = layout(self.network)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and saved: the moving average where there is one."""
        return self.average if self.average is not None else self.network

    def state(self) -> State:
        """Give what a resumed run needs, as tensors and plain values."""
        assert not self.unseen
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizers": {phase: optimizer.state_dict() for phase, optimizer in self.optimizers.items()},
            "best": self.best,
            "plain": json.dumps([self.step, self.sums, self.history, self.best_loss, self.best_epoch, self.factor]),
        }

    def restore(self, state: State) -> None:
        """Take up a saved state."""
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        for phase, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][phase])
        self.best = state["best"]
        plain = json.loads(state["plain"])
        self.step, self.sums, self.history, self.best_loss, self.best_epoch, self.factor = plain


def fit(
    task: Trainable,
    network: nn.Module,
    train: Resident,
    validation: Resident | None,
    settings: TrainSettings,
    folder: Path,
    *,
    seed: int,
    fingerprint: str,
    sampling: np.ndarray | None = None,
    label: str = "train",
    progress: bool | None = None,
) -> list[dict[str, Any]]:
    """Train `network` in place; the weights of the best validation loss (or the last ones) end up in it.

    Parameters
    ----------
    task : Trainable
        Phases, losses, augmentation, validation.
    network : nn.Module
        Freshly initialised network on the device of `train`, the same in all ranks.
    train, validation : Resident
        The two splits, whole in every rank; without validation the last weights are kept.
    settings : TrainSettings
        The loop's settings; a batch is divided among the ranks.
    folder : Path
        Where `last.pt` and `history.jsonl` are kept, by the first rank.
    seed : int
        Seed of order, augmentation and noise.
    fingerprint : str
        Identity of settings and data; a checkpoint with another one is not resumed.
    sampling : (N,) array, optional
        Draw the training objects of an epoch with these relative frequencies, with replacement, instead of each once.
    label : str
        Name of the progress bar.
    progress : bool, optional
        Draw a progress bar; by default when standard error is a terminal, else one line per epoch.

    Returns
    -------
    list of dict
        The history: a row per epoch.

    Raises
    ------
    TrainingError
        The loss or its gradient is not finite.
    Stopped
        SIGTERM arrived; the run can be resumed.
    """
    state = Fit(task, network.to(memory_format=layout(network)), settings, seed)  # type: ignore[call-overload]
    checkpoint = folder / "last.pt"
    resume(state, checkpoint, fingerprint)
    runner = compiled(task, network, settings)
    distributed.divided(settings.batch_size)
    per_epoch = max(1, len(train) // settings.batch_size)
    total = per_epoch * settings.epochs
    n_used = distributed.divisible(min(len(train), per_epoch * settings.batch_size))
    precision = autocast(train.device, settings.precision)
    interval = LOOK if train.device.type == "cuda" else 1
    started = saved = time.monotonic()
    first_step = state.step
    shown = progress if distributed.first() else False
    with torch.random.fork_rng(), termination() as stop, progress_bar(label, total, shown) as show:
        while state.step < total and not out_of_patience(state):
            epoch, position = divmod(state.step, per_epoch)
            if position == 0 or state.step == first_step:
                order = order_of_epoch(len(train), epoch, seed, train.device, sampling)[:n_used]
                batches = train.batches(
                    [distributed.mine(part) for part in order.split(settings.batch_size)[position:]]
                )
            update(state, runner, next(batches), total, precision, stop=bool(stop))
            state.step += 1
            ended = position + 1 == per_epoch
            if not ended and state.step % interval:  # the same updates in all ranks
                continue
            ending = look(state)
            if ended:
                rate = (state.step - first_step) * settings.batch_size / (time.monotonic() - started)
                finish_epoch(state, epoch, validation, precision, rate, last=state.step == total)
                if distributed.first():
                    write_history(folder / "history.jsonl", state.history)
            show(state.step, described(state.history))
            if ending or time.monotonic() - saved > SAVE_SECONDS:
                save_atomically({"fingerprint": fingerprint, **state.state()}, checkpoint)
                saved = time.monotonic()
            if ending:
                raise Stopped(128 + signal.SIGTERM)
    network.load_state_dict(state.best if state.best is not None else state.evaluated.state_dict())
    return state.history


def compiled(task: Trainable, network: nn.Module, settings: TrainSettings) -> nn.Module:
    """Pass the network through `torch.compile` where that is asked for and the task calls it as a whole."""
    if not settings.compile:
        return network
    if len(task.phases) > 1:
        warnings.warn("train.compile has no effect on a network whose parts are trained in turns", stacklevel=2)
        return network
    mode = settings.compile if isinstance(settings.compile, str) else None
    return cast(nn.Module, torch.compile(network, mode=mode))


def update(
    state: Fit, runner: nn.Module, batch: Batch, total: int, precision: AbstractContextManager, *, stop: bool = False
) -> None:
    """Make one update of the phase whose turn it is; one that is not finite is refused on the device."""
    settings, task = state.settings, state.task
    torch.manual_seed(seed_at(state.seed, state.step))
    phase = state.cycle[state.step % len(state.cycle)]
    optimizer = state.optimizers[phase]
    if not state.network.training:
        learning(state.network)
    with precision:
        loss, terms = task.loss(runner, arranged(task.augment(batch), state.layout), phase, state.step / total)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    stopping, values = loss.new_full((), float(stop)), [value.detach().float() for value in (loss, *terms.values())]
    row = average_gradients(optimizer, torch.stack([stopping, *values]))
    penalize(optimizer, settings.l1, settings.l2)
    finite = torch.isfinite(row[1])
    if settings.clip is not None:
        finite &= torch.isfinite(nn.utils.clip_grad_norm_(weights(optimizer), settings.clip))
    rate = settings.peak_rate * state.factor * schedule(state.step / total, settings)
    move(optimizer, rate, ~finite)
    if settings.max_norm is not None:
        limit_norms(state.network, settings.max_norm)
    if state.average is not None:
        follow(state.average, state.network, min(settings.ema, (1 + state.step) / (10 + state.step)))
    prefix = f"{phase}_" if len(state.cycle) > 1 else ""
    names = [prefix + name for name in ("loss", *terms)]
    state.unseen.append((state.step, names, torch.cat([finite[None].float(), row])))


def look(state: Fit) -> bool:
    """Wait for the device, add up what the last updates gave, and tell whether a rank was asked to stop.

    Raises
    ------
    TrainingError
        An update was refused.
    """
    rows = torch.cat([row for _, _, row in state.unseen]).tolist()
    stopping = False
    for step, names, _ in state.unseen:
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
    state.unseen.clear()
    return stopping


def finish_epoch(
    state: Fit, epoch: int, validation: Resident | None, precision: AbstractContextManager, rate: float, *, last: bool
) -> None:
    """Append a row to the history, validate when it is due, keep the best weights, lower the rate on a plateau."""
    settings = state.settings
    row: dict[str, Any] = {
        "epoch": epoch,
        "step": state.step,
        "learning_rate": settings.peak_rate * state.factor * schedule(epoch / settings.epochs, settings),
        "train": {name: total / count for name, (total, count) in state.sums.items()},
        "images_per_second": rate,
    }
    state.sums = {}
    due = validation is not None and len(validation) > 0 and ((epoch + 1) % settings.validate_every == 0 or last)
    if due and validation is not None:
        row["validation"] = evaluate(state, validation, precision)
        if row["validation"]["loss"] < state.best_loss:
            state.best_loss, state.best_epoch = row["validation"]["loss"], epoch
            if settings.patience is not None:
                state.best = copy.deepcopy(state.evaluated.state_dict())
        elif settings.schedule == "plateau" and epoch - state.best_epoch >= max(1, (settings.patience or 6) // 3):
            state.factor *= 0.5
    state.history.append(row)


def evaluate(state: Fit, validation: Resident, precision: AbstractContextManager) -> dict[str, float]:
    """Average the task's validation terms over a split, weighted by objects; each rank takes its rows of a batch."""
    if len(validation) < distributed.size():
        with distributed.alone():
            return evaluate(state, validation, precision)
    network = state.evaluated.eval()
    everyone = torch.arange(len(validation), device=validation.device)
    parts = everyone.tensor_split(max(1, len(validation) // VALIDATION_BATCH))
    names: list[str] = []
    sums = torch.zeros((), dtype=torch.float64, device=validation.device)
    torch.manual_seed(seed_at(state.seed, -1))
    with torch.no_grad(), precision:
        for batch in validation.batches([distributed.mine(part) for part in parts]):
            n_objects = len(next(iter(batch.values())))
            values = state.task.validate(network, arranged(batch, state.layout))
            names = list(values)
            sums = sums + torch.stack([value.double() for value in values.values()]) * n_objects
    return dict(zip(names, (distributed.added(sums) / len(validation)).tolist(), strict=True))


def out_of_patience(state: Fit) -> bool:
    """Tell whether the validation loss has not improved for `patience` epochs; decided by the history alone."""
    patience = state.settings.patience
    if patience is None or not state.history or state.best_epoch < 0:
        return False
    return state.history[-1]["epoch"] - state.best_epoch >= patience


def seed_at(seed: int, step: int) -> int:
    """Mix seed and step into a 63-bit seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{step}".encode()).digest()[:8], "little") >> 1


def resume(state: Fit, checkpoint: Path, fingerprint: str) -> None:
    """Restore the state from a checkpoint of the same fingerprint; say so where there is one of another."""
    if not checkpoint.exists():
        return
    saved = torch.load(checkpoint, map_location=next(state.network.parameters()).device, weights_only=True)
    known = saved["fingerprint"] == fingerprint
    if known:
        state.restore(saved)
    if distributed.first():
        what = f"resumed at update {state.step}" if known else "of other settings or data; training starts afresh"
        print(f"{checkpoint}: {what}", file=sys.stderr)


def save_atomically(state: State, path: Path) -> None:
    """Write a checkpoint whole or not at all; the first rank does."""
    if distributed.first():
        with replacing(path) as temporary:
            torch.save(state, temporary)


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Write one JSON line per epoch, atomically."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in history))


def described(history: list[dict[str, Any]]) -> str:
    """Describe the last epoch in a few words."""
    if not history:
        return ""
    row = history[-1]
    values = [f"train {next(iter(row['train'].values())):.4g}"]
    if "validation" in row:
        values.append(f"validation {row['validation']['loss']:.4g}")
    return f"{', '.join(values)}, {row['images_per_second']:.0f} images/s"


@contextmanager
def termination() -> Iterator[list[bool]]:
    """Collect SIGTERM in a list that turns true, instead of dying in the middle of an update."""
    received: list[bool] = []

    def note(_signal: int, _frame: FrameType | None) -> None:
        received.append(True)

    try:
        previous = signal.signal(signal.SIGTERM, note)
    except ValueError:  # not the main thread: signals stay with whoever owns them
        yield received
        return
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, previous)
