"""Networks that measure photometry in learned apertures: a CNN predicts the weights for each galaxy."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl.models.blocks import ConvBlock, ImageNetwork, ResidualBlock, initialize
from astrodl.models.style import PUBLISHED, Style
from astrodl.models.symmetries import apply_symmetry, undo_symmetry

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
        return self.views(image, 1)[0]

    def views(self, image: Tensor, n_views: int) -> Tensor:
        """Return the photometry of each orientation; only the CNN sees the oriented images."""
        linear = self._linear(image)
        return torch.stack([_measure(linear, weight) for weight in self._weights(image, linear, n_views)])

    def apertures(self, image: Tensor) -> Tensor:
        """Return the weights of each image, (B, K, H, W), which sum to one over the pixels."""
        return next(self._weights(image, self._linear(image), 1))

    def _weights(self, image: Tensor, linear: Tensor, n_views: int) -> Iterator[Tensor]:
        """Yield the weights that each orientation gives, in the frame of the image."""
        maps, start = _append_radius(image), _start(linear)
        for element in range(n_views):
            correction = self.weights(self.body(apply_symmetry(maps, element)))
            yield _aperture_weights(undo_symmetry(correction, element), start)

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
        return self.views(image, 1)[0]

    def views(self, image: Tensor, n_views: int) -> Tensor:
        """Return features and photometry of each orientation; only the CNN sees the oriented images."""
        linear = _linear_bands(image, self.n_bands, self.stretch, self.noise)
        with_radius, start = _append_radius(image), _start(linear)
        vectors = []
        for element in range(n_views):
            maps = self.body(apply_symmetry(with_radius, element))
            measured = _measure(linear, _aperture_weights(undo_symmetry(self.weights(maps), element), start))
            features = self.dropout(self.mix(self.pool(self.rest(maps))))
            vectors.append(torch.cat([features.float(), measured], dim=1))
        return torch.stack(vectors)


def _append_radius(image: Tensor) -> Tensor:
    """Append a map of the distance from the centre, in quarters of the side: (B, in, H, W) -> (B, in + 1, H, W)."""
    return torch.cat([image, _radius(image).to(image.dtype).expand(len(image), 1, *image.shape[2:])], dim=1)


def _start(linear: Tensor) -> Tensor:
    """Return the logarithm of the weights that the CNN corrects, (B, 1, H, W): the smoothed light of all bands."""
    with torch.autocast(linear.device.type, enabled=False):
        profile = _smooth(linear.sum(1, keepdim=True)).clamp_min(1e-3).log()
        # neighbours and noise far from the centre start with little weight
        return profile - 0.3 * _radius(linear).square()


def _aperture_weights(correction: Tensor, start: Tensor) -> Tensor:
    """Apply a predicted correction (B, K, H', W') to the logarithm of the weights: (B, K, H, W)."""
    with torch.autocast(start.device.type, enabled=False):
        correction = functional.interpolate(correction.float(), size=start.shape[-2:], mode="bilinear")
        return (start + correction).flatten(2).softmax(2).view_as(correction)


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
    scaled = (stretch * image[:, :n_bands].float()).contiguous()  # bands first, for the product with the weights
    return torch.sinh(scaled.clamp(-12, 12)) / noise


def _radius(image: Tensor) -> Tensor:
    side = image.shape[-1]
    axis = torch.arange(side, device=image.device) - (side - 1) / 2
    return torch.hypot(axis[:, None], axis[None, :]) / (side / 4)


def _smooth(image: Tensor) -> Tensor:
    """Smooth (B, 1, H, W) with a Gaussian whose sigma is half the radius of the kernel."""
    axis = torch.linspace(-2, 2, 2 * KERNEL_RADIUS + 1, device=image.device)
    kernel = (-0.5 * (axis[:, None].square() + axis[None, :].square())).exp()
    return functional.conv2d(image, (kernel / kernel.sum())[None, None], padding=KERNEL_RADIUS)
