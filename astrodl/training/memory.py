"""Estimate of the memory of a training, made before the data are loaded."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from astrodl import distributed
from astrodl.config import TrainSettings
from astrodl.data.batches import PREFETCH, RESIDENT_SHARE, Dataset
from astrodl.device import autocast, choose_memory_format, memory_bytes, to_memory_format
from astrodl.errors import DataError
from astrodl.training.state import NetworkT, Trainable

__all__ = ["MemoryEstimate", "count_saved_bytes", "estimate_memory", "require_memory"]

LIBRARIES = 500_000_000
"""Bytes of a process on a CPU that has imported torch, astropy and the other libraries, and done nothing else."""
BATCH_COPIES = 4
"""Copies of a batch: as gathered, as augmented, in the memory format of the network, and in its precision."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a training in bytes, by use.

    Attributes
    ----------
    data : int
        Tensors of training and validation objects, or the batches that are prefetched.
    weights : int
        Weights, gradients, two moments of the optimizer, and if used the moving average and the best weights.
    activations : int
        Tensors that a batch keeps for the backward pass, and copies of the batch.
    libraries : int
        The process itself, if it shares its memory with the data (on a CPU).
    """

    data: int
    weights: int
    activations: int
    libraries: int

    @property
    def total(self) -> int:
        """Sum of all uses."""
        return self.data + self.weights + self.activations + self.libraries


def estimate_memory(
    task: Trainable[NetworkT], network: NetworkT, sample: Dataset, n_objects: int, settings: TrainSettings
) -> MemoryEstimate:
    """Estimate the memory of a training from the forward pass of a few objects.

    Parameters
    ----------
    task, network, settings
        Of the training; the network is not changed.
    sample : Dataset
        A few of the training objects, on the device.
    n_objects : int
        Number of objects for training and validation.
    """
    per_object = sum(tensor[0].nbytes for tensor in sample.tensors.values())
    rows = distributed.local_batch_size(settings.batch_size)
    data = n_objects * per_object
    if data > RESIDENT_SHARE * memory_bytes(sample.device):
        data = (PREFETCH + 2) * rows * per_object
    copies = 4 + bool(settings.ema) + (settings.patience is not None)
    saved = max(count_saved_bytes(task, network, sample, phase, settings) for phase in task.phases) / len(sample)
    return MemoryEstimate(
        data=data,
        weights=copies * sum(tensor.nbytes for tensor in network.state_dict().values()),
        activations=int(rows * (saved + BATCH_COPIES * per_object)),
        libraries=LIBRARIES if sample.device.type == "cpu" else 0,
    )


def count_saved_bytes(
    task: Trainable[NetworkT], network: NetworkT, sample: Dataset, phase: str, settings: TrainSettings
) -> int:
    """Count the bytes that the loss of a phase saves for its backward pass, without the weights."""
    probe = copy.deepcopy(network).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in probe.state_dict().values()}
    saved: dict[int, torch.UntypedStorage] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage  # kept alive, so that its address is not used again
        return tensor

    batch = sample.batch(torch.arange(len(sample), device=sample.device))
    with (
        torch.random.fork_rng(),
        distributed.single_process(),
        autocast(sample.device, settings.precision),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        task.loss(probe, to_memory_format(task.augment(batch), choose_memory_format(probe)), phase, 0.5)
    return sum(storage.nbytes() for storage in saved.values())


def require_memory(
    task: Trainable[NetworkT],
    network: NetworkT,
    sample: Dataset,
    n_objects: int,
    settings: TrainSettings,
    section: str,
) -> None:
    """Check that a training fits in the memory of its device; `section` is the configuration key of the task.

    Raises
    ------
    DataError
        It does not fit; the message gives the estimate and the available memory.
    """
    needed, available = estimate_memory(task, network, sample, n_objects, settings), memory_bytes(sample.device)
    n_bytes = needed.total - needed.libraries  # the process holds the libraries already
    if n_bytes > available:
        parts = ", ".join(f"{name} {getattr(needed, name) / 1e9:.2f}" for name in ("data", "weights", "activations"))
        raise DataError(
            f"{section}: training needs {n_bytes / 1e9:.2f} GB ({parts}), this {sample.device.type} has "
            f"{available / 1e9:.2f}; lower {section}.train.batch_size or {section}.widths, or ask for more memory"
        )
