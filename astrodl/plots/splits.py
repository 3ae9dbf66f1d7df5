"""The splits of a survey: where they lie on the sky, and whether classes and redshifts are alike in them."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from astrodl.plots.style import MUTED, NETWORK, PALETTE, counted, label, new_figure, say_empty, styled, wilson_interval

COLORS = {"train": NETWORK, "validation": PALETTE["orange"], "test": PALETTE["purple"], "rest": MUTED}
MOST_CLASSES = 12
"""So many classes have room; the others are left out and counted in the title."""
N_BINS = 25

Splits = dict[str, NDArray[np.bool_]]


@styled
def splits_overview(
    split: ArrayLike,
    *,
    ra: ArrayLike | None = None,
    dec: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    z: ArrayLike | None = None,
    heading: str = "Splits",
) -> Figure:
    """Draw the splits on the sky, the share of each class in them, and their redshift distributions.

    Parameters
    ----------
    split : array of n int
        0 train, 1 validation, 2 test, 3 rest.
    ra, dec : arrays of shape (n,), optional
        Degrees; NaN is left out.
    classes : array of n str, optional
        Class names; an empty one is left out. Bars end at the Wilson limits of one sigma.
    z : array of shape (n,), optional
        Redshifts; NaN is left out.
    """
    number = np.asarray(split)
    parts = {name: number == i for i, name in enumerate(COLORS) if (number == i).any()}
    beside = [name for name, given in (("classes", classes), ("z", z)) if given is not None]
    figure = new_figure(5.0, width=9.6 if beside else 5.6, heading=counted(heading, len(number)))
    mosaic: list[Any] = [["sky", name] for name in beside] or [["sky"]]
    panels = figure.subplot_mosaic(mosaic, width_ratios=[1.25, 1] if beside else None)
    _draw_sky(panels["sky"], parts, ra, dec)
    if classes is not None:
        _draw_classes(panels["classes"], parts, np.asarray(classes).astype(str))
    if z is not None:
        _draw_redshifts(panels["z"], parts, np.asarray(z, np.float64))
    handles = [Line2D([], [], color=COLORS[name], marker="o", linewidth=1.6, markersize=5) for name in parts]
    labels = [f"{name} ({int(inside.sum()):,})" for name, inside in parts.items()]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _draw_sky(axes: Axes, parts: Splits, ra: ArrayLike | None, dec: ArrayLike | None) -> None:
    """Draw the objects, east to the left."""
    axes.set(xlabel="right ascension (deg)", ylabel="declination (deg)")
    n_objects = len(next(iter(parts.values()), ()))
    east, north = (np.full(n_objects, np.nan) if v is None else np.asarray(v, np.float64) for v in (ra, dec))
    known = np.isfinite(east) & np.isfinite(north)
    if not known.any():
        say_empty(axes, "no coordinates")
        axes.set(xticks=[], yticks=[])
        return
    # A field across 0h would be torn apart: turn it to negative angles.
    turned = np.where(east > 180, east - 360, east)
    east = turned if np.ptp(turned[known]) < np.ptp(east[known]) else east
    size = float(np.clip(9000 / known.sum(), 1, 22))
    for name, inside in parts.items():
        shown = inside & known
        axes.scatter(east[shown], north[shown], s=size, color=COLORS[name], linewidths=0, alpha=0.8)
    axes.invert_xaxis()
    axes.set_aspect(1 / max(float(np.cos(np.radians(np.median(north[known])))), 0.05), adjustable="datalim")
    axes.ticklabel_format(useOffset=False)


def _draw_classes(axes: Axes, parts: Splits, classes: NDArray[np.str_]) -> None:
    """Draw the share of each class in each split, with errors, the most frequent class first."""
    names, counts = np.unique(classes[classes != ""], return_counts=True)
    names = names[np.argsort(-counts, kind="stable")]
    shown = names[:MOST_CLASSES]
    axes.set(xlabel="fraction of the split")
    axes.set_title("classes" if len(names) == len(shown) else f"the {len(shown)} largest of {len(names)} classes")
    if not len(shown):
        say_empty(axes, "no classes")
        return
    for row, (name, inside) in enumerate(parts.items()):
        hits = np.array([(classes[inside] == text).sum() for text in shown])
        total = max(int((classes[inside] != "").sum()), 1)
        y = np.arange(len(shown)) + 0.26 * (row - (len(parts) - 1) / 2)
        low, high = wilson_interval(hits, np.full(len(hits), total))
        axes.hlines(y, low, high, color=COLORS[name], linewidth=1.2)
        axes.plot(hits / total, y, "o", color=COLORS[name], markersize=4, clip_on=False)
    axes.set_yticks(np.arange(len(shown)), [label(str(text)) for text in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(visible=False, axis="y")


def _draw_redshifts(axes: Axes, parts: Splits, z: NDArray[np.float64]) -> None:
    """Draw the redshift distribution of each split, normalised."""
    known = np.isfinite(z)
    axes.set(xlabel="redshift", ylabel="share of the split\nper unit redshift")
    axes.set_title("redshifts" if known.all() else f"redshifts ({int(known.sum()):,} known)")
    if not known.any():
        say_empty(axes, "no redshifts")
        return
    # a few redshifts far out must not widen the bins of all others
    low, high = np.quantile(z[known], [0.0, 0.995])
    edges = np.linspace(low, max(high, low + 1e-6), N_BINS + 1)
    for name, inside in parts.items():
        values = z[inside & known]
        if len(values):
            density = np.histogram(values, edges)[0] / len(values) / np.diff(edges)
            axes.stairs(density, edges, color=COLORS[name], linewidth=1.6)
    axes.set_ylim(bottom=0)
