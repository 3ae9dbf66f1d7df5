"""ResNet (He et al. 2016, arXiv:1512.03385), its shortcuts averaging before they skip pixels (arXiv:1812.01187)."""

from torch import nn

from astrodl.models.architectures.base import Trunk, scaled, stem_stride
from astrodl.models.cnn import CompactResNet
from astrodl.models.style import Style


def resnet(blocks: tuple[int, ...], in_channels: int, size: int, share: float, style: Style) -> nn.Module:
    """Build a trunk of basic blocks, so many per stage; the channels double from stage to stage."""
    before = scaled(64, share)
    layers: list[nn.Module] = [
        style.conv(in_channels, before, 7, stride=stem_stride(2, size)),
        nn.MaxPool2d(3, 2, 1),
    ]
    for stage, n_blocks in enumerate(blocks):
        width = scaled(64 * 2**stage, share)
        for block in range(n_blocks):
            layers.append(style.residual(before, width, stride=2 if stage and not block else 1))
            before = width
    return Trunk(nn.Sequential(*layers), in_channels, size, style)


def compact(in_channels: int, size: int, share: float, style: Style) -> nn.Module:
    """Build the compact network."""
    return CompactResNet(in_channels, widths=tuple(scaled(width, share) for width in (32, 64, 128)), style=style)
