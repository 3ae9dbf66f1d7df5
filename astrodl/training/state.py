"""State of a training run, and the interface of the tasks to the training loop."""

import copy
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NotRequired, Protocol, TypedDict, TypeVar

from torch import Tensor, nn

from astrodl.config import TrainSettings
from astrodl.data.batches import Batch
from astrodl.device import choose_memory_format
from astrodl.training.optimizers import make_optimizer

__all__ = ["EpochRow", "NetworkT", "StateDict", "Trainable", "TrainingState"]

StateDict = dict[str, Any]
_PLAIN = ("step", "sums", "history", "best_loss", "best_epoch", "rate_factor", "lowered_epoch")
"""Plain values of a `TrainingState` that a checkpoint saves."""
NetworkT = TypeVar("NetworkT", bound=nn.Module)
NetworkT_contra = TypeVar("NetworkT_contra", bound=nn.Module, contravariant=True)


class Trainable(Protocol[NetworkT_contra]):
    """Interface of a task to the training loop."""

    @property
    def phases(self) -> Mapping[str, int]:
        """Phase -> number of consecutive updates in a cycle."""

    def parameters(self, network: NetworkT_contra, phase: str) -> Iterable[nn.Parameter]:
        """Return the parameters that a phase updates."""

    def augment(self, batch: Batch) -> Batch:
        """Augment a training batch."""

    def loss(self, network: NetworkT_contra, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a phase and its named terms, after the fraction `done` of all updates."""

    def validate(self, network: NetworkT_contra, batch: Batch) -> dict[str, Tensor]:
        """Return named means over a batch; early stopping watches `loss`."""


class EpochRow(TypedDict):
    """A line of `history.jsonl`."""

    epoch: int
    step: int
    learning_rate: float
    train: dict[str, float]
    images_per_second: float
    validation: NotRequired[dict[str, float]]
    alike: NotRequired[float]
    """Share of the layers whose units are all alike, where there are any."""


@dataclass
class TrainingState(Generic[NetworkT]):
    """Everything that changes during training; `state_dict` holds the part that a checkpoint saves."""

    task: Trainable[NetworkT]
    network: NetworkT
    settings: TrainSettings
    seed: int
    step: int = 0
    sums: dict[str, list[float]] = field(default_factory=dict)
    """Sum and number of the values of each training term in this epoch."""
    history: list[EpochRow] = field(default_factory=list)
    best_loss: float = math.inf
    best_epoch: int = -1
    best: StateDict | None = None
    rate_factor: float = 1.0
    """Factor on the learning rate that the plateau schedule lowers."""
    lowered_epoch: int = -1
    """Last epoch after which the plateau schedule lowered the rate."""
    pending: list[tuple[int, list[str], Tensor]] = field(default_factory=list)
    """Updates since `collect_results`: step, names, and a row of finite (0 or 1), stop (0 or more), named values."""

    def __post_init__(self) -> None:
        self.optimizers = {
            phase: make_optimizer(self.task.parameters(self.network, phase), self.settings)
            for phase in self.task.phases
        }
        self.cycle = [phase for phase, updates in self.task.phases.items() for _ in range(updates)]
        self.average = copy.deepcopy(self.network).requires_grad_(False) if self.settings.ema else None
        self.memory_format = choose_memory_format(self.network)

    @property
    def evaluated(self) -> NetworkT:
        """The network that is validated and saved: the moving average, or else the network itself."""
        return self.average if self.average is not None else self.network

    def state_dict(self) -> StateDict:
        """Return the state that a resumed run needs, as tensors and plain values."""
        assert not self.pending
        plain = [getattr(self, name) for name in _PLAIN]
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizers": {phase: optimizer.state_dict() for phase, optimizer in self.optimizers.items()},
            "best": self.best,
            "plain": json.dumps(plain),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore the state of `state_dict`."""
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        for phase, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][phase])
        self.best = state["best"]
        for name, value in zip(_PLAIN, json.loads(state["plain"]), strict=False):  # older checkpoints hold fewer
            setattr(self, name, value)
