"""The metrics of all tasks against their best baselines."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from astrodl.plots.style import INK, MUTED, NETWORK, ODD, PALETTE, add_count, apply_style, mark_empty, new_figure

__all__ = ["improvement", "metrics_overview"]

Metrics = Mapping[str, Any]
Best = Literal["high", "low"] | float
"""Direction of improvement, or the ideal value."""

LARGEST_RATIO = 5.0
TABLE = {"network": 1.33, "baseline": 1.69, "name": 1.71}
"""Positions of the table columns in widths of the panel; numbers end there, the name starts there."""


@apply_style
def metrics_overview(documents: Sequence[Metrics], *, heading: str = "Networks against classical baselines") -> Figure:
    """Draw the metrics of all tasks as a table, with how many times better the network is than the best baseline.

    The factor is network over baseline where high values are best, else baseline over network. For a metric with an
    ideal value it compares the distances from that value. The error of the factor adds the two bootstrap errors in
    quadrature, in the logarithm. Factors beyond five are drawn as arrows at the edge.

    Parameters
    ----------
    documents : sequence of mappings
        Contents of the tasks' metrics.json: `task`, `n_objects`, `metrics` {metric: {best, label}},
        `constant_baselines`, `network` {metric: {value, error}} and `baselines` {name: {metric: {value, error}}}.
    heading : str
        Title of the figure.
    """
    rows = [(document, metric) for document in documents for metric in document.get("network", {})]
    n_objects = max((int(document.get("n_objects", 0)) for document in documents), default=0)
    height = 1.15 + 0.245 * (len(rows) + len(documents))
    figure = new_figure(height, width=9.0, heading=add_count(heading, n_objects, "test galaxies"))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.205, 0.58 / height, 0.385, 1 - 0.93 / height))
    if not rows:
        mark_empty(axes, "no metrics")
        return figure
    y, ticks, labels = 0.0, [], []
    for document in documents:
        _write_task(axes, y, document)
        y += 1
        for metric in document.get("network", {}):
            _draw_metric(axes, y, document, metric)
            ticks.append(y)
            labels.append(document["metrics"][metric]["label"])
            y += 1
    _finish_table(axes, y, ticks, labels)
    return figure


def _write_task(axes: Axes, y: float, document: Metrics) -> None:
    text = f"{document.get('task', '')} ({int(document.get('n_objects', 0)):,})"
    axes.axhspan(y - 0.5, y + 0.5, color="#eef1f4", zorder=0, linewidth=0)
    axes.annotate(
        text, (0, y), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
        va="center", fontweight="bold", fontsize=9,
    )  # fmt: skip


def _draw_metric(axes: Axes, y: float, document: Metrics, metric: str) -> None:
    network, best = document["network"][metric], document["metrics"][metric]["best"]
    _write(axes, y, "network", _with_error(network), NETWORK)
    baselines = {
        name: values[metric]
        for name, values in document.get("baselines", {}).items()
        if name not in document.get("constant_baselines", ()) and _is_known(values.get(metric))
    }
    if not baselines or not _is_known(network):
        _write(axes, y, "baseline", "–", MUTED)
        return
    name = min(baselines, key=lambda name: _badness(best, baselines[name]["value"]))
    _write(axes, y, "baseline", _with_error(baselines[name]), INK)
    _write(axes, y, "name", name, MUTED)
    factor, error = improvement(best, network, baselines[name])
    if not np.isfinite(factor):
        return
    color = PALETTE["green"] if factor >= 1 else ODD
    shown = float(np.clip(factor, 1 / LARGEST_RATIO, LARGEST_RATIO))
    if shown != factor:
        axes.plot(shown, y, ">" if factor > 1 else "<", color=color, markersize=7, clip_on=False)
        return
    axes.plot([1, factor], [y, y], color=color, linewidth=5, alpha=0.35, solid_capstyle="butt")
    ends = np.clip(np.exp(np.log(factor) + error * np.array([-1, 1])), 1 / LARGEST_RATIO, LARGEST_RATIO)
    axes.plot(ends, [y, y], color=color, linewidth=1.2)
    axes.plot(factor, y, "o", color=color, markersize=6)


def improvement(best: Best, network: Mapping[str, float], baseline: Mapping[str, float]) -> tuple[float, float]:
    """Compute how many times better the network is than a baseline.

    Parameters
    ----------
    best : "high", "low" or float
        Direction of improvement, or the ideal value.
    network, baseline : mapping
        `value` and `error`.

    Returns
    -------
    factor, error : float
        The factor, above one where the network is better, and the error of its logarithm; NaN if undefined.
    """
    items = (network, baseline)
    sizes = [item["value"] if isinstance(best, str) else abs(item["value"] - best) for item in items]
    if sizes[0] * sizes[1] <= 0:
        return np.nan, np.nan
    # a negative cost, such as the CDE loss, is better the larger its size
    factor = sizes[0] / sizes[1] if best == "high" or sizes[0] < 0 else sizes[1] / sizes[0]
    errors = [(item.get("error") or 0.0) / size for item, size in zip(items, sizes, strict=True)]
    return float(factor), float(np.hypot(errors[0], errors[1]))


def _badness(best: Best, value: float) -> float:
    if isinstance(best, str):
        return -value if best == "high" else value
    return abs(value - best)


def _is_known(item: Mapping[str, Any] | None) -> bool:
    return bool(item) and item is not None and item.get("value") is not None and bool(np.isfinite(item["value"]))


def _with_error(item: Mapping[str, Any]) -> str:
    if not _is_known(item):
        return "–"
    value, error = float(item["value"]), item.get("error")
    if error is None or not np.isfinite(error) or error <= 0:
        return f"{value:.3g}".replace("-", "−")
    digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 5))
    return f"{value:.{digits}f} ± {error:.{digits}f}".replace("-", "−")


def _write(axes: Axes, y: float, column: str, text: str, color: str) -> None:
    axes.annotate(
        text,
        (TABLE[column], y),
        xycoords=("axes fraction", "data"),
        annotation_clip=False,
        ha="left" if column == "name" else "right",
        va="center",
        fontsize=8.5,
        color=color,
    )


def _finish_table(axes: Axes, height: float, ticks: Sequence[float], labels: Sequence[str]) -> None:
    axes.axvline(1, color=INK, linewidth=1.0)
    axes.set(xscale="log", xlim=(1 / LARGEST_RATIO, LARGEST_RATIO), ylim=(height - 0.4, -1.3))
    axes.set_xticks([0.2, 0.5, 1, 2, 5], ["⅕", "½", "1", "2", "5"])
    axes.minorticks_off()
    axes.set_yticks(ticks, labels)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("times better than the best baseline (network better to the right)")
    _write(axes, -0.9, "network", "network", NETWORK)
    _write(axes, -0.9, "baseline", "best baseline", INK)
