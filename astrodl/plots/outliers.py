"""Outliers: how scores separate known oddities, what is found first, and what the score must not depend on."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.plots.images import contact_sheet
from astrodl.plots.style import (
    INK,
    MUTED,
    NETWORK,
    ODD,
    Array,
    baseline_colors,
    counted,
    legend_above,
    new_figure,
    note,
    plain_logarithm,
    say_empty,
    styled,
    wilson_interval,
)
from astrodl.plots.style import label as wrapped

NORMAL = "#8fa3b5"


@styled
def score_histogram(
    score: ArrayLike,
    oddity: Sequence[str] | ArrayLike,
    *,
    label: str = "outlier score",
    n_bins: int = 40,
    heading: str = "Outlier scores",
) -> Figure:
    """Draw the scores of ordinary objects and of known oddities on a logarithmic count axis, and of each kind below.

    Parameters
    ----------
    score : array of shape (n,)
        Higher is odder; NaN is left out.
    oddity : sequence of n str
        Kind of each known oddity, "" for ordinary objects.
    """
    values, kinds = _finite_scores(score, oddity)
    odd = kinds != ""
    names = _ordered_kinds(values, kinds)
    figure = new_figure(
        3.9 + 0.24 * len(names), heading=f"{counted(heading, len(values))}, {int(odd.sum()):,} known oddities"
    )
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, max(0.5, 0.26 * len(names)))})
    if not len(values):
        say_empty(top)
        return figure
    low, high = float(values.min()), float(np.quantile(values, 0.999))
    edges = np.linspace(low, max(high, low + 1e-6), n_bins + 1)
    shown = np.clip(values, edges[0], edges[-1])
    top.hist(shown[~odd], edges, color=NORMAL, alpha=0.75, label=f"ordinary ({int((~odd).sum()):,})")
    top.hist(shown[odd], edges, color=ODD, histtype="step", linewidth=1.8, label=f"oddities ({int(odd.sum()):,})")
    top.set(yscale="log", ylabel="galaxies per bin", ylim=(0.7, max(12.0, top.get_ylim()[1])))
    plain_logarithm(top.yaxis)
    for q, style in ((0.95, (0, (4, 2))), (0.99, (0, (1, 1.5)))):
        top.axvline(
            min(float(np.quantile(values, q)), edges[-1]), color=INK, linewidth=1.0, linestyle=style,
            label=f"top {100 * (1 - q):.0f} %",
        )  # fmt: skip
    legend_above(top)
    for i, name in enumerate(names):
        chosen = shown[kinds == name]
        bottom.plot(chosen, np.full(len(chosen), i), "|", color=ODD, markersize=9, alpha=0.6)
        bottom.plot(np.median(chosen), i, "o", color=ODD, markeredgecolor="white", markersize=6.5)
    bottom.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    bottom.set_ylim(-0.6, max(len(names), 1) - 0.4)
    bottom.set_xlabel(label)
    return figure


def _finite_scores(score: ArrayLike, oddity: Sequence[str] | ArrayLike) -> tuple[Array, Array]:
    values, kinds = np.asarray(score, dtype=np.float64), np.asarray(oddity, dtype=str)
    good = np.isfinite(values)
    return values[good], kinds[good]


def _ordered_kinds(values: Array, kinds: Array) -> list[str]:
    """List the kinds of oddity from the least to the most conspicuous."""
    names = [str(name) for name in np.unique(kinds) if name]
    return sorted(names, key=lambda name: float(np.median(values[kinds == name])))


@styled
def detection_curves(
    score: ArrayLike,
    is_odd: ArrayLike,
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    auc: Mapping[str, float] | None = None,
    average_precision: Mapping[str, float] | None = None,
    heading: str = "Known oddities among all",
) -> Figure:
    """Draw ROC and precision-recall curves with the lines of a random order.

    Parameters
    ----------
    score : array of shape (n,)
        Higher is odder; NaN is left out.
    is_odd : bool array of shape (n,)
        Known oddities.
    baselines : mapping name -> array of shape (n,), optional
        Other scores.
    auc, average_precision : mappings name ("network" or a baseline) -> value, optional
        Numbers for the legends.
    """
    sets = {"network": score, **(baselines or {})}
    colors = {"network": NETWORK, **baseline_colors(list(baselines or {}))}
    truth = np.asarray(is_odd, dtype=bool)
    known = np.isfinite(np.asarray(score, dtype=float))
    n_odd = int(truth[known].sum())
    figure = new_figure(4.7, heading=f"{counted(heading, int(known.sum()))}, {n_odd:,} odd")
    left, right = figure.subplots(1, 2)
    numbered = (("AUC", auc), ("AP", average_precision))
    line = np.logspace(-3, 0, 50)
    left.plot(line, line, color=INK, linewidth=1.0, label="random order")
    right.axhline(n_odd / max(int(known.sum()), 1), color=INK, linewidth=1.0)
    for name, values in sets.items():
        curve = _curves(np.asarray(values, dtype=float), truth)
        if curve is None:
            continue
        false_rate, recall, precision = curve
        numbers = [f"{word} {table[name]:.3f}" for word, table in numbered if table and name in table]
        label = f"{name}: {', '.join(numbers)}" if numbers else name
        width = 2.0 if name == "network" else 1.4
        false_rate, found = np.append(1e-3, np.maximum(false_rate, 1e-3)), np.append(0, recall)
        left.step(false_rate, found, where="post", color=colors[name], linewidth=width, label=label)
        right.step(recall, precision, where="pre", color=colors[name], linewidth=width)
    left.set(xscale="log", xlim=(1e-3, 1), ylim=(0, 1.02), xlabel="false positive rate", ylabel="true positive rate")
    right.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall (completeness)", ylabel="precision (purity)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    if n_odd in (0, int(known.sum())):
        say_empty(left, "needs odd and ordinary objects")
    return figure


def _curves(score: Array, truth: Array) -> tuple[Array, Array, Array] | None:
    """Return false positive rate, recall and precision over falling thresholds; None when a class is empty."""
    good = np.isfinite(score)
    score, truth = score[good], truth[good]
    n_odd = int(truth.sum())
    if n_odd in (0, len(truth)):
        return None
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    hits, taken = np.cumsum(truth[order])[last], np.arange(1, len(truth) + 1)[last]
    return (taken - hits) / (len(truth) - n_odd), hits / n_odd, hits / taken


@styled
def recall_by_kind(
    score: ArrayLike,
    oddity: Sequence[str] | ArrayLike,
    *,
    fraction: float = 0.05,
    baselines: Mapping[str, ArrayLike] | None = None,
    heading: str = "",
) -> Figure:
    """Draw per kind of oddity the share among the highest scores, with Wilson 68 % intervals.

    Parameters
    ----------
    score : array of shape (n,)
        Higher is odder; NaN ranks last.
    oddity : sequence of n str
        Kind of each known oddity, "" for ordinary objects.
    fraction : float
        Share of all objects that counts as found.
    baselines : mapping name -> array of shape (n,), optional
        Other scores.
    """
    kinds = np.asarray(oddity, dtype=str)
    sets = {"network": np.asarray(score, dtype=float)}
    sets |= {name: np.asarray(values, dtype=float) for name, values in (baselines or {}).items()}
    colors = {"network": NETWORK, **baseline_colors(list(baselines or {}))}
    names = [str(name) for name in np.unique(kinds) if name]
    found = {name: _top(values, fraction) for name, values in sets.items()}
    names.sort(key=lambda kind: float(np.mean(found["network"][kinds == kind])), reverse=True)
    text = heading or f"Recall of known oddities in the top {100 * fraction:g} %"
    figure = new_figure(3.9, heading=f"{counted(text, len(kinds))}, {int((kinds != '').sum()):,} odd")
    axes = figure.subplots()
    groups = [("all", kinds != ""), *((name, kinds == name) for name in names)]
    width = 0.8 / len(sets)
    for shift, (name, top) in enumerate(found.items()):
        where = np.arange(len(groups)) + (shift - (len(sets) - 1) / 2) * width
        hits = np.array([top[chosen].sum() for _, chosen in groups])
        trials = np.array([chosen.sum() for _, chosen in groups])
        fractions = hits / np.maximum(trials, 1)
        low, high = wilson_interval(hits, trials)
        error = np.nan_to_num(np.clip([fractions - low, high - fractions], 0, None))
        axes.bar(where, fractions, 0.92 * width, color=colors[name], label=name, yerr=error, ecolor=INK,
                 error_kw={"elinewidth": 0.9})  # fmt: skip
    axes.axhline(fraction, color=INK, linewidth=1.0, linestyle=(0, (3, 2)), label="random order")
    axes.axhline(1, color=INK, linewidth=1.0)
    axes.axvline(0.5, color=MUTED, linewidth=0.8)
    axes.set_xticks(range(len(groups)), [f"{wrapped(name, 11)}\n({int(chosen.sum())})" for name, chosen in groups])
    axes.set(ylim=(0, 1.04), ylabel="recall", xlim=(-0.6, len(groups) - 0.4))
    axes.grid(False, axis="x")
    legend_above(axes)
    if not names:
        say_empty(axes, "no known oddities")
    return figure


def _top(score: Array, fraction: float) -> Array:
    """Mark the highest `fraction` of the scores, at least one."""
    n_top = min(len(score), max(1, round(fraction * len(score))))
    marked = np.zeros(len(score), dtype=bool)
    marked[np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")[:n_top]] = True
    return marked


def ranked_sheet(
    rgb: ArrayLike,
    score: ArrayLike,
    oddity: Sequence[str] | ArrayLike | None = None,
    *,
    n_top: int = 30,
    n_total: int | None = None,
    heading: str = "Highest outlier scores",
) -> Figure:
    """Show the objects of the highest scores in order, known oddities framed and named.

    Parameters
    ----------
    rgb : array of shape (n, y, x, 3)
        Colour cutouts, of all objects or only of those near the top.
    score : array of shape (n,)
        Their scores; NaN ranks last and is not shown.
    oddity : sequence of n str, optional
        Kind of each known oddity, "" for ordinary objects.
    n_total : int, optional
        Size of the whole set when the cutouts are a part of it, for the heading.
    """
    images, values = np.asarray(rgb), np.asarray(score, dtype=float)
    kinds = np.asarray(oddity, dtype=str) if oddity is not None else np.full(len(values), "")
    order = [int(i) for i in np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable") if np.isfinite(values[i])]
    order = order[:n_top]
    text = f"{heading} · {len(order)} of {n_total or len(values):,} galaxies"
    if oddity is not None:
        text += f", {sum(kinds[i] != '' for i in order)} known oddities framed"
    return contact_sheet(
        images[order],
        [f"{rank + 1}: {values[i]:.3g}\n{wrapped(kinds[i])}".rstrip() for rank, i in enumerate(order)],
        heading=text,
        frames=[ODD if kinds[i] else None for i in order],
    )


@styled
def score_against(
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
    """Draw the score against what it should not depend on: magnitude, S/N or size; a flat median is the ideal.

    Parameters
    ----------
    score, value : arrays of shape (n,)
        Pairs with a NaN are left out.
    label : str
        Name of the value with its unit.
    oddity : sequence of n str, optional
        Kind of each known oddity, "" for ordinary objects.
    logarithmic : bool
        Logarithmic abscissa; values must be positive to be drawn.
    rank_correlation : float, optional
        Spearman coefficient to print.
    """
    y, x = np.asarray(score, dtype=float), np.asarray(value, dtype=float)
    kinds = np.asarray(oddity, dtype=str) if oddity is not None else np.full(len(y), "")
    good = np.isfinite(y) & np.isfinite(x) & ((x > 0) | (not logarithmic))
    y, x, odd = y[good], x[good], kinds[good] != ""
    figure = new_figure(4.2, heading=counted(f"{heading} against {label}", len(y)))
    axes = figure.subplots()
    if logarithmic:
        axes.set_xscale("log")
        plain_logarithm(axes.xaxis)
    size = float(np.clip(4000 / max(len(y), 1), 8, 22))
    axes.scatter(x[~odd], y[~odd], s=size, color=NORMAL, linewidths=0, alpha=0.7, label="ordinary")
    axes.scatter(
        x[odd], y[odd], s=size + 9, color=ODD, edgecolors="white", linewidths=0.4, label="known oddities", zorder=4
    )
    if len(y):
        axes.axhline(float(np.median(y[~odd] if (~odd).any() else y)), color=INK, linewidth=1.0, label="no trend")
        _draw_running_quantiles(axes, x[~odd], y[~odd])
        if rank_correlation is not None:
            note(axes, rf"Spearman $\rho$ = {rank_correlation:.2f}".replace("-", "−"))
        legend_above(axes, 5)
    else:
        say_empty(axes)
    axes.set(xlabel=label, ylabel=score_label)
    return figure


def _draw_running_quantiles(axes: Axes, value: Array, score: Array) -> None:
    n_bins = min(10, len(value) // 10)
    if n_bins < 2:
        return
    groups = np.array_split(np.argsort(value, kind="stable"), n_bins)
    where = [np.median(value[group]) for group in groups]
    low, middle, high = np.array([np.quantile(score[group], [0.16, 0.5, 0.84]) for group in groups]).T
    axes.fill_between(where, low, high, color=NETWORK, alpha=0.18, linewidth=0)
    axes.plot(where, middle, color=NETWORK, marker="o", markersize=4, label="median and 68 %")
