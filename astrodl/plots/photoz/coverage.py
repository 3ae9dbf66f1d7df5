"""Coverage of redshift intervals: how often they hold the truth, against how often they should."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.plots.style import (
    INK,
    NETWORK,
    ODD,
    Array,
    baseline_colors,
    counted,
    finite,
    legend_below,
    new_figure,
    say_empty,
    styled,
)

LEVELS = np.linspace(0, 1, 2001)


@styled
def coverage_curve(
    pit: ArrayLike,
    *,
    conformal: Mapping[float, tuple[float, float]] | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    name: str = "network",
    heading: str = "Coverage of central intervals",
) -> Figure:
    """Draw the measured against the nominal coverage of central intervals, and the difference below.

    The central interval of probability c holds the truth where abs(PIT - 1/2) <= c / 2. Below the diagonal PDFs are too
    narrow, above it too wide. The grey band holds 95 % of what calibrated PDFs give at one level for so many objects,
    1.96 sqrt(c (1 - c) / n); neighbouring levels are not independent.

    Parameters
    ----------
    pit : array of shape (n,)
        CDF of each object at its true redshift; NaN is left out.
    conformal : mapping level -> (coverage, error), optional
        Measured coverage of split-conformal intervals at some nominal levels, with its standard error.
    baselines : mapping name -> array of shape (n,), optional
        PIT of other estimators.
    """
    values = finite(pit)
    figure = new_figure(6.6, width=5.6, heading=counted(heading, len(values)))
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2.4, 1)})
    spread = 1.96 * np.sqrt(LEVELS * (1 - LEVELS) / max(len(values), 1))
    for axes, ideal in ((top, LEVELS), (bottom, np.zeros_like(LEVELS))):
        axes.fill_between(
            LEVELS, ideal - spread, ideal + spread, color="#dfe2e6", linewidth=0, label="95 % if calibrated", zorder=1
        )
        axes.plot(LEVELS, ideal, color=INK, linewidth=1.0, zorder=2)
    for other, color in baseline_colors(list(baselines or {})).items():
        _draw_coverage(top, bottom, finite((baselines or {})[other]), color, other)
    _draw_coverage(top, bottom, values, NETWORK, name)
    if conformal:
        level, measured, error = np.array([(nominal, *pair) for nominal, pair in conformal.items()], dtype=float).T
        for axes, y in ((top, measured), (bottom, measured - level)):
            axes.errorbar(
                level, y, error, color=ODD, marker="D", markersize=5.0, linestyle="",
                elinewidth=1.5, zorder=6, clip_on=False, label="split conformal",
            )  # fmt: skip
    if not len(values):
        say_empty(top)
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="measured coverage")
    bottom.set(xlabel="nominal coverage", ylabel="measured − nominal")
    legend_below(figure, *top.get_legend_handles_labels())
    return figure


def _draw_coverage(top: Axes, bottom: Axes, pit: Array, color: str, label: str) -> None:
    if len(pit):
        # Rounding must not take an object out of the interval that just reaches it.
        needed = np.sort(2 * np.abs(pit - 0.5)) - 1e-12
        measured = np.searchsorted(needed, LEVELS, side="right") / len(pit)
        top.plot(LEVELS, measured, color=color, label=label, zorder=4)
        bottom.plot(LEVELS, measured - LEVELS, color=color, zorder=4)
