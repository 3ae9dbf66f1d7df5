"""Losses of the adversarial networks, by name, and what their critics see."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from astrodl import distributed
from astrodl.losses import stable_asinh
from astrodl.tasks.outliers.settings import Method

__all__ = ["METHODS", "Adversary", "add_noise", "mix_codes"]


class Adversary(NamedTuple):
    """Losses of critic and generator, and what belongs to them."""

    critic: Callable[[Tensor, Tensor], Tensor]
    """Loss of the critic from its values of real and of generated images, (B,) each."""
    realism: Callable[[Tensor], Tensor]
    """What the generator maximises, from the critic's values of generated images, (B,)."""
    norm: str = "group"
    """Normalisation in the critic."""
    penalty: bool = False
    """Whether the norm of the critic's gradient is held to one."""
    clip: bool = False
    """Whether the weights of the critic are clipped."""
    information: bool = False
    """Whether the codes of generated images must be read off them."""


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """Return the loss of a classifier: Goodfellow et al. 2014 (arXiv:1406.2661), eq. 1, of logits."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def _log_probability(fake: Tensor) -> Tensor:
    """Return the mean logarithm of the probability of being real, whose gradient does not vanish (section 3 there)."""
    return functional.logsigmoid(fake).mean()


def _negative_distance(real: Tensor, fake: Tensor) -> Tensor:
    """Return minus the Wasserstein distance: Arjovsky et al. 2017 (arXiv:1701.07875), eq. 2."""
    return fake.mean() - real.mean()


def _mean_value(fake: Tensor) -> Tensor:
    return fake.mean()


METHODS: Mapping[Method, Adversary] = {
    "gan": Adversary(_cross_entropy, _log_probability),
    "dcgan": Adversary(_cross_entropy, _log_probability, norm="batch"),
    "wgan": Adversary(_negative_distance, _mean_value, clip=True),
    "wgan_gp": Adversary(_negative_distance, _mean_value, penalty=True),
    "infogan": Adversary(_cross_entropy, _log_probability, information=True),
}


def mix_codes(codes: Tensor) -> Tensor:
    """Return codes of galaxies to generate: the first half of the whole batch are encoded ones, the others are drawn.

    Parameters
    ----------
    codes : (B, D) tensor
        Codes of the real galaxies of this process.
    """
    rank, n_ranks = distributed.rank(), distributed.world_size()
    n_objects = n_ranks * len(codes)
    n_encoded = n_objects // 2
    own = len(range(rank, n_encoded, n_ranks))
    drawn = torch.randn(n_objects - n_encoded, codes.shape[1], device=codes.device)
    return torch.cat([codes[:own], drawn[rank + own * n_ranks - n_encoded :: n_ranks]])


def add_noise(clean: Tensor, sky: Tensor, stretch: float) -> Tensor:
    """Add the noise of the sky (B, C), in units of the softening, to noise-free images (B, C, H, W), in linear flux."""
    linear = (clean.float() * stretch).clamp(-10, 10).sinh()
    return stable_asinh(linear + sky[..., None, None] * distributed.randn_like(linear)) / stretch
