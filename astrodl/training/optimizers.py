"""What moves the weights: optimizers, penalties and limits, learning-rate schedules, the moving average."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from astrodl import distributed
from astrodl.config import TrainSettings


def make_optimizer(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Make the optimizer of a phase; vectors (biases, norms) do not decay.

    Where torch has a fused form for every device, all weights move in one kernel.
    """
    parameters = list(parameters)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate, (first, second) = settings.peak_rate, settings.betas
    match settings.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, rate, fused=True)
        case "momentum" | "nesterov":
            nesterov = settings.optimizer == "nesterov" and first > 0
            return torch.optim.SGD(groups, rate, momentum=first, nesterov=nesterov, fused=True)
        case "adagrad":
            return torch.optim.Adagrad(groups, rate)
        case "adadelta":
            return torch.optim.Adadelta(groups, rate, rho=second)
        case "rmsprop":
            return torch.optim.RMSprop(groups, rate, alpha=second)
        case "nadam":
            return torch.optim.NAdam(groups, rate, betas=settings.betas)
        case "adam":
            return torch.optim.Adam(groups, rate, betas=settings.betas, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, rate, betas=settings.betas, fused=True)


def schedule(done: float, settings: TrainSettings) -> float:
    """Give the factor on the learning rate after the fraction `done` of all updates."""
    if done < settings.warmup:
        return (done + 1e-3) / (settings.warmup + 1e-3)
    if settings.schedule != "cosine":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (done - settings.warmup) / (1 - settings.warmup)))


def average_gradients(optimizer: torch.optim.Optimizer, values: Tensor) -> Tensor:
    """Average the gradients, and the `values` (V,) that travel with them, over the ranks: one message for all."""
    if distributed.size() == 1:
        return values
    parts = [values, *(p.grad for p in weights(optimizer) if p.grad is not None)]
    message = distributed.added(torch.cat([part.flatten() for part in parts])).div_(distributed.size())
    for part, average in zip(parts, message.split([part.numel() for part in parts]), strict=True):
        part.copy_(average.view_as(part))
    return values


def penalize(optimizer: torch.optim.Optimizer, l1: float, l2: float) -> None:
    """Add the gradients of l1 sum |w| + l2 sum w^2 / 2, over the weights that decay."""
    if not l1 and not l2:
        return
    moving = [p for p in optimizer.param_groups[0]["params"] if p.grad is not None]
    for weight in moving:
        old = weight.detach()
        weight.grad.add_(old.sign(), alpha=l1).add_(old, alpha=l2)


def limit_norms(network: nn.Module, largest: float) -> None:
    """Shrink the incoming weights of each unit to a norm of at most `largest` (Srivastava et al. 2014, JMLR 15)."""
    with torch.no_grad():
        for module in network.modules():
            # (out, in, ...), but (in, out, ...) where a convolution is transposed
            unit = 1 if isinstance(module, nn.ConvTranspose2d) else 0
            for weight in module.parameters(recurse=False):
                if weight.ndim > 1 and weight.requires_grad:
                    weight.renorm_(2, unit, largest)


def move(optimizer: torch.optim.Optimizer, rate: float, refused: Tensor) -> None:
    """Make an update, unless the tensor `refused` is true: that is decided on the device, nothing waits for it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    if optimizer.defaults.get("fused"):
        # what torch's gradient scaler tells a fused optimizer when a gradient overflowed
        optimizer.grad_scale, optimizer.found_inf = None, refused.float()  # type: ignore[attr-defined]
        optimizer.step()
    elif refused.is_cuda:
        step_or_undo(optimizer, refused)
    elif not refused:
        optimizer.step()


def step_or_undo(optimizer: torch.optim.Optimizer, refused: Tensor) -> None:
    """Make an update, and put weights and moments back where it was refused: for optimizers that know no refusal.

    What they count on the host goes on counting; nothing but the bias correction of NAdam reads it.
    """
    moving = weights(optimizer)
    for weight in moving:
        if weight.grad is not None:
            # moments that this update makes have nothing to go back to, and must be finite
            weight.grad = weight.grad.masked_fill(refused, 0.0)
    moments = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    held = [tensor.detach() for tensor in (*moving, *moments) if tensor.device == refused.device]
    before = [tensor.clone() for tensor in held]
    optimizer.step()
    for tensor, old in zip(held, before, strict=True):
        tensor.copy_(torch.where(refused, old, tensor))


def weights(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """List what an optimizer moves."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the network's; buffers (running statistics, counters) are copied."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs, non_blocking=True)
