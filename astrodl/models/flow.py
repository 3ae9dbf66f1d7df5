"""Normalising flow: the density of vectors."""

import math

import torch
from torch import Tensor, enable_grad, nn

from astrodl.models.blocks import MLP

__all__ = ["Flow", "fit_flow"]

_LIMIT = 2.0
"""Largest logarithm of the factor by which a layer stretches a coordinate."""
_BATCH, _PASSES, _LEAST_UPDATES = 256, 50, 30
_CLIP = 10.0


class Flow(nn.Module):
    """Map vectors to a standard normal distribution by affine couplings (Dinh et al. 2017, arXiv:1605.08803).

    Each layer shifts and stretches half of the coordinates by functions of the other half; between layers the
    coordinates are permuted. Vectors (B, D) give the logarithm of their density, (B,).

    Parameters
    ----------
    dimensions
        Number D of coordinates, at least 2.
    n_layers, width
        Number of layers, and of hidden units in each of their networks.
    """

    centre: Tensor
    scale: Tensor
    order: Tensor

    def __init__(self, dimensions: int, *, n_layers: int = 6, width: int = 64):
        super().__init__()
        self.n_fixed = dimensions // 2
        n_moved = dimensions - self.n_fixed
        self.layers = nn.ModuleList()
        for _ in range(n_layers):
            last = nn.Linear(width, 2 * n_moved)
            nn.init.zeros_(last.weight)  # the identity at first
            nn.init.zeros_(last.bias)
            self.layers.append(nn.Sequential(MLP(self.n_fixed, (width, width)), last))
        random = torch.Generator().manual_seed(0)
        order = torch.stack([torch.randperm(dimensions, generator=random) for _ in range(n_layers)])
        self.register_buffer("order", order)
        self.register_buffer("centre", torch.zeros(dimensions))
        self.register_buffer("scale", torch.ones(dimensions))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the logarithm of the density of vectors."""
        moved = (vectors.float() - self.centre) / self.scale
        logarithm = -self.scale.log().sum()
        for order, layer in zip(self.order, self.layers, strict=True):
            moved = moved[:, order]
            fixed, rest = moved[:, : self.n_fixed], moved[:, self.n_fixed :]
            stretch, shift = layer(fixed).chunk(2, dim=1)
            stretch = _LIMIT * torch.tanh(stretch / _LIMIT)
            moved = torch.cat([fixed, rest * stretch.exp() + shift], dim=1)
            logarithm = logarithm + stretch.sum(1)
        return logarithm - 0.5 * (moved.square().sum(1) + moved.shape[1] * math.log(2 * math.pi))


def fit_flow(flow: Flow, vectors: Tensor, *, n_updates: int | None = None, rate: float = 2e-3, seed: int = 0) -> None:
    """Fit a flow to vectors (N, D) by maximum likelihood, in place.

    By default every vector is seen about 50 times. Coordinates beyond 10 standard deviations are clipped, and a
    coordinate without scatter keeps its scale.
    """
    vectors = vectors.float()
    n_updates = n_updates or max(_LEAST_UPDATES, _PASSES * len(vectors) // _BATCH)
    scatter = vectors.std(0, unbiased=False)
    flow.centre.copy_(vectors.mean(0))
    flow.scale.copy_(torch.where(scatter > 1e-6, scatter, torch.ones_like(scatter)))
    clipped = flow.centre + flow.scale * ((vectors - flow.centre) / flow.scale).clamp(-_CLIP, _CLIP)
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(flow.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=n_updates, pct_start=0.1)
    with enable_grad():
        for _ in range(n_updates):
            chosen = torch.randint(len(clipped), (min(_BATCH, len(clipped)),), generator=random)
            optimizer.zero_grad(set_to_none=True)
            loss = -flow(clipped[chosen.to(clipped.device)]).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
            optimizer.step()
            schedule.step()
