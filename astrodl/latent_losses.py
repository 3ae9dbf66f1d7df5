"""Differentiable losses of latent vectors: of autoencoders, and of self-supervised learning.

What is pooled over a batch is pooled over its ranks. All of it is computed in float32, in mixed precision too.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from astrodl import distributed

__all__ = [
    "IMQ_SCALES",
    "VICREG_WEIGHTS",
    "VicRegTerms",
    "contractive_penalty",
    "free_bits",
    "gaussian_log_likelihood",
    "mmd_standard_normal",
    "nt_xent",
    "sparse_penalty",
    "vicreg",
]

IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Widths of the sum of inverse multiquadrics, in units of the mean square distance of two standard normal vectors, as
in the code of Tolstikhin et al. 2018."""

VICREG_WEIGHTS = (25.0, 25.0, 1.0)
"""Weights of invariance, variance and covariance (Bardes, Ponce & LeCun 2022, section 4.2)."""

_LOG_NODES = np.linspace(-20, 4, 65)
"""Logarithms of the nodes of the integral over Gaussians that makes an inverse multiquadric."""


def free_bits(kl: Tensor, least: float) -> Tensor:
    r"""Kullback-Leibler term that leaves `least` nats to each latent dimension at no cost.

    .. math:: \sum_j \max\left(\lambda, \langle \mathrm{KL}_{ij} \rangle_i\right)

    with the mean over the batch (Kingma et al. 2016, arXiv:1606.04934, eq. 15). A dimension below `least` gets no
    gradient, so that it is not pressed to zero early in training.

    Parameters
    ----------
    kl : (B, D) tensor
        Divergence of each object and dimension in nats, as of `losses.kl_standard_normal`.
    least : float
        :math:`\lambda`, zero or more; with zero the result is the plain divergence.

    Returns
    -------
    scalar tensor
    """
    n_objects = len(kl) * distributed.world_size()
    mean = distributed.all_reduce(kl.float().sum(0)) / n_objects
    return mean.clamp_min(least).sum()


def gaussian_log_likelihood(
    mean: Tensor, sigma: Tensor, target: Tensor, *, unit: Literal["nats", "bits"] = "nats"
) -> Tensor:
    r"""Logarithm of the probability density of independent Gaussian numbers, summed over each object.

    .. math:: -\frac{1}{2} \sum_j \left[\left(\frac{x_j - \mu_j}{\sigma_j}\right)^2 + \log 2 \pi \sigma_j^2\right]

    It is a density, in nats or bits relative to the unit of the target: dividing x, mu and sigma of D numbers by c adds
    D log c.

    Parameters
    ----------
    mean, sigma, target : (B, ...) tensor
        Tensors that broadcast to the target.
    unit : {"nats", "bits"}
        Natural logarithm, or that to base 2.

    Returns
    -------
    (B,) tensor
    """
    if unit not in {"nats", "bits"}:
        raise ValueError(f"unit '{unit}' is not known; accepted: nats, bits")
    mean, sigma, target = mean.float(), sigma.float(), target.float()
    values = -0.5 * ((target - mean) / sigma).square() - sigma.log() - 0.5 * math.log(2 * math.pi)
    total = values.flatten(1).sum(1)
    return total / math.log(2) if unit == "bits" else total


def sparse_penalty(codes: Tensor) -> Tensor:
    """L1 norm of each code (Ng 2011, CS294A lecture notes on sparse autoencoders): (B, D) -> (B,)."""
    return codes.float().abs().sum(1)


def contractive_penalty(encode: Callable[[Tensor], Tensor], image: Tensor, *, n_projections: int = 0) -> Tensor:
    r"""Squared Frobenius norm of the Jacobian of an encoder, :math:`\sum_{jk} (\partial z_j / \partial x_k)^2`.

    Rifai et al. 2011 (ICML, 833), eq. 3. The exact norm takes a backward pass for each of the D numbers of the code.
    `n_projections` > 0 takes as many passes, and estimates the norm without bias by
    :math:`\langle |J^T v|^2 \rangle` with signs v drawn at random (Hutchinson 1989, Communications in Statistics 18,
    1059). The encoder must treat each object of the batch alone (no batch norm in training mode).

    Parameters
    ----------
    encode : callable
        (B, ...) -> (B, D).
    image : (B, ...) tensor
    n_projections : int
        Number of projections, or 0 for the exact norm.

    Returns
    -------
    (B,) tensor
        Differentiable with respect to the parameters of the encoder.
    """
    with torch.enable_grad(), torch.autocast(image.device.type, enabled=False):
        image = image.detach().float().requires_grad_(True)
        codes = encode(image)
        if n_projections:
            signs = [2 * (distributed.rand_like(codes) < 0.5).to(codes.dtype) - 1 for _ in range(n_projections)]
        else:
            signs = list(torch.eye(codes.shape[1], device=codes.device).unsqueeze(1).expand(-1, len(codes), -1))
        total = codes.new_zeros(len(codes))
        for sign in signs:
            (gradient,) = torch.autograd.grad(codes, image, sign, create_graph=True)
            total = total + gradient.flatten(1).square().sum(1)
    return total / max(n_projections, 1)


def mmd_standard_normal(codes: Tensor, kernel: Literal["imq", "rbf"] = "imq", *, sigma: float | None = None) -> Tensor:
    r"""Squared maximum mean discrepancy between the codes of a batch and a standard normal distribution.

    .. math:: \frac{1}{B (B - 1)} \sum_{i \ne j} k(z_i, z_j) - \frac{2}{B} \sum_i \mathrm{E}_y\, k(z_i, y)
        + \mathrm{E}_{y, y'}\, k(y, y'), \quad y, y' \sim N(0, 1)

    (Gretton et al. 2012, JMLR 13, 723, eq. 3, as in InfoVAE, Zhao et al. 2019, and WAE-MMD, Tolstikhin et al. 2018).
    The expectations over the normal distribution are exact, not from drawn vectors. It is unbiased, therefore negative
    in half of the batches once the codes are normal.

    Parameters
    ----------
    codes : (B, D) tensor
        At least two, over all ranks.
    kernel : {"imq", "rbf"}
        Sum of inverse multiquadrics, :math:`\sum_s C_s / (C_s + r^2)`, with :math:`C_s = 2 D s \sigma^2` for each s of
        `IMQ_SCALES`; or a Gaussian, :math:`\exp(-r^2 / 2 \sigma^2)`.
    sigma : float, optional
        Width of the kernel; by default 1 for the multiquadrics, and sqrt(D) for the Gaussian.

    Returns
    -------
    scalar tensor
    """
    with torch.autocast(codes.device.type, enabled=False):
        codes = distributed.gather_rows(codes.float())
        n_objects, n_dimensions = codes.shape
        if n_objects < 2:
            raise ValueError(f"mmd_standard_normal: {n_objects} code; at least 2 are needed")
        distance = functional.pdist(codes).square()
        width = sigma if sigma is not None else (math.sqrt(n_dimensions) if kernel == "rbf" else 1.0)
        weight, precision = (codes.new_tensor(values) for values in _gaussian_mixture(kernel, n_dimensions, width))
        if kernel == "rbf":
            pairs = torch.exp(-0.5 * distance / width**2).mean()
        else:
            widths = codes.new_tensor([2 * n_dimensions * scale * width**2 for scale in IMQ_SCALES])
            pairs = (widths / (widths + distance[:, None])).sum(1).mean()
        once, twice = 1 / (1 + precision), 1 / (1 + 2 * precision)
        radius = codes.square().sum(1, keepdim=True)
        cross = once ** (n_dimensions / 2) * torch.exp(-0.5 * radius * precision * once)
        return pairs - 2 * (cross @ weight).mean() + twice ** (n_dimensions / 2) @ weight


def _gaussian_mixture(kernel: str, n_dimensions: int, width: float) -> tuple[list[float], list[float]]:
    r"""Write a kernel as a sum of Gaussians exp(-p r^2 / 2): weights and precisions p.

    An inverse multiquadric is :math:`C / (C + r^2) = \int_0^\infty e^{-t} e^{-t r^2 / C} \,\mathrm{d}t`, integrated by
    the trapezoidal rule in log t, which converges exponentially: below 1e-8 with these nodes, for any C and dimension.
    """
    if kernel == "rbf":
        return [1.0], [1 / width**2]
    if kernel != "imq":
        raise ValueError(f"kernel '{kernel}' is not known; accepted: imq, rbf")
    nodes = np.exp(_LOG_NODES)
    weights = np.exp(-nodes) * nodes * (_LOG_NODES[1] - _LOG_NODES[0])
    widths = [2 * n_dimensions * scale * width**2 for scale in IMQ_SCALES]
    return weights.tolist() * len(widths), [2 * node / one for one in widths for node in nodes.tolist()]


class VicRegTerms(NamedTuple):
    """Terms of `vicreg`."""

    invariance: Tensor
    """Mean square difference of the two vectors of an object."""
    variance: Tensor
    """Mean over dimensions of what the standard deviation lacks to one, summed over both views."""
    covariance: Tensor
    """Sum of the squared covariances of different dimensions divided by their number, summed over both views."""

    def weighted(self, weights: Sequence[float] = VICREG_WEIGHTS) -> Tensor:
        """Return the loss, the weighted sum of the terms."""
        return sum((w * term for w, term in zip(weights, self, strict=True)), start=torch.zeros_like(self.invariance))


def vicreg(first: Tensor, second: Tensor) -> VicRegTerms:
    """Return invariance, variance and covariance of the vectors of two views of each object.

    Bardes, Ponce & LeCun 2022, arXiv:2105.04906, algorithm 1, which averages the invariance over dimensions where
    eq. 5 sums.

    Parameters
    ----------
    first, second : (B, D) tensor
        At least two objects, over all ranks.
    """
    with torch.autocast(first.device.type, enabled=False):
        views = [distributed.gather_rows(view.float()) for view in (first, second)]
        variance, covariance = views[0].new_zeros(()), views[0].new_zeros(())
        for view in views:
            centred = view - view.mean(0)
            product = centred.T @ centred / (len(view) - 1)
            variances = product.diagonal()
            variance = variance + (1 - (variances + 1e-4).sqrt()).relu().mean()
            covariance = covariance + (product.square().sum() - variances.square().sum()) / len(product)
        return VicRegTerms(functional.mse_loss(views[0], views[1]), variance, covariance)


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    r"""Contrastive loss that finds the other view of each object among all 2 B views of the batch.

    .. math:: -\frac{1}{2 B} \sum_i \log \frac{\exp(s_{i i'} / \tau)}{\sum_{k \ne i} \exp(s_{i k} / \tau)}

    with cosine similarities s and the other view i' of i (SimCLR: Chen et al. 2020, arXiv:2002.05709, eq. 1).

    Parameters
    ----------
    first, second : (B, D) tensor
    temperature : float
        :math:`\tau`, positive.

    Returns
    -------
    scalar tensor
        log(2 B - 1) where all vectors are equal.
    """
    with torch.autocast(first.device.type, enabled=False):
        views = [functional.normalize(distributed.gather_rows(view.float()), dim=1) for view in (first, second)]
        vectors, n_objects = torch.cat(views), len(views[0])
        logits = (vectors @ vectors.T / temperature).fill_diagonal_(-math.inf)
        partner = torch.arange(2 * n_objects, device=vectors.device).roll(n_objects)
        return functional.cross_entropy(logits, partner)
