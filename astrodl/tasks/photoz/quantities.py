"""Numbers of p(z) that can be explained."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from astrodl.explanation.target import Quantity
from astrodl.tasks.photoz.bins import cumulate, quantiles

__all__ = ["list_quantities"]

_ODDS_WIDTH = 0.06
"""Half of the width of ODDS in units of 1 + z (Benitez 2000)."""


def list_quantities(edges: Sequence[float]) -> tuple[Quantity, ...]:
    """Return mean, median, width and ODDS of p(z) over bins with these edges.

    The mean is the first, as the median jumps where p(z) has two peaks. The width is half of the central 68 %
    interval; ODDS is the probability around the mode of the image itself.
    """
    limits = torch.tensor(edges)

    def probability(predicted: Mapping[str, Tensor]) -> Tensor:
        return predicted["log_pdf"].softmax(1)

    def level(predicted: Mapping[str, Tensor], *levels: float) -> Tensor:
        cumulative = cumulate(probability(predicted))
        return quantiles(cumulative, limits.to(cumulative), cumulative.new_tensor(levels))

    def median(predicted: Mapping[str, Tensor], fixed: Tensor) -> Tensor:
        return level(predicted, 0.5)[:, 0]

    def mean(predicted: Mapping[str, Tensor], fixed: Tensor) -> Tensor:
        p = probability(predicted)
        return p @ (0.5 * (limits[1:] + limits[:-1])).to(p)

    def width(predicted: Mapping[str, Tensor], fixed: Tensor) -> Tensor:
        low, high = level(predicted, 0.16, 0.84).unbind(1)
        return (high - low) / 2

    def mode(predicted: Mapping[str, Tensor]) -> Tensor:
        p = predicted["log_pdf"]
        density = p.exp() / (limits[1:] - limits[:-1]).to(p)
        return (0.5 * (limits[1:] + limits[:-1])).to(p)[density.argmax(1)][:, None]

    def odds(predicted: Mapping[str, Tensor], fixed: Tensor) -> Tensor:
        p = probability(predicted)
        low, high, half = limits[:-1].to(p), limits[1:].to(p), _ODDS_WIDTH * (1 + fixed)
        inside = torch.minimum(high, fixed + half) - torch.maximum(low, fixed - half)
        return (p * (inside / (high - low)).clamp(0, 1)).sum(1)

    return (
        Quantity("z_mean", "redshift", "mean of p(z)", mean),
        Quantity("z_median", "redshift", "median of p(z)", median),
        Quantity("z_width", "redshift", "half of the central 68 % interval of p(z)", width),
        Quantity("odds", "probability", "probability around the mode of p(z)", odds, fix=mode),
    )
