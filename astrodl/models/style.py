"""The choices that one architecture leaves open: activation, normalisation, initialisation, pooling and dropout."""

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from astrodl.models.blocks import ConvBlock, Dropout, ResidualBlock, activation, chosen, initialize, normalization

T = TypeVar("T")

POWER = 4
"""Exponent of the `lp` pooling, between a sum (1) and the maximum (infinity)."""

POOLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda maps: maps.mean((-2, -1)),
    "max": lambda maps: maps.amax((-2, -1)),
    # nn.LPPool2d in value, but its gradient is not a number where a map is zero throughout
    "lp": lambda maps: torch.linalg.vector_norm(maps.float(), POWER, dim=(-2, -1)),
    "mean_max": lambda maps: torch.cat([maps.mean((-2, -1)), maps.amax((-2, -1))], dim=1),
    "flatten": lambda maps: maps.flatten(1),
}


class Pooling(nn.Module):
    """Turn maps into vectors: (B, C, H, W) -> (B, C) for one level and one statistic.

    With more levels n, a pyramid: the map is cut into n x n cells for each, which may overlap by a pixel, and the
    vectors of all cells are joined (He et al. 2014, arXiv:1406.4729).
    """

    def __init__(self, kind: str, levels: tuple[int, ...] = (1,)):
        super().__init__()
        chosen("pooling", kind, POOLINGS)
        self.kind, self.levels = kind, levels

    def forward(self, maps: Tensor) -> Tensor:
        """Pool each cell."""
        height, width = maps.shape[-2:]
        pool = POOLINGS[self.kind]
        cells = [maps[..., y, x] for n in self.levels for y in _cuts(height, n) for x in _cuts(width, n)]
        return torch.cat([pool(cell) for cell in cells], dim=1)


def _cuts(side: int, n: int) -> list[slice]:
    """Cut a side into n parts, as torch's adaptive pooling does."""
    return [slice(i * side // n, -(-(i + 1) * side // n)) for i in range(n)]


@dataclass(frozen=True)
class Style:
    """Choices for an architecture; None leaves its published one.

    Parameters
    ----------
    activation : str, optional
        One of `blocks.ACTIVATIONS`.
    norm : str, optional
        One of `blocks.NORMALIZATIONS`; without any, convolutions have biases.
    initialization : str, optional
        One of `blocks.INITIALIZATIONS`.
    pooling : str, optional
        How the last map becomes a vector, one of `POOLINGS`.
    dropout : float, optional
        Share of the features that is set to zero, after each dense layer or else after the pooling.
    """

    activation: str | None = None
    norm: str | None = None
    initialization: str | None = None
    pooling: str | None = None
    dropout: float | None = None

    def over(self, published: "Style") -> "Style":
        """Fill what is left open here with the published choices."""
        pairs = zip(astuple(self), astuple(published), strict=True)
        return Style(*(theirs if ours is None else ours for ours, theirs in pairs))

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
        """Make a convolution with normalisation and activation, or without the latter."""
        return ConvBlock(
            in_channels,
            out_channels,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            norm=_filled(self.norm),
            act=_filled(self.activation) if active else "none",
        )

    def residual(self, in_channels: int, out_channels: int, *, stride: int = 1) -> ResidualBlock:
        """Make a basic residual block."""
        norm, act = _filled(self.norm), _filled(self.activation)
        return ResidualBlock(in_channels, out_channels, stride=stride, norm=norm, act=act)

    def normalize(self, channels: int) -> nn.Module:
        """Make a normalisation."""
        return normalization(_filled(self.norm), channels)

    def act(self, *, inplace: bool = True) -> nn.Module:
        """Make an activation; ReLU overwrites its input unless that is needed elsewhere."""
        return activation(_filled(self.activation), inplace=inplace)

    def pool(self, levels: tuple[int, ...] = (1,)) -> Pooling:
        """Make the pooling of the last map."""
        return Pooling(_filled(self.pooling), levels)

    def drop(self) -> Dropout:
        """Make a dropout."""
        return Dropout(_filled(self.dropout))

    def initialize(self, network: nn.Module) -> None:
        """Initialise all weights."""
        initialize(network, _filled(self.initialization))


PUBLISHED = Style()
"""Leaves every choice as published."""


def _filled(value: T | None) -> T:
    assert value is not None, "a style is used that was not filled with the published choices"
    return value
