"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597) for clumps, bulge and disk, with a vector output."""

from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl.models.blocks import MLP, ConvBlock, ResidualBlock, initialize, look_up, start_at_zero

__all__ = [
    "COMPONENTS",
    "SKIPS",
    "UPSAMPLING",
    "DecompositionUNet",
    "UNet",
    "UNetMaps",
    "radial_profile",
    "sum_fractions",
]

COMPONENTS = ("bulge", "disk", "clump")
"""Parts of a galaxy, in the order of the fractions."""
SKIPS = ("concatenate", "attention", "none")
"""What the decoder takes from the encoder: its maps; its maps weighted by attention gates (Oktay et al. 2018,
arXiv:1804.03999); or nothing, which makes a plain encoder-decoder."""
UPSAMPLING = ("transposed", "resize")
"""Transposed convolution, or nearest neighbour and convolution (Odena, Dumoulin & Olah 2016)."""

_RINGS_PIXELS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0, 13.0, 17.0, 22.0, 30.0)
"""Outer radii of the rings of the radial profile."""
_RARE_LOGIT = -4.0
"""Logit of clumps and centres before the training."""


class UNetMaps(NamedTuple):
    """Results of a `UNet`."""

    maps: Tensor
    """Output maps, (B, out, H, W)."""
    bottleneck: Tensor
    """Mean of the deepest feature map, (B, widths[-1])."""
    features: Tensor
    """Feature maps before the last convolution, of half the padded resolution, (B, widths[0], H / 2, W / 2)."""


class UNet(nn.Module):
    """Map (B, in, H, W) to (B, out, H, W) and a bottleneck vector (B, widths[-1]).

    A strided stem halves the image and a pixel shuffle (Shi et al. 2016, arXiv:1609.05158) returns to full resolution:
    with residual blocks at full resolution, training and prediction take twice as long for the same accuracy.
    Images whose sides are not multiples of ``2 ** len(widths)`` are padded with zeros, and the maps cropped.

    Parameters
    ----------
    in_channels, out_channels : int
    widths : tuple of int
        Channels from half the resolution downwards.
    norm : str
        Normalisation, see `astrodl.models.blocks.NORMALIZATIONS`.
    skips : str
        One of `SKIPS`.
    upsampling : str
        One of `UPSAMPLING`.
    dilation : int
        Spacing of the taps of two additional convolutions on the deepest maps; 1: none.
    n_condition : int
        Length of a vector that shifts the maps of the stem, such as a description of the point-spread function.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: tuple[int, ...] = (16, 32, 64, 128),
        norm: str = "batch",
        skips: str = "concatenate",
        upsampling: str = "transposed",
        dilation: int = 1,
        n_condition: int = 0,
    ):
        super().__init__()
        look_up("skip connection", skips, dict.fromkeys(SKIPS))
        expand = look_up("upsampling", upsampling, {"transposed": _transposed, "resize": _resize})
        self.factor = 2 ** len(widths)
        self.stem = ConvBlock(in_channels, widths[0], kernel=5, stride=2, norm=norm)
        self.condition = start_at_zero(nn.Linear(n_condition, widths[0])) if n_condition else None
        self.down = nn.ModuleList(
            ResidualBlock(before, width, stride=2, norm=norm) for before, width in pairwise(widths)
        )
        deepest = (ConvBlock(widths[-1], widths[-1], dilation=dilation, norm=norm) for _ in range(2))
        self.deepest = nn.Sequential(*deepest) if dilation > 1 else nn.Identity()
        self.up = nn.ModuleList(expand(deep, shallow) for shallow, deep in pairwise(widths))
        self.gates = nn.ModuleList(AttentionGate(width) for width in widths[:-1]) if skips == "attention" else None
        n_inputs = 1 if skips == "none" else 2
        self.merge = nn.ModuleList(ResidualBlock(n_inputs * width, width, norm=norm) for width in widths[:-1])
        # the stem mixes neighbouring pixels: the output sees them, too
        self.merge_pixels = ConvBlock(widths[0] + 4 * in_channels, 2 * widths[0], norm=norm)
        self.head = nn.Sequential(nn.Conv2d(2 * widths[0], 4 * out_channels, 3, padding=1), nn.PixelShuffle(2))
        self.has_skips = skips != "none"
        self._deepest_reach = 2 * dilation * self.factor if dilation > 1 else 0
        initialize(self)

    @property
    def reach(self) -> int:
        """Largest distance in pixels of an input that a pixel of the maps depends on, rounded up to `factor`."""
        n_levels = len(self.down) + 1
        # stem and output, the two convolutions of each block on the way down and up, that of an upsampling
        reach = 6 + sum(6 * 2**level for level in range(1, n_levels)) + self._deepest_reach + self.factor
        return -(-reach // self.factor) * self.factor

    def forward(self, image: Tensor, condition: Tensor | None = None) -> UNetMaps:
        """Return the output maps, the mean of the deepest feature map and the last feature maps."""
        height, width = image.shape[-2:]
        padded = functional.pad(image, (0, -width % self.factor, 0, -height % self.factor))
        x = self.stem(padded)
        if self.condition is not None:
            assert condition is not None, "the network takes a condition"
            x = x + self.condition(condition)[..., None, None].to(x.dtype)
        maps = [x]
        for down in self.down:
            maps.append(down(maps[-1]))
        x = self.deepest(maps.pop())
        bottleneck = x.mean((-2, -1))
        for number in reversed(range(len(self.up))):
            x, skipped = self.up[number](x), maps.pop()
            skipped = skipped if self.gates is None else self.gates[number](skipped, x)
            x = self.merge[number](torch.cat([x, skipped], dim=1) if self.has_skips else x)
        pixels = functional.pixel_unshuffle(padded, 2).to(x.dtype)
        output = self.head(self.merge_pixels(torch.cat([x, pixels], dim=1)))
        return UNetMaps(output[..., :height, :width], bottleneck, x)


def _transposed(deep: int, shallow: int) -> nn.Module:
    return nn.ConvTranspose2d(deep, shallow, 2, 2)


def _resize(deep: int, shallow: int) -> nn.Module:
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(deep, shallow, 3, padding=1))


class AttentionGate(nn.Module):
    """Weight the maps of a skip connection by a map of the decoder (Oktay et al. 2018, arXiv:1804.03999)."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Sequential(
            nn.Conv2d(2 * width, max(1, width // 2), 1), nn.ReLU(inplace=True), nn.Conv2d(max(1, width // 2), 1, 1)
        )

    def forward(self, skipped: Tensor, decoded: Tensor) -> Tensor:
        """Weight (B, C, H, W) by (B, C, H, W)."""
        return skipped * torch.sigmoid(self.weight(torch.cat([skipped, decoded], dim=1)))


class DecompositionUNet(nn.Module):
    """U-Net for clumps, bulge and disk, with a head for the distribution of the bulge-to-total ratio.

    It maps (B, in, H, W) to a dict of

    - `clump`: (B, H, W) logit of the probability that a pixel belongs to a clump,
    - `centre`: (B, H, W) logit of the probability that a clump is centred on the pixel,
    - `fraction`: (B, bands, 3, H, W) logits of the flux fractions of bulge, disk and clumps,
    - `light`: (B, bands, H, W) noise-free light of the galaxy, as arsinh of its signal-to-noise ratio per pixel,
    - `masks`: (B, n_masks, H, W) logits of further masks, if any,
    - `bt`: (B, n_bins) logits of the bins of the bulge-to-total ratio in the reference band,
    - `summed`: (B, bands, 3) flux fractions of the whole galaxy, from the sums of the maps,
    - `shape`: (B, n_shapes, 2) mean and logarithm of the error of further quantities, if any.

    Parameters
    ----------
    in_channels : int
    n_bands : int
        Bands of fractions and light; the ratio is that in band number `reference`.
    centres : sequence of float
        Centres of the bins of the ratio, (n_bins,).
    n_features, n_condition : int
        Lengths of the vectors of measured features, and of the description of the point-spread function.
    n_shapes : int
        Number of further quantities.
    n_masks : int
        Number of further masks.
    options
        Of `UNet`.
    """

    centres: Tensor

    def __init__(
        self,
        in_channels: int,
        centres: tuple[float, ...],
        *,
        n_bands: int = 1,
        reference: int = 0,
        n_features: int = 0,
        n_condition: int = 0,
        n_shapes: int = 0,
        n_masks: int = 0,
        widths: tuple[int, ...] = (24, 48, 96, 192),
        dropout: float = 0.1,
        options: Mapping[str, str | int] | None = None,
    ):
        super().__init__()
        self.n_bands, self.reference = n_bands, reference
        n_maps = 2 + 4 * n_bands + n_masks
        self.unet = UNet(in_channels, n_maps, widths=widths, n_condition=n_condition, **(options or {}))  # type: ignore[arg-type]
        # clumps are rare: start from a low probability
        nn.init.constant_(self.unet.head[0].bias[:8], _RARE_LOGIT)  # type: ignore[index]
        self.register_buffer("centres", torch.tensor(centres), persistent=False)
        n_pooled = (
            in_channels * len(_RINGS_PIXELS) + widths[-1] + 3 * widths[0] + 4 * n_bands + n_features + n_condition
        )
        self.head = nn.Sequential(
            MLP(n_pooled, (128, 64), dropout=dropout), nn.Linear(64, len(centres) + 1 + 2 * n_shapes)
        )
        initialize(self.head)

    def forward(
        self, image: Tensor, features: Tensor | None = None, condition: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return maps and the logits of the bulge-to-total ratio."""
        maps, bottleneck, last = self.unet(image, condition)
        output = self.split(maps)
        summed = sum_fractions(output["fraction"], output["light"])
        flux = _flux(output["light"]).sum((-2, -1)).log1p() / 5
        pooled = [
            radial_profile(image.float()),
            bottleneck.float(),
            self._pool(output, last.float()),
            summed.flatten(1),
            flux,
        ]
        pooled += [vector.float() for vector in (features, condition) if vector is not None]
        vector = self.head(torch.cat(pooled, dim=1)).float()
        logits, width, shape = vector.tensor_split([len(self.centres), len(self.centres) + 1], dim=1)
        # the head corrects a Gaussian at the ratio of the summed maps
        distance = (self.centres - summed[:, self.reference, :1]) * (2 + width.clamp(-4, 4)).exp()
        output |= {"bt": logits - 0.5 * distance.square(), "summed": summed}
        return {**output, "shape": shape.unflatten(1, (-1, 2))} if shape.shape[1] else output

    def maps(self, image: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """Return the maps alone, for images of any size."""
        return self.split(self.unet(image, condition).maps)

    def split(self, maps: Tensor) -> dict[str, Tensor]:
        """Divide the output channels."""
        fraction, light, masks = maps[:, 2:].tensor_split([3 * self.n_bands, 4 * self.n_bands], dim=1)
        found = {
            "clump": maps[:, 0],
            "centre": maps[:, 1],
            "fraction": fraction.unflatten(1, (self.n_bands, 3)),
            "light": light,
        }
        return {**found, "masks": masks} if masks.shape[1] else found

    def _pool(self, output: dict[str, Tensor], last: Tensor) -> Tensor:
        """Average the last feature maps with weights: the bulge's light, the disk's, and the root of all light."""
        flux = _flux(output["light"][:, self.reference])[:, None]
        share = output["fraction"][:, self.reference, :2].float().softmax(1)
        # the root has no gradient at zero
        weight = torch.cat([flux * share, (flux + 1e-2).sqrt() - 0.1], dim=1)
        size = [2 * side for side in last.shape[-2:]]
        weight = functional.pad(weight, (0, size[1] - weight.shape[-1], 0, size[0] - weight.shape[-2]))
        weight = functional.avg_pool2d(weight, 2).flatten(2) + 1e-6
        weight = weight / weight.sum(2, keepdim=True)
        return torch.einsum("bkp,bcp->bkc", weight, last.flatten(2)).flatten(1)


def radial_profile(image: Tensor) -> Tensor:
    """Average images in rings around their centre: (B, C, H, W) -> (B, 12 C); rings outside of the image are zero."""
    y, x = (torch.arange(side, device=image.device) - (side - 1) / 2 for side in image.shape[-2:])
    radius = torch.hypot(y[:, None].expand(-1, len(x)), x.expand(len(y), -1)).flatten()
    inside = (radius < _outer_radii(image.device)[:, None]).to(image.dtype)
    inside = torch.cat([inside[:1], inside[1:] - inside[:-1]])
    weight = inside / inside.sum(1, keepdim=True).clamp_min(1)
    return (image.flatten(2) @ weight.T).flatten(1)


@cache
def _outer_radii(device: torch.device) -> Tensor:
    """Return the outer radii of the rings; they are sent to a device once, because that makes the host wait for it."""
    return torch.tensor(_RINGS_PIXELS, device=device)


def _flux(light: Tensor) -> Tensor:
    """Return the flux in units of the noise from its arsinh."""
    return light.float().clamp(0, 12).sinh()


def sum_fractions(fraction: Tensor, light: Tensor) -> Tensor:
    """Sum fraction maps weighted with the light: (..., 3, H, W), (..., H, W) -> (..., 3), where rows sum to one."""
    parts = (fraction.float().softmax(-3) * _flux(light)[..., None, :, :]).sum((-2, -1))
    return (parts + 1e-3) / (parts + 1e-3).sum(-1, keepdim=True)
