"""Numbers of a decomposition that can be explained."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from astrodl.explanation.target import Quantity
from astrodl.tasks.segmentation.clumps import LEAST_SCORE

__all__ = ["list_quantities"]

_CLIP = 1e-6


def list_quantities(centres: Sequence[float], constants: Mapping[str, Any]) -> tuple[Quantity, ...]:
    """Return bulge-to-total ratio, logit of the most probable clump pixel, and expected number and area of the clumps.

    Parameters
    ----------
    centres : sequence of float
        Centres of the bins of the ratio.
    constants : mapping
        Calibration of the task: `clump_logit` turns the height of a peak of the map of centres into the probability
        that it is a clump.
    """
    ratios = torch.tensor(centres)
    slope, intercept = constants.get("clump_logit", (1.0, 0.0))

    def bulge_to_total(predicted: Mapping[str, Tensor], fixed: Tensor) -> Tensor:
        return predicted["bt_bins"] @ ratios.to(predicted["bt_bins"])

    def brightest(predicted: Mapping[str, Tensor]) -> Tensor:
        logit = predicted["clump_logit"]
        return (logit == logit.amax((-2, -1), keepdim=True)).float()[:, None]

    def pixel(predicted: Mapping[str, Tensor], fixed: Tensor) -> Tensor:
        return (predicted["clump_logit"] * fixed[:, 0]).sum((-2, -1))

    def count(predicted: Mapping[str, Tensor], fixed: Tensor) -> Tensor:
        height = predicted["centre"]
        is_peak = (height == functional.max_pool2d(height, 3, 1, 1)) & (height > LEAST_SCORE)
        probability = torch.sigmoid(slope * torch.logit(height, _CLIP) + intercept)
        return (probability * is_peak).sum((-2, -1))

    def area(predicted: Mapping[str, Tensor], fixed: Tensor) -> Tensor:
        return predicted["clump"].sum((-2, -1))

    return (
        Quantity("bt", "B/T", "bulge-to-total flux ratio", bulge_to_total),
        Quantity(
            "clump", "nats", "logit of the most probable clump pixel", pixel, brightest, explained_by=("gradient",)
        ),
        Quantity("clump_count", "clumps", "expected number of clumps: sum of the probabilities of all peaks", count),
        Quantity("clump_area", "pixels", "expected area of the clumps", area),
    )
