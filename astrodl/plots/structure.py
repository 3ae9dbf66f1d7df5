"""Non-parametric structure of simulated and real galaxies."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.plots.style import ODD, PALETTE, add_count, add_legend_above, apply_style, new_figure, select_finite_pairs

__all__ = ["PLANES", "structure_planes"]

PLANES = (("m20", "gini"), ("concentration", "asymmetry"), ("smoothness", "asymmetry"))
"""Names of the features on the axes of each panel, abscissa first."""
_LABELS = {
    "m20": "M20",
    "gini": "Gini",
    "concentration": "concentration C",
    "asymmetry": "asymmetry A",
    "smoothness": "smoothness S",
}


@apply_style
def structure_planes(groups: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Draw Gini against M20, and asymmetry against concentration and smoothness, for two groups of galaxies.

    The lines in the first panel separate mergers, Gini > -0.14 M20 + 0.33, and early types, Gini > 0.14 M20 + 0.80,
    from spirals (Lotz et al. 2008).

    Parameters
    ----------
    groups : mapping name -> (mapping feature -> array of shape (n,))
        Features of each group; the first group is drawn larger and on top.
    """
    n = len(np.asarray(next(iter(groups.values()))["gini"]))
    figure = new_figure(3.2, heading=add_count("Structure of real and simulated galaxies", n, "real galaxies"))
    for axes, (x, y) in zip(figure.subplots(1, len(PLANES)), PLANES, strict=True):
        _draw_plane(axes, groups, x, y)
    figure.axes[0].invert_xaxis()
    m20 = np.linspace(-2.9, -0.6, 2)
    figure.axes[0].plot(m20, -0.14 * m20 + 0.33, color=PALETTE["green"], lw=1, zorder=1)
    figure.axes[0].plot([-2.9, -1.68], 0.14 * np.array([-2.9, -1.68]) + 0.80, color=PALETTE["green"], lw=1, zorder=1)
    add_legend_above(figure.axes[-1])
    return figure


def _draw_plane(axes: Axes, groups: Mapping[str, Mapping[str, ArrayLike]], x: str, y: str) -> None:
    """Draw one panel, with limits that contain all but the outermost two per cent of the points."""
    drawn = []
    for number, (name, features) in enumerate(groups.items()):
        points = select_finite_pairs(features[x], features[y])
        color, size, edge = (ODD, 26, "white") if number == 0 else (PALETTE["sky"], 8, "none")
        axes.scatter(*points, label=name, color=color, s=size, edgecolor=edge, linewidth=0.6, zorder=4 - number)
        drawn.append(np.stack(points))
    low, high = np.percentile(np.concatenate(drawn, axis=1), [1, 99], axis=1)
    margin = 0.15 * (high - low)
    axes.set(
        xlim=(low[0] - margin[0], high[0] + margin[0]),
        ylim=(low[1] - margin[1], high[1] + margin[1]),
        xlabel=_LABELS[x],
        ylabel=_LABELS[y],
    )
