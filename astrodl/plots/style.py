"""Style of all figures: palette, fonts, headings, legends, and saving to disk."""

import functools
import itertools
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from astrodl.atomic import replacing

__all__ = [
    "BAND",
    "CYCLE",
    "DIVERGING",
    "DPI",
    "INK",
    "MUTED",
    "NETWORK",
    "NO_DATA",
    "ODD",
    "PALETTE",
    "RULE",
    "SEQUENTIAL",
    "SHADES",
    "WIDTH_INCHES",
    "Array",
    "add_count",
    "add_legend_above",
    "add_legend_below",
    "apply_style",
    "assign_colors",
    "draw_density",
    "draw_fractions",
    "format_signed",
    "label_log_axis",
    "list_methods",
    "mark_empty",
    "new_canvas",
    "new_figure",
    "save",
    "select_finite",
    "select_finite_pairs",
    "wilson_interval",
    "wrap_heading",
    "wrap_label",
    "write_note",
]

Array = NDArray[np.float64]
_P = ParamSpec("_P")
_T = TypeVar("_T")

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
"""Colour-blind safe palette of Okabe & Ito (2008)."""

INK, MUTED, RULE = "#26292e", "#7d838c", "#e4e6e9"
"""Colours of text and reference lines, of secondary text, and of the grid."""
BAND = "#dfe2e6"
"""Colour of bands of tolerance or expected scatter."""
NO_DATA = "#59606e"
"""Colour of pixels without data."""
NETWORK, ODD = PALETTE["blue"], PALETTE["vermillion"]
"""Colours of the network, and of outliers, mistakes and true values."""
_BASELINES = tuple(PALETTE[name] for name in ("orange", "green", "purple", "sky", "vermillion", "yellow"))
CYCLE = (NETWORK, *_BASELINES)

_DENSITY = LinearSegmentedColormap.from_list("astrodl-density", ["#a3cbe5", "#56A5D6", "#0072B2", "#004c78", "#002a44"])
DIVERGING = LinearSegmentedColormap.from_list(
    "astrodl-diverging", ["#00507e", "#5aa5d1", "#f7f7f5", "#e8965a", "#a34600"]
)
SHADES = LinearSegmentedColormap.from_list("astrodl-shades", ["#f6f8fa", "#b9d6e8", "#4f9bc9", "#0072B2", "#00507e"])
SEQUENTIAL = matplotlib.colormaps["viridis"]

_RC: dict[Any, Any] = {
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


def apply_style(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Decorate a drawing function so that it runs with the common style and leaves matplotlib's settings unchanged."""

    @functools.wraps(draw)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with matplotlib.rc_context(_RC):
            return draw(*args, **kwargs)

    return run


def new_figure(height: float, *, width: float = WIDTH_INCHES, heading: str = "") -> Figure:
    """Create a figure with constrained layout and a heading at the upper left; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    if heading:
        figure.suptitle(wrap_heading(heading, width), x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK)
    return figure


def new_canvas(height: float, heading: str = "") -> tuple[Figure, Axes]:
    """Create a figure with one frameless panel whose coordinates are inches from the upper left corner."""
    figure = Figure(figsize=(WIDTH_INCHES, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, WIDTH_INCHES), ylim=(height, 0))
    axes.set_axis_off()
    text = wrap_heading(heading, WIDTH_INCHES)
    axes.text(0.08, 0.1, text, va="top", fontsize=11, fontweight="bold", color=INK)
    return figure, axes


def wrap_heading(text: str, width: float) -> str:
    """Break a heading into lines that fit into `width` inches."""
    return textwrap.fill(text, max(20, int(width * 11)))


def wrap_label(name: str, width: int = 14) -> str:
    """Turn a name into a label: blanks for underscores, broken into lines of at most `width` characters."""
    return textwrap.fill(name.replace("_", " "), width)


def add_count(heading: str, n: int, noun: str = "galaxies", *, n_total: int | None = None) -> str:
    """Append the number of objects in a figure to its heading, and the number that they were chosen from."""
    singular = {"galaxies": "galaxy"}.get(noun, noun.removesuffix("s"))
    chosen_from = f" of {n_total:,}" if n_total else ""
    count = f"{n:,}{chosen_from} {singular if (n_total or n) == 1 else noun}"
    return f"{heading} · {count}" if heading else count


def add_legend_above(axes: Axes, n_columns: int = 4) -> None:
    """Add a legend on the title line of a panel, at the right, where it cannot cover data."""
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


def add_legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Add a legend under all panels, with as many columns as fit."""
    if not handles:
        return
    # Widths in characters of the legend's font: of the figure, and of a handle.
    line_width, handle_width = int(14 * figure.get_figwidth()), 7
    wrapped = [textwrap.fill(text, line_width - handle_width) for text in labels]
    lengths = [max(len(line) for line in text.splitlines() or [""]) for text in wrapped]
    n_columns = min(5, len(handles))
    while (
        n_columns > 1 and sum(handle_width + max(column) for column in np.array_split(lengths, n_columns)) > line_width
    ):
        n_columns -= 1
    figure.legend(handles, wrapped, loc="outside lower left", ncols=n_columns, columnspacing=1.4, labelspacing=0.3)


class _PlainLogFormatter(LogFormatter):
    """Label the same ticks as LogFormatter, with plain numbers instead of powers of ten."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def label_log_axis(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers, also between decades if it spans less than about one decade."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(_PlainLogFormatter(minor_thresholds=(1.2, 0.6)))


def format_signed(value: float, digits: int = 4) -> str:
    """Format a number with its sign, using a true minus sign."""
    return f"{value:+.{digits}f}".replace("-", "−")


def assign_colors(names: Sequence[str]) -> dict[str, str]:
    """Assign the colours of the palette to names in their order, starting again after the last colour."""
    return {name: CYCLE[i % len(CYCLE)] for i, name in enumerate(names)}


def list_methods(values: _T, baselines: Mapping[str, _T] | None, name: str = "network") -> list[tuple[str, _T, str]]:
    """List name, values and colour of the network, which is blue, and then of each baseline."""
    colors = itertools.cycle(_BASELINES)
    others = [(key, other, color) for (key, other), color in zip((baselines or {}).items(), colors, strict=False)]
    return [(name, values, NETWORK), *others]


def mark_empty(axes: Axes, message: str = "no data") -> None:
    """Write into an empty panel why it is empty."""
    axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center", color=MUTED)


def write_note(axes: Axes, text: str, *, x: float = 0.03, y: float = 0.97) -> None:
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


def select_finite(values: ArrayLike) -> Array:
    """Return the finite values as a flat array of float64."""
    values = np.asarray(values, dtype=np.float64).ravel()
    return values[np.isfinite(values)]


def select_finite_pairs(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Return the pairs in which both values are finite, as float64."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    return x[good], y[good]


def draw_density(axes: Axes, x: Array, y: Array) -> None:
    """Draw points coloured by the local density of points."""
    axes.scatter(
        x, y, c=_local_density(x, y), cmap=_DENSITY, s=9.0, linewidths=0, norm=LogNorm(), zorder=3, clip_on=True
    )


def _local_density(x: Array, y: Array, n_cells: int = 40) -> Array:
    """Estimate the density at each point from a smoothed 2-D histogram; positive, for a logarithmic colour scale."""
    if len(x) < 2:
        return np.ones(len(x))
    points = np.stack([x, y])
    # The farthest percent must not stretch the histogram.
    low = np.quantile(points, 0.005, axis=1)
    high = np.maximum(np.quantile(points, 0.995, axis=1), low + 1e-9)
    cell = (points - low[:, None]) / (high - low)[:, None] * (n_cells - 1)
    counts = np.histogram2d(cell[0], cell[1], bins=n_cells, range=[[-0.5, n_cells - 0.5]] * 2)[0]
    smooth = gaussian_filter(counts, 1.2)
    return np.maximum(map_coordinates(smooth, cell, order=1, mode="nearest"), smooth.max() / 300 + 1e-9)


def wilson_interval(n_hits: ArrayLike, n_trials: ArrayLike, *, n_sigma: float = 1.0) -> tuple[Array, Array]:
    """Return the Wilson (1927) interval of a binomial fraction; NaN where there are no trials."""
    hits, trials = np.asarray(n_hits, dtype=float), np.asarray(n_trials, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction, square = hits / trials, n_sigma**2
        center = (fraction + square / (2 * trials)) / (1 + square / trials)
        half = n_sigma * np.sqrt(fraction * (1 - fraction) / trials + square / (4 * trials**2)) / (1 + square / trials)
    # Rounding must not leave the fraction itself outside of the interval.
    return np.clip(np.minimum(center - half, fraction), 0, 1), np.clip(np.maximum(center + half, fraction), 0, 1)


def draw_fractions(
    axes: Axes,
    x: ArrayLike,
    n_hits: ArrayLike,
    n_trials: ArrayLike,
    *,
    color: str,
    label: str,
    linestyle: str = "-",
    zorder: float = 3,
) -> None:
    """Draw binomial fractions with Wilson 68 % intervals, where there are trials."""
    x, hits, trials = (np.asarray(values, dtype=np.float64) for values in (x, n_hits, n_trials))
    used = trials > 0
    if not used.any():
        return
    fraction = hits[used] / trials[used]
    low, high = wilson_interval(hits[used], trials[used])
    axes.errorbar(
        x[used], fraction, [fraction - low, high - fraction], color=color, label=label, marker="o", markersize=5,
        linestyle=linestyle, linewidth=1.4, elinewidth=1.1, zorder=zorder,
    )  # fmt: skip


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a PNG atomically; the same figure always gives the same bytes."""
    with replacing(path) as temporary, matplotlib.rc_context(_RC):
        # By default matplotlib writes its version into the file.
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
