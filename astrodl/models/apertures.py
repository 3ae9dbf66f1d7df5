"""Networks that measure photometry in learned apertures: a CNN predicts the weights for each galaxy."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl.models.blocks import ConvBlock, ImageNetwork, ResidualBlock, initialize
from astrodl.models.style import PUBLISHED, Style

__all__ = ["ApertureResNet", "LearnedApertures"]

SOFTENING = 1.021
"""Softening of the asinh magnitudes in units of the noise that balances bias and variance (Lupton et al. 1999)."""
KERNEL_RADIUS = 3
"""Radius in pixels of the kernel that smooths the detection image."""


class LearnedApertures(ImageNetwork):
    r"""Photometry of a galaxy in apertures that a small CNN predicts: (B, in, H, W) -> (B, out_features).

    The flux of band :math:`b` in aperture :math:`k` is :math:`f_{kb} = \sum_x w_k(x) I_b(x)`, where :math:`I_b` is the
    linear image in units of its noise and the weights sum to one over the pixels :math:`x`. The weights start from the
    smoothed detection image, which is optimal for the flux of a known profile (Horne 1986, PASP 98, 609), and the
    network learns the correction. The output are the asinh magnitudes (Lupton, Gunn & Szalay 1999, AJ 118, 1406) of
    all :math:`f_{kb}`, softened at the noise of their aperture, the colours of adjacent bands, and the noise.

    Parameters
    ----------
    in_channels : int
        Channels of the input: the asinh-scaled bands, then other maps.
    n_bands : int
        Number of bands, ordered from blue to red.
    n_apertures : int
        Number of weight maps K.
    width : int
        Channels of the CNN, which works at half the resolution of the image.
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
        # each aperture starts near the profile of the galaxy, with a small difference from the others
        nn.init.normal_(self.weights.weight, std=0.1)

    def forward(self, image: Tensor) -> Tensor:
        """Return magnitudes, colours and noise of all apertures."""
        linear = self._linear(image)
        return _measure(linear, self._weights(image, linear))

    def apertures(self, image: Tensor) -> Tensor:
        """Return the weights of each image, (B, K, H, W), which sum to one over the pixels."""
        return self._weights(image, self._linear(image))

    def _weights(self, image: Tensor, linear: Tensor) -> Tensor:
        return _aperture_weights(self.weights(self.body(_append_radius(image))), linear)

    def _linear(self, image: Tensor) -> Tensor:
        return _linear_bands(image, self.n_bands, self.stretch, self.noise)


class ApertureResNet(ImageNetwork):
    """A small residual network whose early maps also predict apertures: (B, in, H, W) -> (B, out_features).

    It combines `CompactResNet` and `LearnedApertures` with a common stem and first block, and costs little more than
    the former. The output are the features of the residual network, then the photometry.

    Parameters
    ----------
    in_channels, n_bands, n_apertures, stretch, noise
        As for `LearnedApertures`.
    widths : sequence of int
        Channels of the stages. The first works at half the resolution of the image, and each further one halves it.
    dropout : float
        Dropout of the features of the residual network.
    style : Style
        Choices other than ReLU, batch norm, He initialisation, mean and maximum of the last map.
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
        style = style.fill_from(Style("relu", "batch", "he", "mean_max", dropout))
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
        """Return the features of the residual network, then magnitudes, colours and noise of all apertures."""
        maps = self.body(_append_radius(image))
        linear = _linear_bands(image, self.n_bands, self.stretch, self.noise)
        measured = _measure(linear, _aperture_weights(self.weights(maps), linear))
        features = self.dropout(self.mix(self.pool(self.rest(maps))))
        return torch.cat([features.float(), measured], dim=1)


def _append_radius(image: Tensor) -> Tensor:
    """Append a map of the distance from the centre, in quarters of the side: (B, in, H, W) -> (B, in + 1, H, W)."""
    return torch.cat([image, _radius(image).to(image.dtype).expand(len(image), 1, *image.shape[2:])], dim=1)


def _aperture_weights(correction: Tensor, linear: Tensor) -> Tensor:
    """Turn a predicted correction (B, K, H', W') of the smoothed light into weights (B, K, H, W)."""
    with torch.autocast(linear.device.type, enabled=False):
        correction = functional.interpolate(correction.float(), size=linear.shape[-2:], mode="bilinear")
        profile = _smooth(linear.sum(1, keepdim=True)).clamp_min(1e-3).log()
        # neighbours and noise far from the centre start with little weight
        return (profile - 0.3 * _radius(linear).square() + correction).flatten(2).softmax(2).view_as(correction)


def _measure(linear: Tensor, weight: Tensor) -> Tensor:
    """Measure (B, bands, H, W) with weights (B, K, H, W): magnitudes, colours and noise, (B, K (2 bands))."""
    with torch.autocast(linear.device.type, enabled=False):
        noise = weight.square().sum((2, 3)).sqrt()[..., None]
        flux = weight.flatten(2) @ linear.flatten(2).transpose(1, 2)
        magnitude = torch.asinh(flux / (2 * SOFTENING * noise)) + noise.log()
        colour = magnitude[..., 1:] - magnitude[..., :-1]
        return torch.cat([magnitude.flatten(1) / 2, 2 * colour.flatten(1), noise.log().flatten(1)], dim=1)


def _linear_bands(image: Tensor, n_bands: int, stretch: float, noise: float) -> Tensor:
    """Return the linear bands in units of the noise; the clamp prevents overflow."""
    return torch.sinh((stretch * image[:, :n_bands].float()).clamp(-12, 12)) / noise


def _radius(image: Tensor) -> Tensor:
    side = image.shape[-1]
    axis = torch.arange(side, device=image.device) - (side - 1) / 2
    return torch.hypot(axis[:, None], axis[None, :]) / (side / 4)


def _smooth(image: Tensor) -> Tensor:
    """Smooth (B, 1, H, W) with a Gaussian whose sigma is half the radius of the kernel."""
    axis = torch.linspace(-2, 2, 2 * KERNEL_RADIUS + 1, device=image.device)
    kernel = (-0.5 * (axis[:, None].square() + axis[None, :].square())).exp()
    return functional.conv2d(image, (kernel / kernel.sum())[None, None], padding=KERNEL_RADIUS)
