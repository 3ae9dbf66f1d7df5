"""Distribution of the bulge-to-total ratio: bins between 0 and 1, and one bin each for exactly 0 and 1.

Many galaxies have no bulge, or nothing but a bulge. Outside [0, 1] a bin at either end stands for them.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astrodl.tasks.base import Arrays

__all__ = ["SMEAR", "bin_centres", "bin_edges", "calibrate", "match_ratio", "place", "summarize"]

SMEAR = 0.02
"""Width of the training targets."""
_SPIKE = 0.005
"""Ratios within this of 0 and 1 count as 0 and 1."""
_COVERAGE = 0.6827
_MOST_SHIFT = 8.0
"""Largest shift of a logit."""
_BISECTIONS = 16
_LEAST_OBJECTS = 30
"""Objects that a calibration needs."""


def bin_edges(n_bins: int) -> list[float]:
    """Return the edges of the bins, (n_bins + 3,): those of 0 and 1 are as wide as the others."""
    return (np.arange(-1, n_bins + 2) / n_bins).tolist()


def bin_centres(n_bins: int) -> tuple[float, ...]:
    """Return the ratios that the bins stand for, (n_bins + 2,)."""
    edges = np.array(bin_edges(n_bins))
    return tuple(np.clip((edges[:-1] + edges[1:]) / 2, 0, 1).tolist())


def place(bt: Tensor, edges: Tensor) -> Tensor:
    """Return where ratios lie on the axis of the bins: 0 and 1 in the middle of their bins, (B,)."""
    half = (edges[1] - edges[0]) / 2
    return torch.where(bt < _SPIKE, -half, torch.where(bt > 1 - _SPIKE, 1 + half, bt))


def calibrate(probability: NDArray[np.floating], bt: NDArray[np.floating], n_bins: int) -> dict[str, Any]:
    """Fit the width of the interval and the scale of the error on validation objects.

    The interval shall cover 68 % of the objects of which neither 0 nor 1 is the most probable half: the interval of the
    others is a single value, which is right more often.
    """
    predicted = summarize(probability, n_bins, {})
    scale = np.quantile(np.abs(predicted["bt"] - bt) / np.maximum(predicted["bt_error"], 1e-6), _COVERAGE)
    fitted = {"bt_scale": float(np.clip(scale, 0.1, 10))}
    open_ones = is_open(predicted)
    if np.count_nonzero(open_ones) < _LEAST_OBJECTS:
        return fitted
    shares = np.linspace(0.3, 0.98, 69)
    covered = []
    for share in shares:
        low, high = _interval(probability[open_ones], n_bins, share)
        covered.append(np.mean((low <= bt[open_ones]) & (bt[open_ones] <= high)))
    return fitted | {"bt_share": float(shares[int(np.argmin(np.abs(np.array(covered) - _COVERAGE)))])}


def is_open(summary: Arrays) -> NDArray[np.bool_]:
    """Return the objects of which neither 0 nor 1 has half of the probability."""
    closed: NDArray[np.bool_] = (summary["bt_zero"] >= 0.5) | (summary["bt_one"] >= 0.5)
    return ~closed


def summarize(probability: NDArray[np.floating], n_bins: int, constants: dict[str, Any]) -> Arrays:
    """Return mean, error, 68 % interval, and the probabilities of 0 and 1 of distributions (n, n_bins + 2)."""
    p = np.asarray(probability, np.float64)
    p = p / p.sum(1, keepdims=True)
    centres = np.array(bin_centres(n_bins))
    mean = p @ centres
    # the variance within the bins, too
    within = (p[:, 1:-1].sum(1)) / (12 * n_bins**2)
    sigma = np.sqrt(np.maximum(p @ centres**2 - mean**2, 0) + within)
    low, high = _interval(p, n_bins, constants.get("bt_share", _COVERAGE))
    summary = {
        "bt": mean,
        "bt_error": constants.get("bt_scale", 1.0) * sigma,
        "bt_low68": low,
        "bt_high68": high,
        "bt_zero": p[:, 0],
        "bt_one": p[:, -1],
    }
    return {name: values.astype(np.float32) for name, values in summary.items()}


def match_ratio(fraction: Tensor, light: Tensor, bt: Tensor, reference: int) -> Tensor:
    """Shift the logit of the bulge in flux fractions so that their sum over the galaxy agrees with a ratio.

    The maps alone paint disk into bulges whose ratio is known to be one. Fractions still sum to one in each pixel.

    Parameters
    ----------
    fraction
        Of bulge, disk and clumps, (B, bands, 3, y, x).
    light
        Arsinh of the noise-free light, (B, bands, y, x).
    bt
        Ratio in band number `reference`, (B,); the same shift is applied in all bands.
    """
    bulge, weight = fraction[:, reference, 0], light[:, reference].float().clamp(0, 12).sinh() + 1e-6
    weight = weight / weight.sum((-2, -1), keepdim=True)
    low, high = torch.full_like(bt, -_MOST_SHIFT), torch.full_like(bt, _MOST_SHIFT)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        odds = middle.exp()[:, None, None] * bulge
        above = (weight * odds / (odds + 1 - bulge)).sum((-2, -1)) > bt
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    factor = torch.ones_like(fraction[:, :, :, :1, :1])
    factor[:, :, 0] = ((low + high) / 2).exp()[:, None, None, None]
    shifted = fraction * factor
    return shifted / shifted.sum(2, keepdim=True)


def _interval(probability: NDArray[np.floating], n_bins: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantiles around the central `share`, on [0, 1]."""
    edges = np.array(bin_edges(n_bins))
    cumulative = np.concatenate([np.zeros((len(probability), 1)), np.cumsum(probability, axis=1)], axis=1)
    cumulative /= cumulative[:, -1:]
    ends = []
    for level in (0.5 - share / 2, 0.5 + share / 2):
        upper = np.clip((cumulative < level).sum(1), 1, len(edges) - 1)
        rows = np.arange(len(cumulative))
        below, above = cumulative[rows, upper - 1], cumulative[rows, upper]
        part = np.divide(level - below, above - below, out=np.zeros(len(rows)), where=above > below)
        ends.append(np.clip(edges[upper - 1] + part * (edges[upper] - edges[upper - 1]), 0, 1))
    return ends[0], ends[1]
