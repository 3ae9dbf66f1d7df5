"""Convolutional networks that turn an image into a vector."""

import torch
from torch import Tensor, nn

from astrodl.models.blocks import MLP, ConvBlock, Dropout, ResidualBlock, initialize


class CompactResNet(nn.Module):
    """A small residual trunk: (B, in, H, W) -> (B, widths[-1]).

    A strided stem halves the image once, each further width halves it again; the features are the spatial mean and
    maximum of the last map, mixed by a linear layer.
    """

    def __init__(
        self, in_channels: int, *, widths: tuple[int, ...] = (32, 64, 128), blocks: int = 1, dropout: float = 0.2
    ):
        super().__init__()
        stages: list[nn.Module] = [ConvBlock(in_channels, widths[0], kernel=5, stride=2)]
        before = widths[0]
        for level, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if level > 0 and block == 0 else 1
                stages.append(ResidualBlock(before, width, stride=stride))
                before = width
        self.trunk = nn.Sequential(*stages)
        self.mix = nn.Sequential(nn.Linear(2 * before, before), nn.LayerNorm(before), nn.ReLU(inplace=True))
        self.dropout = Dropout(dropout)
        self.out_features = before
        initialize(self)

    def forward(self, image: Tensor) -> Tensor:
        """Give the feature vector of each image."""
        maps = self.trunk(image)
        pooled = torch.cat([maps.mean((-2, -1)), maps.amax((-2, -1))], dim=1)
        return self.dropout(self.mix(pooled))


class HybridNetwork(nn.Module):
    """Image trunk beside a branch for catalogue features, joined late: ((B, in, H, W), (B, F)) -> (B, out)."""

    def __init__(
        self,
        in_channels: int,
        n_features: int,
        out_features: int,
        *,
        widths: tuple[int, ...] = (32, 64, 128),
        blocks: int = 1,
        feature_widths: tuple[int, ...] = (128, 128),
        dropout: float = 0.2,
    ):
        super().__init__()
        self.trunk = CompactResNet(in_channels, widths=widths, blocks=blocks, dropout=dropout)
        self.features = MLP(n_features, feature_widths, dropout=dropout / 2) if n_features else None
        joined = self.trunk.out_features + (feature_widths[-1] if n_features else 0)
        self.head = nn.Sequential(MLP(joined, (128,), dropout=dropout), nn.Linear(128, out_features))
        initialize(self)

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Give the output vector; `features` may be omitted when the network has no such branch."""
        parts = [self.trunk(image)]
        if self.features is not None:
            assert features is not None
            parts.append(self.features(features))
        return self.head(torch.cat(parts, dim=1))
