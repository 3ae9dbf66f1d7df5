"""Numbers that describe the residual of a redrawn image."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["REGIONS", "describe_residual"]

REGIONS = {"everywhere": (0.98, None), "galaxy": (0.90, 0.69), "core": (None, 0.44)}
"""Regions of the residual image: quantile of its modulus (None: power of the excess), radius in half sides."""


def describe_residual(residual: Tensor) -> Tensor:
    """Describe a residual in units of the noise (B, C, H, W) by the logarithms of a number per region and band."""
    smooth = functional.avg_pool2d(residual, 3, 1, 1) * 3
    axis = torch.linspace(-1, 1, residual.shape[-1], device=residual.device)
    radius = (axis[:, None] ** 2 + axis[None, :] ** 2).sqrt()
    parts = []
    for quantile, limit in REGIONS.values():
        inside = smooth[..., radius < limit] if limit is not None else smooth.flatten(2)
        number = inside.abs().quantile(quantile, dim=2) if quantile else inside.clamp_min(0).square().mean(2)
        parts.append(number)
    return torch.cat(parts, dim=1).clamp_min(1e-4).log()
