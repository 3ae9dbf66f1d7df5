"""ResNet (He et al. 2016, arXiv:1512.03385) with average pooling in strided shortcuts (arXiv:1812.01187)."""

from torch import nn

from astrodl.models.architectures.base import Trunk, scale_width, stem_stride
from astrodl.models.cnn import CompactResNet
from astrodl.models.style import Style

__all__ = ["compact", "resnet"]


def resnet(blocks: tuple[int, ...], in_channels: int, size: int, share: float, style: Style) -> Trunk:
    """Build a trunk with `blocks` basic blocks per stage; the channels double from stage to stage."""
    before = scale_width(64, share)
    layers: list[nn.Module] = [
        style.conv(in_channels, before, 7, stride=stem_stride(2, size)),
        nn.MaxPool2d(3, 2, 1),
    ]
    for stage, n_blocks in enumerate(blocks):
        width = scale_width(64 * 2**stage, share)
        for block in range(n_blocks):
            layers.append(style.residual(before, width, stride=2 if stage and not block else 1))
            before = width
    return Trunk(nn.Sequential(*layers), in_channels, size, style)


def compact(in_channels: int, size: int, share: float, style: Style) -> CompactResNet:
    """Build the compact residual network."""
    return CompactResNet(in_channels, widths=tuple(scale_width(width, share) for width in (32, 64, 128)), style=style)
