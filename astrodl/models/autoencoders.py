"""Encoders, decoders and autoencoders: plain, linear, and variational (Kingma & Welling 2014, arXiv:1312.6114)."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from astrodl import distributed
from astrodl.models.blocks import MLP, ConvBlock, initialize

__all__ = [
    "VAE",
    "Autoencoder",
    "Decoder",
    "Encoder",
    "LinearAutoencoder",
    "dense_network",
    "interpolate",
    "last_side",
    "traverse",
]


def last_side(size: int, n_halvings: int) -> int:
    """Return the side of an image after convolutions of stride 2, each of which rounds half a pixel up."""
    return -(-size // 2**n_halvings)


def dense_network(in_features: int, out_features: int, widths: tuple[int, ...] = (64, 64)) -> nn.Sequential:
    """Make a fully connected encoder or decoder of vectors: (B, in) -> (B, out)."""
    network = nn.Sequential(MLP(in_features, widths), nn.Linear(widths[-1], out_features))
    initialize(network)
    return network


class Encoder(nn.Module):
    """Strided convolutions: (B, in, S, S) -> (B, out)."""

    def __init__(self, in_channels: int, out_features: int, *, size: int, widths: tuple[int, ...], norm: str = "group"):
        super().__init__()
        channels = (in_channels, *widths)
        self.trunk = nn.Sequential(*(ConvBlock(a, b, stride=2, norm=norm) for a, b in pairwise(channels)))
        side = last_side(size, len(widths))
        self.head = nn.Sequential(MLP(widths[-1] * side * side, (128,)), nn.Linear(128, out_features))
        initialize(self)

    def forward(self, image: Tensor) -> Tensor:
        """Encode images."""
        return self.head(self.trunk(image).flatten(1))


class Decoder(nn.Module):
    """Upsampling and convolutions: (B, in) -> (B, out, S, S), with group norm, which treats each object separately.

    Where 2 to the number of stages does not divide S, the image is the middle of the next larger one that it divides.
    The last upsampling is a pixel shuffle (Shi et al. 2016, arXiv:1609.05158), because convolutions at full resolution
    would take most of the time.
    """

    def __init__(self, in_features: int, out_channels: int, *, size: int, widths: tuple[int, ...]):
        super().__init__()
        self.size, self.side = size, last_side(size, len(widths))
        self.margin = (self.side * 2 ** len(widths) - size) // 2
        self.channels = widths[0]
        self.project = nn.Sequential(MLP(in_features, (128,)), nn.Linear(128, widths[0] * self.side**2))
        stages: list[nn.Module] = []
        for before, after in pairwise(widths):
            stages += [nn.Upsample(scale_factor=2, mode="nearest"), ConvBlock(before, after, norm="group")]
        last = (nn.Conv2d(widths[-1], 4 * out_channels, 3, 1, 1), nn.PixelShuffle(2))
        self.stages = nn.Sequential(*stages, *last)
        initialize(self)

    def forward(self, latent: Tensor) -> Tensor:
        """Decode latent vectors."""
        images = self.stages(self.project(latent).view(-1, self.channels, self.side, self.side))
        if images.shape[-1] == self.size:
            return images
        inside = slice(self.margin, self.margin + self.size)
        return images[..., inside, inside]


def _make_halves(
    in_channels: int, encoded: int, latent: int, size: int, widths: tuple[int, ...]
) -> tuple[nn.Module, nn.Module]:
    """Make an encoder to `encoded` numbers, and a decoder of `latent` numbers: of images, or of vectors (size 0)."""
    if not size:
        return dense_network(in_channels, encoded), dense_network(latent, in_channels)
    encoder = Encoder(in_channels, encoded, size=size, widths=widths)
    return encoder, Decoder(latent, in_channels, size=size, widths=widths[::-1])


class Autoencoder(nn.Module):
    """Autoencoder without noise: (B, bands, S, S) -> reconstruction, and code (B, D).

    Sparse, contractive and denoising autoencoders differ from it in loss and input, not in the network. With a size of
    zero it is one of vectors, (B, in_channels).
    """

    def __init__(self, in_channels: int, latent: int, *, size: int = 32, widths: tuple[int, ...] = (32, 64, 64)):
        super().__init__()
        self.encoder, self.decoder = _make_halves(in_channels, latent, latent, size, widths)

    def encode(self, image: Tensor) -> Tensor:
        """Return the code."""
        return self.encoder(image)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct an image, and return its code."""
        code = self.encode(image)
        return self.decoder(code), code


class LinearAutoencoder(nn.Module):
    """Autoencoder of one linear layer each way, (B, ...) -> reconstruction, and code (B, D).

    With a squared error its best subspace is that of the principal components (Baldi & Hornik 1989, Neural Networks 2,
    53). Training finds the subspace, but not the axes in it; `start_at_components` gives both.

    Parameters
    ----------
    shape : tuple of int
        Shape of an input, such as (bands, S, S).
    latent : int
        Number D of dimensions.
    """

    def __init__(self, shape: tuple[int, ...], latent: int):
        super().__init__()
        n_numbers = math.prod(shape)
        self.encoder, last = nn.Linear(n_numbers, latent), nn.Linear(latent, n_numbers)
        self.decoder = nn.Sequential(last, nn.Unflatten(1, shape))
        initialize(self, "glorot")

    def encode(self, image: Tensor) -> Tensor:
        """Return the code."""
        return self.encoder(image.flatten(1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct an image, and return its code."""
        code = self.encode(image)
        return self.decoder(code), code

    @torch.no_grad()
    def start_at_components(self, images: Tensor) -> None:
        """Set the weights to the principal components of images, (N, ...), largest variance first.

        The largest number of each component is positive, so that its sign does not depend on the decomposition.

        Raises
        ------
        ValueError
            The images have fewer principal components than there are dimensions.
        """
        from scipy.sparse.linalg import svds

        latent, n_components = self.encoder.out_features, min(len(images) - 1, self.encoder.in_features)
        if latent > n_components:
            raise ValueError(
                f"{len(images)} images of {self.encoder.in_features} numbers have {n_components} principal components;"
                f" {latent} are asked for: give more images, or lower latent"
            )
        rows = images.flatten(1).double().cpu()
        mean = rows.mean(0)
        centred = rows - mean
        if latent < min(centred.shape):
            # a few components of thousands of pixels: a hundred times faster than all of them, and as exact
            vectors = svds(centred.numpy(), latent, v0=torch.ones(min(centred.shape)).double().numpy())[2]
            components = torch.from_numpy(vectors.copy()).flip(0)
        else:
            components = torch.linalg.svd(centred, full_matrices=False)[2]
        largest = components.gather(1, components.abs().argmax(1, keepdim=True))
        components = components * largest.sign()
        self.encoder.weight.copy_(components)
        self.encoder.bias.copy_(-components @ mean)
        for values, parameter in zip((components.T, mean), self.decoder.parameters(), strict=True):
            parameter.copy_(values)


class VAE(nn.Module):
    """Variational autoencoder: (B, bands, S, S) -> reconstruction, and mean and log-variance (B, D) of the latent.

    With a size of zero it is one of vectors, (B, in_channels).
    """

    def __init__(self, in_channels: int, latent: int, *, size: int = 32, widths: tuple[int, ...] = (32, 64, 64)):
        super().__init__()
        self.encoder, self.decoder = _make_halves(in_channels, 2 * latent, latent, size, widths)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and log-variance of the posterior."""
        mean, log_variance = self.encoder(image).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 4)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruct from a sample of the posterior in training, and from its mean otherwise."""
        mean, log_variance = self.encode(image)
        latent = mean + distributed.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        return self.decoder(latent), mean, log_variance


def traverse(codes: Tensor, dimensions: Sequence[int], n_steps: int = 9, quantile: float = 0.02) -> Tensor:
    """Return codes along some dimensions of a code space, the others kept at their median over a sample.

    Parameters
    ----------
    codes : (N, D) tensor
        Codes of a sample.
    dimensions : sequence of int
        Dimensions to move along.
    n_steps : int
        Steps from the `quantile` to one minus the `quantile` of the sample in each dimension, which are equal.
    quantile : float
        Share of the sample beyond either end.

    Returns
    -------
    (len(dimensions), n_steps, D) tensor
    """
    if not 0 <= quantile < 0.5:
        raise ValueError(f"quantile is {quantile}; must be at least 0 and below 0.5")
    steps = torch.linspace(0, 1, n_steps, device=codes.device, dtype=codes.dtype)
    path = codes.quantile(0.5, dim=0).repeat(len(dimensions), n_steps, 1)
    for row, dimension in enumerate(dimensions):
        low, high = (codes[:, dimension].quantile(share) for share in (quantile, 1 - quantile))
        path[row, :, dimension] = torch.lerp(low, high, steps)
    return path


def interpolate(first: Tensor, second: Tensor, n_steps: int = 9) -> Tensor:
    """Return codes on the great circles between pairs of codes: (B, D), (B, D) -> (B, n_steps, D).

    The length changes linearly. Straight lines would lead through the middle, where a normal distribution of many
    dimensions has hardly any codes (White 2016, arXiv:1609.04468).
    """
    lengths = [codes.norm(dim=1, keepdim=True) for codes in (first, second)]
    units = [codes / length.clamp_min(1e-12) for codes, length in zip((first, second), lengths, strict=True)]
    angle = (units[0] * units[1]).sum(1, keepdim=True).clamp(-1, 1).acos()[:, None]
    share = torch.linspace(0, 1, n_steps, device=first.device, dtype=first.dtype)[None, :, None]
    sine = angle.sin()
    straight = torch.lerp(first[:, None], second[:, None], share)
    weights = [(one * angle).sin() / sine.clamp_min(1e-6) for one in (1 - share, share)]
    turned = weights[0] * units[0][:, None] + weights[1] * units[1][:, None]
    on_circle = turned * torch.lerp(lengths[0][:, None], lengths[1][:, None], share)
    # codes of one direction, or of opposite ones, do not say which circle, and zero has no direction
    zero = torch.minimum(*lengths)[:, None] < 1e-12
    return torch.where((sine < 1e-3) | zero, straight, on_circle)
