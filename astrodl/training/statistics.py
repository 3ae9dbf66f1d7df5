"""Running statistics of batch norm for weights that were not trained themselves: a moving average."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from astrodl.data.batches import Batch
from astrodl.training.state import NetworkT, Trainable

__all__ = ["has_statistics", "refresh_statistics"]


def refresh_statistics(task: Trainable[NetworkT], network: NetworkT, batches: Iterable[Batch]) -> None:
    """Set the running statistics to those of batches, with the weights that the network has (Izmailov et al. 2018).

    The statistics of the trained weights would belong to other weights, and their moving average would, too: it lags
    behind, and the variance of a mean is not the mean of the variances. Frozen parts keep their statistics.

    Parameters
    ----------
    task : Trainable
        Its `validate` makes the forward pass.
    network : nn.Module
        The network, which ends in evaluation mode.
    batches : iterable of dict of Tensor
        Augmented training batches, of this rank.
    """
    norms = _norms(network.eval())
    kept = [norm.momentum for norm in norms]
    with torch.no_grad():
        for norm in norms:
            norm.train()
        for number, batch in enumerate(batches):
            for norm in norms:
                norm.momentum = 1 / (number + 1)  # the mean over the batches
            task.validate(network, batch)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    network.eval()


def has_statistics(network: nn.Module) -> bool:
    """Return whether a network has running statistics that are not frozen."""
    return bool(_norms(network))


def _norms(network: nn.Module) -> list[_BatchNorm]:
    return [
        part
        for part in network.modules()
        if isinstance(part, _BatchNorm) and part.track_running_stats and not getattr(part, "frozen", False)
    ]
