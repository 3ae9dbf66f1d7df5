"""Networks of the latent map: an encoder that pools over the view, and what is derived from the vectors."""

import math

import torch
from torch import Tensor, nn

from astrodl.models.autoencoders import Decoder
from astrodl.models.blocks import initialize, start_at_zero
from astrodl.models.cnn import CompactResNet

__all__ = ["CorrectedDecoder", "LatentNetwork", "PooledEncoder", "log_noise"]

_MAP_WIDTH = 128


class PooledEncoder(nn.Module):
    """Residual network, code and head: (B, bands, S, S) -> output of the head, which is trained, and code (B, D).

    A decoder redraws the view from the code, to show what the code knows.

    Parameters
    ----------
    in_channels : int
        Number of bands.
    latent : int
        Number D of dimensions.
    head : Module
        (B, D) -> what is trained.
    anchor : Module, optional
        (B, bands, S, S) -> (B, D), to which the residual network adds; the decoder then has a linear part.
    """

    def __init__(
        self,
        in_channels: int,
        latent: int,
        head: nn.Module,
        *,
        size: int,
        widths: tuple[int, ...],
        anchor: nn.Module | None = None,
    ):
        super().__init__()
        self.trunk = CompactResNet(in_channels, widths=widths, dropout=0.0)
        self.code = nn.Linear(self.trunk.out_features, latent)
        self.head, self.anchor = head, anchor
        narrower = tuple(max(8, w // 2) for w in reversed(widths))
        decoder = Decoder if anchor is None else CorrectedDecoder
        self.decoder = decoder(latent, in_channels, size=size, widths=narrower)
        initialize(self.code)
        initialize(self.head)

    def encode(self, image: Tensor) -> Tensor:
        """Return the code."""
        code = self.code(self.trunk(image))
        return code if self.anchor is None else code + self.anchor(image)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output of the head, and the code."""
        code = self.encode(image)
        return self.head(code), code


class CorrectedDecoder(nn.Module):
    """A linear map, and a convolutional correction that starts at zero: (B, in) -> (B, out, S, S)."""

    def __init__(self, in_features: int, out_channels: int, *, size: int, widths: tuple[int, ...]):
        super().__init__()
        shape = out_channels, size, size
        self.linear = nn.Sequential(nn.Linear(in_features, math.prod(shape)), nn.Unflatten(1, shape))
        self.correction = Decoder(in_features, out_channels, size=size, widths=widths)
        initialize(self.linear, "glorot")
        initialize(start_at_zero(self.correction))

    def forward(self, latent: Tensor) -> Tensor:
        """Decode latent vectors."""
        return self.linear(latent) + self.correction(latent)


class LatentNetwork(nn.Module):
    """An encoder and what is fitted to its codes after training: axes, Hubble coordinate and map.

    Parameters
    ----------
    core : Module
        Network with an `encode` method, and a `decoder` of codes.
    latent : int
        Number D of dimensions.
    """

    centre: Tensor
    axes: Tensor
    hubble: Tensor
    depth_response: Tensor
    depth_range: Tensor

    def __init__(self, core: nn.Module, latent: int):
        super().__init__()
        self.core = core
        self.register_buffer("depth_response", torch.zeros(2, latent))
        self.register_buffer("depth_range", torch.zeros(3))
        self.register_buffer("centre", torch.zeros(latent))
        self.register_buffer("axes", torch.eye(latent))
        self.register_buffer("hubble", torch.zeros(latent))
        self.map = nn.Sequential(
            nn.Linear(latent, _MAP_WIDTH), nn.ReLU(), nn.Linear(_MAP_WIDTH, _MAP_WIDTH), nn.ReLU(),
            nn.Linear(_MAP_WIDTH, 2),
        )  # fmt: skip
        initialize(self.map)
        self.map.requires_grad_(False)  # not a part of the training

    def shift_of_depth(self, noise: Tensor) -> Tensor:
        """Return by how much codes are off from those of views of typical depth: noise (B, bands) -> (B, D).

        It is zero unless `depth_response` has been fitted; beyond the range of the training objects it stays constant.
        """
        low, _, high = self.depth_range
        return self.depth_terms(log_noise(noise).clamp(low, high)) @ self.depth_response

    def depth_terms(self, logarithm: Tensor) -> Tensor:
        """Return the logarithm of the noise relative to the typical one, and its square, (B, 2)."""
        relative = logarithm - self.depth_range[1]
        return torch.stack([relative, relative.square()], 1)

    def standardise(self, code: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return vectors along the fitted axes, (..., B, D) -> (..., B, D), as of views of typical depth.

        The noise of the views is (B, bands); None leaves the depth in.
        """
        shift = 0.0 if noise is None else self.shift_of_depth(noise)
        return (code - shift - self.centre) @ self.axes

    def decode(self, vector: Tensor, noise: Tensor | None = None) -> Tensor:
        """Redraw views from vectors, (B, D) -> (B, bands, S, S): of the depth of `noise`, or of typical depth."""
        shift = 0.0 if noise is None else self.shift_of_depth(noise)
        return self.core.get_submodule("decoder")(vector @ torch.linalg.inv(self.axes) + self.centre + shift)


def log_noise(noise: Tensor) -> Tensor:
    """Return the logarithm of the rms over bands of the noise of views, (B, bands) -> (B,)."""
    return noise.square().mean(1).sqrt().clamp_min(1e-6).log()
