"""Encoder, decoder and variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114)."""

from itertools import pairwise

from torch import Tensor, nn

from astrodl import distributed
from astrodl.models.blocks import MLP, ConvBlock, initialize

__all__ = ["VAE", "Decoder", "Encoder", "dense_network", "last_side"]


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


class VAE(nn.Module):
    """Variational autoencoder: (B, bands, S, S) -> reconstruction, and mean and log-variance (B, D) of the latent.

    With a size of zero it is one of vectors, (B, in_channels).
    """

    def __init__(self, in_channels: int, latent: int, *, size: int = 32, widths: tuple[int, ...] = (32, 64, 64)):
        super().__init__()
        self.encoder: nn.Module
        self.decoder: nn.Module
        if not size:
            self.encoder, self.decoder = dense_network(in_channels, 2 * latent), dense_network(latent, in_channels)
            return
        self.encoder = Encoder(in_channels, 2 * latent, size=size, widths=widths)
        self.decoder = Decoder(latent, in_channels, size=size, widths=widths[::-1])

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and log-variance of the posterior."""
        mean, log_variance = self.encoder(image).chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 4)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruct from a sample of the posterior in training, and from its mean otherwise."""
        mean, log_variance = self.encode(image)
        latent = mean + distributed.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        return self.decoder(latent), mean, log_variance
