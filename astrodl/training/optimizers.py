"""Optimizers, learning-rate schedule, penalties on the weights, and the moving average of the weights."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl import distributed
from astrodl.config import TrainSettings

__all__ = [
    "average_gradients",
    "learning_rate_factor",
    "limit_norms",
    "make_optimizer",
    "parameters_of",
    "penalize",
    "share_of_alike_layers",
    "step_or_undo",
    "step_unless",
    "update_average",
]

_LEAST_UNITS = 4
_ALIKE = 0.1
"""Largest distance between the directions of two units that count as alike."""


def make_optimizer(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Make an optimizer without weight decay on vectors (biases, norms).

    It is fused, that is updates all weights in one kernel, if torch has a fused form for every device.
    """
    parameters = list(parameters)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate, (momentum, alpha) = settings.peak_rate, settings.betas
    match settings.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, rate, fused=True)
        case "momentum" | "nesterov":
            nesterov = settings.optimizer == "nesterov" and momentum > 0
            return torch.optim.SGD(groups, rate, momentum=momentum, nesterov=nesterov, fused=True)
        case "adagrad":
            return torch.optim.Adagrad(groups, rate)
        case "adadelta":
            return torch.optim.Adadelta(groups, rate, rho=alpha)
        case "rmsprop":
            return torch.optim.RMSprop(groups, rate, alpha=alpha)
        case "nadam":
            return torch.optim.NAdam(groups, rate, betas=settings.betas)
        case "adam":
            return torch.optim.Adam(groups, rate, betas=settings.betas, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, rate, betas=settings.betas, fused=True)


def learning_rate_factor(done: float, settings: TrainSettings) -> float:
    """Return the factor on the learning rate after the fraction `done` of all updates."""
    if done < settings.warmup:
        return (done + 1e-3) / (settings.warmup + 1e-3)
    if settings.schedule != "cosine":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (done - settings.warmup) / (1 - settings.warmup)))


def average_gradients(optimizer: torch.optim.Optimizer, values: Tensor) -> Tensor:
    """Average the gradients and the `values`, (V,), over the ranks in place, in one message."""
    if distributed.world_size() == 1:
        return values
    parts = [values, *(p.grad for p in parameters_of(optimizer) if p.grad is not None)]
    message = distributed.all_reduce_(torch.cat([part.flatten() for part in parts])).div_(distributed.world_size())
    for part, average in zip(parts, message.split([part.numel() for part in parts]), strict=True):
        part.copy_(average.view_as(part))
    return values


def penalize(optimizer: torch.optim.Optimizer, l1: float, l2: float) -> None:
    """Add the gradients of l1 sum |w| + l2 sum w^2 / 2 over the weights that decay."""
    if not l1 and not l2:
        return
    for weight in optimizer.param_groups[0]["params"]:
        if weight.grad is not None:
            old = weight.detach()
            weight.grad.add_(old.sign(), alpha=l1).add_(old, alpha=l2)


def limit_norms(network: nn.Module, largest: float) -> None:
    """Shrink the incoming weights of each unit to a norm of at most `largest` (Srivastava et al. 2014, JMLR 15)."""
    with torch.no_grad():
        for module in network.modules():
            # weights are (out, in, ...), but (in, out, ...) in a transposed convolution
            unit = 1 if isinstance(module, nn.ConvTranspose2d) else 0
            for weight in module.parameters(recurse=False):
                if weight.ndim > 1 and weight.requires_grad:
                    weight.renorm_(2, unit, largest)


def step_unless(optimizer: torch.optim.Optimizer, rate: float, skip: Tensor) -> None:
    """Make an update with learning rate `rate`, unless the boolean scalar `skip` is true on the device.

    The host does not wait for a GPU to compute `skip`.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    if optimizer.defaults.get("fused"):
        # the attributes by which torch's gradient scaler tells a fused optimizer to skip a step
        optimizer.grad_scale, optimizer.found_inf = None, skip.float()  # type: ignore[attr-defined]
        optimizer.step()
    elif skip.is_cuda:
        step_or_undo(optimizer, skip)
    elif not skip:
        optimizer.step()


def step_or_undo(optimizer: torch.optim.Optimizer, skip: Tensor) -> None:
    """Make an update, and restore weights and moments if `skip` is true; for optimizers without a fused form.

    Step counters on the host are not restored; only the bias correction of NAdam reads them.
    """
    parameters = parameters_of(optimizer)
    for weight in parameters:
        if weight.grad is not None:
            # moments that this update creates cannot be restored, so they must be finite
            weight.grad = weight.grad.masked_fill(skip, 0.0)
    moments = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    tensors = [tensor.detach() for tensor in (*parameters, *moments) if tensor.device == skip.device]
    before = [tensor.clone() for tensor in tensors]
    optimizer.step()
    for tensor, old in zip(tensors, before, strict=True):
        tensor.copy_(torch.where(skip, old, tensor))


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return the parameters that an optimizer updates."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Update the moving average of the weights, and copy the buffers; `refresh_statistics` sets those of batch norm."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        for old, new in zip(average.buffers(), network.buffers(), strict=True):
            old.copy_(new, non_blocking=True)


def share_of_alike_layers(network: nn.Module) -> float:
    """Return the share of the layers of at least four units and inputs whose units have weights of one direction.

    Units that start alike get the same gradients and stay alike: the layer does what a single unit could do.
    """
    layers = [w.detach().flatten(1) for w in network.parameters() if w.ndim > 1]
    units = [functional.normalize(w.float(), dim=1) for w in layers if min(w.shape) >= _LEAST_UNITS]
    if not units:
        return 0.0
    n_alike = torch.stack([(w - w[:1]).norm(dim=1).max() < _ALIKE for w in units]).sum()
    return int(n_alike) / len(units)
