"""A network that learns its own apertures: photometry by weights which it draws for each galaxy."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl.models.blocks import ConvBlock, ResidualBlock, initialize
from astrodl.models.style import PUBLISHED, Style

SOFTENING = 1.021
"""Softening of the asinh magnitudes in units of the noise that balances bias and variance (Lupton et al. 1999)."""
PATCH_PIXELS = 3
"""Radius of the smoothing of the detection image."""


class LearnedApertures(nn.Module):
    r"""Photometry of a galaxy through weights that a small CNN draws: (B, in, H, W) -> (B, out_features).

    The flux of band :math:`b` in aperture :math:`k` is :math:`f_{kb} = \sum_x w_k(x) I_b(x)`, with :math:`I_b` the
    linear image in units of its noise and weights that sum to one over the pixels :math:`x`. The weights start from the
    smoothed detection image, the optimal ones for the flux of a known profile (Horne 1986, PASP 98, 609), and the
    network learns what to change. What comes out are the asinh magnitudes (Lupton, Gunn & Szalay 1999, AJ 118, 1406) of
    all :math:`f_{kb}`, softened at the noise of their aperture, the colours of adjacent bands and the noise: the
    measurements of a catalogue, with apertures that suit the question.

    Parameters
    ----------
    in_channels : int
        Maps of the input: the bands, asinh-scaled, then whatever else is seen.
    n_bands : int
        How many of the maps are bands, blue to red.
    n_apertures : int
        Number of weight maps K.
    width : int
        Channels of the CNN that draws them, at half the resolution of the image.
    stretch, noise : float
        Scaling of the input: ``sinh(stretch * x) / noise`` is the flux in units of the noise of a pixel.
    """

    def __init__(
        self,
        in_channels: int,
        n_bands: int,
        *,
        n_apertures: int = 8,
        width: int = 24,
        stretch: float = 2.0,
        noise: float = 0.5,
    ):
        super().__init__()
        self.n_bands, self.stretch, self.noise = n_bands, stretch, noise
        self.body = nn.Sequential(
            ConvBlock(in_channels + 1, width, kernel=5, stride=2),
            ResidualBlock(width, width),
            ResidualBlock(width, width),
        )
        self.weights = nn.Conv2d(width, n_apertures, 1)
        self.out_features = n_apertures * 2 * n_bands
        initialize(self)
        # apertures begin near the profile of the galaxy, and each a little different
        nn.init.normal_(self.weights.weight, std=0.1)

    def forward(self, image: Tensor) -> Tensor:
        """Give magnitudes, colours and noise of all apertures."""
        linear = self._linear(image)
        return photometry(linear, self._weights(image, linear))

    def apertures(self, image: Tensor) -> Tensor:
        """Draw the weights of each image, (B, K, H, W), which sum to one over the pixels."""
        return self._weights(image, self._linear(image))

    def _weights(self, image: Tensor, linear: Tensor) -> Tensor:
        return drawn_weights(self.weights(self.body(with_radius(image))), linear)

    def _linear(self, image: Tensor) -> Tensor:
        return linear_bands(image, self.n_bands, self.stretch, self.noise)


class ApertureResNet(nn.Module):
    """A small residual network whose early maps also draw apertures: (B, in, H, W) -> (B, out_features).

    What `CompactResNet` sees and what `LearnedApertures` measures, for little more than the cost of the former: stem
    and first block are common. The features are those of both, first the network's.

    Parameters
    ----------
    in_channels, n_bands, n_apertures, stretch, noise
        As for `LearnedApertures`.
    widths : sequence of int
        Channels of the stages: the first at half the resolution of the image, each further one at half of that before.
    dropout : float
        Dropout of the network's own features.
    style : Style
        Choices that differ from ReLU, batch norm, He initialisation, mean and maximum of the last map.
    """

    def __init__(
        self,
        in_channels: int,
        n_bands: int,
        *,
        widths: Sequence[int] = (32, 64, 128, 256),
        n_apertures: int = 8,
        dropout: float = 0.2,
        stretch: float = 2.0,
        noise: float = 0.5,
        style: Style = PUBLISHED,
    ):
        super().__init__()
        self.n_bands, self.stretch, self.noise = n_bands, stretch, noise
        style = style.over(Style("relu", "batch", "he", "mean_max", dropout))
        self.body = nn.Sequential(
            style.conv(in_channels + 1, widths[0], 5, stride=2), style.residual(widths[0], widths[0])
        )
        self.weights = nn.Conv2d(widths[0], n_apertures, 1)
        stages = [style.residual(before, width, stride=2) for before, width in pairwise(widths)]
        self.rest = nn.Sequential(*stages)
        self.pool = style.pool()
        n_pooled = self.pool(torch.empty(1, widths[-1], 1, 1)).shape[1]
        self.mix = nn.Sequential(nn.Linear(n_pooled, widths[-1]), nn.LayerNorm(widths[-1]), style.act())
        self.dropout = style.drop()
        self.out_features = widths[-1] + n_apertures * 2 * n_bands
        style.initialize(self)
        nn.init.normal_(self.weights.weight, std=0.1)

    def forward(self, image: Tensor) -> Tensor:
        """Give the network's features, then magnitudes, colours and noise of all apertures."""
        maps = self.body(with_radius(image))
        linear = linear_bands(image, self.n_bands, self.stretch, self.noise)
        measured = photometry(linear, drawn_weights(self.weights(maps), linear))
        features = self.dropout(self.mix(self.pool(self.rest(maps))))
        return torch.cat([features.float(), measured], dim=1)


def with_radius(image: Tensor) -> Tensor:
    """Add a map of the distance from the centre in quarters of the side: (B, in, H, W) -> (B, in + 1, H, W)."""
    return torch.cat([image, _radius(image).to(image.dtype).expand(len(image), 1, *image.shape[2:])], dim=1)


def drawn_weights(drawn: Tensor, linear: Tensor) -> Tensor:
    """Turn what a network draws (B, K, H', W') into weights (B, K, H, W), starting from the smoothed light."""
    with torch.autocast(linear.device.type, enabled=False):
        drawn = functional.interpolate(drawn.float(), size=linear.shape[-2:], mode="bilinear")
        profile = _smoothed(linear.sum(1, keepdim=True)).clamp_min(1e-3).log()
        # neighbours and noise far out start with little weight
        return (profile - 0.3 * _radius(linear).square() + drawn).flatten(2).softmax(2).view_as(drawn)


def photometry(linear: Tensor, weight: Tensor) -> Tensor:
    """Measure (B, bands, H, W) through weights (B, K, H, W): magnitudes, colours and noise, (B, K (2 bands))."""
    with torch.autocast(linear.device.type, enabled=False):
        noise = weight.square().sum((2, 3)).sqrt()[..., None]
        flux = weight.flatten(2) @ linear.flatten(2).transpose(1, 2)
        magnitude = torch.asinh(flux / (2 * SOFTENING * noise)) + noise.log()
        colour = magnitude[..., 1:] - magnitude[..., :-1]
        return torch.cat([magnitude.flatten(1) / 2, 2 * colour.flatten(1), noise.log().flatten(1)], dim=1)


def linear_bands(image: Tensor, n_bands: int, stretch: float, noise: float) -> Tensor:
    """Give the linear bands in units of the noise; the limit only guards against overflow."""
    return torch.sinh((stretch * image[:, :n_bands].float()).clamp(-12, 12)) / noise


def _radius(image: Tensor) -> Tensor:
    side = image.shape[-1]
    axis = torch.arange(side, device=image.device) - (side - 1) / 2
    return torch.hypot(axis[:, None], axis[None, :]) / (side / 4)


def _smoothed(image: Tensor) -> Tensor:
    """Smooth (B, 1, H, W) by a Gaussian of half the radius of the patch."""
    axis = torch.linspace(-2, 2, 2 * PATCH_PIXELS + 1, device=image.device)
    kernel = (-0.5 * (axis[:, None].square() + axis[None, :].square())).exp()
    return functional.conv2d(image, (kernel / kernel.sum())[None, None], padding=PATCH_PIXELS)
