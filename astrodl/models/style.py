"""Choices that an architecture leaves open: activation, normalisation, initialisation, pooling and dropout."""

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from astrodl.models.blocks import (
    ConvBlock,
    Dropout,
    ResidualBlock,
    initialize,
    look_up,
    make_activation,
    make_normalization,
)

__all__ = ["POOLINGS", "PUBLISHED", "Pooling", "Style"]

T = TypeVar("T")

POWER = 4
"""Exponent of the `lp` pooling, which is a sum for 1 and the maximum for infinity."""

POOLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda maps: maps.mean((-2, -1)),
    "max": lambda maps: maps.amax((-2, -1)),
    # the value of nn.LPPool2d, whose gradient is NaN where a map is zero everywhere
    "lp": lambda maps: torch.linalg.vector_norm(maps.float(), POWER, dim=(-2, -1)),
    "mean_max": lambda maps: torch.cat([maps.mean((-2, -1)), maps.amax((-2, -1))], dim=1),
    "flatten": lambda maps: maps.flatten(1),
}


class Pooling(nn.Module):
    """Turn maps into vectors: (B, C, H, W) -> (B, C) for one level and one statistic.

    Several levels n form a spatial pyramid (He et al. 2014, arXiv:1406.4729): for each level the map is cut into n x n
    cells, which may overlap by a pixel, and the vectors of all cells are concatenated.
    """

    def __init__(self, kind: str, levels: tuple[int, ...] = (1,)):
        super().__init__()
        look_up("pooling", kind, POOLINGS)
        self.kind, self.levels = kind, levels

    def forward(self, maps: Tensor) -> Tensor:
        """Pool each cell and concatenate the vectors."""
        height, width = maps.shape[-2:]
        pool = POOLINGS[self.kind]
        cells = [maps[..., y, x] for n in self.levels for y in _cuts(height, n) for x in _cuts(width, n)]
        return torch.cat([pool(cell) for cell in cells], dim=1)


def _cuts(side: int, n: int) -> list[slice]:
    """Cut a side into n parts, like torch's adaptive pooling."""
    return [slice(i * side // n, -(-(i + 1) * side // n)) for i in range(n)]


@dataclass(frozen=True)
class Style:
    """Choices for an architecture; None stands for the published one.

    Parameters
    ----------
    activation : str, optional
        One of `blocks.ACTIVATIONS`.
    norm : str, optional
        One of `blocks.NORMALIZATIONS`; convolutions have biases only with `none`.
    initialization : str, optional
        One of `blocks.INITIALIZATIONS`.
    pooling : str, optional
        Pooling of the last map, one of `POOLINGS`.
    dropout : float, optional
        Dropout probability after each dense layer, or after the pooling if there are none.
    """

    activation: str | None = None
    norm: str | None = None
    initialization: str | None = None
    pooling: str | None = None
    dropout: float | None = None

    def fill_from(self, published: "Style") -> "Style":
        """Replace None by the published choices."""
        pairs = zip(astuple(self), astuple(published), strict=True)
        return Style(*(default if own is None else own for own, default in pairs))

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> ConvBlock:
        """Make a convolution with normalisation, and with activation if `active`."""
        return ConvBlock(
            in_channels,
            out_channels,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            norm=_required(self.norm),
            act=_required(self.activation) if active else "none",
        )

    def residual(self, in_channels: int, out_channels: int, *, stride: int = 1) -> ResidualBlock:
        """Make a basic residual block."""
        norm, act = _required(self.norm), _required(self.activation)
        return ResidualBlock(in_channels, out_channels, stride=stride, norm=norm, act=act)

    def normalize(self, channels: int) -> nn.Module:
        """Make a normalisation layer."""
        return make_normalization(_required(self.norm), channels)

    def act(self, *, inplace: bool = True) -> nn.Module:
        """Make an activation; ReLU overwrites its input if `inplace`."""
        return make_activation(_required(self.activation), inplace=inplace)

    def pool(self, levels: tuple[int, ...] = (1,)) -> Pooling:
        """Make the pooling of the last map."""
        return Pooling(_required(self.pooling), levels)

    def drop(self) -> Dropout:
        """Make a dropout layer."""
        return Dropout(_required(self.dropout))

    def initialize(self, network: nn.Module) -> None:
        """Initialise all weights."""
        initialize(network, _required(self.initialization))


PUBLISHED = Style()
"""All choices as published."""


def _required(value: T | None) -> T:
    assert value is not None, "call fill_from with the published choices first"
    return value
