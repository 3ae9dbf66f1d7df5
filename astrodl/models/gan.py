"""Generator, encoder and critic of a generative adversarial network."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from astrodl.models.autoencoders import Decoder, Encoder, dense_network, last_side
from astrodl.models.blocks import MLP, ConvBlock, initialize
from astrodl.models.flow import Flow
from astrodl.models.neighbours import Ellipsoid, NeighbourDistances

__all__ = ["N_COMPONENTS", "Critic", "EncoderGAN"]

N_COMPONENTS = 32
"""Principal components of the structure numbers in which neighbours are sought."""


class Critic(nn.Module):
    """Score how real images look: (B, bands, S, S) -> (B,).

    By default it has no batch norm, because a gradient penalty is per object (Gulrajani et al. 2017, arXiv:1704.00028).

    Parameters
    ----------
    in_channels, size, widths
        Bands, side of the images, channels after each halving.
    norm
        Normalisation; `batch` makes it the discriminator of a DCGAN (Radford et al. 2016, arXiv:1511.06434), with leaky
        ReLU, and none in its first layer.
    spectral
        Divide each weight by its largest singular value, by power iteration (Miyato et al. 2018, arXiv:1802.05957).
    """

    def __init__(
        self, in_channels: int, *, size: int, widths: tuple[int, ...], norm: str = "group", spectral: bool = False
    ):
        super().__init__()
        channels, convolutional = (in_channels, *widths), norm == "batch"
        norms = ["none" if convolutional and not i else norm for i in range(len(widths))]
        act = "leaky_relu" if convolutional else "relu"
        self.trunk = nn.Sequential(
            *(
                ConvBlock(a, b, stride=2, norm=kind, act=act)
                for (a, b), kind in zip(pairwise(channels), norms, strict=True)
            )
        )
        side = last_side(size, len(widths))
        self.head = nn.Sequential(MLP(widths[-1] * side * side, (64,)), nn.Linear(64, 1))
        initialize(self)
        if spectral:
            for layer in list(self.modules()):
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    spectral_norm(layer)

    @torch.no_grad()
    def clip_weights(self, limit: float) -> None:
        """Clip all weights to plus or minus `limit` (Arjovsky et al. 2017, arXiv:1701.07875)."""
        for parameter in self.parameters():
            parameter.clamp_(-limit, limit)

    def forward(self, image: Tensor) -> Tensor:
        """Return the score of each image."""
        return self.head(self.trunk(image).flatten(1)).squeeze(1)


class EncoderGAN(nn.Module):
    """Generator G: (B, D) -> (B, bands, S, S), encoder E: images -> (B, D), critic: images -> (B,); G(E(x)) forward.

    With a size of zero it is an autoencoder of vectors, (B, in_channels), without critic. `neighbours` measures how far
    an object is from training objects in `n_features` features and in the principal components of `n_structure`
    structure numbers, and `ellipsoid` how far from their mean in features; they are fitted after the training. A
    network `representation`, whose vectors have `n_vector` numbers, makes one more space, and `flow` measures the
    density of these together. With images, the last space is that of the codes.
    """

    def __init__(
        self,
        in_channels: int,
        latent: int,
        *,
        size: int = 64,
        widths: tuple[int, ...] = (32, 64, 64, 64),
        critic_widths: tuple[int, ...] = (16, 32, 64, 64),
        n_features: int = 0,
        n_structure: int = 0,
        n_references: int = 0,
        critic_norm: str = "group",
        spectral: bool = False,
        representation: nn.Module | None = None,
        n_vector: int = 0,
        with_flow: bool = False,
    ):
        super().__init__()
        self.latent = latent
        n_axes = min(N_COMPONENTS, n_structure)
        spaces = [n_features, *([n_axes] if n_structure else []), *([n_vector] if representation else [])]
        self.neighbours = NeighbourDistances(n_references, [*spaces, *([latent] if size else [])])
        self.representation = representation
        self.flow = Flow(sum(spaces)) if with_flow else None
        self.ellipsoid = Ellipsoid(n_features)
        self.register_buffer("structure_centre", torch.zeros(n_structure))
        self.register_buffer("structure_axes", torch.zeros(n_structure, n_axes))
        self.generator: nn.Module
        self.encoder: nn.Module
        self.critic: nn.Module
        self.structure_centre: Tensor
        self.structure_axes: Tensor
        if not size:
            self.generator, self.encoder = dense_network(latent, in_channels), dense_network(in_channels, latent)
            self.critic = nn.Identity()
            return
        self.generator = Decoder(latent, in_channels, size=size, widths=widths[::-1])
        self.encoder = Encoder(in_channels, latent, size=size, widths=widths)
        self.critic = Critic(in_channels, size=size, widths=critic_widths, norm=critic_norm, spectral=spectral)

    def forward(self, image: Tensor) -> Tensor:
        """Reconstruct images through the latent space."""
        return self.generator(self.encoder(image))
