"""Structure numbers of a canonical view: what catches the eye in a galaxy, where pixels count noise and light alike.

Profiles, texture and symmetry are those of non-parametric morphology (Conselice 2003, ApJS 147, 1), each measured in
rings, without thresholds or segmentation.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from astrodl.data.augment import blur

__all__ = ["BLOCKS", "N_RINGS", "count_numbers", "fit_scaling", "measure_structure"]

BLOCKS = ("profile", "texture", "asymmetry", "modulation")
"""Kinds of structure numbers."""
N_RINGS = 16
_SIGMAS = (0.0, 1.0, 2.0, 4.0)
"""Widths in pixels of the Gaussians whose differences are the band-passes."""
_TURNS = (2, 1)
"""Quarter turns after which a view is compared with itself."""
_MODULATION = ((0, (1.0, 2.0, 4.0, 8.0)), (1, (2.0, 4.0, 8.0)))
"""For each band-pass, the Gaussians whose differences are taken of its modulus."""


def count_numbers(n_bands: int) -> list[int]:
    """Return the number of structure numbers in each block."""
    n_passes = len(_SIGMAS) - 1
    n_maps = [n_bands, n_passes, len(_TURNS), sum(len(sigmas) - 1 for _, sigmas in _MODULATION)]
    return [N_RINGS * n for n in n_maps]


def fit_scaling(structure: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Fit centre and scale of structure numbers, so that the variances of each block add up to one.

    Parameters
    ----------
    structure : (N, K) tensor
        Structure numbers, one block after the other.
    sizes : sequence of int
        Numbers in each block, K together.

    Returns
    -------
    centre, scale : (K,) tensors
        In double precision; ``(structure - centre) / scale`` is scaled. A block without variance is not scaled up.
    """
    structure = structure.double()
    totals = [part.sum().sqrt().clamp_min(1e-6) for part in structure.var(0, unbiased=False).split(list(sizes))]
    scale = torch.cat([total.expand(size) for total, size in zip(totals, sizes, strict=True)])
    return structure.mean(0), scale


def measure_structure(views: Tensor) -> dict[str, Tensor]:
    """Measure structure numbers of views in 16 rings.

    Parameters
    ----------
    views : (N, bands, S, S) tensor
        Canonical views, scaled by arsinh.

    Returns
    -------
    dict of (N, K) tensors
        Of the blocks

        ``profile``
            Mean of each band, K = 16 bands.
        ``texture``
            Logarithm of the mean square of three band-passes (differences of Gaussians of 0, 1, 2 and 4 pixels) of the
            mean of the bands, K = 48.
        ``asymmetry``
            Logarithm of the mean modulus of the mean of the bands minus itself after a turn by 180 and by 90 degrees,
            K = 32.
        ``modulation``
            Logarithm of the mean square of coarser band-passes of the modulus of a finer one, as in a scattering
            transform (Bruna & Mallat 2013, arXiv:1203.1513), K = 80.
    """
    mean = views.mean(1, keepdim=True)
    passes = _band_passes(mean, _SIGMAS)
    turned = torch.cat([mean - torch.rot90(mean, turns, (-2, -1)) for turns in _TURNS], 1)
    coarser = torch.cat([_band_passes(passes[:, i : i + 1].abs(), sigmas) for i, sigmas in _MODULATION], 1)
    return {
        "profile": _ring_means(views),
        "texture": _ring_means(passes.square()).clamp_min(1e-6).log(),
        "asymmetry": _ring_means(turned.abs()).clamp_min(1e-4).log(),
        "modulation": _ring_means(coarser.square()).clamp_min(1e-7).log(),
    }


def _band_passes(image: Tensor, sigmas: tuple[float, ...]) -> Tensor:
    """Return the differences of consecutive Gaussian blurs of one map, (N, len(sigmas) - 1, S, S)."""
    smooth = torch.cat([blur(image, image.new_full((len(image),), sigma)) if sigma else image for sigma in sigmas], 1)
    return smooth[:, :-1] - smooth[:, 1:]


def _ring_means(maps: Tensor) -> Tensor:
    """Return the means in rings of equal width out to the edge: (N, C, S, S) -> (N, C rings)."""
    weights = _ring_weights(maps.shape[-1]).to(maps)
    return (maps.flatten(-2) @ weights.T).flatten(1)


@cache
def _ring_weights(side: int) -> Tensor:
    """Return the weight of each pixel in each ring, (rings, S S); rings without a pixel have zero weights."""
    axis = torch.arange(side) - (side - 1) / 2
    radius = torch.hypot(axis[:, None], axis[None, :]).flatten() / (side / 2)
    ring = (radius * N_RINGS).long()
    weights = (ring == torch.arange(N_RINGS)[:, None]).float()
    return weights / weights.sum(1, keepdim=True).clamp_min(1)
