"""Loss functions: pure, differentiable, on tensors.

Those that are pooled over a batch sum over the ranks that share it; the others are per object, and the engine averages
them.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl import ranks


def crps_bins(probability: Tensor, edges: Tensor, z: Tensor) -> Tensor:
    r"""Continuous ranked probability score of binned PDFs, in units of the binned quantity.

    :math:`\mathrm{CRPS} = \int (F(t) - H(t - z))^2 \,\mathrm{d}t` with the CDF taken at the bin edges and integrated
    by the trapezoidal rule in each bin (Hersbach 2000, Weather and Forecasting 15, 559).

    Parameters
    ----------
    probability : (B, K) tensor
        Probability of each bin, summing to one.
    edges : (K + 1,) tensor
        Bin edges.
    z : (B,) tensor
        True values.

    Returns
    -------
    (B,) tensor
    """
    cdf = functional.pad(probability.cumsum(1), (1, 0))
    width = edges[1:] - edges[:-1]
    step = ((edges[None] - z[:, None]) / width.mean()).clamp(-0.5, 0.5) + 0.5
    square = (cdf - step) ** 2
    return (0.5 * (square[:, 1:] + square[:, :-1]) * width).sum(1)


def smeared_targets(z: Tensor, edges: Tensor, sigma: Tensor | float) -> Tensor:
    """Distribute each true value over the bins as a Gaussian of width `sigma`: (B,) -> (B, K), rows sum to one."""
    cdf = 0.5 * (1 + torch.erf((edges[None] - z[:, None]) / (torch.as_tensor(sigma).reshape(-1, 1) * math.sqrt(2))))
    weight = (cdf[:, 1:] - cdf[:, :-1]).clamp_min(1e-8)
    return weight / weight.sum(1, keepdim=True)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy against a target distribution: (B, K), (B, K) -> (B,)."""
    return -(target * functional.log_softmax(logits, dim=1)).sum(1)


def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Dice loss 1 - 2 |A B| / (|A| + |B|), pooled over the batch (Milletari et al. 2016, arXiv:1606.04797)."""
    probability = torch.sigmoid(logits)
    common, both = ranks.total(torch.stack([(probability * target).sum(), probability.sum() + target.sum()]))
    return 1 - (2 * common + 1) / (both + 1)


def gaussian_nll(mean: Tensor, log_sigma: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of a Gaussian without its constant: per element, log sigma + (x - mu)^2 / (2 sigma^2)."""
    return log_sigma + 0.5 * ((target - mean) * torch.exp(-log_sigma)) ** 2


def kl_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, exp(log_variance)) from N(0, 1) per latent dimension: (B, D) -> (B, D)."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Mean squared deviation of the critic's gradient norm from one, between real and fake images, in float32.

    Gulrajani et al. 2017, arXiv:1704.00028, eq. 3.
    """
    with torch.autocast(real.device.type, enabled=False):
        share = ranks.rand_like(real[:, :1, :1, :1])
        mixed = torch.lerp(real.float(), fake.detach().float(), share).requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
        return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()


def moment_penalty(codes: Tensor) -> Tensor:
    """Squared distance of the batch's mean and covariance from those of a standard normal: (B, D) -> scalar."""
    n_objects = len(codes) * ranks.size()
    mean = ranks.total(codes.sum(0)) / n_objects
    centred = codes - mean
    covariance = ranks.total(centred.T @ centred) / max(n_objects - 1, 1)
    identity = torch.eye(codes.shape[1], device=codes.device)
    return mean.square().mean() + (covariance - identity).square().mean()


def pooled_mean(values: Tensor, weight: Tensor, *, least: float = 0.0) -> Tensor:
    """Sum `values` over the batch and divide by the sum of their weights, which is at least `least`."""
    above, below = ranks.total(torch.stack([values.sum(), weight.sum()]))
    return above / below.clamp_min(least)


def stable_asinh(x: Tensor) -> Tensor:
    r"""Inverse hyperbolic sine as log1p, which torch computes eight numbers at a time; its own takes ten times longer.

    :math:`\operatorname{arsinh} x = \operatorname{sgn} x \log(1 + |x| + x^2 / (1 + \sqrt{1 + x^2}))`, exact near zero.
    """
    size = x.abs()
    return (size + x * x / (1 + (x * x + 1).sqrt())).log1p().copysign(x)
