"""What is fitted to the codes of the training objects: axes, the Hubble coordinate, and a map in two dimensions.

None of it sees a label.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["fit_axes", "fit_hubble", "fit_map", "fit_response"]

_Array = NDArray[np.float64]
_N_NEIGHBOURS = 15
_N_MAPPED = 10_000
"""Objects that the map is fitted to, at most."""
_BATCH, _STEPS, _LEARNING_RATE = 512, 3000, 4e-3
_RIDGE = 1e-3


def fit_axes(codes: ArrayLike) -> tuple[_Array, _Array]:
    """Fit the principal axes of codes, scaled to unit variance.

    Parameters
    ----------
    codes : (N, D) array

    Returns
    -------
    centre, axes : (D,) and (D, D) arrays
        ``(codes - centre) @ axes`` are uncorrelated, with unit variance, largest variance before scaling first. The
        largest number of each axis is positive. Axes without variance are not scaled up.
    """
    codes = np.asarray(codes, dtype=np.float64)
    centre = codes.mean(0)
    variance, vectors = np.linalg.eigh(np.cov(codes.T).reshape(codes.shape[1], -1))
    variance, vectors = variance[::-1], vectors[:, ::-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(variance))])
    least = max(1e-6 * variance[0], 1e-12)
    return centre, vectors / np.sqrt(np.maximum(variance, least))


def fit_response(terms: Tensor, response: Tensor) -> Tensor:
    """Fit how codes respond to a change of depth, by least squares.

    Parameters
    ----------
    terms : (N, K) tensor
        Change of the terms of the depth of each view.
    response : (N, D) tensor
        Change of its code.

    Returns
    -------
    (K, D) tensor
        ``terms @ fitted`` is the typical change of a code; zero for terms that do not change.
    """
    terms, response = terms.double().cpu(), response.double().cpu()
    gram = terms.T @ terms + 1e-6 * len(terms) * torch.eye(terms.shape[1], dtype=torch.float64)
    return torch.linalg.solve(gram, terms.T @ response)


def fit_hubble(vectors: ArrayLike, profile: ArrayLike, texture: ArrayLike, concentration: ArrayLike) -> _Array:
    """Fit the direction of the Hubble coordinate, from spheroids to irregular galaxies, without labels.

    Two signs of a spheroid count alike: the first principal component of the radial profiles in all bands, which holds
    concentration and colour, and that of the texture, which separates smooth from structured galaxies. Each has unit
    variance, and the sign with which it falls with the measured concentration. The direction is the linear fit of
    their sum.

    Parameters
    ----------
    vectors : (N, D) array
        Vectors of training objects.
    profile, texture : (N, K) arrays
        Structure numbers of their views.
    concentration : (N,) array
        Measured concentration; objects where it is NaN do not decide on signs.

    Returns
    -------
    (D,) array
        ``vectors @ direction`` is the coordinate; it has unit variance over the training objects.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    measured = np.asarray(concentration, dtype=np.float64)
    known = np.isfinite(measured)
    total = np.zeros(len(vectors))
    for block in (profile, texture):
        centred = np.asarray(block, dtype=np.float64)
        centred = centred - centred.mean(0)
        component = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
        sign = -1.0
        if known.sum() > 1 and np.ptp(measured[known]) > 0 and component.std() > 0:
            sign = -np.sign(spearmanr(component[known], measured[known]).statistic) or -1.0
        total += sign * component / max(component.std(), 1e-12)
    gram = vectors.T @ vectors + _RIDGE * len(vectors) * np.eye(vectors.shape[1])
    direction = np.linalg.solve(gram, vectors.T @ (total - total.mean()))
    return direction / max((vectors @ direction).std(), 1e-12)


def fit_map(network: nn.Module, vectors: Tensor, first: Tensor) -> None:
    """Train a network that maps vectors to a plane in which neighbours stay neighbours.

    It recognises one of the 15 nearest neighbours of an object among those of the whole batch, by the distance in the
    plane with the heavy tail of t-SNE (InfoNC-t-SNE: Damrich et al. 2023, arXiv:2206.01816), in the parametric form
    of van der Maaten (2009, AISTATS, 384), so that other objects are put into the same map.

    Parameters
    ----------
    network : Module
        (B, D) -> (B, 2), with a linear layer at the end; trained in place, and at last shifted, scaled to unit variance
        and turned, so that the first axis runs with `first`.
    vectors : (N, D) tensor
        Vectors of training objects.
    first : (N,) tensor
        Coordinate along the first axis.
    """
    step = max(1, -(-len(vectors) // _N_MAPPED))
    vectors, first = vectors[::step].float(), first[::step].float()
    n_objects, draws = len(vectors), torch.Generator().manual_seed(0)
    neighbours = _nearest(vectors, min(_N_NEIGHBOURS, n_objects - 1))
    batch = min(_BATCH, n_objects)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(network.parameters(), _LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=_STEPS)
    with torch.enable_grad():
        for _ in range(_STEPS):
            chosen = torch.randint(n_objects, (batch,), generator=draws)
            column = torch.randint(neighbours.shape[1], (batch,), generator=draws)
            here, there = chosen.to(vectors.device), neighbours[chosen, column].to(vectors.device)
            near, other = network(vectors[here]), network(vectors[there])
            logits = -torch.log1p(torch.cdist(near, other, compute_mode="use_mm_for_euclid_dist").square())
            loss = functional.cross_entropy(logits, torch.arange(batch, device=vectors.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    _orient(network, vectors, first)


def _nearest(vectors: Tensor, k: int) -> Tensor:
    """Return the k nearest neighbours of each vector, (N, k), on the CPU."""
    rows = []
    for start in range(0, len(vectors), 1024):
        distance = torch.cdist(vectors[start : start + 1024], vectors)
        distance[torch.arange(len(distance)), torch.arange(start, start + len(distance))] = torch.inf
        rows.append(distance.topk(k, largest=False).indices.cpu())
    return torch.cat(rows)


def _orient(network: nn.Module, vectors: Tensor, first: Tensor) -> None:
    """Centre, scale and turn the last layer, so that the first axis of the map runs with `first`."""
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        placed = network(vectors).double()
        centre = placed.mean(0)
        centred = placed - centre
        along = (centred * (first.double() - first.double().mean())[:, None]).sum(0)
        along = functional.normalize(
            torch.linalg.solve(centred.T @ centred + 1e-9 * torch.eye(2).to(centred), along), dim=0
        )
        turn = torch.stack([along, torch.stack([-along[1], along[0]])]) / centred.square().mean().sqrt().clamp_min(1e-9)
        last.weight.copy_((turn @ last.weight.double()).float())
        last.bias.copy_((turn @ (last.bias.double() - centre)).float())
