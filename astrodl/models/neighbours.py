"""Distances to training objects, as part of a network whose weights are the vectors of those objects."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["MAX_REFERENCES", "Ellipsoid", "NeighbourDistances", "choose_ordinary", "fit_components"]

MAX_REFERENCES = 8000
"""Training objects that are kept, at most."""
_K = 30
"""Number of neighbours. More than the rare objects of one kind in the training data, which would hide one another."""
_SAME = 1e-3
"""Distance below which the nearest reference object is the object itself."""
_CLIP, _ROUNDS = 0.05, 3
_BLOCK = 512


class NeighbourDistances(nn.Module):
    """Measure how far objects are from the 30 nearest reference vectors in each of several spaces, in two ways.

    The logarithm of the mean distance; and its difference from the mean of the same number of those 30 neighbours,
    which is how much thinner the space is at the object than at the objects most like it (a local outlier factor,
    Breunig et al. 2000, SIGMOD, 93, without its smoothing). Vectors (B, D) of each space give (B, 2 spaces), all
    distances first. A reference object is not its own neighbour.

    Parameters
    ----------
    n_references
        Number of reference objects; zero before they are known.
    dimensions
        Number of dimensions of each space.
    """

    def __init__(self, n_references: int, dimensions: Sequence[int]):
        super().__init__()
        self.n_spaces = len(dimensions)
        for number, size in enumerate(dimensions):
            self.register_buffer(f"space{number}", torch.zeros(n_references, size))
            self.register_buffer(f"own{number}", torch.zeros(n_references))

    def fill(self, spaces: Sequence[Tensor]) -> None:
        """Take the vectors of the reference objects, (N, D) of each space."""
        for number, vectors in enumerate(spaces):
            references = vectors.float().clone()
            self.register_buffer(f"space{number}", references)
            self.register_buffer(f"own{number}", _log(_mean_distance(references, references)))

    def forward(self, spaces: Sequence[Tensor]) -> Tensor:
        """Return the logarithm of the mean distance in each space, and its excess over that of the neighbours."""
        distances, excesses = [], []
        for number, vectors in enumerate(spaces):
            nearest, index = _nearest(vectors, getattr(self, f"space{number}"))
            distances.append(_log(_mean(nearest)))
            excesses.append(distances[-1] - _mean(getattr(self, f"own{number}")[index]))
        return torch.stack([*distances, *excesses], 1)


class Ellipsoid(nn.Module):
    """Measure the logarithm of the Mahalanobis distance from the mean of reference vectors: (B, D) -> (B, 1)."""

    def __init__(self, n_dimensions: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_dimensions))
        self.register_buffer("axes", torch.zeros(n_dimensions, n_dimensions))
        self.centre: Tensor
        self.axes: Tensor

    def fill(self, vectors: Tensor) -> None:
        """Take mean and covariance of the reference vectors, (N, D); 0.01 is added to the variance of each axis."""
        wide = vectors.double()
        centred = wide - wide.mean(0)
        covariance = centred.T @ centred / max(1, len(wide) - 1)
        variance, axes = torch.linalg.eigh(covariance)
        self.centre.copy_(wide.mean(0))
        self.axes.copy_(axes / (variance.clamp_min(0) + 0.01).sqrt())

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the logarithm of the distance."""
        return _log(((vectors.float() - self.centre) @ self.axes).norm(dim=1, keepdim=True))


def choose_ordinary(spaces: Sequence[Tensor]) -> Tensor:
    """Choose the reference objects among training objects that may hold outliers.

    Rare objects are neighbours of one another, and so look ordinary. Three times, the 5 % of objects are left out
    whose surprise, summed over the spaces, is largest, with neighbours among those that were kept before.

    Parameters
    ----------
    spaces
        Vectors of all objects in each space, (N, D).

    Returns
    -------
    (M,) tensor
        Indices of those that are kept.
    """
    n_objects = len(spaces[0])
    kept = torch.arange(n_objects, device=spaces[0].device)
    for _ in range(_ROUNDS):
        surprise = torch.zeros(n_objects, dtype=torch.float64, device=kept.device)
        for vectors in spaces:
            distance = _mean_distance(vectors, vectors[kept])
            rank = torch.searchsorted(distance.sort().values, distance)
            surprise -= torch.log((n_objects - rank).double() / n_objects)
        n_kept = max(1, math.ceil((1 - _CLIP) * n_objects))
        kept = surprise.argsort(stable=True)[:n_kept].sort().values
    return kept


def fit_components(numbers: Tensor, centre: Tensor, scale: Tensor, n_components: int) -> Tensor:
    """Fit the principal components of numbers that are first centred and scaled.

    Parameters
    ----------
    numbers : (N, K) tensor
    centre, scale : (K,) tensors
    n_components : int
        Number of components; those beyond the number of objects or columns are zero.

    Returns
    -------
    (K, n_components) tensor
        ``(numbers - centre) @ components`` are the principal components.
    """
    vectors = torch.linalg.svd((numbers.double() - centre) / scale, full_matrices=False).Vh[:n_components].T
    components = vectors.new_zeros(numbers.shape[1], n_components)
    components[:, : vectors.shape[1]] = vectors / scale[:, None]
    return components.float()


def _mean_distance(vectors: Tensor, references: Tensor) -> Tensor:
    """Return the mean distance of vectors (N, D) to the nearest references, without the one that is the object."""
    return _mean(_nearest(vectors, references)[0])


def _nearest(vectors: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances to the nearest references but the object itself, and their indices, (N, k) each."""
    k = max(0, min(_K, len(references) - 1))
    found = []
    for start in range(0, len(vectors), _BLOCK):
        # sums of squares by a product of matrices would not find the object itself
        distance = torch.cdist(
            vectors[start : start + _BLOCK].float(), references, compute_mode="donot_use_mm_for_euclid_dist"
        )
        nearest, index = distance.topk(min(k + 1, len(references)), largest=False)
        is_same = nearest[:, :1] < _SAME
        found.append(
            tuple(torch.where(is_same, both[:, 1:], both[:, :k]) if k else both[:, :0] for both in (nearest, index))
        )
    return torch.cat([nearest for nearest, _ in found]), torch.cat([index for _, index in found])


def _mean(values: Tensor) -> Tensor:
    """Return the mean over neighbours, (N, k) -> (N,); zero without neighbours."""
    return values.mean(1) if values.shape[1] else values.new_zeros(len(values))


def _log(distance: Tensor) -> Tensor:
    return distance.clamp_min(1e-6).log()
