"""Splits of a survey: positions on the sky, class fractions and redshift distributions."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from astrodl.plots.style import (
    MUTED,
    NETWORK,
    PALETTE,
    add_count,
    apply_style,
    mark_empty,
    new_figure,
    wilson_interval,
    wrap_label,
)

__all__ = ["SPLIT_COLORS", "splits_overview"]

SPLIT_COLORS = {"train": NETWORK, "validation": PALETTE["orange"], "test": PALETTE["purple"], "rest": MUTED}
_MAX_CLASSES = 12
"""The most frequent classes that are drawn."""
_N_BINS = 25

_Masks = dict[str, NDArray[np.bool_]]
"""Mask of the objects of each split, by its name."""


@apply_style
def splits_overview(
    split: ArrayLike,
    *,
    ra: ArrayLike | None = None,
    dec: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    z: ArrayLike | None = None,
    heading: str = "Splits",
) -> Figure:
    """Draw positions on the sky, class fractions and redshift distributions of the splits.

    Parameters
    ----------
    split : array of n int
        0 train, 1 validation, 2 test, 3 rest.
    ra, dec : arrays of shape (n,), optional
        Right ascension and declination in degrees; NaN is left out.
    classes : array of n str, optional
        Class names, "" where unknown. Bars are Wilson 68 % intervals.
    z : array of shape (n,), optional
        Redshifts; NaN is left out.
    """
    number = np.asarray(split)
    parts = {name: number == i for i, name in enumerate(SPLIT_COLORS) if (number == i).any()}
    right = [name for name, values in (("classes", classes), ("z", z)) if values is not None]
    figure = new_figure(5.0, width=9.6 if right else 5.6, heading=add_count(heading, len(number)))
    mosaic: list[Any] = [["sky", name] for name in right] or [["sky"]]
    panels = figure.subplot_mosaic(mosaic, width_ratios=[1.25, 1] if right else None)
    _draw_sky(panels["sky"], parts, ra, dec)
    if classes is not None:
        _draw_classes(panels["classes"], parts, np.asarray(classes).astype(str))
    if z is not None:
        _draw_redshifts(panels["z"], parts, np.asarray(z, np.float64))
    handles = [Line2D([], [], color=SPLIT_COLORS[name], marker="o", linewidth=1.6, markersize=5) for name in parts]
    labels = [f"{name} ({int(members.sum()):,})" for name, members in parts.items()]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _draw_sky(axes: Axes, parts: _Masks, ra: ArrayLike | None, dec: ArrayLike | None) -> None:
    """Draw the positions of the objects, with east to the left."""
    axes.set(xlabel="right ascension (deg)", ylabel="declination (deg)")
    n_objects = len(next(iter(parts.values()), ()))
    east, north = (np.full(n_objects, np.nan) if v is None else np.asarray(v, np.float64) for v in (ra, dec))
    known = np.isfinite(east) & np.isfinite(north)
    if not known.any():
        mark_empty(axes, "no coordinates")
        axes.set(xticks=[], yticks=[])
        return
    # Negative angles keep a field across 0h together.
    wrapped = np.where(east > 180, east - 360, east)
    east = wrapped if np.ptp(wrapped[known]) < np.ptp(east[known]) else east
    size = float(np.clip(9000 / known.sum(), 1, 22))
    for name, members in parts.items():
        shown = members & known
        axes.scatter(east[shown], north[shown], s=size, color=SPLIT_COLORS[name], linewidths=0, alpha=0.8)
    axes.invert_xaxis()
    axes.set_aspect(1 / max(float(np.cos(np.radians(np.median(north[known])))), 0.05), adjustable="datalim")
    axes.ticklabel_format(useOffset=False)


def _draw_classes(axes: Axes, parts: _Masks, classes: NDArray[np.str_]) -> None:
    """Draw the fraction of each class in each split with errors, the most frequent class first."""
    names, counts = np.unique(classes[classes != ""], return_counts=True)
    names = names[np.argsort(-counts, kind="stable")]
    shown = names[:_MAX_CLASSES]
    axes.set(xlabel="fraction of the split")
    axes.set_title("classes" if len(names) == len(shown) else f"{len(shown)} most frequent of {len(names)} classes")
    if not len(shown):
        mark_empty(axes, "no classes")
        return
    for row, (name, members) in enumerate(parts.items()):
        hits = np.array([(classes[members] == class_name).sum() for class_name in shown])
        total = max(int((classes[members] != "").sum()), 1)
        y = np.arange(len(shown)) + 0.26 * (row - (len(parts) - 1) / 2)
        low, high = wilson_interval(hits, np.full(len(hits), total))
        axes.hlines(y, low, high, color=SPLIT_COLORS[name], linewidth=1.2)
        axes.plot(hits / total, y, "o", color=SPLIT_COLORS[name], markersize=4, clip_on=False)
    axes.set_yticks(np.arange(len(shown)), [wrap_label(str(text)) for text in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(visible=False, axis="y")


def _draw_redshifts(axes: Axes, parts: _Masks, z: NDArray[np.float64]) -> None:
    """Draw the normalised redshift distribution of each split."""
    known = np.isfinite(z)
    axes.set(xlabel="redshift", ylabel="density per unit redshift")
    axes.set_title("redshifts" if known.all() else f"redshifts ({int(known.sum()):,} known)")
    if not known.any():
        mark_empty(axes, "no redshifts")
        return
    # A few large redshifts must not make the bins wide.
    low, high = np.quantile(z[known], [0.0, 0.995])
    edges = np.linspace(low, max(high, low + 1e-6), _N_BINS + 1)
    for name, members in parts.items():
        values = z[members & known]
        if len(values):
            density = np.histogram(values, edges)[0] / len(values) / np.diff(edges)
            axes.stairs(density, edges, color=SPLIT_COLORS[name], linewidth=1.6)
    axes.set_ylim(bottom=0)
