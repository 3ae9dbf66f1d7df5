"""The compact residual network."""

import torch
from torch import Tensor, nn

from astrodl.models.blocks import ImageNetwork
from astrodl.models.style import PUBLISHED, Style

__all__ = ["CompactResNet"]


class CompactResNet(ImageNetwork):
    """A small residual network: (B, in, H, W) -> (B, widths[-1]).

    A strided stem halves the image, and each further width halves it again. The features are the spatial mean and
    maximum of the last map, mixed by a linear layer. `style` may change the pooling, but cannot flatten the map.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        widths: tuple[int, ...] = (32, 64, 128),
        blocks: int = 1,
        dropout: float = 0.2,
        style: Style = PUBLISHED,
    ):
        super().__init__()
        style = style.fill_from(Style("relu", "batch", "he", "mean_max", dropout))
        stages: list[nn.Module] = [style.conv(in_channels, widths[0], 5, stride=2)]
        before = widths[0]
        for level, width in enumerate(widths):
            for block in range(blocks):
                stages.append(style.residual(before, width, stride=2 if level > 0 and block == 0 else 1))
                before = width
        self.trunk = nn.Sequential(*stages)
        self.pool = style.pool()
        n_pooled = self.pool(torch.empty(1, before, 1, 1)).shape[1]
        self.mix = nn.Sequential(nn.Linear(n_pooled, before), nn.LayerNorm(before), style.act())
        self.dropout = style.drop()
        self.out_features = before
        style.initialize(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return the feature vector of each image."""
        return self.dropout(self.mix(self.pool(self.trunk(image))))
