"""Networks for photometric redshifts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from astrodl.models.blocks import ConvBlock, Dropout, ImageNetwork, ResidualBlock, initialize
from astrodl.models.hybrid import HybridNetwork
from astrodl.models.space import FeatureSpace

__all__ = ["Branches", "InceptionBlock", "PasquetInception", "RedshiftNetwork"]


class RedshiftNetwork(HybridNetwork):
    """A hybrid network with a `FeatureSpace` on its last hidden layer.

    The parameters are those of `HybridNetwork`.
    """

    def __init__(
        self,
        trunk: ImageNetwork | None,
        n_features: int,
        out_features: int,
        *,
        widths: Sequence[int] = (512, 128),
        dropout: float = 0.2,
    ):
        super().__init__(trunk, n_features, out_features, widths=widths, dropout=dropout)
        self.space = FeatureSpace(widths[-1])


class Branches(ImageNetwork):
    """One branch per subset of adjacent bands, merged late (Ait Ouahmed et al. 2024, A&A 683, A26).

    Each branch reads `subset` adjacent bands and learns features of their colours; common stages follow.
    (B, in, H, W) -> (B, widths[-1]).

    Parameters
    ----------
    in_channels, n_bands : int
        Number of input maps and of bands. The bands come first, and other maps (coverage) follow in the same order.
    subset : int
        Number of bands in a branch.
    widths : sequence of int
        Channels of each branch, then of the common stages.
    dropout : float
        Dropout of the features.
    """

    def __init__(self, in_channels: int, n_bands: int, *, subset: int = 2, widths: Sequence[int], dropout: float):
        super().__init__()
        subset = min(subset, n_bands)
        n_groups = in_channels // n_bands
        self.subsets = [
            [group * n_bands + band for group in range(n_groups) for band in range(start, start + subset)]
            for start in range(n_bands - subset + 1)
        ]
        self.branches = nn.ModuleList(
            nn.Sequential(
                ConvBlock(n_groups * subset, widths[0], kernel=5, stride=2), ResidualBlock(widths[0], widths[0])
            )
            for _ in self.subsets
        )
        stages: list[nn.Module] = []
        before = widths[0] * len(self.subsets)
        for width in widths[1:]:
            stages.append(ResidualBlock(before, width, stride=2))
            before = width
        self.common = nn.Sequential(*stages)
        self.mix = nn.Sequential(nn.Linear(2 * before, before), nn.LayerNorm(before), nn.ReLU(inplace=True))
        self.dropout = Dropout(dropout)
        self.out_features = before
        initialize(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return the feature vector of each image."""
        parts = [branch(image[:, subset]) for branch, subset in zip(self.branches, self.subsets, strict=True)]
        maps = self.common(torch.cat(parts, dim=1))
        return self.dropout(self.mix(torch.cat([maps.mean((-2, -1)), maps.amax((-2, -1))], dim=1)))


class InceptionBlock(nn.Module):
    """Parallel convolutions of several sizes (Szegedy et al. 2015): (B, in, H, W) -> (B, out_channels, H, W).

    Branches: 1 x 1; 1 x 1 then 3 x 3; 1 x 1 then 5 x 5 (unless `small`); 1 x 1 then an average over 2 x 2.
    """

    def __init__(self, in_channels: int, narrow: int, wide: int, *, small: bool = False):
        super().__init__()
        self.single = _conv(in_channels, wide, 1)
        self.pooled = nn.Sequential(_conv(in_channels, narrow, 1), nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, 1))
        self.three = nn.Sequential(_conv(in_channels, narrow, 1), _conv(narrow, wide, 3))
        self.five = None if small else nn.Sequential(_conv(in_channels, narrow, 1), _conv(narrow, wide, 5))
        self.out_channels = narrow + wide * (2 if small else 3)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the branches."""
        branches = [self.single, self.pooled, self.three, *([] if self.five is None else [self.five])]
        return torch.cat([branch(x) for branch in branches], dim=1)


class PasquetInception(ImageNetwork):
    """The inception network of Pasquet et al. (2019, A&A 621, A26): (B, in, H, W) -> (B, out_features).

    A convolution, five inception blocks between which the image is halved three times, and two fully connected layers;
    PReLU throughout, no normalisation. `share` scales the published numbers of channels.
    """

    def __init__(self, in_channels: int, *, size: int, share: float = 1.0):
        super().__init__()

        def channels(published: int) -> int:
            return max(2, round(share * published))

        self.stem = nn.Sequential(_conv(in_channels, channels(64), 5), nn.AvgPool2d(2))
        layers: list[nn.Module] = []
        before = channels(64)
        for narrow, wide, halved in ((48, 64, False), (64, 92, True), (92, 128, False), (92, 128, True)):
            block = InceptionBlock(before, channels(narrow), channels(wide))
            layers += [block, nn.AvgPool2d(2)] if halved else [block]
            before = block.out_channels
        last = InceptionBlock(before, channels(92), channels(128), small=True)
        self.blocks = nn.Sequential(*layers, last)
        self.out_features = channels(1096)
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(last.out_channels * (size // 8) ** 2, self.out_features),
            nn.PReLU(),
            nn.Linear(self.out_features, self.out_features),
            nn.PReLU(),
        )
        initialize(self)

    def forward(self, image: Tensor) -> Tensor:
        """Return the feature vector of each image."""
        return self.dense(self.blocks(self.stem(image)))


def _conv(in_channels: int, out_channels: int, kernel: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2), nn.PReLU(out_channels))
