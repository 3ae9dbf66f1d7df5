"""The one training loop, for all tasks, with exact resume.

Randomness is a function of (seed, update): the order of an epoch comes from (seed, epoch), and torch's global generator
is seeded before every update. A run that is killed and resumed from `last.pt` therefore ends in bitwise the same
weights (on a CPU, with the same number of threads) without any generator state being saved.
"""

import copy
import hashlib
import json
import math
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, cast

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from astrodl.atomic import replacing, write_text
from astrodl.config import TrainSettings
from astrodl.dataset import Batch, Resident, shuffled
from astrodl.errors import AstrodlError

SAVE_SECONDS = 20.0
"""Least time between two checkpoints; it changes what a kill costs, never the result."""

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
    """Training cannot go on: the loss is not finite."""


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

    def __post_init__(self) -> None:
        self.optimizers = {
            phase: make_optimizer(self.task.parameters(self.network, phase), self.settings)
            for phase in self.task.phases
        }
        self.cycle = [phase for phase, updates in self.task.phases.items() for _ in range(updates)]
        self.average = copy.deepcopy(self.network).requires_grad_(False) if self.settings.ema else None

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and saved: the moving average where there is one."""
        return self.average if self.average is not None else self.network

    def state(self) -> State:
        """Give what a resumed run needs, as tensors and plain values."""
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
    label: str = "train",
    progress: bool | None = None,
) -> list[dict[str, Any]]:
    """Train `network` in place; the weights of the best validation loss (or the last ones) end up in it.

    Parameters
    ----------
    task : Trainable
        Phases, losses, augmentation, validation.
    network : nn.Module
        Freshly initialised network on the device of `train`.
    train, validation : Resident
        The two splits; without validation the last weights are kept.
    settings : TrainSettings
        The loop's settings.
    folder : Path
        Where `last.pt` and `history.jsonl` are kept.
    seed : int
        Seed of order, augmentation and noise.
    fingerprint : str
        Identity of settings and data; a checkpoint with another one is not resumed.
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
        The loss is not finite.
    Stopped
        SIGTERM arrived; the run can be resumed.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = Fit(task, network, settings, seed)
    checkpoint = folder / "last.pt"
    resume(state, checkpoint, fingerprint)
    runner = cast(nn.Module, torch.compile(network)) if settings.compile else network
    per_epoch = max(1, len(train) // settings.batch_size)
    total = per_epoch * settings.epochs
    precision = autocast(train.device, settings.precision)
    started = saved = time.monotonic()
    first_step = state.step
    with torch.random.fork_rng(), termination() as stop, report(label, total, progress) as show:
        while state.step < total and not out_of_patience(state):
            epoch, position = divmod(state.step, per_epoch)
            if position == 0 or state.step == first_step:
                order = shuffled(len(train), epoch, seed, train.device)[: per_epoch * settings.batch_size]
                batches = train.batches(order[position * settings.batch_size :], settings.batch_size)
            update(state, runner, next(batches), total, precision)
            state.step += 1
            if position + 1 == per_epoch:
                rate = (state.step - first_step) * settings.batch_size / (time.monotonic() - started)
                finish_epoch(state, epoch, validation, precision, rate, last=state.step == total)
                write_history(folder / "history.jsonl", state.history)
            show(state)
            if stop or time.monotonic() - saved > SAVE_SECONDS:
                save_atomically({"fingerprint": fingerprint, **state.state()}, checkpoint)
                saved = time.monotonic()
            if stop:
                raise Stopped(128 + signal.SIGTERM)
    network.load_state_dict(state.best if state.best is not None else state.evaluated.state_dict())
    return state.history


def update(state: Fit, runner: nn.Module, batch: Batch, total: int, precision: AbstractContextManager) -> None:
    """Make one update of the phase whose turn it is; a loss that is not finite is refused before it."""
    settings, task = state.settings, state.task
    torch.manual_seed(seed_at(state.seed, state.step))
    phase = state.cycle[state.step % len(state.cycle)]
    optimizer = state.optimizers[phase]
    state.network.train()
    with precision:
        loss, terms = task.loss(runner, channels_last(task.augment(batch)), phase, state.step / total)
    if not torch.isfinite(loss):
        values = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in terms.items())
        raise TrainingError(
            f"update {state.step}, phase {phase}: the loss is {float(loss.detach())} ({values}); "
            "lower train.learning_rate or look for extreme values in the images"
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if settings.clip is not None:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], settings.clip)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * state.factor * schedule(state.step / total, settings)
    optimizer.step()
    if state.average is not None:
        follow(state.average, state.network, min(settings.ema, (1 + state.step) / (10 + state.step)))
    prefix = f"{phase}_" if len(state.cycle) > 1 else ""
    for name, value in {"loss": loss, **terms}.items():
        entry = state.sums.setdefault(prefix + name, [0.0, 0])
        entry[0] += float(value.detach())
        entry[1] += 1


def finish_epoch(
    state: Fit, epoch: int, validation: Resident | None, precision: AbstractContextManager, rate: float, *, last: bool
) -> None:
    """Append a row to the history, validate when it is due, keep the best weights, lower the rate on a plateau."""
    settings = state.settings
    row: dict[str, Any] = {
        "epoch": epoch,
        "step": state.step,
        "learning_rate": settings.learning_rate * state.factor * schedule(epoch / settings.epochs, settings),
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
    """Average the task's validation terms over a split, weighted by objects."""
    network = state.evaluated.eval()
    sums: dict[str, float] = {}
    torch.manual_seed(seed_at(state.seed, -1))
    with torch.no_grad(), precision:
        for batch in validation.in_order(256):
            n_objects = len(next(iter(batch.values())))
            for name, value in state.task.validate(network, channels_last(batch)).items():
                sums[name] = sums.get(name, 0.0) + float(value) * n_objects
    return {name: total / len(validation) for name, total in sums.items()}


def out_of_patience(state: Fit) -> bool:
    """Tell whether the validation loss has not improved for `patience` epochs; decided by the history alone."""
    patience = state.settings.patience
    if patience is None or not state.history or state.best_epoch < 0:
        return False
    return state.history[-1]["epoch"] - state.best_epoch >= patience


def schedule(done: float, settings: TrainSettings) -> float:
    """Give the factor on the learning rate after the fraction `done` of all updates."""
    if done < settings.warmup:
        return (done + 1e-3) / (settings.warmup + 1e-3)
    if settings.schedule != "cosine":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (done - settings.warmup) / (1 - settings.warmup)))


def make_optimizer(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Make the optimizer of a phase; vectors (biases, normalisation) are not decayed."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate = settings.learning_rate
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, momentum=settings.betas[0], nesterov=settings.betas[0] > 0)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, rate, betas=settings.betas)


def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the network's; buffers (running statistics, counters) are copied."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)


def seed_at(seed: int, step: int) -> int:
    """Mix seed and step into a 63-bit seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{step}".encode()).digest()[:8], "little") >> 1


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Give the autocast context: bfloat16 where asked for, or by default where the device computes in it natively."""
    # a private name of torch, which may come and go: without it float32 is the safe choice
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    native = device.type == "cuda" or probe()
    enabled = precision == "bfloat16" or (precision == "auto" and native)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def channels_last(batch: Batch) -> Batch:
    """Lay the images of a batch out as the convolutions read them fastest."""
    return {
        name: tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in batch.items()
    }


def choose_device(name: str) -> torch.device:
    """Turn auto, cpu or cuda into a device.

    Raises
    ------
    AstrodlError
        CUDA is asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise AstrodlError("device 'cuda' is not available on this machine; accepted: auto, cpu; use --device auto")
    return torch.device(name)


def resume(state: Fit, checkpoint: Path, fingerprint: str) -> None:
    """Restore the state from a checkpoint of the same fingerprint; say so where there is one of another."""
    if not checkpoint.exists():
        return
    saved = torch.load(checkpoint, map_location=next(state.network.parameters()).device, weights_only=True)
    if saved["fingerprint"] != fingerprint:
        print(f"{checkpoint}: made with other settings or data; training starts afresh", file=sys.stderr)
        return
    state.restore(saved)
    print(f"{checkpoint}: resumed at update {state.step}", file=sys.stderr)


def save_atomically(state: State, path: Path) -> None:
    """Write a checkpoint whole or not at all."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Write one JSON line per epoch, atomically."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in history))


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


@contextmanager
def report(label: str, total: int, progress: bool | None) -> Iterator[Any]:
    """Show the progress: a bar with loss, rate and time left on a terminal, else a line per epoch."""
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield lambda state: _line(label, state, total) if progress is None else None
        return
    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[terms]}"),
        TimeRemainingColumn(),
    )
    from rich.console import Console

    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task(label, total=total, terms="")
        yield lambda state: bar.update(line, completed=state.step, terms=_describe(state))


def _describe(state: Fit) -> str:
    if not state.history:
        return ""
    row = state.history[-1]
    values = [f"train {next(iter(row['train'].values())):.4g}"]
    if "validation" in row:
        values.append(f"validation {row['validation']['loss']:.4g}")
    return f"{', '.join(values)}, {row['images_per_second']:.0f} images/s"


def _line(label: str, state: Fit, total: int) -> None:
    if state.history and state.history[-1]["step"] == state.step:
        print(f"{label} {state.step}/{total} {_describe(state)}", file=sys.stderr, flush=True)
