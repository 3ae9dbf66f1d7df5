"""What moves the weights: optimizers, learning-rate schedules, the moving average."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from astrodl import ranks
from astrodl.config import TrainSettings


def make_optimizer(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Make the optimizer of a phase, all of whose weights move in one kernel; vectors (biases, norms) do not decay."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate = settings.learning_rate
    if settings.optimizer == "sgd":
        momentum = settings.betas[0]
        return torch.optim.SGD(groups, rate, momentum=momentum, nesterov=momentum > 0, fused=True)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, rate, betas=settings.betas, fused=True)


def schedule(done: float, settings: TrainSettings) -> float:
    """Give the factor on the learning rate after the fraction `done` of all updates."""
    if done < settings.warmup:
        return (done + 1e-3) / (settings.warmup + 1e-3)
    if settings.schedule != "cosine":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (done - settings.warmup) / (1 - settings.warmup)))


def average_gradients(optimizer: torch.optim.Optimizer, values: Tensor) -> Tensor:
    """Average the gradients, and the `values` (V,) that travel with them, over the ranks: one message for all."""
    if ranks.size() == 1:
        return values
    parts = [values, *(p.grad for p in weights(optimizer) if p.grad is not None)]
    message = ranks.added(torch.cat([part.flatten() for part in parts])).div_(ranks.size())
    for part, average in zip(parts, message.split([part.numel() for part in parts]), strict=True):
        part.copy_(average.view_as(part))
    return values


def move(optimizer: torch.optim.Optimizer, rate: float, refused: Tensor) -> None:
    """Make an update, unless the tensor `refused` is true: that is decided on the device, nothing waits for it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    # what torch's gradient scaler tells a fused optimizer when a gradient overflowed
    optimizer.grad_scale, optimizer.found_inf = None, refused.float()  # type: ignore[attr-defined]
    optimizer.step()


def weights(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """List what an optimizer moves."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the network's; buffers (running statistics, counters) are copied."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs, non_blocking=True)
