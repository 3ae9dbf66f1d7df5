"""Derivatives of functions on arrays by finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["differentiate"]


def differentiate(function: Callable[[np.ndarray], np.ndarray], values: Tensor, step: float = 1e-2) -> Tensor:
    """Apply a function of rows of a few numbers, (B, n) -> (B, m), with gradients by central differences.

    Parameters
    ----------
    function : callable
        Function on float64 arrays, whose rows do not depend on each other.
    values : (B, n) tensor
    step : float
        Half of the distance of the two values of a difference.
    """
    result: Tensor = _Differences.apply(values, function, step)
    return result


class _Differences(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, function: Callable[[np.ndarray], np.ndarray], step: float) -> Tensor:
        array = values.detach().double().cpu().numpy()
        if ctx.needs_input_grad[0]:
            shifts = step * np.eye(array.shape[1])
            columns = [(function(array + shift) - function(array - shift)) / (2 * step) for shift in shifts]
            ctx.save_for_backward(values.new_tensor(np.stack(columns, axis=-1)))
        return values.new_tensor(function(array))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (jacobian,) = ctx.saved_tensors
        return torch.einsum("bm,bmn->bn", gradients[0], jacobian), None, None
