"""Redshift bins, and p(z) as probabilities of bins."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from astrodl.tasks.photoz.settings import PhotozSettings

__all__ = ["average_views", "balance_weights", "bin_edges", "cumulate", "quantiles"]

_BALANCE_BINS = 20
_LARGEST_WEIGHT = 10.0


def bin_edges(settings: PhotozSettings, z: np.ndarray) -> list[float]:
    """Return the edges of the bins, from 0 to `z_max`."""
    z_max = settings.z_max or 1.05 * float(z.max())
    if settings.bins == "linear":
        return np.linspace(0.0, z_max, settings.n_bins + 1).tolist()
    # a tenth of the bins is spread evenly, which limits the widest bins
    grid = np.linspace(0.0, z_max, 20 * settings.n_bins + 1)
    share = 0.9 * np.searchsorted(np.sort(z), grid, side="right") / len(z) + 0.1 * grid / z_max
    share[0], share[-1] = 0.0, 1.0
    return np.interp(np.linspace(0, 1, settings.n_bins + 1), share, grid).tolist()


def balance_weights(settings: PhotozSettings, z: np.ndarray, z_max: float) -> list[float]:
    """Return weights by redshift bin: the inverse frequency to the power `balance`, with mean one."""
    place = (z / z_max * _BALANCE_BINS).astype(int).clip(0, _BALANCE_BINS - 1)
    counts = np.bincount(place, minlength=_BALANCE_BINS)
    weights = (1.0 + counts) ** -settings.balance
    weights /= weights[place].mean()
    return weights.clip(max=_LARGEST_WEIGHT).tolist()


def average_views(log_probability: Tensor, temperature: float) -> Tensor:
    """Average the probabilities of the views (V, B, K) at a temperature: (B, K)."""
    return (log_probability / temperature).softmax(-1).mean(0)


def cumulate(probability: Tensor) -> Tensor:
    """Return the cumulative distribution at the edges of the bins, (B, K + 1), of the probabilities (B, K)."""
    total = functional.pad(probability.cumsum(1), (1, 0)).clamp(0, 1)
    return total / total[:, -1:]


def quantiles(cumulative: Tensor, edges: Tensor, levels: Tensor) -> Tensor:
    """Return the redshifts (B, L) at which the cumulative distribution (B, K + 1) reaches each of `levels`."""
    levels = levels.expand(len(cumulative), -1).contiguous()
    above = torch.searchsorted(cumulative.contiguous(), levels).clamp(1, len(edges) - 1)
    low, high = cumulative.gather(1, above - 1), cumulative.gather(1, above)
    share = ((levels - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return torch.lerp(edges[above - 1], edges[above], share)
