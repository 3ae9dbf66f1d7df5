"""Numbers that describe the residual of a redrawn image."""

import torch
from torch import Tensor
from torch.nn import functional

from astrodl.data.batches import Batch
from astrodl.losses import stable_asinh
from astrodl.models.gan import Critic, EncoderGAN

__all__ = [
    "REGIONS",
    "compare_features",
    "compare_images",
    "compare_vectors",
    "describe_residual",
    "measure_residuals",
    "standardize_residual",
]

REGIONS = {"everywhere": (0.98, None), "galaxy": (0.90, 0.69), "core": (None, 0.44)}
"""Regions of the residual image: quantile of its modulus (None: power of the excess), radius in half sides."""


def measure_residuals(network: EncoderGAN, batch: Batch, stretch: float) -> tuple[Tensor, Tensor]:
    """Measure what the network cannot redraw, of images or, without them, of features.

    Returns
    -------
    numbers : (B, R) tensor
        Logarithms: of each region and band, then of the features of the critic; or of each feature.
    light : (B, 2) tensor
        Logarithms of flux and peak.
    """
    image, decoded = batch["image"], network(batch["image"]).float()
    if "sky" not in batch:
        return compare_vectors(image, decoded)
    assert isinstance(network.critic, Critic)
    compared = image, decoded, batch["sky"], stretch
    numbers, light = compare_images(*compared)
    return torch.cat([numbers, compare_features(network.critic, *compared)], 1), light


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


def compare_features(critic: Critic, image: Tensor, decoded: Tensor, sky: Tensor, stretch: float) -> Tensor:
    """Return the logarithm of the mean squared difference of image and redrawn image in what the critic sees, (B, 1).

    The features are those before the fully connected layers, as in f-AnoGAN (Schlegl et al. 2019). The redrawn image
    gets noise of the sky, as in the training: one realisation for all, so that the number depends on nothing else.
    """
    noise = torch.randn(image.shape[1:], generator=torch.Generator().manual_seed(0)).to(image.device)
    linear = (decoded * stretch).clamp(-10, 10).sinh() + sky[..., None, None] * noise
    drawn = stable_asinh(linear) / stretch * (image != 0)
    difference = critic.trunk(image).float() - critic.trunk(drawn).float()
    return difference.flatten(1).square().mean(1, keepdim=True).clamp_min(1e-12).log()


def compare_vectors(vector: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
    """Describe the residual of redrawn features: that of each, and the mean of all in place of flux and peak."""
    residual = (vector - decoded).abs().clamp_min(1e-4).log()
    mean = vector.mean(1)
    return residual, torch.stack([5 + 2 * mean, torch.full_like(mean, 2.0)], dim=1)
