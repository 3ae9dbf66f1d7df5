"""Xception (Chollet 2017, arXiv:1610.02357): residual blocks of depthwise separable convolutions."""

from torch import Tensor, nn

from astrodl.models.architectures.base import Trunk, scale_width, stem_stride
from astrodl.models.blocks import start_at_zero
from astrodl.models.style import Style

__all__ = ["xception"]

BLOCKS = ((128, 128), (256, 256), (728, 728), *[(728, 728, 728)] * 8, (728, 1024))
"""Channels of the separable convolutions of each block."""


def _separable(in_channels: int, out_channels: int, style: Style) -> nn.Module:
    """Make a depthwise and a pointwise convolution, with normalisation."""
    depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
    return nn.Sequential(depthwise, style.conv(in_channels, out_channels, 1, active=False))


class XceptionBlock(nn.Module):
    """Residual block of activations and separable convolutions: (B, in, H, W) -> (B, out, H / s, W / s).

    A block with as many output as input channels keeps the size (s = 1) and starts as the identity; others have s = 2.
    """

    def __init__(self, in_channels: int, channels: list[int], style: Style, *, active: bool):
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for index, width in enumerate(channels):
            # the first activation must not overwrite the input, which the shortcut needs
            layers += [style.act(inplace=index > 0)] if index or active else []
            layers.append(_separable(before, width, style))
            before = width
        self.shortcut: nn.Module = nn.Identity()
        if before == in_channels:
            start_at_zero(layers[-1])
        else:
            layers.append(nn.MaxPool2d(3, 2, 1))
            self.shortcut = style.conv(in_channels, before, 1, stride=2, active=False)
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the shortcut."""
        return self.branch(x) + self.shortcut(x)


def xception(in_channels: int, size: int, share: float, style: Style) -> Trunk:
    """Build the trunk; unlike the published one it pads all convolutions, and keeps the pixels at the edges."""
    first, before = scale_width(32, share), scale_width(64, share)
    layers: list[nn.Module] = [
        style.conv(in_channels, first, stride=stem_stride(2, size)),
        style.conv(first, before),
    ]
    for index, row in enumerate(BLOCKS):
        channels = [scale_width(width, share) for width in row]
        layers.append(XceptionBlock(before, channels, style, active=index > 0))
        before = channels[-1]
    for width in (scale_width(1536, share), scale_width(2048, share)):
        layers += [_separable(before, width, style), style.act()]
        before = width
    return Trunk(nn.Sequential(*layers), in_channels, size, style)
