"""Outlier scores: known oddities against ordinary objects, recall, ranking, and trends of the score."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from astrodl.metrics.bins import split_equal_counts
from astrodl.plots.images import contact_sheet
from astrodl.plots.style import (
    INK,
    MUTED,
    NETWORK,
    ODD,
    Array,
    add_count,
    add_legend_above,
    apply_style,
    label_log_axis,
    list_methods,
    mark_empty,
    new_figure,
    wilson_interval,
    wrap_label,
    write_note,
)

__all__ = ["detection_curves", "ranked_sheet", "recall_by_kind", "score_histogram", "score_trend"]

_ORDINARY = "#8fa3b5"


@apply_style
def score_histogram(
    score: ArrayLike,
    oddity: Sequence[str] | ArrayLike,
    *,
    label: str = "outlier score",
    n_bins: int = 40,
    heading: str = "Outlier scores",
) -> Figure:
    """Draw histograms of the scores of ordinary objects and of known oddities, and the scores of each kind below.

    Parameters
    ----------
    score : array of shape (n,)
        Outlier score, larger for outliers; NaN is left out.
    oddity : sequence of n str
        Kind of each known oddity, "" for ordinary objects.
    """
    values, kinds = _finite_scores(score, oddity)
    odd = kinds != ""
    names = sorted(set(kinds.tolist()) - {""}, key=lambda name: (float(np.median(values[kinds == name])), name))
    figure = new_figure(
        3.9 + 0.24 * len(names), heading=f"{add_count(heading, len(values))}, {int(odd.sum()):,} known oddities"
    )
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, max(0.5, 0.26 * len(names)))})
    if not len(values):
        mark_empty(top)
        return figure
    low, high = float(values.min()), float(np.quantile(values, 0.999))
    edges = np.linspace(low, max(high, low + 1e-6), n_bins + 1)
    shown = np.clip(values, edges[0], edges[-1])
    top.hist(shown[~odd], edges, color=_ORDINARY, alpha=0.75, label=f"ordinary ({int((~odd).sum()):,})")
    top.hist(shown[odd], edges, color=ODD, histtype="step", linewidth=1.8, label=f"oddities ({int(odd.sum()):,})")
    top.set(yscale="log", ylabel="galaxies per bin", ylim=(0.7, max(12.0, top.get_ylim()[1])))
    label_log_axis(top.yaxis)
    for q, style in ((0.95, (0, (4, 2))), (0.99, (0, (1, 1.5)))):
        top.axvline(
            min(float(np.quantile(values, q)), edges[-1]), color=INK, linewidth=1.0, linestyle=style,
            label=f"top {100 * (1 - q):.0f} %",
        )  # fmt: skip
    add_legend_above(top)
    for i, name in enumerate(names):
        of_kind = shown[kinds == name]
        bottom.plot(of_kind, np.full(len(of_kind), i), "|", color=ODD, markersize=9, alpha=0.6)
        bottom.plot(np.median(of_kind), i, "o", color=ODD, markeredgecolor="white", markersize=6.5)
    bottom.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    bottom.set_ylim(-0.6, max(len(names), 1) - 0.4)
    bottom.set_xlabel(label)
    return figure


def _finite_scores(score: ArrayLike, oddity: Sequence[str] | ArrayLike) -> tuple[Array, NDArray[np.str_]]:
    values, kinds = np.asarray(score, dtype=np.float64), np.asarray(oddity, dtype=str)
    good = np.isfinite(values)
    return values[good], kinds[good]


@apply_style
def detection_curves(
    score: ArrayLike,
    is_odd: ArrayLike,
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    auc: Mapping[str, float] | None = None,
    average_precision: Mapping[str, float] | None = None,
    heading: str = "Detection of known oddities",
) -> Figure:
    """Draw ROC and precision-recall curves, with the curves of a random ranking.

    Parameters
    ----------
    score : array of shape (n,)
        Outlier score, larger for outliers; NaN is left out.
    is_odd : bool array of shape (n,)
        Whether an object is a known oddity.
    baselines : mapping name -> array of shape (n,), optional
        Scores of other methods.
    auc, average_precision : mappings name ("network" or a baseline) -> value, optional
        Area under the ROC curve and average precision, for the legend.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    truth = np.asarray(is_odd, dtype=bool)
    known = truth[np.isfinite(np.asarray(score, dtype=float))]
    n_odd = int(known.sum())
    figure = new_figure(4.7, heading=f"{add_count(heading, len(known))}, {n_odd:,} known oddities")
    left, right = figure.subplots(1, 2)
    line = np.logspace(-3, 0, 50)
    left.plot(line, line, color=INK, linewidth=1.0, label="random ranking")
    right.axhline(n_odd / max(len(known), 1), color=INK, linewidth=1.0)
    for name, scores, color in list_methods(score, baselines):
        values = np.asarray(scores, dtype=float)
        good = np.isfinite(values)
        if truth[good].all() or not truth[good].any():
            continue
        false_rate, true_rate, _ = roc_curve(truth[good], values[good], drop_intermediate=False)
        precision, recall, _ = precision_recall_curve(truth[good], values[good])
        numbers = [f"{word} {table[name]:.3f}" for word, table in (("AUC", auc), ("AP", average_precision))
                   if table and name in table]  # fmt: skip
        label = f"{name}: {', '.join(numbers)}" if numbers else name
        width = 2.0 if name == "network" else 1.4
        left.step(np.maximum(false_rate, 1e-3), true_rate, where="post", color=color, linewidth=width, label=label)
        # The last point, at recall 0, is an extrapolation.
        right.step(recall[-2::-1], precision[-2::-1], where="pre", color=color, linewidth=width)
    left.set(xscale="log", xlim=(1e-3, 1), ylim=(0, 1.02), xlabel="false positive rate", ylabel="true positive rate")
    right.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall (completeness)", ylabel="precision (purity)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    if n_odd in (0, len(known)):
        mark_empty(left, "needs odd and ordinary objects")
    return figure


@apply_style
def recall_by_kind(
    score: ArrayLike,
    oddity: Sequence[str] | ArrayLike,
    *,
    fraction: float = 0.05,
    baselines: Mapping[str, ArrayLike] | None = None,
    heading: str = "",
) -> Figure:
    """Draw the recall of each kind of oddity among the highest scores, with Wilson 68 % intervals.

    Parameters
    ----------
    score : array of shape (n,)
        Outlier score, larger for outliers; NaN ranks last.
    oddity : sequence of n str
        Kind of each known oddity, "" for ordinary objects.
    fraction : float
        Fraction of all objects, those of the highest scores, that count as found.
    baselines : mapping name -> array of shape (n,), optional
        Scores of other methods.
    """
    kinds = np.asarray(oddity, dtype=str)
    methods = [(name, _find_top(values, fraction), color) for name, values, color in list_methods(score, baselines)]
    found_by_network = methods[0][1]
    names = [str(name) for name in np.unique(kinds) if name]
    names.sort(key=lambda kind: float(np.mean(found_by_network[kinds == kind])), reverse=True)
    text = heading or f"Recall of known oddities in the top {100 * fraction:g} %"
    figure = new_figure(3.9, heading=f"{add_count(text, len(kinds))}, {int((kinds != '').sum()):,} known oddities")
    axes = figure.subplots()
    groups = [("all", kinds != ""), *((name, kinds == name) for name in names)]
    trials = np.array([members.sum() for _, members in groups])
    width = 0.8 / len(methods)
    for i, (name, found, color) in enumerate(methods):
        x = np.arange(len(groups)) + (i - (len(methods) - 1) / 2) * width
        hits = np.array([found[members].sum() for _, members in groups])
        recall = hits / np.maximum(trials, 1)
        low, high = wilson_interval(hits, trials)
        error = np.nan_to_num([recall - low, high - recall])
        axes.bar(x, recall, 0.92 * width, color=color, label=name, yerr=error, ecolor=INK,
                 error_kw={"elinewidth": 0.9})  # fmt: skip
    axes.axhline(fraction, color=INK, linewidth=1.0, linestyle=(0, (3, 2)), label="random ranking")
    axes.axhline(1, color=INK, linewidth=1.0)
    axes.axvline(0.5, color=MUTED, linewidth=0.8)
    axes.set_xticks(range(len(groups)), [f"{wrap_label(name, 11)}\n({int(members.sum())})" for name, members in groups])
    axes.set(ylim=(0, 1.04), xlabel="kind of oddity (number)", ylabel="recall", xlim=(-0.6, len(groups) - 0.4))
    axes.grid(False, axis="x")
    add_legend_above(axes)
    if not names:
        mark_empty(axes, "no known oddities")
    return figure


def _find_top(score: ArrayLike, fraction: float) -> NDArray[np.bool_]:
    """Return a mask of the highest `fraction` of the scores, at least one."""
    values = np.asarray(score, dtype=np.float64)
    n_top = min(len(values), max(1, round(fraction * len(values))))
    is_top = np.zeros(len(values), dtype=bool)
    is_top[np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:n_top]] = True
    return is_top


def ranked_sheet(
    rgb: ArrayLike,
    score: ArrayLike,
    oddity: Sequence[str] | ArrayLike | None = None,
    *,
    notes: Sequence[str] | None = None,
    n_top: int = 30,
    n_total: int | None = None,
    heading: str = "Highest outlier scores",
) -> Figure:
    """Draw the objects with the highest scores in order; known oddities are framed and named.

    Parameters
    ----------
    rgb : array of shape (n, y, x, 3)
        Colour cutouts, of all objects or only of those with high scores.
    score : array of shape (n,)
        Scores of the objects in `rgb`; NaN is left out.
    oddity : sequence of n str, optional
        Kind of each known oddity, "" for ordinary objects.
    notes : sequence of n str, optional
        A line below each score, such as the reason.
    n_top : int
        Largest number of objects.
    n_total : int, optional
        Number of objects that were ranked, for the heading; by default n.
    """
    images, values = np.asarray(rgb), np.asarray(score, dtype=float)
    kinds = np.asarray(oddity, dtype=str) if oddity is not None else np.full(len(values), "")
    below = np.full(len(values), "") if notes is None else np.asarray(notes, dtype=str)
    order = [int(i) for i in np.argsort(-values, kind="stable") if np.isfinite(values[i])][:n_top]
    text = add_count(heading, len(order), n_total=n_total or len(values))
    if oddity is not None:
        text += f", {sum(kinds[i] != '' for i in order)} known oddities framed"
    return contact_sheet(
        images[order],
        [
            "\n".join(line for line in (f"{rank + 1}: {values[i]:.3g}", below[i], wrap_label(kinds[i])) if line)
            for rank, i in enumerate(order)
        ],
        heading=text,
        frames=[ODD if kinds[i] else None for i in order],
    )


@apply_style
def score_trend(
    score: ArrayLike,
    value: ArrayLike,
    *,
    label: str = "magnitude (AB)",
    oddity: Sequence[str] | ArrayLike | None = None,
    logarithmic: bool = False,
    rank_correlation: float | None = None,
    score_label: str = "outlier score",
    heading: str = "Outlier score",
) -> Figure:
    """Draw the score against a quantity that it should not depend on, such as magnitude; ideally the median is flat.

    Parameters
    ----------
    score, value : arrays of shape (n,)
        Pairs with a NaN are left out.
    label : str
        Name of the value with its unit.
    oddity : sequence of n str, optional
        Kind of each known oddity, "" for ordinary objects.
    logarithmic : bool
        Whether the abscissa is logarithmic; values that are not positive are left out.
    rank_correlation : float, optional
        Spearman's rank correlation coefficient to print.
    """
    y, x = np.asarray(score, dtype=float), np.asarray(value, dtype=float)
    kinds = np.asarray(oddity, dtype=str) if oddity is not None else np.full(len(y), "")
    good = np.isfinite(y) & np.isfinite(x) & ((x > 0) | (not logarithmic))
    y, x, odd = y[good], x[good], kinds[good] != ""
    figure = new_figure(4.2, heading=add_count(f"{heading} against {label}", len(y)))
    axes = figure.subplots()
    if logarithmic:
        axes.set_xscale("log")
        label_log_axis(axes.xaxis)
    size = float(np.clip(4000 / max(len(y), 1), 8, 22))
    axes.scatter(x[~odd], y[~odd], s=size, color=_ORDINARY, linewidths=0, alpha=0.7, label="ordinary")
    axes.scatter(
        x[odd], y[odd], s=size + 9, color=ODD, edgecolors="white", linewidths=0.4, label="known oddities", zorder=4
    )
    if len(y):
        axes.axhline(float(np.median(y[~odd] if (~odd).any() else y)), color=INK, linewidth=1.0, label="no trend")
        _draw_running_quantiles(axes, x[~odd], y[~odd])
        if rank_correlation is not None:
            write_note(axes, rf"Spearman $\rho$ = {rank_correlation:.2f}".replace("-", "−"))
        add_legend_above(axes, 5)
    else:
        mark_empty(axes)
    axes.set(xlabel=label, ylabel=score_label)
    return figure


def _draw_running_quantiles(axes: Axes, value: Array, score: Array) -> None:
    groups = split_equal_counts(value, 10, min_count=10)
    if len(groups) < 2:
        return
    x = [np.median(value[group]) for group in groups]
    low, middle, high = np.array([np.quantile(score[group], [0.16, 0.5, 0.84]) for group in groups]).T
    axes.fill_between(x, low, high, color=NETWORK, alpha=0.18, linewidth=0)
    axes.plot(x, middle, color=NETWORK, marker="o", markersize=4, label="median and 68 %")
