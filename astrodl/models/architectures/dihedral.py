"""Networks that use the symmetries of the square, because galaxies have no preferred orientation.

The group D4 has eight elements: the rotations by right angles and their mirror images.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl.models.architectures.base import Trunk, scale_width
from astrodl.models.style import Style

__all__ = ["GroupConv2d", "Views", "d4", "dieleman", "orientations"]

ORDER = 8


def orientations(x: Tensor) -> list[Tensor]:
    """Transform the last two dimensions by each element g of the group: T_0 x, ..., T_7 x."""
    return [torch.rot90(mirrored, k, (-2, -1)) for mirrored in (x, x.flip(-1)) for k in range(4)]


def _quotients() -> list[list[int]]:
    """Return the index of g^-1 h for all g and h, found with a 2 x 2 image without symmetry."""
    turned = orientations(torch.arange(4).view(2, 2))
    products = [orientations(image) for image in turned]
    # T_g T_j = T_h; products[j][g] is T_g T_j of the image
    return [
        [next(j for j in range(ORDER) if torch.equal(products[j][g], turned[h])) for h in range(ORDER)]
        for g in range(ORDER)
    ]


QUOTIENTS = _quotients()


class GroupConv2d(nn.Conv2d):
    r"""Convolution over shifts and D4 (Cohen & Welling 2016, arXiv:1602.07576): (B, in, H, W) -> (B, out, 8 H, W).

    The eight maps of a channel, one for each element of the group, are stacked along y. The first layer lifts images
    to the group, :math:`(f * w)_g = f * T_g w`; later ones (`lifted`) take (B, in, 8 H, W) and sum over the group,
    :math:`(f * w)_g = \sum_h f_h * T_g w_{g^{-1} h}`. Rotating the image rotates all maps and permutes the eight.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, lifted: bool, bias: bool):
        super().__init__(in_channels * (ORDER if lifted else 1), out_channels, kernel, padding=kernel // 2, bias=bias)
        self.lifted = lifted

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve with the eight transformed kernels."""
        if self.lifted:
            maps = maps.unflatten(2, (ORDER, -1)).flatten(1, 2)
        bias = None if self.bias is None else self.bias.repeat_interleave(ORDER)
        maps = functional.conv2d(maps, self._kernels(), bias, padding=self.padding)
        return maps.unflatten(1, (-1, ORDER)).flatten(2, 3)

    def _kernels(self) -> Tensor:
        """Return the kernels for each element of the group, (8 out, in, k, k)."""
        turned = orientations(self.weight)
        if self.lifted:
            turned = [
                weight.unflatten(1, (-1, ORDER))[:, :, order].flatten(1, 2)
                for weight, order in zip(turned, QUOTIENTS, strict=True)
            ]
        return torch.stack(turned, dim=1).flatten(0, 1)


def d4(in_channels: int, size: int, share: float, style: Style) -> Trunk:
    """Build a trunk whose features are invariant under D4.

    It has no strides but means over 2 x 2 pixels. Normalisation and activation treat the eight maps of a channel
    alike, and the last pooling combines them.
    """
    layers: list[nn.Module] = []
    before = in_channels
    for index, (channels, kernel, halved) in enumerate(((16, 5, 1), (32, 3, 1), (32, 3, 1), (64, 3, 0), (64, 3, 0))):
        width = scale_width(channels, share)
        layers.append(GroupConv2d(before, width, kernel, lifted=index > 0, bias=style.norm == "none"))
        layers += [style.normalize(width), style.act()]
        layers += [nn.AvgPool2d(2)] if halved else []
        before = width
    return Trunk(nn.Sequential(*layers), in_channels, size, style)


class Views(nn.Module):
    """Apply one network to a corner of each orientation of the image: (B, in, H, W) -> (B, 8 C, H', W').

    Parameters
    ----------
    column : nn.Module
        Network that turns (B, in, crop, crop) into (B, C, H', W').
    crop : int
        Side of the corners in pixels; all of them contain the centre of the image.
    """

    def __init__(self, column: nn.Module, crop: int):
        super().__init__()
        self.column, self.crop = column, crop

    def forward(self, image: Tensor) -> Tensor:
        """Concatenate the maps of all views."""
        views = torch.stack([view[..., : self.crop, : self.crop] for view in orientations(image)], dim=1)
        return self.column(views.flatten(0, 1)).unflatten(0, (-1, ORDER)).flatten(1, 2)


def dieleman(in_channels: int, size: int, share: float, style: Style) -> Trunk:
    """Build the winning network of the Galaxy Zoo challenge (Dieleman et al. 2015, MNRAS 450, 1441).

    It lacks the views rotated by 45 degrees. Corners have 45 / 69 of the side, as published. Poolings keep odd edges,
    so that images of 64 pixels give maps as large as images of 69 pixels.
    """
    layers: list[nn.Module] = []
    before = in_channels
    for channels, kernel, halved in ((32, 6, 1), (64, 5, 1), (128, 3, 0), (128, 3, 1)):
        width = scale_width(channels, share)
        layers.append(style.conv(before, width, kernel, padding=0))
        layers += [nn.MaxPool2d(2, ceil_mode=True)] if halved else []
        before = width
    maps = Views(nn.Sequential(*layers), round(size * 45 / 69))
    return Trunk(maps, in_channels, size, style, dense=[scale_width(2048, share)] * 2, maxout=True)
