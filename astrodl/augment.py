"""Random augmentation of a batch, on its device.

All randomness comes from torch's global generator, which the engine seeds before every update.
"""

import torch
from torch import Tensor


def dihedral(images: Tensor, element: int) -> Tensor:
    """Apply a symmetry of the square to (..., y, x): `element % 4` quarter turns, then a flip if `element >= 4`."""
    turned = torch.rot90(images, element % 4, (-2, -1))
    return turned.flip(-1) if element >= 4 else turned


def random_dihedral(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Apply a random symmetry of the square to each object, the same one in all `tensors` (B, ..., y, x).

    The batch is permuted nowhere: an eighth of the objects, chosen at random, gets each of the eight symmetries.
    """
    shares = torch.randperm(len(tensors[0]), device=tensors[0].device).chunk(8)
    results = tuple(torch.empty_like(tensor) for tensor in tensors)
    for element, share in enumerate(shares):
        for tensor, result in zip(tensors, results, strict=True):
            result[share] = dihedral(tensor[share], element)
    return results


def random_shift(*tensors: Tensor, max_pixels: int = 2) -> tuple[Tensor, ...]:
    """Shift the whole batch by up to `max_pixels` along y and x (wrapping round: cutouts are sky at their border)."""
    dy, dx = torch.randint(-max_pixels, max_pixels + 1, (2,)).tolist()
    return tuple(torch.roll(tensor, (dy, dx), (-2, -1)) for tensor in tensors)
