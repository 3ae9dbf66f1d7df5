"""Image networks by name, from LeNet to equivariant networks: each turns images into feature vectors."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from astrodl.models.architectures.dihedral import d4, dieleman
from astrodl.models.architectures.efficientnet import efficientnet
from astrodl.models.architectures.googlenet import googlenet
from astrodl.models.architectures.plain import ALEXNET, DILATED, LENET5, SPP, VGG11, VGG16, plain
from astrodl.models.architectures.residual import compact, resnet
from astrodl.models.architectures.xception import xception
from astrodl.models.blocks import ImageNetwork, look_up
from astrodl.models.style import POOLINGS, PUBLISHED, Style

__all__ = ["TRUNKS", "build_trunk"]


class Architecture(NamedTuple):
    """Builder of a trunk, its published style, and the image sizes that it accepts."""

    build: Callable[[int, int, float, Style], ImageNetwork]
    """Of `in_channels, size, share, style`."""
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


def build_trunk(
    name: str, in_channels: int, *, size: int, share: float = 1.0, style: Style = PUBLISHED
) -> ImageNetwork:
    """Build a network up to its features: (B, in, size, size) -> (B, out_features).

    Parameters
    ----------
    name : str
        One of `TRUNKS`.
    in_channels : int
        Channels of the input.
    size : int
        Side of the images in pixels. The layers are as published for 224 (LeNet: 32); for smaller images the stride
        of the first layer is smaller.
    share : float
        Factor on the number of channels and units of all layers; 1 is as published.
    style : Style
        Choices that differ from the published ones.

    Raises
    ------
    ValueError
        A name, a size or a choice is not accepted.
    """
    architecture = look_up("architecture", name, TRUNKS)
    smallest, multiple = architecture.smallest, architecture.multiple
    if size < smallest or size % multiple:
        multiples = f", multiples of {multiple}" if multiple > 1 else ""
        raise ValueError(f"size {size} is not accepted by '{name}'; accepted: {smallest} and more{multiples}")
    if style.pooling == "flatten" != architecture.style.pooling:
        others = ", ".join(kind for kind in POOLINGS if kind != "flatten")
        raise ValueError(f"pooling 'flatten' is not accepted by '{name}'; accepted: {others}")
    return architecture.build(in_channels, size, share, style.fill_from(architecture.style))
