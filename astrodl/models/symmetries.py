"""The eight symmetries of the square: a galaxy may lie on the sky in any orientation."""

import torch
from torch import Tensor

__all__ = ["N_SYMMETRIES", "apply_symmetry", "undo_symmetry"]

N_SYMMETRIES = 8


def apply_symmetry(maps: Tensor, element: int) -> Tensor:
    """Apply a symmetry of the square to (..., y, x): `element % 4` quarter turns, then a flip if `element >= 4`."""
    turned = torch.rot90(maps, element % 4, (-2, -1)) if element % 4 else maps
    return turned.flip(-1) if element >= 4 else turned


def undo_symmetry(maps: Tensor, element: int) -> Tensor:
    """Invert `apply_symmetry`."""
    maps = maps.flip(-1) if element >= 4 else maps
    return torch.rot90(maps, -(element % 4), (-2, -1)) if element % 4 else maps
