"""The whole survey at a glance: every task against its baselines, and the splits on the sky."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from astrodl.plots.style import INK, MUTED, NETWORK, ODD, PALETTE, counted, new_figure, say_empty, styled

Metrics = Mapping[str, Any]

HIGHER_IS_BETTER = frozenset(
    (
        *("accuracy", "balanced_accuracy", "macro_f1", "auc", "agreement"),
        *("clump_dice", "clump_completeness", "clump_purity", "bt_within_01"),
        *("knn_recall", "rho_bt", "rho_sersic"),
        *("average_precision", "recall_top1", "recall_top5"),
    )
)
IDEAL = {
    "coverage_68": 0.68,
    "coverage_95": 0.95,
    "conformal_68": 0.68,
    "conformal_90": 0.90,
    "conformal_95": 0.95,
    "chi2": 1.0,
    "set_size_90": 1.0,
    "set_size_95": 1.0,
}
"""Metrics whose best value is a number; of all others zero is best, or minus infinity."""
LARGEST_RATIO = 5.0
LABELS = {
    "sigma_mad": "σ MAD",
    "eta_005": "outliers |Δz| > 0.05",
    "eta_015": "outliers |Δz| > 0.15",
    "eta_lsst": "outliers, LSST",
    "crps": "CRPS",
    "pit_ks": "PIT, KS distance",
    "cde_loss": "CDE loss",
    "coverage_68": "68 % coverage",
    "coverage_95": "95 % coverage",
    "sigma_iqr": "σ IQR",
    "pit_cvm": "PIT, CvM",
    "pit_ad": "PIT, AD",
    "tomographic_bias": "bias of tomographic bins",
    "macro_f1": "macro F1",
    "auc": "ROC AUC",
    "ece": "ECE",
    "brier": "Brier score",
    "fraction_mae": "bulge fraction MAE",
    "bt_rmse": "B/T RMSE",
    "bt_within_01": "B/T within 0.1",
    "knn_recall": "kNN class recall",
    "rho_bt": "rank correlation, B/T",
    "rho_sersic": "rank correlation, Sérsic n",
    "chi2": "χ² per pixel",
    "recall_top1": "recall in top 1 %",
    "recall_top5": "recall in top 5 %",
}
TABLE = {"network": 1.33, "baseline": 1.69, "name": 1.71}
"""Where the columns of the table stand, in widths of the panel; numbers end there, the name begins there."""

FLOORS = ("trainz", "mean")
"""Baselines that look at no object and say the same of all: calibrated, but never the best."""


@styled
def metrics_overview(documents: Sequence[Metrics], *, heading: str = "Networks against classical baselines") -> Figure:
    """Draw the metrics of all tasks as a table, with how many times better the network is than the best baseline.

    The factor is network over baseline where higher is better, else baseline over network; of a bias the size counts,
    of a coverage the distance from its level. Its error adds the two bootstrap errors in quadrature, in the logarithm.
    Factors beyond five are drawn as arrows at the edge.

    Parameters
    ----------
    documents : sequence of mappings
        Contents of the tasks' metrics.json: `task`, `n_objects`, `network` {metric: {value, error}} and
        `baselines` {name: {metric: {value, error}}}.
    """
    rows = [(document, metric) for document in documents for metric in document.get("network", {})]
    n_objects = max((int(document.get("n_objects", 0)) for document in documents), default=0)
    height = 1.15 + 0.245 * (len(rows) + len(documents))
    figure = new_figure(height, width=9.0, heading=counted(heading, n_objects, "test galaxies"))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.205, 0.58 / height, 0.385, 1 - 0.93 / height))
    if not rows:
        say_empty(axes, "no metrics")
        return figure
    y, ticks, labels = 0.0, [], []
    for document in documents:
        _write_task(axes, y, document)
        y += 1
        for metric in document.get("network", {}):
            _draw_metric(axes, y, document, metric)
            ticks.append(y)
            labels.append(LABELS.get(metric, metric.replace("_", " ")))
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
    network = document["network"][metric]
    _write(axes, y, "network", _with_error(network), NETWORK)
    rivals = {
        name: values[metric]
        for name, values in document.get("baselines", {}).items()
        if name not in FLOORS and _known(values.get(metric))
    }
    if not rivals or not _known(network):
        _write(axes, y, "baseline", "–", MUTED)
        return
    best = min(rivals, key=lambda name: _badness(metric, rivals[name]["value"]))
    _write(axes, y, "baseline", _with_error(rivals[best]), INK)
    _write(axes, y, "name", best, MUTED)
    factor, error = improvement(metric, network, rivals[best])
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


def improvement(metric: str, network: Mapping[str, float], baseline: Mapping[str, float]) -> tuple[float, float]:
    """Return how many times better the network is, and the error of the logarithm of that factor; NaN if undefined."""
    ideal = IDEAL.get(metric, 0.0)
    ours, theirs = network["value"] - ideal, baseline["value"] - ideal
    if metric in IDEAL or metric.startswith("bias"):
        ours, theirs = abs(ours), abs(theirs)
    if ours * theirs <= 0:
        return np.nan, np.nan
    # A cost that is negative (CDE loss) is the better the larger its size.
    factor = ours / theirs if metric in HIGHER_IS_BETTER or ours < 0 else theirs / ours
    errors = [(item.get("error") or 0.0) / size for item, size in ((network, ours), (baseline, theirs))]
    return float(factor), float(np.hypot(errors[0], errors[1]))


def _badness(metric: str, value: float) -> float:
    if metric in HIGHER_IS_BETTER:
        return -value
    return abs(value - IDEAL.get(metric, 0.0)) if metric in IDEAL or metric.startswith("bias") else value


def _known(item: Mapping[str, Any] | None) -> bool:
    return bool(item) and item is not None and item.get("value") is not None and bool(np.isfinite(item["value"]))


def _with_error(item: Mapping[str, Any]) -> str:
    if not _known(item):
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
