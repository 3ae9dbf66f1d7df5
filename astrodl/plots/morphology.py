"""Morphological classes: confusion, reliability, ROC curves, prediction sets, accuracy against S/N, and a gallery."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.metrics.bins import split_equal_counts
from astrodl.plots.images import sheet_of_rows
from astrodl.plots.style import (
    INK,
    MUTED,
    NETWORK,
    ODD,
    SHADES,
    Array,
    add_count,
    add_legend_above,
    add_legend_below,
    apply_style,
    assign_colors,
    draw_fractions,
    label_log_axis,
    list_methods,
    mark_empty,
    new_figure,
    select_finite_pairs,
    write_note,
)

__all__ = [
    "accuracy_against_snr",
    "class_gallery",
    "confusion_matrix",
    "prediction_set_sizes",
    "reliability_diagram",
    "roc_curves",
]

_DASHED = (0, (3, 2))


@apply_style
def confusion_matrix(
    counts: ArrayLike,
    class_names: Sequence[str],
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    heading: str = "Confusion matrix",
) -> Figure:
    """Draw confusion matrices: the fraction of the true class as shade and text, with the count below it.

    Parameters
    ----------
    counts : array of shape (k, k)
        Number of objects by true class (row) and predicted class (column).
    class_names : sequence of k str
        Names of the classes.
    baselines : mapping name -> array of shape (k, k), optional
        Matrices of other classifiers on the same objects; only the first is drawn.
    """
    methods = list_methods(counts, baselines)[:2]
    n_objects = int(np.asarray(counts).sum())
    is_single = len(methods) == 1
    height, width = (6.2, 6.6) if is_single else (4.6, 8.0)
    figure = new_figure(height, width=width, heading=add_count(heading, n_objects))
    panels = figure.subplots(1, len(methods), squeeze=False, sharey=True)[0]
    for axes, (name, matrix, _) in zip(panels, methods, strict=True):
        _draw_matrix(axes, np.asarray(matrix), class_names, name, font_size=9.0 if is_single else 7.5)
    panels[0].set_ylabel("true class")
    return figure


def _draw_matrix(axes: Axes, matrix: Array, class_names: Sequence[str], name: str, font_size: float) -> None:
    totals = matrix.sum(axis=1, keepdims=True)
    fraction = matrix / np.where(totals > 0, totals, np.nan)
    axes.imshow(np.nan_to_num(fraction), cmap=SHADES, vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        share = fraction[row, column]
        text = "–" if np.isnan(share) else f"{100 * share:.0f} %\n{int(count):,}" if count else "0"
        color = "white" if share > 0.5 else INK if count else MUTED
        weight = "bold" if row == column else "normal"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=font_size, fontweight=weight)
    accuracy = np.trace(matrix) / matrix.sum() if matrix.sum() else np.nan
    axes.set_title(f"{name}: accuracy {100 * accuracy:.1f} %" if np.isfinite(accuracy) else name)
    ticks = np.arange(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, class_names)
    axes.set_xlabel("predicted class")
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


@apply_style
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
    """Draw the fraction correct against the predicted probability with Wilson errors, and the histogram of the latter.

    Parameters
    ----------
    confidence : array of shape (n,)
        Probability of the predicted class.
    correct : array of shape (n,)
        Whether the predicted class is the true one.
    ece : float, optional
        Expected calibration error to print.
    before : (confidence, correct), optional
        The same for the network before calibration.
    before_ece : float, optional
        Expected calibration error before calibration.
    baselines : mapping name -> (confidence, correct), optional
        Other classifiers.
    """
    methods = list_methods((confidence, correct), baselines)
    if before is not None:
        methods.insert(1, ("before calibration", before, MUTED))
    n_objects = int(np.isfinite(np.asarray(confidence, dtype=float)).sum())
    figure = new_figure(6.6, width=6.2, heading=add_count(heading, n_objects))
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3.2, 1)})
    top.plot([0, 1], [0, 1], color=INK, linewidth=1.0, label="ideal")
    edges = np.linspace(0, 1, n_bins + 1)
    for name, (probability, is_right), color in methods:
        _draw_reliability(top, bottom, *select_finite_pairs(probability, is_right), edges, name, color)
    errors = [f"ECE = {ece:.3f}"] if ece is not None else []
    errors += [f"ECE before calibration = {before_ece:.3f}"] if before_ece is not None else []
    if errors:
        write_note(top, "\n".join(errors), x=0.97, y=0.04)
    if n_objects == 0:
        mark_empty(top)
    top.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="fraction correct")
    top.legend(loc="upper left")
    bottom.set(xlabel="probability of the predicted class", ylabel="galaxies")
    return figure


def _draw_reliability(
    top: Axes, bottom: Axes, confidence: Array, correct: Array, edges: Array, name: str, color: str
) -> None:
    n_trials, n_correct, total = (
        np.histogram(confidence, edges, weights=weights)[0] for weights in (None, correct, confidence)
    )
    if not n_trials.sum():
        return
    mean = total / np.maximum(n_trials, 1)
    draw_fractions(top, mean, n_correct, n_trials, color=color, label=name)
    bottom.stairs(n_trials, edges, color=color, fill=name == "network", alpha=0.85)


@apply_style
def roc_curves(
    probability: ArrayLike,
    truth: ArrayLike,
    class_names: Sequence[str],
    *,
    auc: Mapping[str, float] | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    heading: str = "ROC curves, one class against the rest",
) -> Figure:
    """Draw the ROC curve of each class over a logarithmic false positive rate, with the first baseline dashed.

    Parameters
    ----------
    probability : array of shape (n, k)
        Class probabilities; rows with a NaN are left out.
    truth : int array of shape (n,)
        True class, negative where unknown.
    class_names : sequence of k str
        Names of the classes.
    auc : mapping class name -> area, optional
        Areas under the curves, for the legend.
    baselines : mapping name -> array of shape (n, k), optional
        Probabilities of other classifiers.
    """
    from sklearn.metrics import roc_curve

    truth = np.asarray(truth)
    methods = list_methods(probability, baselines)[:2]
    n_known = int((np.isfinite(np.asarray(probability, dtype=float)).all(axis=1) & (truth >= 0)).sum())
    figure = new_figure(5.4, width=6.6, heading=add_count(heading, n_known))
    axes = figure.subplots()
    grid = np.logspace(-3, 0, 100)
    axes.plot(grid, grid, color=INK, linewidth=1.0, label="chance")
    for name, scores, _ in methods:
        is_network = name == "network"
        values = np.asarray(scores, dtype=float)
        good = np.isfinite(values).all(axis=1) & (truth >= 0)
        for k, (label, color) in enumerate(assign_colors(class_names).items()):
            positive = truth[good] == k
            if positive.all() or not positive.any():
                continue
            false_rate, true_rate, _ = roc_curve(positive, values[good, k], drop_intermediate=False)
            area = f" (AUC {auc[label]:.3f})" if auc and label in auc else ""
            axes.step(
                np.maximum(false_rate, 1e-3),
                true_rate,
                where="post",
                color=color,
                linestyle="-" if is_network else _DASHED,
                linewidth=1.7 if is_network else 1.1,
                label=label + area if is_network else None,
            )
        if not is_network:
            axes.plot([], [], color=MUTED, linestyle=_DASHED, linewidth=1.1, label=name)
    axes.set(xscale="log", xlim=(1e-3, 1), ylim=(0, 1.02), xlabel="false positive rate", ylabel="true positive rate")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    if n_known == 0:
        mark_empty(axes)
    return figure


@apply_style
def prediction_set_sizes(
    sets: ArrayLike, truth: ArrayLike, *, nominal: float, heading: str = "Prediction sets"
) -> Figure:
    """Draw the sizes of prediction sets, and the coverage of sets of each size with Wilson errors.

    Parameters
    ----------
    sets : bool array of shape (n, k)
        Whether the set of an object contains a class.
    truth : int array of shape (n,)
        True class, negative where unknown.
    nominal : float
        Nominal coverage, the fraction of sets that should contain the true class.
    """
    known = np.asarray(truth) >= 0
    members, label = np.asarray(sets, dtype=bool)[known], np.asarray(truth)[known]
    is_covered, size = members[np.arange(len(members)), label], members.sum(axis=1)
    sizes = np.arange(1, max(members.shape[1], 1) + 1)
    n_sets = np.array([(size == k).sum() for k in sizes])
    n_covered = np.array([is_covered[size == k].sum() for k in sizes])
    figure = new_figure(5.0, width=6.2, heading=add_count(heading, len(members)))
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (1.3, 1)})
    top.axhline(nominal, color=INK, linewidth=1.0, label=f"nominal {100 * nominal:g} %")
    draw_fractions(top, sizes, n_covered, n_sets, color=NETWORK, label="sets by size", linestyle="")
    bottom.bar(sizes, n_sets, color=NETWORK, width=0.7)
    for k, count in zip(sizes, n_sets, strict=True):
        if count:
            bottom.annotate(f"{count:,}", (k, count), (0, 2), textcoords="offset points", ha="center", fontsize=8.5)
    if len(members):
        write_note(bottom, f"coverage {100 * is_covered.mean():.1f} %\nmean size {size.mean():.2f}", x=0.97)
    else:
        mark_empty(top)
    top.set_ylabel("fraction that contain\nthe true class")
    top.set_ylim(top=1.02)
    add_legend_above(top)
    bottom.margins(y=0.15)
    bottom.set(xlabel="number of classes in the set", ylabel="galaxies", xticks=sizes)
    bottom.grid(False, axis="x")
    return figure


@apply_style
def accuracy_against_snr(
    snr: ArrayLike,
    correct: ArrayLike,
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    n_bins: int = 8,
    heading: str = "Accuracy against signal-to-noise ratio",
) -> Figure:
    """Draw the fraction of correct classes in bins of equal counts of signal-to-noise ratio, with Wilson errors.

    Parameters
    ----------
    snr : array of shape (n,)
        Signal-to-noise ratio; values that are not positive are left out.
    correct : bool array of shape (n,)
        Whether the predicted class is the true one.
    baselines : mapping name -> bool array of shape (n,), optional
        The same for other classifiers.
    n_bins : int
        Number of bins.
    """
    values = np.asarray(snr, dtype=np.float64)
    good = np.isfinite(values) & (values > 0)
    values = values[good]
    figure = new_figure(4.6, width=6.6, heading=add_count(heading, len(values)))
    axes = figure.subplots()
    axes.set(xscale="log", xlabel="signal-to-noise ratio", ylabel="fraction correct")
    label_log_axis(axes.xaxis)
    if not len(values):
        mark_empty(axes)
        return figure
    bins = split_equal_counts(values, n_bins)
    x, n_galaxies = [np.median(values[members]) for members in bins], [len(members) for members in bins]
    for name, is_correct, color in list_methods(correct, baselines):
        hits = np.asarray(is_correct, dtype=np.float64)[good]
        n_correct = [hits[members].sum() for members in bins]
        zorder = 5 if name == "network" else 3
        draw_fractions(axes, x, n_correct, n_galaxies, color=color, label=name, zorder=zorder)
    axes.set_ylim(top=1.02)
    add_legend_below(figure, *axes.get_legend_handles_labels())
    return figure


@apply_style
def class_gallery(
    rgb: ArrayLike,
    probability: ArrayLike,
    truth: ArrayLike,
    class_names: Sequence[str],
    *,
    n_columns: int = 9,
    heading: str = "Most confident predictions of each class, and most confident mistakes",
) -> Figure:
    """Draw the most confident predictions of each class, then the most confident mistakes.

    Mistakes are framed. The objects in a row are in order of decreasing probability.

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
    chances, truth = np.nan_to_num(np.asarray(probability, dtype=float)), np.asarray(truth)
    predicted = chances.argmax(axis=1) if len(chances) else np.zeros(0, dtype=int)
    confidence = chances.max(axis=1, initial=0)
    is_wrong = (truth >= 0) & (truth != predicted)
    order = np.argsort(-confidence, kind="stable")
    mistakes = order[is_wrong[order]][: 2 * n_columns].tolist()
    rows = [order[predicted[order] == k][:n_columns].tolist() for k in range(len(class_names))]
    labels = list(class_names)
    for start in range(0, len(mistakes), n_columns):
        rows.append(mistakes[start : start + n_columns])
        labels.append("mistakes" if start == 0 else "")

    def write_title(i: int) -> str:
        if not is_wrong[i]:
            return f"{confidence[i]:.2f}"
        return f"{class_names[predicted[i]]} {confidence[i]:.2f}\ntrue: {class_names[truth[i]]}"

    return sheet_of_rows(
        rgb,
        rows,
        labels,
        title=write_title,
        frame=lambda i: ODD if is_wrong[i] else None,
        n_columns=n_columns,
        heading=add_count(heading, len(truth)),
    )
