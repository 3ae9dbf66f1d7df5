"""Distances to the nearest training objects, as part of a network whose weights are the vectors of those objects."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["MAX_REFERENCES", "NeighbourDistances", "choose_ordinary", "fit_components"]

MAX_REFERENCES = 8000
"""Training objects that are kept, at most."""
_K = 30
"""Number of neighbours. More than the rare objects of one kind in the training data, which would hide one another."""
_SAME = 1e-3
"""Distance below which the nearest reference object is the object itself."""
_CLIP, _ROUNDS = 0.05, 3
_BLOCK = 512


class NeighbourDistances(nn.Module):
    """Measure the logarithm of the mean distance to the 30 nearest reference vectors in each of several spaces.

    Vectors (B, D) of each space give (B, spaces). A reference object is not its own neighbour.

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

    def fill(self, spaces: Sequence[Tensor]) -> None:
        """Take the vectors of the reference objects, (N, D) of each space."""
        for number, vectors in enumerate(spaces):
            self.register_buffer(f"space{number}", vectors.float().clone())

    def forward(self, spaces: Sequence[Tensor]) -> Tensor:
        """Return the logarithm of the mean distance in each space."""
        columns = [_mean_distance(vectors, getattr(self, f"space{number}")) for number, vectors in enumerate(spaces)]
        return torch.stack(columns, 1).clamp_min(1e-6).log()


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
    k = min(_K, len(references) - 1)
    if k < 1:
        return vectors.new_zeros(len(vectors))
    means = []
    for start in range(0, len(vectors), _BLOCK):
        # sums of squares by a product of matrices would not find the object itself
        distance = torch.cdist(
            vectors[start : start + _BLOCK].float(), references, compute_mode="donot_use_mm_for_euclid_dist"
        )
        nearest = distance.topk(k + 1, largest=False).values
        is_same = nearest[:, 0] < _SAME
        means.append(torch.where(is_same, nearest[:, 1:].mean(1), nearest[:, :-1].mean(1)))
    return torch.cat(means)
