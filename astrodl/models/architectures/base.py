"""Common parts of the architectures: scaled widths, stride of the first layer, pooling and dense layers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from astrodl.models.blocks import ImageNetwork
from astrodl.models.style import Style

__all__ = ["Maxout", "Trunk", "scale_width", "stem_stride"]

PUBLISHED_SIZE = 224
"""Side in pixels of the images for which most architectures were designed."""


def scale_width(published: int, share: float) -> int:
    """Return the published number of channels or units times `share`, but at least two."""
    return max(2, round(share * published))


def stem_stride(published: int, size: int) -> int:
    """Return the stride of the first layer, in proportion to the size of the image; later strides are as published.

    At 64 pixels it is 1, and the five halvings of an ImageNet network leave 4 x 4 pixels instead of 2 x 2.
    """
    return max(1, round(published * size / PUBLISHED_SIZE))


class Maxout(nn.Module):
    """Maximum of each pair of units (Goodfellow et al. 2013, arXiv:1302.4389): (B, 2 n) -> (B, n)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima."""
        return x.unflatten(1, (-1, 2)).amax(2)


class Trunk(ImageNetwork):
    """Convolutional layers, pooling, dense layers: (B, in, size, size) -> (B, out_features).

    Parameters
    ----------
    maps : nn.Module
        Network that turns images into maps (B, C, H, W).
    in_channels, size : int
        Shape of the images; only a network with dense layers or a flattened map is restricted to this size.
    style : Style
        Style without open choices.
    levels : tuple of int
        Levels of the pyramid that pools the last map.
    dense : sequence of int
        Numbers of units of the dense layers.
    maxout : bool
        Whether dense units are maxout units instead of having an activation.
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
        self.out_features = _output_length(self.maps, torch.zeros(1, in_channels, size, size))
        layers: list[nn.Module] = [] if dense else [style.drop()]
        for width in dense:
            units = [nn.Linear(self.out_features, 2 * width), Maxout()] if maxout else None
            layers += units or [nn.Linear(self.out_features, width), style.act()]
            layers.append(style.drop())
            self.out_features = width
        self.dense = nn.Sequential(*layers)
        style.initialize(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return the feature vector of each image."""
        return self.dense(self.maps(image))


@torch.no_grad()
def _output_length(network: nn.Module, image: Tensor) -> int:
    """Return the length of the output, from a pass in evaluation mode, which draws no random numbers."""
    length = network.eval()(image).shape[1]
    network.train()
    return length
