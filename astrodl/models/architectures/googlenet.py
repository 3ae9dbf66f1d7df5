"""GoogLeNet (Szegedy et al. 2015, arXiv:1409.4842) as in torchvision: batch norm, and 3 x 3 instead of 5 x 5."""

import torch
from torch import Tensor, nn

from astrodl.models.architectures.base import Trunk, scale_width, stem_stride
from astrodl.models.style import Style

__all__ = ["googlenet"]

BLOCKS: tuple[tuple[int, ...], ...] = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    (),
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (),
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)
"""Channels of the branches (1 x 1; 1 x 1, 3 x 3; 1 x 1, 3 x 3; pooling, 1 x 1); an empty row is a pooling by two."""


class Inception(nn.Module):
    """Four parallel branches: (B, in, H, W) -> (B, out_channels, H, W)."""

    def __init__(self, in_channels: int, channels: list[int], style: Style):
        super().__init__()
        single, narrow, wide, narrower, wider, pooled = channels
        self.branches = nn.ModuleList(
            [
                style.conv(in_channels, single, 1),
                nn.Sequential(style.conv(in_channels, narrow, 1), style.conv(narrow, wide)),
                nn.Sequential(style.conv(in_channels, narrower, 1), style.conv(narrower, wider)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), style.conv(in_channels, pooled, 1)),
            ]
        )
        self.out_channels = single + wide + wider + pooled

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the branches."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def googlenet(in_channels: int, size: int, share: float, style: Style) -> Trunk:
    """Build the trunk, without the auxiliary classifiers."""
    first, before = scale_width(64, share), scale_width(192, share)
    layers: list[nn.Module] = [
        style.conv(in_channels, first, 7, stride=stem_stride(2, size)),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        style.conv(first, first, 1),
        style.conv(first, before),
        nn.MaxPool2d(3, 2, ceil_mode=True),
    ]
    for row in BLOCKS:
        if row:
            block = Inception(before, [scale_width(channels, share) for channels in row], style)
            before = block.out_channels
            layers.append(block)
        else:
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
    return Trunk(nn.Sequential(*layers), in_channels, size, style)
