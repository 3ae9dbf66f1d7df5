"""Coverage of redshift intervals: measured against nominal."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.plots.style import (
    BAND,
    INK,
    ODD,
    Array,
    add_count,
    add_legend_below,
    apply_style,
    list_methods,
    mark_empty,
    new_figure,
    select_finite,
)

__all__ = ["coverage_curve"]

_LEVELS = np.linspace(0, 1, 2001)


@apply_style
def coverage_curve(
    pit: ArrayLike,
    *,
    conformal: Mapping[float, tuple[float, float]] | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    name: str = "network",
    heading: str = "Coverage of central intervals",
) -> Figure:
    """Draw the measured against the nominal coverage of central intervals, and their difference.

    The central interval of probability c contains the true redshift where abs(PIT - 1/2) <= c / 2. Below the diagonal
    PDFs are too narrow, above it too wide. The grey band contains 95 % of the values that calibrated PDFs would give at
    one level for this number of objects, 1.96 sqrt(c (1 - c) / n); neighbouring levels are not independent.

    Parameters
    ----------
    pit : array of shape (n,)
        CDF of each object at its true redshift; NaN is left out.
    conformal : mapping level -> (coverage, error), optional
        Measured coverage of split-conformal intervals at some nominal levels, with its standard error.
    baselines : mapping name -> array of shape (n,), optional
        PIT of other methods.
    name : str
        Name of the network in the legend.
    """
    values = select_finite(pit)
    figure = new_figure(6.6, width=5.6, heading=add_count(heading, len(values)))
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2.4, 1)})
    spread = 1.96 * np.sqrt(_LEVELS * (1 - _LEVELS) / max(len(values), 1))
    for axes, ideal in ((top, _LEVELS), (bottom, np.zeros_like(_LEVELS))):
        axes.fill_between(
            _LEVELS, ideal - spread, ideal + spread, color=BAND, linewidth=0, label="95 % if calibrated", zorder=1
        )
        axes.plot(_LEVELS, ideal, color=INK, linewidth=1.0, zorder=2)
    network, *others = list_methods(pit, baselines, name)
    for label, method_pit, color in (*others, network):
        _draw_coverage(top, bottom, select_finite(method_pit), color, label)
    if conformal:
        level, measured, error = np.array([(nominal, *pair) for nominal, pair in conformal.items()], dtype=float).T
        for axes, y in ((top, measured), (bottom, measured - level)):
            axes.errorbar(
                level, y, error, color=ODD, marker="D", markersize=5.0, linestyle="",
                elinewidth=1.5, zorder=6, clip_on=False, label="split conformal",
            )  # fmt: skip
    if not len(values):
        mark_empty(top)
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="measured coverage")
    bottom.set(xlabel="nominal coverage", ylabel="measured − nominal")
    add_legend_below(figure, *top.get_legend_handles_labels())
    return figure


def _draw_coverage(top: Axes, bottom: Axes, pit: Array, color: str, label: str) -> None:
    if len(pit):
        # Rounding must not move an object out of the smallest interval that contains it.
        needed = np.sort(2 * np.abs(pit - 0.5)) - 1e-12
        measured = np.searchsorted(needed, _LEVELS, side="right") / len(pit)
        top.plot(_LEVELS, measured, color=color, label=label, zorder=4)
        bottom.plot(_LEVELS, measured - _LEVELS, color=color, zorder=4)
