"""Tests of attribution maps: shuffled weights, removed pixels, other noise, simulated truth."""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage
from scipy.stats import rankdata
from torch import Tensor, nn

from astrodl.explanation.methods import Options, attribute
from astrodl.explanation.rules import without_inplace
from astrodl.explanation.shares import smooth_maps
from astrodl.explanation.target import Explained, Inputs
from astrodl.losses import ssim

__all__ = [
    "FAILS_ABOVE",
    "FRACTIONS",
    "N_SHUFFLES",
    "area_share",
    "brightness",
    "deletion",
    "energy_inside",
    "insertion",
    "map_similarity",
    "maps_of_shuffled",
    "positive_inside",
    "randomize",
    "rank_correlation",
    "with_noise",
]

FAILS_ABOVE = 0.3
"""Structural similarity of maps of the trained and of a random network above which a method fails."""
N_SHUFFLES = 8
"""Networks with shuffled weights that a method is compared with."""
FRACTIONS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Fractions of the pixels that are removed or shown."""


def randomize(explained: Explained, inputs: Inputs, *, n_stages: int = 3, seed: int = 0) -> Iterator[Explained]:
    """Yield copies whose weights are shuffled from the output downwards (cascading; Adebayo et al. 2018).

    The elements of each weight tensor change their places, so that their distribution stays; running statistics of
    batch norms are measured anew on the images, since those of other weights would saturate the network. Matrices that
    a task fits after the training and keeps as buffers (principal axes, vectors of reference objects) are learnt like
    weights, and the first to be shuffled.

    Parameters
    ----------
    explained : Explained
    inputs : Inputs
        Images for the statistics.
    n_stages : int
        Number of copies: the k-th has the last k / n of the layers that the number depends on shuffled, the last one
        all of them.
    seed : int
    """
    generator, of_matrices = (torch.Generator().manual_seed(seed) for _ in range(2))
    network = without_inplace(explained.network)
    for matrix in network.buffers():
        if matrix.ndim == 2:
            matrix.data = _shuffle(matrix, of_matrices)
    layers = _layers_in_order(explained.with_network(network), inputs)
    groups = np.array_split(np.arange(len(layers))[::-1], n_stages)
    for group in groups:
        for i in group:
            for parameter in layers[i].parameters(recurse=False):
                parameter.data = _shuffle(parameter, generator)
        _measure_batch_norms(explained.with_network(network), inputs)
        yield explained.with_network(copy.deepcopy(network))


def _shuffle(tensor: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
    return tensor.data.flatten()[order].view_as(tensor)


def maps_of_shuffled(
    explained: Explained,
    inputs: Inputs,
    method: str,
    *,
    options: Options | None = None,
    orientations: int = 1,
    fixed: Tensor | None = None,
    n_shuffles: int = N_SHUFFLES,
    depth: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return maps by a method of networks whose weights are shuffled, each of some of the objects.

    Some shuffled networks look at the same pixels as the trained one by chance, so that a single one says little. The
    k-th of the networks explains the objects k, k + K, ..., which costs as much as one network for all.

    Parameters
    ----------
    explained : Explained
    inputs : Inputs
        Objects, which are used again where there are fewer than networks.
    method, options, orientations, fixed
        As for `attribute`.
    n_shuffles : int
        Number of networks K.
    depth : float
        Fraction of the layers that are shuffled, from the output.

    Returns
    -------
    maps : (M, C, H, W) array
        Maps of the shuffled networks.
    rows : (M,) array
        Row of the object of each map; M is the number of objects, or `n_shuffles` if that is larger.
    network : (M,) array
        Number of the network of each map.
    """
    fixed = explained.fix(inputs) if fixed is None else fixed
    maps, rows, numbers = [], [], []
    n_stages = max(1, round(1 / depth))
    for k in range(n_shuffles):
        chosen = torch.arange(k, max(len(inputs), n_shuffles), n_shuffles) % len(inputs)
        shuffled = next(iter(randomize(explained, inputs, n_stages=n_stages, seed=k)))
        made = attribute(
            shuffled, inputs.rows(chosen), method, options=options, orientations=orientations, fixed=fixed[chosen]
        )
        maps.append(made.maps)
        rows.append(chosen.numpy())
        numbers.append(np.full(len(chosen), k))
    return np.concatenate(maps), np.concatenate(rows), np.concatenate(numbers)


@torch.no_grad()
def _layers_in_order(explained: Explained, inputs: Inputs) -> list[nn.Module]:
    """List the layers with weights that predictions pass, in the order of their first use."""
    used: dict[nn.Module, None] = {}
    hooks = [
        module.register_forward_pre_hook(lambda module, arguments: used.setdefault(module))
        for module in explained.network.modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    explained.evaluate(inputs.rows(slice(0, 1)), explained.fix(inputs.rows(slice(0, 1))))
    for hook in hooks:
        hook.remove()
    return list(used)


@torch.no_grad()
def _measure_batch_norms(explained: Explained, inputs: Inputs) -> None:
    norms = [module for module in explained.network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    explained.predict(explained.network, inputs.batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def map_similarity(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the structural similarity (Wang et al. 2004) of the moduli of maps (N, C, H, W), scaled to 99.5 %.

    NaN where a map has the same value everywhere, as for an ablation of whole bands.
    """
    first, second = (_scaled(each) for each in (maps, others))
    flat = (first.amax((1, 2, 3)) == first.amin((1, 2, 3))) | (second.amax((1, 2, 3)) == second.amin((1, 2, 3)))
    return torch.where(flat, torch.nan, ssim(first, second, 1.0)).numpy()


def _scaled(maps: np.ndarray) -> Tensor:
    size = torch.from_numpy(np.abs(maps.sum(1, keepdims=True, dtype=np.float64))).float()
    top = torch.quantile(size.flatten(1), 0.995, dim=1)[:, None, None, None]
    return torch.where(top > 0, size / top.clamp_min(1e-30), 0.0).clamp(0, 1)


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation of the moduli of the attributions of squares of 4 pixels, (N,)."""
    found = np.full(len(maps), np.nan)
    first, second = (np.abs(smooth_maps(each.sum(1, keepdims=True))).reshape(len(each), -1) for each in (maps, others))
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        if np.ptp(a) > 0 and np.ptp(b) > 0:
            found[i] = np.corrcoef(rankdata(a), rankdata(b))[0, 1]
    return found


def brightness(inputs: Inputs) -> np.ndarray:
    """Return the brightest-pixels-first rival of all methods: flux in units of the sky noise, (N, C, H, W)."""
    flux = inputs.sky.to_frame(inputs.image, "flux")
    return torch.where(inputs.sky.known, flux, 0.0).clamp_min(0).cpu().numpy()


def with_noise(inputs: Inputs, seed: int = 1) -> Inputs:
    """Add one more realisation of the sky noise to the images."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(inputs.image.shape, generator=generator).to(inputs.image.device)
    flux = inputs.sky.to_frame(inputs.image, "flux") + noise
    return inputs.replace(torch.where(inputs.sky.known, inputs.sky.from_flux(flux), inputs.image))


def deletion(
    explained: Explained, inputs: Inputs, maps: np.ndarray, *, fixed: Tensor | None = None, seed: int = 0
) -> np.ndarray:
    """Return the change of the number when the pixels of largest modulus are replaced by sky noise, (N, fractions)."""
    return _perturb(explained, inputs, maps, fixed, seed, keep=False)


def insertion(
    explained: Explained, inputs: Inputs, maps: np.ndarray, *, fixed: Tensor | None = None, seed: int = 0
) -> np.ndarray:
    """Return the distance from the number when only the pixels of largest modulus are shown, (N, fractions)."""
    return _perturb(explained, inputs, maps, fixed, seed, keep=True)


@torch.no_grad()
def _perturb(
    explained: Explained, inputs: Inputs, maps: np.ndarray, fixed: Tensor | None, seed: int, *, keep: bool
) -> np.ndarray:
    """Return |f(x) - f(x')| at each of `FRACTIONS`, where all bands of a pixel are replaced by noise realisations."""
    fixed = explained.fix(inputs) if fixed is None else fixed
    value = explained.evaluate(inputs, fixed)
    sky = inputs.baseline(inputs.noise(torch.Generator().manual_seed(seed)))
    size = torch.from_numpy(np.abs(maps.sum(1, dtype=np.float64))).flatten(1).to(inputs.image.device)
    rank = size.argsort(dim=1, descending=True, stable=True).argsort(dim=1).view(len(size), 1, *maps.shape[-2:])
    found = []
    for fraction in FRACTIONS:
        chosen = rank < fraction * size.shape[1]
        image = torch.where(chosen == keep, inputs.image, sky)
        found.append((explained.evaluate(inputs.replace(image), fixed) - value).abs().double().cpu().numpy())
    return np.stack(found, axis=1)


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of the modulus of the attributions inside masks (N, H, W), (N,); NaN for empty maps or masks."""
    return _share_inside(np.abs(maps.sum(1, dtype=np.float64)), masks)


def positive_inside(maps: np.ndarray, masks: np.ndarray, smoothing: float = 1.0) -> np.ndarray:
    """Return the share inside masks of what raises the number, after a Gaussian smoothing in pixels, (N,).

    Positive and negative contributions of the noise of neighbouring pixels cancel, and pixels that count against the
    number, such as those of the disk in B/T, do not add.
    """
    smooth = ndimage.gaussian_filter(maps.sum(1, dtype=np.float64), (0, smoothing, smoothing))
    return _share_inside(smooth.clip(0), masks)


def _share_inside(energy: np.ndarray, masks: np.ndarray) -> np.ndarray:
    total, has_mask = energy.sum((1, 2)), masks.any((1, 2))
    inside = np.where(masks, energy, 0).sum((1, 2))
    return np.divide(inside, total, out=np.full(len(energy), np.nan), where=(total > 0) & has_mask)


def area_share(masks: np.ndarray) -> np.ndarray:
    """Return the share of the pixels inside masks (N, H, W), which random attributions would have; NaN if empty."""
    share = masks.mean((1, 2))
    return np.where(share > 0, share, np.nan)
