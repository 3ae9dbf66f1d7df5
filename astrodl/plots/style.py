"""The one style of all figures: palette, fonts, headings, and the way to disk."""

import functools
import os
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from astrodl.atomic import replacing

Array = NDArray[Any]
P = ParamSpec("P")

DPI = 130
WIDTH_INCHES = 8.0

PALETTE = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "vermillion": "#D55E00",
    "yellow": "#F0E442",
}
"""Okabe & Ito (2008), told apart with every kind of colour vision."""

INK, MUTED, RULE, NO_DATA = "#26292e", "#7d838c", "#e4e6e9", "#59606e"
NETWORK, TRUTH, ODD = PALETTE["blue"], INK, PALETTE["vermillion"]
BASELINES = tuple(PALETTE[name] for name in ("orange", "green", "purple", "sky", "vermillion", "yellow"))
CYCLE = (NETWORK, *BASELINES)

DENSITY = LinearSegmentedColormap.from_list("astrodl-density", ["#a3cbe5", "#56A5D6", "#0072B2", "#004c78", "#002a44"])
DIVERGING = LinearSegmentedColormap.from_list(
    "astrodl-diverging", ["#00507e", "#5aa5d1", "#f7f7f5", "#e8965a", "#a34600"]
)
SHADES = LinearSegmentedColormap.from_list("astrodl-shades", ["#f6f8fa", "#b9d6e8", "#4f9bc9", "#0072B2", "#00507e"])
SEQUENTIAL = matplotlib.colormaps["viridis"]

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 5.0,
    "axes.edgecolor": "#9aa0a8",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "white",
    "figure.facecolor": "white",
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "xtick.color": "#9aa0a8",
    "ytick.color": "#9aa0a8",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "image.interpolation": "nearest",
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a drawing function under the common style and leave matplotlib's settings as they were."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(RC):
            return draw(*args, **kwargs)

    return drawn


def new_figure(height: float, *, width: float = WIDTH_INCHES, heading: str = "") -> Figure:
    """Start a figure with constrained layout and a heading at its upper left; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    if heading:
        figure.suptitle(wrap(heading, width), x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK)
    return figure


def wrap(text: str, width: float) -> str:
    """Break a heading so that it fits `width` inches."""
    return textwrap.fill(text, max(20, int(width * 11)))


def label(name: str, width: int = 14) -> str:
    """Make a label of a name: blanks for underscores, broken into short lines."""
    return textwrap.fill(name.replace("_", " "), width)


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Start a sheet without frame whose coordinates are inches from the upper left corner."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def counted(heading: str, n: int, noun: str = "galaxies") -> str:
    """Give a heading with the number of objects behind the figure."""
    singular = {"galaxies": "galaxy"}.get(noun, noun.removesuffix("s"))
    count = f"{n:,} {singular if n == 1 else noun}"
    return f"{heading} · {count}" if heading else count


def legend_above(axes: Axes, n_columns: int = 4) -> None:
    """Put the legend on the line of the panel's title, at its right, where no data can be."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles,
            labels,
            loc="lower right",
            bbox_to_anchor=(1.0, 0.985),
            ncols=n_columns,
            borderaxespad=0.0,
            columnspacing=1.2,
        )


def legend_below(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Put a legend under all panels, in as many columns as the labels leave room for."""
    if not handles:
        return
    # Letters of the legend's font that fit beside each other, and those that a handle takes.
    room, handle = int(14 * figure.get_figwidth()), 7
    wrapped = [textwrap.fill(text, room - handle) for text in labels]
    lengths = [max(len(line) for line in text.splitlines() or [""]) for text in wrapped]
    n_columns = min(5, len(handles))
    while n_columns > 1 and sum(handle + max(column) for column in np.array_split(lengths, n_columns)) > room:
        n_columns -= 1
    figure.legend(handles, wrapped, loc="outside lower left", ncols=n_columns, columnspacing=1.4, labelspacing=0.3)


class _PlainBetweenDecades(LogFormatter):
    """Labels where LogFormatter puts them, without powers of ten."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def plain_logarithm(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers, between decades too where it spans less than about one."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(_PlainBetweenDecades(minor_thresholds=(1.2, 0.6)))


def signed(value: float, digits: int = 4) -> str:
    """Format a number with its sign, and a true minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def colors_of(names: Sequence[str]) -> dict[str, str]:
    """Assign the palette to names in their order, from the start again when it runs out."""
    return {name: CYCLE[i % len(CYCLE)] for i, name in enumerate(names)}


def baseline_colors(names: Sequence[str]) -> dict[str, str]:
    """Assign colours to baselines; the network's blue stays its own."""
    return {name: BASELINES[i % len(BASELINES)] for i, name in enumerate(names)}


def say_empty(axes: Axes, message: str = "no data") -> None:
    """Write in an empty panel why it is empty."""
    axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center", color=MUTED)


def note(axes: Axes, text: str, *, x: float = 0.03, y: float = 0.97) -> None:
    """Write a few lines of numbers into a corner of a panel."""
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        ha="left" if x < 0.5 else "right",
        va="top" if y > 0.5 else "bottom",
        fontsize=8.5,
        linespacing=1.45,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2.0},
    )


def finite(values: ArrayLike) -> Array:
    """Return the finite values, flat, as float64."""
    values = np.asarray(values, dtype=np.float64).ravel()
    return values[np.isfinite(values)]


def finite_pairs(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Return the pairs whose both values are finite, as float64."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    return x[good], y[good]


def density_scatter(axes: Axes, x: Array, y: Array, *, size: float = 9.0) -> None:
    """Draw points coloured by how many others are near."""
    axes.scatter(
        x, y, c=_local_density(x, y), cmap=DENSITY, s=size, linewidths=0, norm=LogNorm(), zorder=3, clip_on=True
    )


def _local_density(x: Array, y: Array, n_cells: int = 40) -> Array:
    """Count neighbours on a coarse smoothed grid that leaves out the farthest per cent; positive, for a log scale."""
    if len(x) < 2:
        return np.ones(len(x))
    points = np.stack([x, y])
    low = np.quantile(points, 0.005, axis=1)
    high = np.maximum(np.quantile(points, 0.995, axis=1), low + 1e-9)
    cell = (points - low[:, None]) / (high - low)[:, None] * (n_cells - 1)
    counts = np.histogram2d(cell[0], cell[1], bins=n_cells, range=[[-0.5, n_cells - 0.5]] * 2)[0]
    smooth = gaussian_filter(counts, 1.2)
    return np.maximum(map_coordinates(smooth, cell, order=1, mode="nearest"), smooth.max() / 300 + 1e-9)


def wilson_interval(n_hits: ArrayLike, n_trials: ArrayLike, *, n_sigma: float = 1.0) -> tuple[Array, Array]:
    """Return the Wilson (1927) interval of a binomial fraction; NaN where there were no trials."""
    hits, trials = np.asarray(n_hits, dtype=float), np.asarray(n_trials, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction, square = hits / trials, n_sigma**2
        center = (fraction + square / (2 * trials)) / (1 + square / trials)
        half = n_sigma * np.sqrt(fraction * (1 - fraction) / trials + square / (4 * trials**2)) / (1 + square / trials)
    low, high = np.clip(center - half, 0, 1), np.clip(center + half, 0, 1)
    # The limits are exact at the ends, where rounding would leave them a hair off the fraction itself.
    return np.where(hits == 0, np.where(trials > 0, 0.0, np.nan), low), np.where(
        hits == trials, np.where(trials > 0, 1.0, np.nan), high
    )


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG whole or not at all; the same figure gives the same bytes."""
    with replacing(path) as temporary, matplotlib.rc_context(RC):
        # matplotlib writes its own version into the file unless told not to.
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
