"""What the architectures share: scaled widths, the stride of the first layer, and the way from maps to a vector."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from astrodl.models.style import Style

PUBLISHED_SIZE = 224
"""Pixels on a side of the images for which the strides of most architectures were made."""


def scaled(published: int, share: float) -> int:
    """Give the number of channels or units at a share of the published one, at least two."""
    return max(2, round(share * published))


def stem_stride(published: int, size: int) -> int:
    """Shrink the stride of the first layer with the image; all later strides stay as published.

    At 64 pixels it is 1, and the five halvings of an ImageNet network leave 4 x 4 pixels rather than 2 x 2.
    """
    return max(1, round(published * size / PUBLISHED_SIZE))


class Maxout(nn.Module):
    """The larger of each pair of units (Goodfellow et al. 2013, arXiv:1302.4389): (B, 2 n) -> (B, n)."""

    def forward(self, x: Tensor) -> Tensor:
        """Take the maxima."""
        return x.unflatten(1, (-1, 2)).amax(2)


class Trunk(nn.Module):
    """Maps, pooling, dense layers: (B, in, size, size) -> (B, out_features).

    Parameters
    ----------
    maps : nn.Module
        Turns images into maps (B, C, H, W).
    in_channels, size : int
        Shape of the images; only a network with dense layers or a flattened map keeps to this size.
    style : Style
        Filled with the published choices.
    levels : tuple of int
        Of the pyramid that pools the last map.
    dense : sequence of int
        Units of the dense layers, scaled.
    maxout : bool
        Whether each dense unit is the larger of two, instead of an activation.
    """

    def __init__(
        self,
        maps: nn.Module,
        in_channels: int,
        size: int,
        style: Style,
        *,
        levels: tuple[int, ...] = (1,),
        dense: Sequence[int] = (),
        maxout: bool = False,
    ):
        super().__init__()
        self.maps = nn.Sequential(maps, style.pool(levels))
        self.out_features = _length(self.maps, torch.zeros(1, in_channels, size, size))
        layers: list[nn.Module] = [] if dense else [style.drop()]
        for width in dense:
            units = [nn.Linear(self.out_features, 2 * width), Maxout()] if maxout else None
            layers += units or [nn.Linear(self.out_features, width), style.act()]
            layers.append(style.drop())
            self.out_features = width
        self.dense = nn.Sequential(*layers)
        style.initialize(self)

    def forward(self, image: Tensor) -> Tensor:
        """Give the feature vector of each image."""
        return self.dense(self.maps(image))


@torch.no_grad()
def _length(network: nn.Module, image: Tensor) -> int:
    """Try out how many numbers come out; nothing is drawn or remembered."""
    length = network.eval()(image).shape[1]
    network.train()
    return length
