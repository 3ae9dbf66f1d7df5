"""Shapes of simulated galaxies beside those of real ones."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.plots.style import ODD, PALETTE, counted, finite_pairs, legend_above, new_figure, styled

PLANES = (("m20", "gini"), ("concentration", "asymmetry"), ("smoothness", "asymmetry"))
"""Pairs of features; the first runs along x."""
_NAMES = {
    "m20": "M20",
    "gini": "Gini",
    "concentration": "concentration C",
    "asymmetry": "asymmetry A",
    "smoothness": "smoothness S",
}


@styled
def structure_planes(groups: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Draw Gini against M20, asymmetry against concentration and against smoothness, for two groups of galaxies.

    The lines of the first panel part mergers (above the upper one) and early types (right of the lower one) from
    spirals: Gini = -0.14 M20 + 0.33 and Gini = 0.14 M20 + 0.80 (Lotz et al. 2008).

    Parameters
    ----------
    groups
        Name of each group (the first drawn large and on top) and its features by name, arrays of shape (n,).
    """
    n = len(np.asarray(next(iter(groups.values()))["gini"]))
    figure = new_figure(3.2, heading=counted("Shapes of real and simulated galaxies", n, "real galaxies"))
    for axes, (x, y) in zip(figure.subplots(1, len(PLANES)), PLANES, strict=True):
        _draw_plane(axes, groups, x, y)
    figure.axes[0].invert_xaxis()
    m20 = np.linspace(-2.9, -0.6, 2)
    figure.axes[0].plot(m20, -0.14 * m20 + 0.33, color=PALETTE["green"], lw=1, zorder=1)
    figure.axes[0].plot([-2.9, -1.68], 0.14 * np.array([-2.9, -1.68]) + 0.80, color=PALETTE["green"], lw=1, zorder=1)
    legend_above(figure.axes[-1])
    return figure


def _draw_plane(axes: Axes, groups: Mapping[str, Mapping[str, ArrayLike]], x: str, y: str) -> None:
    """Draw one plane; the limits hold all but the outermost two per cent of the points."""
    everything = []
    for number, (name, features) in enumerate(groups.items()):
        points = finite_pairs(features[x], features[y])
        color, size, edge = (ODD, 26, "white") if number == 0 else (PALETTE["sky"], 8, "none")
        axes.scatter(*points, label=name, color=color, s=size, edgecolor=edge, linewidth=0.6, zorder=4 - number)
        everything.append(np.stack(points))
    low, high = np.percentile(np.concatenate(everything, axis=1), [1, 99], axis=1)
    margin = 0.15 * (high - low)
    axes.set(
        xlim=(low[0] - margin[0], high[0] + margin[0]),
        ylim=(low[1] - margin[1], high[1] + margin[1]),
        xlabel=_NAMES[x],
        ylabel=_NAMES[y],
    )
