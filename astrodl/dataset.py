"""From a store or from arrays in memory to dict batches of tensors on a device."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from astrodl.store import Reader

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Cutouts:
    """What a network may look at: images and what was measured on them, objects first.

    Attributes
    ----------
    images : (N, bands, y, x) float32 array
        Linear fluxes, NaN where there is no data.
    sky_sigma : (N, bands) float32 array
        Sky noise per pixel.
    features : (N, F) float32 array
        Photometric and structural measurements, NaN where not measurable.
    """

    images: np.ndarray
    sky_sigma: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def from_store(cls, store: Reader, indices: np.ndarray) -> "Cutouts":
        """Read objects of a store."""
        return cls(store.images(indices), store.sky_sigma[indices], store.features(indices=indices))


class Resident:
    """All objects of one split as tensors that stay on the device; a batch is an index.

    Parameters
    ----------
    arrays : mapping of str to array
        Arrays with objects first, all of the same length.
    device : torch.device
        Where the tensors live.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], device: torch.device):
        self.tensors = {name: torch.from_numpy(np.ascontiguousarray(a)).to(device) for name, a in arrays.items()}
        lengths = {len(tensor) for tensor in self.tensors.values()}
        assert len(lengths) == 1, lengths
        self.device = device
        self._length = lengths.pop()

    def __len__(self) -> int:
        return self._length

    def batch(self, indices: Tensor) -> Batch:
        """Gather the objects at `indices` (on the device)."""
        return {name: tensor.index_select(0, indices) for name, tensor in self.tensors.items()}

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yield consecutive batches of `size` objects, the last one shorter."""
        for start in range(0, len(self), size):
            yield {name: tensor[start : start + size] for name, tensor in self.tensors.items()}


def shuffled(n_objects: int, epoch: int, seed: int, device: torch.device) -> Tensor:
    """Give the order in which an epoch visits the objects: a function of (seed, epoch) alone."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(n_objects)).to(device)
