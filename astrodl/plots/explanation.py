"""Figures of explanations: attribution sheets, tests of methods, shares of bands, filters, maximised images."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike

from astrodl.plots.style import (
    CYCLE,
    DIVERGING,
    INK,
    MUTED,
    NETWORK,
    ODD,
    PALETTE,
    add_legend_above,
    add_legend_below,
    apply_style,
    assign_colors,
    label_log_axis,
    new_figure,
)

__all__ = [
    "attribution_sheet",
    "band_share_curve",
    "deletion_curves",
    "filter_sheet",
    "mean_map_sheet",
    "panel_sheet",
]

_SMOOTHING = 1.0
"""Standard deviation in pixels of the Gaussian that maps are shown with."""


@apply_style
def attribution_sheet(
    rgb: ArrayLike,
    maps: ArrayLike,
    bands: Sequence[str],
    titles: Sequence[str],
    *,
    unit: str,
    heading: str,
    warning: str = "",
) -> Figure:
    """Draw image, attribution, overlay and the sum of each band for each object.

    Parameters
    ----------
    rgb : array of shape (n, y, x, 3)
        Colour images.
    maps : array of shape (n, bands, y, x), or (n, 1, y, x) for a method that does not know bands
        Attributions. The map is their sum over the bands, smoothed by a pixel; its colours end at the 99.5 % quantile
        of the modulus of each object. NaN for an object without data.
    bands : sequence of str
    titles : sequence of n str
    unit : str
        Unit of the attributions.
    heading : str
    warning : str
        Written below the heading: what is wrong with the method.
    """
    from scipy.ndimage import gaussian_filter

    colours, values = np.asarray(rgb, float), np.asarray(maps, float)
    n = len(colours)
    figure = _figure(1.85 * n + 0.5, heading, warning)
    panels = figure.subplots(n, 4, squeeze=False, gridspec_kw={"width_ratios": (1, 1, 1, 1.25)})
    shown = gaussian_filter(values.sum(1), (0, _SMOOTHING, _SMOOTHING))
    for row, image, one, each, title in zip(panels, colours, shown, values, titles, strict=True):
        limit = np.maximum(np.quantile(np.abs(one), 0.995), 1e-30)  # NaN without data
        norm = Normalize(-limit, limit)
        for axes in row[:3]:
            axes.set_axis_off()
        row[0].imshow(np.clip(image, 0, 1), origin="lower")
        row[0].set_title(title, fontsize=8)
        if not np.isfinite(limit):
            row[1].set_title("no data", fontsize=8, color=MUTED)
            row[3].set_axis_off()
            continue
        row[1].imshow(one, origin="lower", cmap=DIVERGING, norm=norm)
        row[1].set_title(f"±{limit:.2g} {unit} per pixel", fontsize=8, color=MUTED)
        _draw_overlay(row[2], image, one, norm)
        _draw_bars(row[3], each.sum((1, 2)), bands if len(each) == len(bands) else ["all"])
    panels[0][3].set_title(f"sum per band ({unit})", fontsize=8)
    panels[0][2].set_title("overlay", fontsize=8, color=MUTED, loc="right")  # the unit may be wide
    return figure


def _figure(height: float, heading: str, warning: str) -> Figure:
    """Make a figure with a line below the heading that says what is wrong with the method."""
    figure = new_figure(height + 0.25 * bool(warning), heading=heading)
    if warning:
        figure.text(0.012, 1 - 0.36 / figure.get_figheight(), warning, color=ODD, fontsize=9, va="top")
        engine = figure.get_layout_engine()
        assert isinstance(engine, ConstrainedLayoutEngine)
        engine.set(rect=(0, 0, 1, 1 - 0.25 / figure.get_figheight()))
    return figure


def _draw_overlay(axes: Axes, image: np.ndarray, one: np.ndarray, norm: Normalize) -> None:
    """Draw the grey image, coloured where the attribution is large."""
    grey = np.clip(image.mean(-1, keepdims=True), 0, 1).repeat(3, -1)
    strength = np.clip(np.abs(one) / norm.vmax, 0, 1)[..., None] ** 0.7 if norm.vmax else 0.0
    axes.imshow(grey * (1 - strength) + DIVERGING(norm(one))[..., :3] * strength, origin="lower")


def _draw_bars(axes: Axes, sums: np.ndarray, bands: Sequence[str]) -> None:
    axes.barh(np.arange(len(sums)), sums, color=_signs(sums), height=0.7)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks(np.arange(len(sums)), bands, fontsize=7)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="y", visible=False)


@apply_style
def mean_map_sheet(
    rgb: ArrayLike,
    maps: ArrayLike,
    bands: Sequence[str],
    titles: Sequence[str],
    *,
    heading: str,
    edge: float,
    warning: str = "",
) -> Figure:
    """Draw mean galaxy, mean attribution, its sum in rings, and the share of each band for groups of objects.

    Parameters
    ----------
    rgb : array of shape (groups, S, S, 3)
        Mean canonical view of each group, in colour.
    maps : array of shape (groups, bands, S, S)
        Mean of the attributions of the objects, each divided by the sum of its modulus.
    bands : sequence of str
    titles : sequence of str
        Name and number of objects of each group.
    heading : str
    edge : float
        Half of the side of a view in rms radii.
    warning : str
        Written below the heading: what is wrong with the method.
    """
    colours, values = np.asarray(rgb, float), np.asarray(maps, float)
    n, side = len(colours), values.shape[-1]
    figure = _figure(1.75 * n + 0.6, heading, warning)
    panels = figure.subplots(n, 4, squeeze=False, gridspec_kw={"width_ratios": (1, 1, 1.25, 1.25)})
    shown = values.sum(1)
    limit = max(float(np.quantile(np.abs(shown), 0.995)), 1e-30)
    y, x = np.indices((side, side))
    radius = np.hypot(y - (side - 1) / 2, x - (side - 1) / 2) / (side / 2) * edge
    rings = np.minimum((radius / edge * 8).astype(int), 8).ravel()
    for row, image, one, each, title in zip(panels, colours, shown, values, titles, strict=True):
        for axes in row[:2]:
            axes.set_axis_off()
        row[0].imshow(np.clip(image, 0, 1), origin="lower")
        row[0].set_title(title, fontsize=8)
        row[1].imshow(one, origin="lower", cmap=DIVERGING, vmin=-limit, vmax=limit)
        sums = np.bincount(rings, one.ravel(), 9)[:8]
        row[2].bar((np.arange(8) + 0.5) * edge / 8, sums, width=0.8 * edge / 8, color=_signs(sums))
        row[2].axhline(0, color=INK, lw=0.8)
        row[2].tick_params(labelsize=7)
        _draw_bars(row[3], each.sum((1, 2)), bands)
    panels[0][1].set_title("mean attribution", fontsize=8, color=MUTED)
    panels[0][2].set_title("sum in rings", fontsize=8)
    panels[0][3].set_title("sum per band", fontsize=8)
    panels[-1][2].set_xlabel("radius (rms radii)", fontsize=8)
    return figure


def _signs(values: np.ndarray) -> list[tuple[float, ...]]:
    """Return the colour of positive and negative numbers."""
    return [DIVERGING(0.85) if value > 0 else DIVERGING(0.15) for value in values]


@apply_style
def deletion_curves(
    fractions: ArrayLike, curves: Mapping[str, ArrayLike], *, unit: str, heading: str, failed: Sequence[str] = ()
) -> Figure:
    """Draw the mean change of the number against the fraction of pixels removed, for methods and their rivals.

    Parameters
    ----------
    fractions : array of shape (k,)
    curves : mapping of str to array of shape (n, k)
        Changes of each object, by method; `brightest` and `random` are the rivals.
    unit : str
    heading : str
    failed : sequence of str
        Methods that fail weight randomisation, which are labelled so.
    """
    figure = new_figure(5.0, heading=heading)
    axes = figure.subplots()
    methods = [name for name in curves if name not in ("brightest", "random")]
    colors = assign_colors(methods)
    for name, values in curves.items():
        each = np.asarray(values, float)
        rival, again = name not in methods, name in methods[len(CYCLE) :]
        axes.errorbar(
            np.asarray(fractions, float),
            np.nanmean(each, 0),
            np.nanstd(each, 0) / np.sqrt(len(each)),
            label=f"{name.replace('_', ' ')}{' (fails randomisation)' if name in failed else ''}",
            color=(INK if name == "brightest" else MUTED) if rival else colors[name],
            linestyle="--" if rival else ":" if name in failed else "-",
            marker="s" if again else "o",
            markerfacecolor="white" if again else None,
            markersize=4,
        )
    axes.set_xscale("log")
    label_log_axis(axes.xaxis)
    axes.set(xlabel="fraction of pixels replaced by sky noise", ylabel=f"mean change ({unit})")
    axes.set_ylim(bottom=0)
    add_legend_below(figure, *axes.get_legend_handles_labels())
    return figure


@apply_style
def band_share_curve(
    z: ArrayLike,
    shares: Mapping[str, ArrayLike],
    bands: Sequence[str],
    limits: ArrayLike,
    *,
    heading: str,
    n_bins: int = 8,
    failed: Sequence[str] = (),
) -> Figure:
    """Draw the share of each band against redshift, above the band that holds the 4000 angstrom break.

    Parameters
    ----------
    z : array of shape (n,)
    shares : mapping of str to array of shape (n, bands)
        Share of each band, one panel per method.
    bands : sequence of str
    limits : array of shape (bands, 2)
        Redshifts between which the break lies in each band.
    heading : str
    n_bins : int
        Bins of equal numbers of objects.
    failed : sequence of str
        Methods that fail weight randomisation, which are labelled so.
    """
    z = np.asarray(z, float)
    figure = new_figure(2.4 * len(shares) + 0.9, heading=heading)
    panels = figure.subplots(len(shares), 1, squeeze=False, sharex=True)[:, 0]
    colors = dict(zip(bands, _spectral(len(bands)), strict=True))
    edges = np.quantile(z, np.linspace(0, 1, n_bins + 1))
    place = np.clip(np.searchsorted(edges, z, "right") - 1, 0, n_bins - 1)
    for axes, (name, values) in zip(panels, shares.items(), strict=True):
        each = np.asarray(values, float)
        middle = np.array([np.median(z[place == k]) for k in range(n_bins)])
        for b, band in enumerate(bands):
            mean = np.array([np.nanmean(each[place == k, b]) for k in range(n_bins)])
            error = np.array([np.nanstd(each[place == k, b]) / np.sqrt((place == k).sum()) for k in range(n_bins)])
            axes.errorbar(middle, mean, error, color=colors[band], label=band, marker="o", markersize=3.5)
            low, high = np.asarray(limits, float)[b]
            axes.axvspan(max(low, z.min()), min(high, z.max()), 0, 0.03, color=colors[band], lw=0)
        axes.set(ylabel="share of a band", title=f"{name} (fails randomisation)" if name in failed else name)
        axes.set_ylim(bottom=0)
    add_legend_above(panels[0], len(bands))
    panels[-1].set_xlabel("redshift (strip below: the band that holds the 4000 Å break)")
    return figure


def _spectral(n: int) -> list[str]:
    order = ("blue", "sky", "green", "orange", "vermillion", "purple", "yellow")
    return [PALETTE[order[i % len(order)]] for i in range(n)] if n > 1 else [NETWORK]


@apply_style
def filter_sheet(filters: ArrayLike, bands: Sequence[str], *, heading: str) -> Figure:
    """Draw filters (n, bands, k, k): a column per filter, a row per band, one scale per filter."""
    weights = np.asarray(filters, float)
    n, n_bands = weights.shape[:2]
    figure = new_figure(0.34 * n_bands + 0.7, heading=heading)
    panels = figure.subplots(n_bands, n, squeeze=False)
    for k, one in enumerate(weights):
        limit = max(np.abs(one).max(), 1e-30)
        for b in range(n_bands):
            axes = panels[b][k]
            axes.imshow(one[b], origin="lower", cmap=DIVERGING, vmin=-limit, vmax=limit)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if k == 0:
                axes.set_ylabel(bands[b], rotation=0, ha="right", va="center", fontsize=7)
    return figure


@apply_style
def panel_sheet(
    rows: Mapping[str, ArrayLike], *, heading: str, titles: Mapping[str, Sequence[str]] | None = None
) -> Figure:
    """Draw rows of maps (n, y, x), in colours that diverge from zero, or of colour images (n, y, x, 3)."""
    n_columns = max(len(np.asarray(row)) for row in rows.values())
    side = 7.0 / max(n_columns, 4)
    figure = new_figure(len(rows) * (side + 0.22) + 0.6, heading=heading)
    panels = figure.subplots(len(rows), n_columns, squeeze=False)
    for line, (name, row) in zip(panels, rows.items(), strict=True):
        for k, axes in enumerate(line):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if k >= len(np.asarray(row)):
                continue
            one = np.asarray(row, float)[k]
            if one.ndim == 3:
                axes.imshow(np.clip(one, 0, 1), origin="lower")
            else:
                limit = max(float(np.quantile(np.abs(one), 0.995)), 1e-30)
                axes.imshow(one, origin="lower", cmap=DIVERGING, vmin=-limit, vmax=limit)
            if titles and name in titles:
                axes.set_title(titles[name][k], fontsize=7)
        line[0].set_ylabel(name.replace("_", " "), fontsize=8)
    return figure
