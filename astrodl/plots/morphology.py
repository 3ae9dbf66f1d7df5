"""Morphological classes: confusion, calibration, ROC curves, and the galaxies themselves."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.plots.images import sheet_of_rows
from astrodl.plots.style import (
    INK,
    MUTED,
    NETWORK,
    ODD,
    SHADES,
    Array,
    baseline_colors,
    colors_of,
    counted,
    new_figure,
    note,
    say_empty,
    styled,
    wilson_interval,
)


@styled
def confusion_matrix(
    counts: ArrayLike,
    class_names: Sequence[str],
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    heading: str = "Confusion of classes",
) -> Figure:
    """Draw confusion matrices: fractions of the true class as shade and text, counts below.

    Parameters
    ----------
    counts : array of shape (k, k)
        Objects of true class (row) predicted as class (column).
    class_names : sequence of k str
        Names of the classes.
    baselines : mapping name -> array of shape (k, k), optional
        Matrices of other classifiers on the same objects; the first is drawn.
    """
    matrices = {"network": np.asarray(counts), **{k: np.asarray(v) for k, v in list((baselines or {}).items())[:1]}}
    n_objects = int(matrices["network"].sum())
    one = len(matrices) == 1
    figure = new_figure(6.2 if one else 4.6, width=6.6 if one else 8.0, heading=counted(heading, n_objects))
    panels = figure.subplots(1, len(matrices), squeeze=False, sharey=True)[0]
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=True):
        _draw_matrix(axes, matrix, class_names, name, size=9.0 if one else 7.5)
    panels[0].set_ylabel("true class")
    return figure


def _draw_matrix(axes: Axes, matrix: Array, class_names: Sequence[str], name: str, size: float) -> None:
    totals = matrix.sum(axis=1, keepdims=True)
    fraction = matrix / np.where(totals > 0, totals, np.nan)
    axes.imshow(np.nan_to_num(fraction), cmap=SHADES, vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        share = fraction[row, column]
        text = "–" if np.isnan(share) else f"{100 * share:.0f} %\n{int(count):,}" if count else "0"
        color = "white" if share > 0.5 else INK if count else MUTED
        weight = "bold" if row == column else "normal"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size, fontweight=weight)
    accuracy = np.trace(matrix) / matrix.sum() if matrix.sum() else np.nan
    axes.set_title(f"{name}: accuracy {100 * accuracy:.1f} %" if np.isfinite(accuracy) else name)
    ticks = np.arange(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, class_names)
    axes.set_xlabel("predicted class")
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


@styled
def reliability_diagram(
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    ece: float | None = None,
    before: tuple[ArrayLike, ArrayLike] | None = None,
    before_ece: float | None = None,
    baselines: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    n_bins: int = 12,
    heading: str = "Reliability of the class probabilities",
) -> Figure:
    """Draw the fraction of right answers against the stated probability, with Wilson errors, and the stated ones below.

    Parameters
    ----------
    confidence : array of shape (n,)
        Probability of the predicted class.
    correct : array of shape (n,)
        Whether the predicted class is the true one.
    ece : float, optional
        Expected calibration error to print.
    before : (confidence, correct), optional
        The same network before its calibration.
    before_ece : float, optional
        Its expected calibration error.
    baselines : mapping name -> (confidence, correct), optional
        Other classifiers.
    """
    earlier = {"before calibration": before} if before is not None else {}
    sets = {"network": (confidence, correct), **earlier, **(baselines or {})}
    colors = {"network": NETWORK, "before calibration": MUTED, **baseline_colors(list(baselines or {}))}
    n_objects = int(np.isfinite(np.asarray(confidence, dtype=float)).sum())
    figure = new_figure(6.6, width=6.2, heading=counted(heading, n_objects))
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3.2, 1)})
    top.plot([0, 1], [0, 1], color=INK, linewidth=1.0, label="ideal")
    edges = np.linspace(0, 1, n_bins + 1)
    for name, (stated, right) in sets.items():
        _draw_reliability(top, bottom, stated, right, edges, name, colors[name])
    errors = [f"ECE = {ece:.3f}"] if ece is not None else []
    errors += [f"ECE before calibration = {before_ece:.3f}"] if before_ece is not None else []
    if errors:
        note(top, "\n".join(errors), x=0.97, y=0.04)
    if n_objects == 0:
        say_empty(top)
    top.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="fraction correct")
    top.legend(loc="upper left")
    bottom.set(xlabel="probability of the predicted class", ylabel="galaxies")
    return figure


def _draw_reliability(
    top: Axes, bottom: Axes, confidence: ArrayLike, correct: ArrayLike, edges: Array, name: str, color: str
) -> None:
    stated, right = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    good = np.isfinite(stated) & np.isfinite(right)
    stated, right = stated[good], right[good]
    trials = np.histogram(stated, edges)[0]
    if not trials.sum():
        return
    used = trials > 0
    hits = np.histogram(stated, edges, weights=right)[0][used]
    where = np.histogram(stated, edges, weights=stated)[0][used] / trials[used]
    low, high = wilson_interval(hits, trials[used])
    fraction = hits / trials[used]
    error = np.clip([fraction - low, high - fraction], 0, None)
    top.errorbar(where, fraction, error, color=color, marker="o", markersize=5, linewidth=1.4, label=name)
    bottom.stairs(trials, edges, color=color, fill=name == "network", alpha=0.85)


@styled
def roc_curves(
    probability: ArrayLike,
    truth: ArrayLike,
    class_names: Sequence[str],
    *,
    auc: Mapping[str, float] | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    heading: str = "One class against the rest",
) -> Figure:
    """Draw the ROC curve of each class, the first baseline dashed; the abscissa is logarithmic.

    Parameters
    ----------
    probability : array of shape (n, k)
        Class probabilities; rows with a NaN are left out.
    truth : int array of shape (n,)
        True class, negative where unknown.
    class_names : sequence of k str
        Names of the classes.
    auc : mapping class name -> area, optional
        Areas to print.
    baselines : mapping name -> array of shape (n, k), optional
        Probabilities of other classifiers.
    """
    truth = np.asarray(truth)
    sets = {"network": np.asarray(probability, dtype=float)}
    sets |= {name: np.asarray(values, dtype=float) for name, values in list((baselines or {}).items())[:1]}
    n_known = int((np.isfinite(sets["network"]).all(axis=1) & (truth >= 0)).sum())
    figure = new_figure(5.4, width=6.6, heading=counted(heading, n_known))
    axes = figure.subplots()
    grid = np.logspace(-3, 0, 100)
    axes.plot(grid, grid, color=INK, linewidth=1.0, label="chance")
    for (name, values), style in zip(sets.items(), ("-", (0, (3, 2))), strict=False):
        good = np.isfinite(values).all(axis=1) & (truth >= 0)
        for k, (label, color) in enumerate(colors_of(class_names).items()):
            curve = _roc(values[good, k], truth[good] == k)
            if curve is None:
                continue
            area = f" (AUC {auc[label]:.3f})" if auc and label in auc else ""
            axes.step(
                np.maximum(curve[0], 1e-3),
                curve[1],
                where="post",
                color=color,
                linestyle=style,
                linewidth=1.7 if name == "network" else 1.1,
                label=label + area if name == "network" else None,
            )
    if len(sets) > 1:
        axes.plot([], [], color=MUTED, linestyle=(0, (3, 2)), linewidth=1.1, label=list(sets)[1])
    axes.set(xscale="log", xlim=(1e-3, 1), ylim=(0, 1.02), xlabel="false positive rate", ylabel="true positive rate")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    if n_known == 0:
        say_empty(axes)
    return figure


def _roc(score: Array, positive: Array) -> tuple[Array, Array] | None:
    """Return false and true positive rates over falling thresholds; None when a class is empty."""
    n_positive = int(positive.sum())
    if n_positive in (0, len(positive)):
        return None
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    hits, misses = np.cumsum(positive[order])[last], np.cumsum(~positive[order])[last]
    return np.append(0, misses / (len(positive) - n_positive)), np.append(0, hits / n_positive)


@styled
def class_gallery(
    rgb: ArrayLike,
    probability: ArrayLike,
    truth: ArrayLike,
    class_names: Sequence[str],
    *,
    n_columns: int = 9,
    heading: str = "Most confident of each predicted class, and the worst mistakes",
) -> Figure:
    """Show per class the objects predicted with most confidence, then the wrong ones of most confidence.

    Mistakes are framed. Objects of one row come in falling probability.

    Parameters
    ----------
    rgb : array of shape (n, y, x, 3)
        Colour cutouts of all objects.
    probability : array of shape (n, k)
        Class probabilities.
    truth : int array of shape (n,)
        True class, negative where unknown.
    class_names : sequence of k str
        Names of the classes.
    """
    chances, known = np.nan_to_num(np.asarray(probability, dtype=float)), np.asarray(truth)
    predicted = chances.argmax(axis=1) if len(chances) else np.zeros(0, dtype=int)
    stated = chances.max(axis=1, initial=0)
    order = np.argsort(-stated, kind="stable")
    wrong = [int(i) for i in order if known[i] >= 0 and known[i] != predicted[i]]
    rows = [[int(i) for i in order if predicted[i] == k][:n_columns] for k in range(len(class_names))]
    labels = list(class_names)
    for start in range(0, min(len(wrong), 2 * n_columns), n_columns):
        rows.append(wrong[start : start + n_columns])
        labels.append("mistakes" if start == 0 else "")

    def title(i: int) -> str:
        true = class_names[known[i]] if known[i] >= 0 else "?"
        mistake = known[i] >= 0 and known[i] != predicted[i]
        return f"{class_names[predicted[i]]} {stated[i]:.2f}\ntrue: {true}" if mistake else f"{stated[i]:.2f}"

    def frame(i: int) -> str | None:
        return ODD if known[i] >= 0 and known[i] != predicted[i] else None

    return sheet_of_rows(
        rgb, rows, labels, title=title, frame=frame, n_columns=n_columns, heading=counted(heading, len(known))
    )
