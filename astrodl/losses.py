"""Differentiable loss functions on tensors.

Losses that are pooled over a batch sum over its ranks. The others return a value per object.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from astrodl import distributed

__all__ = [
    "SSIM_WIDTH",
    "binary_focal",
    "crps_bins",
    "dirichlet_multinomial_nll",
    "focal_loss",
    "gaussian_nll",
    "gradient_penalty",
    "kl_standard_normal",
    "mixture_bins",
    "mixture_components",
    "mixture_nll",
    "moment_penalty",
    "multinomial_nll",
    "pooled_mean",
    "smear_targets",
    "soft_cross_entropy",
    "soft_dice",
    "ssim",
    "stable_asinh",
    "triplet_batch_hard",
    "tversky",
]


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
    spacing = torch.cat([width[:1], 0.5 * (width[1:] + width[:-1]), width[-1:]])
    # the step is one bin wide, so that the loss is smooth in z
    step = ((edges[None] - z[:, None]) / spacing).clamp(-0.5, 0.5) + 0.5
    square = (cdf - step) ** 2
    return (0.5 * (square[:, 1:] + square[:, :-1]) * width).sum(1)


def smear_targets(z: Tensor, edges: Tensor, sigma: Tensor | float) -> Tensor:
    """Distribute each true value over the bins as a Gaussian of width `sigma`: (B,) -> (B, K), rows sum to one."""
    cdf = 0.5 * (1 + torch.erf((edges[None] - z[:, None]) / (torch.as_tensor(sigma).reshape(-1, 1) * math.sqrt(2))))
    weight = (cdf[:, 1:] - cdf[:, :-1]).clamp_min(1e-8)
    return weight / weight.sum(1, keepdim=True)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy against a target distribution: (B, K), (B, K) -> (B,)."""
    return -(target * functional.log_softmax(logits, dim=1)).sum(1)


def mixture_components(outputs: Tensor, edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Convert the outputs of a mixture-density head (Bishop 1994) to Gaussians in the binned quantity.

    Parameters
    ----------
    outputs : (B, 3 M) tensor
        M numbers each for weights, positions and widths. Zeros give equal Gaussians at equal distances.
    edges : (K + 1,) tensor
        Bin edges; the centres lie between the first and the last.

    Returns
    -------
    log_weight, mean, sigma : (B, M) tensors
    """
    weight, position, size = outputs.float().chunk(3, dim=1)
    span, n_components = edges[-1] - edges[0], weight.shape[1]
    start = torch.logit((torch.arange(n_components, device=outputs.device) + 0.5) / n_components)
    mean = edges[0] + span * torch.sigmoid(position + start)
    return weight.log_softmax(1), mean, span / (2 * n_components) * size.clamp(-5, 3).exp()


def mixture_bins(outputs: Tensor, edges: Tensor) -> Tensor:
    """Integrate the mixture over each bin and normalise it to the bins: (B, 3 M) -> log probability (B, K)."""
    log_weight, mean, sigma = mixture_components(outputs, edges)
    cdf = torch.special.ndtr((edges - mean[..., None]) / sigma[..., None])
    probability = (log_weight.exp()[..., None] * (cdf[..., 1:] - cdf[..., :-1])).sum(1)
    return (probability.clamp_min(0) + 1e-9).log() - (probability.sum(1, keepdim=True) + 1e-9 * (len(edges) - 1)).log()


def mixture_nll(outputs: Tensor, edges: Tensor, z: Tensor) -> Tensor:
    """Negative log-likelihood of values z under the mixture truncated at the outer edges: (B, 3 M), (B,) -> (B,)."""
    log_weight, mean, sigma = mixture_components(outputs, edges)
    log_density = -0.5 * ((z[:, None] - mean) / sigma).square() - sigma.log() - 0.5 * math.log(2 * math.pi)
    inside = torch.special.ndtr((edges[-1] - mean) / sigma) - torch.special.ndtr((edges[0] - mean) / sigma)
    kept = (log_weight.exp() * inside).sum(1).clamp_min(1e-6)
    return kept.log() - (log_weight + log_density).logsumexp(1)


def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Dice loss 1 - 2 |A B| / (|A| + |B|), pooled over the batch (Milletari et al. 2016, arXiv:1606.04797)."""
    probability = torch.sigmoid(logits)
    sums = torch.stack([(probability * target).sum(), probability.sum() + target.sum()])
    common, both = distributed.all_reduce(sums)
    return 1 - (2 * common + 1) / (both + 1)


def gaussian_nll(mean: Tensor, log_sigma: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of a Gaussian without its constant: per element, log sigma + (x - mu)^2 / (2 sigma^2)."""
    return log_sigma + 0.5 * ((target - mean) * torch.exp(-log_sigma)) ** 2


def kl_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, exp(log_variance)) from N(0, 1) per latent dimension: (B, D) -> (B, D)."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """Mean squared deviation of the critic's gradient norm from one, between real and fake images (B, C, H, W).

    Gulrajani et al. 2017, arXiv:1704.00028, eq. 3; computed in float32.
    """
    with torch.autocast(real.device.type, enabled=False):
        share = distributed.rand_like(real[:, :1, :1, :1])
        mixed = torch.lerp(real.float(), fake.detach().float(), share).requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
        return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()


def moment_penalty(codes: Tensor) -> Tensor:
    """Squared distance of the batch's mean and covariance from those of a standard normal: (B, D) -> scalar."""
    n_objects = len(codes) * distributed.world_size()
    mean = distributed.all_reduce(codes.sum(0)) / n_objects
    centred = codes - mean
    covariance = distributed.all_reduce(centred.T @ centred) / max(n_objects - 1, 1)
    identity = torch.eye(codes.shape[1], device=codes.device)
    return mean.square().mean() + (covariance - identity).square().mean()


def pooled_mean(values: Tensor, weight: Tensor, *, least: float = 0.0) -> Tensor:
    """Sum `values` over the batch and divide by the sum of their weights, which is at least `least`."""
    above, below = distributed.all_reduce(torch.stack([values.sum(), weight.sum()]))
    return above / below.clamp_min(least)


def stable_asinh(x: Tensor) -> Tensor:
    r"""Inverse hyperbolic sine by log1p, which torch vectorises; its own function takes ten times longer.

    :math:`\operatorname{arsinh} x = \operatorname{sgn} x \log(1 + |x| + x^2 / (1 + \sqrt{1 + x^2}))`, exact near zero.
    """
    size = x.abs()
    return (size + x * x / (1 + (x * x + 1).sqrt())).log1p().copysign(x)


def focal_loss(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    r"""Cross-entropy with less weight on confident predictions, :math:`-\sum_c t_c (1 - p_c)^\gamma \log p_c`.

    Lin et al. 2017, arXiv:1708.02002, eq. 5; `gamma` 0 is the cross-entropy.

    Parameters
    ----------
    logits, target : (B, C) tensor
        The target holds the weight of the true class, or weights of several classes.
    gamma : float
        Zero or more; 2 in the paper.

    Returns
    -------
    (B,) tensor
    """
    if not gamma:
        return soft_cross_entropy(logits, target)
    log_probability = logits.log_softmax(1)
    # not zero, where a power below one has an infinite gradient
    doubt = (-log_probability.expm1()).clamp_min(torch.finfo(logits.dtype).tiny)
    return soft_cross_entropy(logits, target * doubt**gamma)


def dirichlet_multinomial_nll(concentration: Tensor, counts: Tensor) -> Tensor:
    r"""Negative log-likelihood of the votes on a question whose probabilities follow a Dirichlet distribution.

    .. math:: -\log \frac{n!\,\Gamma(\alpha_0)}{\Gamma(n + \alpha_0)}
        - \sum_i \log \frac{\Gamma(k_i + \alpha_i)}{k_i!\,\Gamma(\alpha_i)}, \quad \alpha_0 = \sum_i \alpha_i

    (Walmsley et al. 2022, MNRAS 509, 3966). It is zero for a galaxy without votes on the question.

    Parameters
    ----------
    concentration : (B, A) tensor
        Positive parameters of the Dirichlet distribution over the A answers.
    counts : (B, A) tensor
        Votes for each answer, of the dtype of the other argument.

    Returns
    -------
    (B,) tensor
    """
    n_votes, total = counts.sum(1), concentration.sum(1)
    drawn = (counts + concentration).lgamma() - concentration.lgamma()
    return (n_votes + total).lgamma() - total.lgamma() - _log_multinomial_coefficient(counts) - drawn.sum(1)


def multinomial_nll(probability: Tensor, counts: Tensor) -> Tensor:
    r"""Negative log-likelihood of the votes on a question whose probabilities are known.

    .. math:: -\log \frac{n!}{\prod_i k_i!} - \sum_i k_i \log p_i

    It is the limit of `dirichlet_multinomial_nll` for large concentrations.

    Parameters
    ----------
    probability : (B, A) tensor
        Positive; each row sums to one.
    counts : (B, A) tensor
        Votes for each answer, of the dtype of the other argument.

    Returns
    -------
    (B,) tensor
    """
    return -_log_multinomial_coefficient(counts) - (counts * probability.log()).sum(1)


def _log_multinomial_coefficient(counts: Tensor) -> Tensor:
    """Return the logarithm of the multinomial coefficient, n! / prod k_i!, (B,)."""
    return (counts.sum(1) + 1).lgamma() - (counts + 1).lgamma().sum(1)


def triplet_batch_hard(vectors: Tensor, label: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    r"""Triplet loss of each object with the farthest of its class and the nearest of another class in the batch.

    :math:`\max(d_+ - d_- + m, 0)` with Euclidean distances (Hermans, Beyer & Leibe 2017, arXiv:1703.07737), like
    `torch.nn.TripletMarginLoss`. Average it with ``pooled_mean(loss, used, least=1)``. Each rank searches its own
    objects.

    Parameters
    ----------
    vectors : (B, D) tensor
    label : (B,) tensor
        Class of each object.
    margin : float
        Required difference of the distances, in units of the vectors.

    Returns
    -------
    loss : (B,) tensor
        Zero for objects without a triplet.
    used : (B,) tensor
        1 where the batch has another object of the class and one of another class, else 0.
    """
    # exact near zero, unlike the faster way by scalar products
    distance = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    same = label[:, None] == label
    other = ~torch.eye(len(label), dtype=torch.bool, device=label.device)
    farthest = distance.masked_fill(~(same & other), -math.inf).amax(1)
    nearest = distance.masked_fill(same, math.inf).amin(1)
    gap = farthest - nearest
    return (gap + margin).relu(), gap.isfinite().to(vectors.dtype)


SSIM_WIDTH = 11
"""Side in pixels of the window of structural similarity (Wang et al. 2004)."""


def ssim(
    image: Tensor, reference: Tensor, data_range: Tensor | float, *, width: int = SSIM_WIDTH, sigma: float = 1.5
) -> Tensor:
    r"""Structural similarity of images under a Gaussian window, averaged over bands and positions of the window.

    .. math:: \frac{(2 \mu_x \mu_y + c_1) (2 \sigma_{xy} + c_2)}
        {(\mu_x^2 + \mu_y^2 + c_1) (\sigma_x^2 + \sigma_y^2 + c_2)}, \quad c_1 = (0.01 L)^2, \; c_2 = (0.03 L)^2

    (Wang et al. 2004, IEEE Transactions on Image Processing 13, 600, eq. 13): 1 for equal images.

    Parameters
    ----------
    image, reference : (B, C, H, W) tensor
    data_range : float or tensor
        L, the range of pixel values in the unit of the images; a tensor must broadcast to (B, C, H, W).
    width : int
        Side of the window in pixels.
    sigma : float
        Standard deviation of the Gaussian in pixels.

    Returns
    -------
    (B,) tensor

    Raises
    ------
    ValueError
        An image is smaller than the window.
    """
    if min(image.shape[-2:]) < width:
        raise ValueError(
            f"images of {tuple(image.shape[-2:])} pixels are smaller than the window of {width}; reduce width"
        )
    axis = torch.arange(width, device=image.device, dtype=image.dtype) - (width - 1) / 2
    window = (-0.5 * (axis / sigma) ** 2).softmax(0)
    pixels = torch.stack([image, reference, image * image, reference * reference, image * reference])
    rows = functional.conv2d(pixels.flatten(0, 2)[:, None], window[None, None, :, None])
    means = functional.conv2d(rows, window[None, None, None]).unflatten(0, pixels.shape[:3])[:, :, :, 0]
    mean_x, mean_y, square_x, square_y, product = means
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = 2 * (product - mean_x * mean_y) + c2
    structure = structure / (square_x - mean_x**2 + square_y - mean_y**2 + c2)
    return (luminance * structure).mean((1, 2, 3))


def binary_focal(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    r"""Binary cross-entropy with less weight on confident predictions, :math:`-(1 - p_t)^\gamma \log p_t`.

    Lin et al. 2017, arXiv:1708.02002, eq. 4, averaged over all elements; `gamma` 0 is the cross-entropy. Targets
    between 0 and 1 weight the two classes.
    """
    probability = torch.sigmoid(logits)
    on = (1 - probability) ** gamma * functional.softplus(-logits)
    off = probability**gamma * functional.softplus(logits)
    return torch.lerp(off, on, target).mean()


def tversky(logits: Tensor, target: Tensor, alpha: float = 0.3, beta: float = 0.7) -> Tensor:
    r"""Tversky loss 1 - TP / (TP + alpha FP + beta FN), pooled over the batch.

    Salehi et al. 2017, arXiv:1706.05721; with alpha = beta = 1/2 it is the Dice loss.
    """
    probability = torch.sigmoid(logits)
    parts = [(probability * target).sum(), (probability * (1 - target)).sum(), ((1 - probability) * target).sum()]
    found, wrong, missed = distributed.all_reduce(torch.stack(parts))
    return 1 - (found + 0.5) / (found + alpha * wrong + beta * missed + 0.5)
