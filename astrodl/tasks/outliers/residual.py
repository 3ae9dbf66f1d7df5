"""Numbers that describe the residual of a redrawn image."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["REGIONS", "compare_images", "compare_vectors", "describe_residual", "standardize_residual"]

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


def standardize_residual(image: Tensor, decoded: Tensor, sky: Tensor, stretch: float) -> tuple[Tensor, Tensor]:
    """Return the residual in units of its error, and the image in units of the sky noise, (B, C, H, W) each.

    Photon noise grows with the galaxy, and so does what a generator misses: 5 % of the light.
    """
    sky = sky[..., None, None].clamp_min(1e-6)
    real, drawn = ((each * stretch).clamp(-12, 12).sinh() / sky for each in (image, decoded))
    bright = drawn.clamp_min(0)
    # `fill_missing` sets missing pixels to exactly zero: they have no residual
    return (real - drawn) * (image != 0) / (1 + 0.1 * bright + (0.05 * bright) ** 2).sqrt(), real


def compare_images(image: Tensor, decoded: Tensor, sky: Tensor, stretch: float) -> tuple[Tensor, Tensor]:
    """Describe the residual of redrawn images: logarithms of its numbers (B, R), and of flux and peak (B, 2)."""
    residual, real = standardize_residual(image, decoded, sky, stretch)
    smooth = functional.avg_pool2d(real.mean(1), 3, 1, 1)
    flux = smooth.clamp_min(0).sum((-2, -1))
    light = [flux.clamp_min(1).log(), smooth.amax((-2, -1)).clamp_min(0.1).log()]
    return describe_residual(residual), torch.stack(light, dim=1)


def compare_vectors(vector: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
    """Describe the residual of redrawn features: that of each, and the mean of all in place of flux and peak."""
    residual = (vector - decoded).abs().clamp_min(1e-4).log()
    mean = vector.mean(1)
    return residual, torch.stack([5 + 2 * mean, torch.full_like(mean, 2.0)], dim=1)
