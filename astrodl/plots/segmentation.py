"""Clumps, and bulges against disks: pixel maps on the galaxies, and numbers per galaxy and per clump."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.plots.images import GAP, draw_cutout
from astrodl.plots.style import (
    INK,
    NETWORK,
    PALETTE,
    SEQUENTIAL,
    WIDTH_INCHES,
    Array,
    baseline_colors,
    canvas,
    counted,
    density_scatter,
    finite_pairs,
    legend_above,
    new_figure,
    note,
    plain_logarithm,
    say_empty,
    signed,
    styled,
    wilson_interval,
    wrap,
)

COLUMNS = ("image", "true clumps", "predicted clumps", "true bulge fraction", "predicted bulge fraction")


@styled
def segmentation_gallery(
    rgb: ArrayLike,
    *,
    clump_truth: ArrayLike,
    clump_predicted: ArrayLike,
    bulge_truth: ArrayLike,
    bulge_predicted: ArrayLike,
    titles: Sequence[str] | None = None,
    n_total: int | None = None,
    heading: str = "Clumps and bulges",
) -> Figure:
    """Draw per galaxy its image, clump masks as contours over it, and maps of the bulge's share of the flux.

    Parameters
    ----------
    rgb : array of shape (n, y, x, 3)
        Colour cutouts; up to eight galaxies are drawn.
    clump_truth, clump_predicted : arrays of shape (n, y, x)
        Masks, or probabilities whose 0.5 contour is drawn.
    bulge_truth, bulge_predicted : arrays of shape (n, y, x)
        Bulge flux over total flux per pixel, in [0, 1]; NaN where there is no flux to share.
    titles : sequence of n str, optional
        Text above each row.
    n_total : int, optional
        Size of the set the examples are taken from, for the heading.
    """
    rgb = np.asarray(rgb)
    n = min(len(rgb), 8)
    margin, top, label = 0.08, 0.66, 0.19 if titles is not None else 0.0
    side = (WIDTH_INCHES - 2 * margin - 0.62 - 4 * GAP) / 5
    figure, axes = canvas(WIDTH_INCHES, top + max(n, 1) * (side + GAP + label) + margin)
    text = f"{heading} · {n}{f' of {n_total:,}' if n_total else ''} galaxies"
    axes.text(margin, 0.1, wrap(text, WIDTH_INCHES), va="top", fontsize=11, fontweight="bold", color=INK)
    for column, name in enumerate(COLUMNS):
        axes.text(margin + column * (side + GAP) + side / 2, top - 0.07, name, ha="center", va="bottom", fontsize=8.5)
    masks = [np.asarray(clump_truth, dtype=float), np.asarray(clump_predicted, dtype=float)]
    shares = [np.asarray(bulge_truth, dtype=float), np.asarray(bulge_predicted, dtype=float)]
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
            if column > 2:
                _draw_share(axes, shares[column - 3][i], x, y, side)
    _draw_scale(figure, axes, WIDTH_INCHES - 0.55, top, min(2.2, max(n, 1) * side))
    return figure


def _draw_contour(axes: Axes, mask: Array, left: float, top: float, side: float, color: str) -> None:
    mask = np.nan_to_num(mask)
    if not mask.any() or mask.max() < 0.5:
        return
    # A rim of zeros closes contours at the edge of the cutout.
    padded = np.pad(mask, 1)
    pixel = side / mask.shape[0]
    centers = (np.arange(padded.shape[0]) - 0.5) * pixel
    axes.contour(left + centers, top + side - centers, padded, levels=[0.5], colors=[color], linewidths=1.1)


def _draw_share(axes: Axes, share: Array, left: float, top: float, side: float) -> None:
    color = SEQUENTIAL(np.clip(np.nan_to_num(share), 0, 1))[..., :3]
    color[~np.isfinite(share)] = 0.93
    axes.imshow(
        color, extent=(left, left + side, top + side, top), origin="lower", interpolation="nearest", aspect="auto"
    )


def _draw_scale(figure: Figure, axes: Axes, left: float, top: float, height: float) -> None:
    ramp = SEQUENTIAL(np.linspace(0, 1, 128))[:, None, :3]
    axes.imshow(ramp, extent=(left, left + 0.13, top + height, top), origin="lower", aspect="auto")
    for value in (0.0, 0.5, 1.0):
        axes.text(left + 0.18, top + height * (1 - value), f"{value:g}", va="center", fontsize=8)
    axes.text(left + 0.42, top + height / 2, "bulge / total", rotation=90, ha="center", va="center", fontsize=8.5)


@styled
def bulge_to_total(
    bt_true: ArrayLike,
    bt_predicted: ArrayLike,
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    heading: str = "Bulge-to-total flux ratio",
) -> Figure:
    """Draw predicted against true B/T with the band |dB/T| < 0.1, and the distribution of the residual.

    Parameters
    ----------
    bt_true, bt_predicted : arrays of shape (n,)
        B/T in [0, 1]; pairs with a NaN are left out.
    baselines : mapping name -> array of shape (n,), optional
        Other estimates, drawn in the residual panel.
    """
    truth, predicted = finite_pairs(bt_true, bt_predicted)
    figure = new_figure(4.3, heading=counted(heading, len(truth)))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    line = np.array([0.0, 1.0])
    left.fill_between(line, line - 0.1, line + 0.1, color="#e6e9ec", zorder=0.5, label="within 0.1")
    left.plot(line, line, color=INK, linewidth=1.0, label="ideal")
    density_scatter(left, truth, predicted)
    left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="true B/T", ylabel="predicted B/T", box_aspect=1)
    left.legend(loc="lower right")
    edges = np.linspace(-0.6, 0.6, 49)
    right.axvspan(-0.1, 0.1, color="#e6e9ec", zorder=0.5)
    right.axvline(0, color=INK, linewidth=1.0)
    colors = {"network": NETWORK, **baseline_colors(list(baselines or {}))}
    for name, values in {"network": bt_predicted, **(baselines or {})}.items():
        known, other = finite_pairs(bt_true, values)
        if len(known):
            rms = np.sqrt(np.mean((other - known) ** 2))
            weights = np.full(len(known), 1 / len(known))
            fill = (
                {"histtype": "stepfilled", "alpha": 0.8}
                if name == "network"
                else {"histtype": "step", "linewidth": 1.6}
            )
            right.hist(np.clip(other - known, -0.599, 0.599), edges, weights=weights, color=colors[name],
                       label=f"{name}, RMS {rms:.3f}", **fill)  # fmt: skip
    right.set(xlabel="predicted − true B/T", ylabel="fraction of galaxies", box_aspect=1)
    if len(truth):
        residual = predicted - truth
        within = 100 * np.mean(np.abs(residual) < 0.1)
        note(left, f"bias = {signed(residual.mean(), 3)}\nwithin 0.1: {within:.0f} %")
        legend_above(right, 2) if len(colors) < 2 else right.legend(loc="upper left", fontsize=8, handlelength=1.0)
    else:
        say_empty(left)
    return figure


@styled
def clump_detection(
    truth_axis: ArrayLike,
    truth_found: ArrayLike,
    predicted_axis: ArrayLike,
    predicted_real: ArrayLike,
    *,
    label: str = "clump flux (µJy)",
    logarithmic: bool = True,
    baselines: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]] | None = None,
    n_bins: int = 8,
    heading: str = "Clumps found",
) -> Figure:
    """Draw completeness of true clumps and purity of predicted ones in bins of flux or S/N, with Wilson 68 % intervals.

    Parameters
    ----------
    truth_axis : array of shape (n,)
        Flux or S/N of each true clump.
    truth_found : array of shape (n,)
        Whether a prediction matches it.
    predicted_axis, predicted_real : arrays of shape (m,)
        The same quantity measured on each predicted clump, and whether a true one matches it.
    label : str
        Name of the quantity with its unit.
    logarithmic : bool
        Bins and axis in the logarithm.
    baselines : mapping name -> the same four arrays, optional
        Other detectors.
    """
    n_true = int(np.isfinite(np.asarray(truth_axis, dtype=float)).sum())
    figure = new_figure(3.7, heading=counted(heading, n_true, "true clumps"))
    panels = figure.subplots(1, 2, sharey=True)
    sets = {"network": (truth_axis, truth_found, predicted_axis, predicted_real), **(baselines or {})}
    colors = {"network": NETWORK, **baseline_colors(list(baselines or {}))}
    edges = _common_edges([values[0] for values in sets.values()], n_bins, logarithmic)
    for shift, (name, values) in enumerate(sets.items()):
        nudge = (shift - (len(sets) - 1) / 2) * 0.12
        for axes, (axis, hit) in zip(panels, (values[:2], values[2:]), strict=True):
            _draw_fraction(axes, axis, hit, edges, nudge, name, colors[name])
    for axes, name in zip(panels, ("completeness", "purity"), strict=True):
        axes.axhline(1, color=INK, linewidth=1.0)
        axes.set(ylim=(0, 1.04), xlabel=label, ylabel=name)
        if logarithmic:
            axes.set_xscale("log")
            plain_logarithm(axes.xaxis)
        axes.set_xlim(edges[0], edges[-1])
    panels[1].tick_params(labelleft=True)
    if n_true:
        legend_above(panels[1])
    else:
        say_empty(panels[0], "no true clumps")
    return figure


def _common_edges(axes_values: Sequence[ArrayLike], n_bins: int, logarithmic: bool) -> Array:
    values = np.concatenate([np.asarray(v, dtype=np.float64).ravel() for v in axes_values])
    values = values[np.isfinite(values) & ((values > 0) | (not logarithmic))]
    if not len(values):
        return np.geomspace(0.1, 1, n_bins + 1) if logarithmic else np.linspace(0, 1, n_bins + 1)
    low, high = np.quantile(values, [0.005, 0.995])
    if high <= low:
        low, high = (low / 2, high * 2) if logarithmic else (low - 0.5, high + 0.5)
    return np.geomspace(low, high, n_bins + 1) if logarithmic else np.linspace(low, high, n_bins + 1)


def _draw_fraction(
    axes: Axes, values: ArrayLike, hit: ArrayLike, edges: Array, nudge: float, name: str, color: str
) -> None:
    values, hit = finite_pairs(values, hit)
    # What is beyond the range is counted in the outermost bins.
    values = np.clip(values, edges[0], edges[-1])
    trials, hits = np.histogram(values, edges)[0], np.histogram(values, edges, weights=hit)[0]
    used = trials > 0
    if not used.any():
        return
    where = edges[:-1] + (0.5 + nudge) * np.diff(edges)
    fraction = hits[used] / trials[used]
    low, high = wilson_interval(hits[used], trials[used])
    error = np.clip([fraction - low, high - fraction], 0, None)
    axes.errorbar(where[used], fraction, error, color=color, marker="o", markersize=4.5, linewidth=1.4, label=name)
