"""Networks by name, from LeNet to equivariant ones: each turns images into vectors, a classifier comes behind it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from torch import nn

from astrodl.models.architectures.dihedral import d4, dieleman
from astrodl.models.architectures.efficientnet import efficientnet
from astrodl.models.architectures.googlenet import googlenet
from astrodl.models.architectures.plain import ALEXNET, DILATED, LENET5, SPP, VGG11, VGG16, plain
from astrodl.models.architectures.residual import compact, resnet
from astrodl.models.architectures.xception import xception
from astrodl.models.blocks import chosen
from astrodl.models.style import POOLINGS, PUBLISHED, Style


class Architecture(NamedTuple):
    """How a trunk is built from `in_channels, size, share, style`, its published style, and the sizes it accepts."""

    build: Callable[[int, int, float, Style], nn.Module]
    style: Style
    smallest: int = 32
    multiple: int = 1


TRUNKS: Mapping[str, Architecture] = {
    "lenet5": Architecture(partial(plain, LENET5), Style("tanh", "none", "glorot", "flatten", 0.0)),
    "alexnet": Architecture(partial(plain, ALEXNET), Style("relu", "none", "he", "flatten", 0.5)),
    "vgg11": Architecture(partial(plain, VGG11), Style("relu", "none", "he", "flatten", 0.5)),
    "vgg16": Architecture(partial(plain, VGG16), Style("relu", "none", "he", "flatten", 0.5)),
    "spp": Architecture(partial(plain, SPP), Style("relu", "none", "he", "max", 0.5)),
    "dilated": Architecture(partial(plain, DILATED), Style("relu", "none", "he", "mean", 0.0)),
    "googlenet": Architecture(googlenet, Style("relu", "batch", "he", "mean", 0.2)),
    "resnet18": Architecture(partial(resnet, (2, 2, 2, 2)), Style("relu", "batch", "he", "mean", 0.0)),
    "resnet34": Architecture(partial(resnet, (3, 4, 6, 3)), Style("relu", "batch", "he", "mean", 0.0)),
    "xception": Architecture(xception, Style("relu", "batch", "he", "mean", 0.5)),
    "efficientnet_b0": Architecture(efficientnet, Style("silu", "batch", "he", "mean", 0.2)),
    "dieleman": Architecture(dieleman, Style("relu", "none", "he", "flatten", 0.5), smallest=46),
    "d4": Architecture(d4, Style("relu", "batch", "he", "mean", 0.0), multiple=8),
    "compact": Architecture(compact, Style("relu", "batch", "he", "mean_max", 0.2)),
}


def trunk(name: str, in_channels: int, *, size: int, share: float = 1.0, style: Style = PUBLISHED) -> nn.Module:
    """Build a network up to its features: (B, in, size, size) -> (B, out_features).

    Parameters
    ----------
    name : str
        One of `TRUNKS`.
    in_channels : int
        Maps of the input.
    size : int
        Pixels on a side of the images. With 224 (LeNet: 32) the layers are as published; the stride of the first
        layer shrinks with the image.
    share : float
        Scales all channels and dense layers; 1 is as published.
    style : Style
        Choices that differ from the published ones.

    Returns
    -------
    nn.Module
        With the attribute `out_features`.

    Raises
    ------
    ValueError
        A name, a size or a choice is not accepted; those accepted are given.
    """
    architecture = chosen("architecture", name, TRUNKS)
    smallest, multiple = architecture.smallest, architecture.multiple
    if size < smallest or size % multiple:
        multiples = f", multiples of {multiple}" if multiple > 1 else ""
        raise ValueError(f"size {size} is not accepted by '{name}'; accepted: {smallest} and more{multiples}")
    if style.pooling == "flatten" != architecture.style.pooling:
        others = ", ".join(kind for kind in POOLINGS if kind != "flatten")
        raise ValueError(f"pooling 'flatten' is not accepted by '{name}'; accepted: {others}")
    return architecture.build(in_channels, size, share, style.over(architecture.style))
