"""Metrics of a task: how they are named, what value is best, and their bootstrap errors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from astrodl.metrics.bootstrap import bootstrap

__all__ = ["Metric", "Metrics", "bootstrap_metrics"]

Metrics = dict[str, dict[str, float]]
"""Metric name -> `value` and `error`."""


@dataclass(frozen=True)
class Metric:
    """One metric of a task.

    Attributes
    ----------
    name : str
        Key in `metrics.json`.
    best : "high", "low" or float
        Direction of improvement, or the ideal value.
    label : str
        Text on figures and pages; by default the name.
    network_only : bool
        Whether baselines do not have it: they give no interval or distribution.
    """

    name: str
    best: Literal["high", "low"] | float
    label: str = ""
    network_only: bool = False

    def describe(self) -> dict[str, Any]:
        """Return the entry of `metrics.json` from which figures and pages learn direction and label."""
        return {"best": self.best, "label": self.label or self.name.replace("_", " ")}


def bootstrap_metrics(statistics: Mapping[str, Callable[..., Any]], *arrays: np.ndarray) -> Metrics:
    """Compute statistics of arrays with objects first, with bootstrap standard errors."""
    metrics: Metrics = {}
    for name, statistic in statistics.items():
        value, error = bootstrap(statistic, *arrays)
        metrics[name] = {"value": float(value), "error": float(error)}
    return metrics
