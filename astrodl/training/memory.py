"""The memory that a training needs, known before it is taken."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from astrodl import distributed
from astrodl.config import TrainSettings
from astrodl.data.batches import AHEAD, RESIDENT_SHARE, Resident
from astrodl.device import arranged, autocast, layout, memory_bytes
from astrodl.errors import DataError
from astrodl.training.loop import Trainable

LIBRARIES = 500_000_000
"""Bytes of a process on a CPU that has done nothing yet: torch, astropy and their friends."""
BATCH_COPIES = 4
"""Of a batch: as gathered, augmented, laid out, and as the network changes its precision."""


@dataclass(frozen=True)
class Room:
    """Bytes that a training takes at its peak: their sum, by what takes them.

    Attributes
    ----------
    data
        Tensors of training and validation objects, or the batches that are streamed ahead.
    weights
        Weights, gradients, two moments of the optimizer, and where asked for the moving average and the best weights.
    activations
        What a batch leaves behind for the backward pass, and its copies.
    libraries
        The process itself, where it shares the memory with the data (on a CPU).
    """

    data: int
    weights: int
    activations: int
    libraries: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.data + self.weights + self.activations + self.libraries


def room(task: Trainable, network: nn.Module, some: Resident, n_objects: int, settings: TrainSettings) -> Room:
    """Foretell the memory of a training from one forward and backward pass of a few objects.

    Parameters
    ----------
    task, network, settings
        What would be trained; the network is left as it is.
    some : Resident
        A few of the training objects, on the device.
    n_objects : int
        Number of objects for training and validation.
    """
    per_object = sum(tensor[0].nbytes for tensor in some.tensors.values())
    rows = distributed.divided(settings.batch_size)
    data = n_objects * per_object
    if data > RESIDENT_SHARE * memory_bytes(some.device):
        data = (AHEAD + 2) * rows * per_object
    copies = 4 + bool(settings.ema) + (settings.patience is not None)
    kept = max(saved_bytes(task, network, some, phase, settings) for phase in task.phases) / len(some)
    return Room(
        data=data,
        weights=copies * sum(tensor.nbytes for tensor in network.state_dict().values()),
        activations=int(rows * (kept + BATCH_COPIES * per_object)),
        libraries=LIBRARIES if some.device.type == "cpu" else 0,
    )


def saved_bytes(task: Trainable, network: nn.Module, some: Resident, phase: str, settings: TrainSettings) -> int:
    """Count the bytes that the loss of a phase keeps for its backward pass, without the weights."""
    probe = copy.deepcopy(network).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in probe.state_dict().values()}
    kept: dict[int, Any] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that no two get the same address
        return tensor

    batch = some.batch(torch.arange(len(some), device=some.device))
    with (
        torch.random.fork_rng(),
        distributed.alone(),
        autocast(some.device, settings.precision),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        task.loss(probe, arranged(task.augment(batch), layout(probe)), phase, 0.5)
    return sum(storage.nbytes() for storage in kept.values())


def require_room(
    task: Trainable, network: nn.Module, some: Resident, n_objects: int, settings: TrainSettings, section: str
) -> None:
    """Refuse a training that would not fit, before anything large is made; `section` names its settings.

    Raises
    ------
    DataError
        Says what needs how much, and what there is.
    """
    needed, there = room(task, network, some, n_objects, settings), memory_bytes(some.device)
    if needed.total > there:
        parts = ", ".join(f"{name} {getattr(needed, name) / 1e9:.2f}" for name in ("data", "weights", "activations"))
        raise DataError(
            f"{section}: training needs {needed.total / 1e9:.2f} GB ({parts}), this {some.device.type} has "
            f"{there / 1e9:.2f}; lower {section}.train.batch_size or {section}.widths, or ask for more memory"
        )
