"""Random augmentation of a batch, on its device.

All randomness comes from torch's global generator, which the engine seeds before every update.
"""

from functools import lru_cache

import torch
from torch import Tensor

from astrodl import ranks


def dihedral(images: Tensor, element: int) -> Tensor:
    """Apply a symmetry of the square to (..., y, x): `element % 4` quarter turns, then a flip if `element >= 4`."""
    turned = torch.rot90(images, element % 4, (-2, -1))
    return turned.flip(-1) if element >= 4 else turned


def random_moves(*tensors: Tensor, max_pixels: int = 2) -> tuple[Tensor, ...]:
    """Flip, turn and shift each object, all maps of an object (B, ..., y, x) alike; the batch is permuted nowhere.

    An eighth of the objects, chosen at random, gets each of the eight symmetries of the square; then the whole batch is
    shifted by up to `max_pixels` along y and x (wrapping round: cutouts are sky at their border). Every pixel is moved
    once, by one gather.
    """
    device, side = tensors[0].device, tensors[0].shape[-1]
    n_objects = len(tensors[0]) * ranks.size()
    elements = torch.empty(n_objects, dtype=torch.int64, device=device)
    # shares as even as `chunk` makes them
    share = -(-n_objects // 8)
    elements[torch.randperm(n_objects, device=device)] = torch.arange(n_objects, device=device) // share
    shift = torch.randint(-max_pixels, max_pixels + 1, (2,)).tolist()
    sources = _sources(side, device)[ranks.mine(elements)].roll(shift, (1, 2)).flatten(1)
    return tuple(_gathered(tensor, sources) for tensor in tensors)


def _gathered(maps: Tensor, sources: Tensor) -> Tensor:
    """Take the pixels (B, ..., y, x) from the places `sources` (B, y x)."""
    flat = maps.reshape(len(maps), -1, sources.shape[1])
    return flat.gather(2, sources[:, None].expand(-1, flat.shape[1], -1)).view(maps.shape)


@lru_cache(maxsize=8)
def _sources(side: int, device: torch.device) -> Tensor:
    """Tell for each symmetry where each pixel of a square comes from, (8, side, side)."""
    places = torch.arange(side * side, device=device).view(side, side)
    return torch.stack([dihedral(places, element) for element in range(8)])
