"""Clumps and bulges: pixel maps, bulge-to-total ratios, and completeness and purity of clumps."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.plots.images import GAP, draw_cutout
from astrodl.plots.style import (
    BAND,
    INK,
    PALETTE,
    SEQUENTIAL,
    WIDTH_INCHES,
    Array,
    add_count,
    add_legend_above,
    apply_style,
    draw_density,
    draw_fractions,
    format_signed,
    label_log_axis,
    list_methods,
    mark_empty,
    new_canvas,
    new_figure,
    select_finite,
    select_finite_pairs,
    write_note,
)

__all__ = ["bulge_to_total", "clump_detection", "segmentation_gallery"]

_COLUMNS = ("image", "true clumps", "predicted clumps", "true bulge fraction", "predicted bulge fraction")


@apply_style
def segmentation_gallery(
    rgb: ArrayLike,
    *,
    clump_truth: ArrayLike,
    clump_predicted: ArrayLike,
    bulge_truth: ArrayLike,
    bulge_predicted: ArrayLike,
    titles: Sequence[str] | None = None,
    positions: Sequence[tuple[ArrayLike, ArrayLike]] | None = None,
    n_total: int | None = None,
    heading: str = "Clumps and bulges",
) -> Figure:
    """Draw for each galaxy its image, contours of the clumps on it, and maps of the bulge fraction of the flux.

    Parameters
    ----------
    rgb : array of shape (n, y, x, 3)
        Colour cutouts; up to eight galaxies are drawn.
    clump_truth, clump_predicted : arrays of shape (n, y, x)
        Masks or probabilities, of which the 0.5 contour is drawn.
    bulge_truth, bulge_predicted : arrays of shape (n, y, x)
        Bulge flux over total flux per pixel, in [0, 1]; NaN where it is undefined.
    titles : sequence of n str, optional
        Text above each row.
    positions : sequence of n pairs of arrays of shape (k, 2), optional
        Rows and columns in pixels of true and predicted clumps, drawn as crosses.
    n_total : int, optional
        Size of the sample that the examples are from, for the heading.
    """
    rgb = np.asarray(rgb)
    n = min(len(rgb), 8)
    margin, top, label = 0.08, 0.66, 0.19 if titles is not None else 0.0
    side = (WIDTH_INCHES - 2 * margin - 0.62 - 4 * GAP) / 5
    figure, axes = new_canvas(top + max(n, 1) * (side + GAP + label) + margin, add_count(heading, n, n_total=n_total))
    for column, name in enumerate(_COLUMNS):
        axes.text(margin + column * (side + GAP) + side / 2, top - 0.07, name, ha="center", va="bottom", fontsize=8.5)
    masks = [np.asarray(clump_truth, dtype=float), np.asarray(clump_predicted, dtype=float)]
    fractions = [np.asarray(bulge_truth, dtype=float), np.asarray(bulge_predicted, dtype=float)]
    for i in range(n):
        y = top + i * (side + GAP + label) + label
        if titles is not None:
            axes.text(margin, y - 0.035, titles[i], va="bottom", fontsize=7.5)
        for column in range(5):
            x = margin + column * (side + GAP)
            if column < 3:
                draw_cutout(axes, rgb[i], x, y, side)
            if column in (1, 2):
                color = PALETTE["yellow"] if column == 1 else "#ff8a3c"
                _draw_contour(axes, masks[column - 1][i], x, y, side, color)
                if positions is not None:
                    _draw_positions(axes, np.asarray(positions[i][column - 1]), len(rgb[i]), x, y, side)
            if column > 2:
                _draw_bulge_fraction(axes, fractions[column - 3][i], x, y, side)
    _draw_color_bar(axes, WIDTH_INCHES - 0.55, top, min(2.2, max(n, 1) * side))
    return figure


def _draw_contour(axes: Axes, mask: Array, left: float, top: float, side: float, color: str) -> None:
    mask = np.nan_to_num(mask)
    if mask.max(initial=0) < 0.5:
        return
    # A border of zeros closes contours at the edge of the cutout.
    padded = np.pad(mask, 1)
    pixel = side / mask.shape[0]
    centers = (np.arange(padded.shape[0]) - 0.5) * pixel
    axes.contour(left + centers, top + side - centers, padded, levels=[0.5], colors=[color], linewidths=1.1)


def _draw_positions(axes: Axes, yx: Array, size: int, left: float, top: float, side: float) -> None:
    pixel = side / size
    row, column = yx.reshape(-1, 2).T
    axes.plot(left + (column + 0.5) * pixel, top + side - (row + 0.5) * pixel, "+", color="white", markersize=5,
              markeredgewidth=0.9)  # fmt: skip


def _draw_bulge_fraction(axes: Axes, fraction: Array, left: float, top: float, side: float) -> None:
    color = SEQUENTIAL(np.clip(np.nan_to_num(fraction), 0, 1))[..., :3]
    color[~np.isfinite(fraction)] = 0.93
    axes.imshow(
        color, extent=(left, left + side, top + side, top), origin="lower", interpolation="nearest", aspect="auto"
    )


def _draw_color_bar(axes: Axes, left: float, top: float, height: float) -> None:
    ramp = SEQUENTIAL(np.linspace(0, 1, 128))[:, None, :3]
    axes.imshow(ramp, extent=(left, left + 0.13, top + height, top), origin="lower", aspect="auto")
    for value in (0.0, 0.5, 1.0):
        axes.text(left + 0.18, top + height * (1 - value), f"{value:g}", va="center", fontsize=8)
    axes.text(left + 0.42, top + height / 2, "bulge / total", rotation=90, ha="center", va="center", fontsize=8.5)


@apply_style
def bulge_to_total(
    bt_true: ArrayLike,
    bt_predicted: ArrayLike,
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    heading: str = "Bulge-to-total flux ratio",
) -> Figure:
    """Draw predicted against true B/T with the band |dB/T| < 0.1, and a histogram of the residuals.

    Parameters
    ----------
    bt_true, bt_predicted : arrays of shape (n,)
        B/T in [0, 1]; pairs with a NaN are left out.
    baselines : mapping name -> array of shape (n,), optional
        B/T of other methods, for the histogram of the residuals.
    """
    truth, predicted = select_finite_pairs(bt_true, bt_predicted)
    figure = new_figure(4.3, heading=add_count(heading, len(truth)))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    line = np.array([0.0, 1.0])
    left.fill_between(line, line - 0.1, line + 0.1, color=BAND, zorder=0.5, label="within 0.1")
    left.plot(line, line, color=INK, linewidth=1.0, label="ideal")
    draw_density(left, truth, predicted)
    left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="true B/T", ylabel="predicted B/T", box_aspect=1)
    left.legend(loc="lower right")
    edges = np.linspace(-0.6, 0.6, 49)
    right.axvspan(-0.1, 0.1, color=BAND, zorder=0.5)
    right.axvline(0, color=INK, linewidth=1.0)
    for name, values, color in list_methods(bt_predicted, baselines):
        known, other = select_finite_pairs(bt_true, values)
        if len(known):
            rms = np.sqrt(np.mean((other - known) ** 2))
            weights = np.full(len(known), 1 / len(known))
            style = {"alpha": 0.8} if name == "network" else {"linewidth": 1.6}
            right.hist(np.clip(other - known, -0.599, 0.599), edges, weights=weights, color=color,
                       histtype="stepfilled" if name == "network" else "step",
                       label=f"{name}, RMS {rms:.3f}", **style)  # fmt: skip
    right.set(xlabel="predicted − true B/T", ylabel="fraction of galaxies", box_aspect=1)
    if len(truth):
        residual = predicted - truth
        within = 100 * np.mean(np.abs(residual) < 0.1)
        write_note(left, f"bias = {format_signed(residual.mean(), 3)}\nwithin 0.1: {within:.0f} %")
        if baselines:
            right.legend(loc="upper left", fontsize=8, handlelength=1.0)
        else:
            add_legend_above(right, 2)
    else:
        mark_empty(left)
    return figure


@apply_style
def clump_detection(
    true_values: Sequence[ArrayLike],
    is_found: ArrayLike,
    probability: ArrayLike,
    is_real: ArrayLike,
    *,
    labels: Sequence[str] = ("S/N", "share of the flux"),
    n_bins: int = 7,
    heading: str = "Clump detection",
) -> Figure:
    """Draw the completeness of clumps in bins of their properties, and their purity in bins of their probability.

    Error bars are Wilson 68 % intervals.

    Parameters
    ----------
    true_values : two arrays of shape (n,)
        Properties of each true clump, such as signal-to-noise ratio and contrast; bins and axis are logarithmic.
    is_found : bool array of shape (n,)
        Whether a predicted clump matches the true one.
    probability : array of shape (m,)
        Predicted probability of each predicted clump.
    is_real : bool array of shape (m,)
        Whether a true clump matches the predicted one.
    labels : two str
        Names of the properties with their units.
    """
    figure = new_figure(3.3, heading=add_count(heading, len(np.asarray(is_found)), "true clumps"))
    panels = figure.subplots(1, 3, sharey=True)
    for axes, values, label in zip(panels, true_values, labels, strict=False):
        _draw_share(axes, values, is_found, _common_edges([values], n_bins, True))
        axes.set(xscale="log", xlabel=label)
        label_log_axis(axes.xaxis)
    _draw_share(panels[2], probability, is_real, np.linspace(0, 1, n_bins + 1))
    panels[2].plot([0, 1], [0, 1], color=INK, linewidth=1.0)
    panels[2].set(xlabel="predicted probability")
    for axes, name in zip(panels, ("completeness", "completeness", "purity"), strict=True):
        axes.set(ylim=(0, 1.04), ylabel=name, box_aspect=1)
        axes.tick_params(labelleft=True)
    if not len(np.asarray(is_found)):
        mark_empty(panels[0], "no true clumps")
    return figure


def _draw_share(axes: Axes, values: ArrayLike, is_match: ArrayLike, edges: Array) -> None:
    # The outermost bins include all clumps beyond the range.
    inside, match = select_finite_pairs(np.clip(np.asarray(values, float), edges[0], edges[-1]), is_match)
    n_clumps, n_matches = np.histogram(inside, edges)[0], np.histogram(inside, edges, weights=match)[0]
    draw_fractions(axes, (edges[:-1] + edges[1:]) / 2, n_matches, n_clumps, color=PALETTE["blue"], label="network")
    axes.set_xlim(edges[0], edges[-1])


def _common_edges(series: Sequence[ArrayLike], n_bins: int, logarithmic: bool) -> Array:
    """Return edges of bins that contain all but the outermost 0.5 % of the values at each end."""
    values = np.concatenate([select_finite(values) for values in series])
    values = values[(values > 0) | (not logarithmic)]
    if not len(values):
        low, high = (0.1, 1.0) if logarithmic else (0.0, 1.0)
    else:
        low, high = np.quantile(values, [0.005, 0.995])
    if high <= low:
        low, high = (low / 2, high * 2) if logarithmic else (low - 0.5, high + 0.5)
    return np.geomspace(low, high, n_bins + 1) if logarithmic else np.linspace(low, high, n_bins + 1)
