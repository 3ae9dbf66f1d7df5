"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with a vector output from its deepest level."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl.models.blocks import MLP, ConvBlock, ResidualBlock, initialize

__all__ = ["DecompositionUNet", "UNet", "sum_fractions"]


class UNet(nn.Module):
    """Map (B, in, H, W) to (B, out, H, W) and a bottleneck vector (B, widths[-1]).

    A strided stem halves the image and a pixel shuffle (Shi et al. 2016, arXiv:1609.05158) returns to full resolution:
    with residual blocks at full resolution, training and prediction take twice as long for the same accuracy.
    Images whose sides are not multiples of ``2 ** len(widths)`` are padded with zeros, and the maps cropped.
    """

    def __init__(self, in_channels: int, out_channels: int, *, widths: tuple[int, ...] = (16, 32, 64, 128)):
        super().__init__()
        self.factor = 2 ** len(widths)
        self.stem = ConvBlock(in_channels, widths[0], kernel=5, stride=2)
        self.down = nn.ModuleList(ResidualBlock(before, width, stride=2) for before, width in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, shallow, 2, 2) for shallow, deep in pairwise(widths))
        self.merge = nn.ModuleList(ResidualBlock(2 * width, width) for width in widths[:-1])
        self.head = nn.Sequential(nn.Conv2d(widths[0], 4 * out_channels, 3, padding=1), nn.PixelShuffle(2))
        initialize(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output maps and the mean of the deepest feature map."""
        height, width = image.shape[-2:]
        padded = functional.pad(image, (0, -width % self.factor, 0, -height % self.factor))
        maps = [self.stem(padded)]
        for down in self.down:
            maps.append(down(maps[-1]))
        x = maps.pop()
        bottleneck = x.mean((-2, -1))
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            x = merge(torch.cat([up(x), maps.pop()], dim=1))
        return self.head(x)[..., :height, :width], bottleneck


class DecompositionUNet(nn.Module):
    """U-Net for clumps, bulge and disk, with a head for the bulge-to-total ratio.

    It maps (B, bands, H, W) to a dict of

    - `clump`: (B, H, W) logit of the probability that a pixel belongs to a clump,
    - `fraction`: (B, 3, H, W) logits of the flux fractions of bulge, disk and clumps,
    - `light`: (B, H, W) noise-free light of the galaxy, as arsinh of its signal-to-noise ratio per pixel,
    - `bt`: (B, 2) mean of the bulge-to-total ratio, and logarithm of its standard deviation,
    - `summed`: (B, 3) flux fractions of the whole galaxy, from the sums of the maps.
    """

    def __init__(self, in_channels: int, *, widths: tuple[int, ...] = (16, 32, 64, 128), dropout: float = 0.1):
        super().__init__()
        self.unet = UNet(in_channels, 5, widths=widths)
        self.head = nn.Sequential(MLP(widths[-1] + 4, (64,), dropout=dropout), nn.Linear(64, 2))
        initialize(self.head)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return maps and bulge-to-total ratio."""
        maps, bottleneck = self.unet(image)
        fraction, light = maps[:, 1:4], maps[:, 4]
        summed = sum_fractions(fraction, light)
        flux = light.float().clamp(0, 12).sinh().sum((-2, -1)).log1p()[:, None]
        mean, log_sigma = self.head(torch.cat([bottleneck, summed, flux / 5], dim=1)).unbind(1)
        # the head predicts a correction of the ratio from the summed maps
        bt = torch.sigmoid(torch.logit(summed[:, 0].clamp(0.01, 0.99)) + mean.float())
        return {
            "clump": maps[:, 0],
            "fraction": fraction,
            "light": light,
            "bt": torch.stack([bt, log_sigma.float().clamp(-5, 0) - 1], dim=1),
            "summed": summed,
        }


def sum_fractions(fraction: Tensor, light: Tensor) -> Tensor:
    """Sum the fraction maps weighted with the light: (B, 3, H, W), (B, H, W) -> (B, 3), where rows sum to one."""
    flux = light.float().clamp(0, 12).sinh()
    parts = (fraction.float().softmax(1) * flux[:, None]).sum((-2, -1))
    return (parts + 1e-3) / (parts + 1e-3).sum(1, keepdim=True)
