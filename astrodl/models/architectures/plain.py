"""Sequential networks: LeNet, AlexNet, VGG, spatial-pyramid pooling, dilated convolutions."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from astrodl.models.architectures.base import Trunk, scale_width, stem_stride
from astrodl.models.style import Style

__all__ = ["ALEXNET", "DILATED", "LENET5", "SPP", "VGG11", "VGG16", "plain"]


class Conv(NamedTuple):
    """A convolution; by default it is padded to keep the size of the image."""

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int | None = None
    dilation: int = 1


class Pool(NamedTuple):
    """A pooling without padding."""

    kernel: int = 2
    stride: int = 2


@dataclass(frozen=True)
class Plain:
    """Table of the layers of a network."""

    layers: tuple[Conv | Pool, ...]
    dense: tuple[int, ...] = ()
    """Units of the dense layers, without the last one to the classes."""
    average: bool = False
    """Whether poolings between layers are means instead of maxima."""
    levels: tuple[int, ...] = (1,)
    """Levels of the pyramid that pools the last map."""


def _vgg(*stages: tuple[int, int]) -> Plain:
    """Make a table of stages of (convolutions, channels), each followed by a pooling."""
    layers: list[Conv | Pool] = []
    for n, channels in stages:
        layers += [*[Conv(channels)] * n, Pool()]
    return Plain(tuple(layers), dense=(4096, 4096))


LENET5 = Plain((Conv(6, 5, 1, 0), Pool(), Conv(16, 5, 1, 0), Pool()), dense=(120, 84), average=True)
"""LeCun et al. 1998 (Proc. IEEE 86, 2278), with all maps of the third layer connected."""

ALEXNET = Plain(
    (Conv(64, 11, 4, 2), Pool(3), Conv(192, 5), Pool(3), Conv(384), Conv(256), Conv(256), Pool(3)), dense=(4096, 4096)
)
"""Krizhevsky 2014 (arXiv:1404.5997), with one tower, and without local response normalisation."""

VGG11 = _vgg((1, 64), (1, 128), (2, 256), (2, 512), (2, 512))
VGG16 = _vgg((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Simonyan & Zisserman 2015, arXiv:1409.1556."""

SPP = Plain(
    (Conv(96, 7, 2), Pool(3), Conv(256, 5, 2), Pool(3), Conv(384), Conv(384), Conv(256)),
    dense=(4096, 4096),
    levels=(6, 3, 2, 1),
)
"""ZF-5 of He et al. 2014, arXiv:1406.4729, which accepts images of any size."""

DILATED = Plain(
    (Conv(64), Conv(64), Pool(), *(Conv(128, dilation=d) for d in (1, 1, 2, 4, 8, 16, 1)), Conv(128, 1)),
)
"""The basic context module of Yu & Koltun 2016 (arXiv:1511.07122), after the first stage of VGG-16."""


def plain(table: Plain, in_channels: int, size: int, share: float, style: Style) -> Trunk:
    """Build a trunk from a table."""
    maps: list[nn.Module] = []
    before = in_channels
    for index, layer in enumerate(table.layers):
        if isinstance(layer, Pool):
            maps.append((nn.AvgPool2d if table.average else nn.MaxPool2d)(layer.kernel, layer.stride))
            continue
        width = scale_width(layer.channels, share)
        stride = layer.stride if index else stem_stride(layer.stride, size)
        maps.append(
            style.conv(before, width, layer.kernel, stride=stride, padding=layer.padding, dilation=layer.dilation)
        )
        before = width
    dense = [scale_width(width, share) for width in table.dense]
    return Trunk(nn.Sequential(*maps), in_channels, size, style, levels=table.levels, dense=dense)
