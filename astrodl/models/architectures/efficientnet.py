"""EfficientNet-B0 (Tan & Le 2019, arXiv:1905.11946), without stochastic depth."""

from typing import NamedTuple

from torch import Tensor, nn

from astrodl.models.architectures.base import Trunk, scale_width, stem_stride
from astrodl.models.style import Style

__all__ = ["efficientnet"]


class Stage(NamedTuple):
    """A sequence of blocks, of which the first has the stride."""

    expand: int
    channels: int
    blocks: int
    stride: int
    kernel: int


STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)


class SqueezeExcitation(nn.Module):
    """Weight channels by a function of their means (Hu et al. 2018, arXiv:1709.01507): (B, C, H, W) -> the same."""

    def __init__(self, channels: int, squeezed: int, style: Style):
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1), style.act(), nn.Conv2d(squeezed, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each channel by a weight between 0 and 1."""
        return x * self.gate(x.mean((-2, -1), keepdim=True))


class MBConv(nn.Module):
    """Inverted residual block: expand, depthwise convolution, squeeze and excitation, project (arXiv:1801.04381).

    Shapes: (B, in, H, W) -> (B, out, H / stride, W / stride).
    """

    def __init__(self, in_channels: int, out_channels: int, style: Style, *, expand: int, kernel: int, stride: int):
        super().__init__()
        wide = expand * in_channels
        self.branch = nn.Sequential(
            style.conv(in_channels, wide, 1) if expand > 1 else nn.Identity(),
            style.conv(wide, wide, kernel, stride=stride, groups=wide),
            SqueezeExcitation(wide, max(1, in_channels // 4), style),
            style.conv(wide, out_channels, 1, active=False),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch, plus the input if the shapes agree."""
        return self.branch(x) + x if self.residual else self.branch(x)


def efficientnet(in_channels: int, size: int, share: float, style: Style) -> Trunk:
    """Build the trunk."""
    before = scale_width(32, share)
    layers: list[nn.Module] = [style.conv(in_channels, before, stride=stem_stride(2, size))]
    for expand, channels, blocks, first_stride, kernel in STAGES:
        width = scale_width(channels, share)
        for block in range(blocks):
            stride = 1 if block else first_stride
            layers.append(MBConv(before, width, style, expand=expand, kernel=kernel, stride=stride))
            before = width
    layers.append(style.conv(before, scale_width(1280, share), 1))
    return Trunk(nn.Sequential(*layers), in_channels, size, style)
