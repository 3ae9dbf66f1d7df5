"""Votes of volunteers: predicted fractions against theirs, and whether the errors are what they claim."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.plots.style import INK, NETWORK, SHADES, counted, new_figure, note, say_empty, styled

N_COLUMNS = 5


@styled
def fraction_scatter(
    predicted: ArrayLike, observed: ArrayLike, names: Sequence[str], *, heading: str = "Fractions of votes"
) -> Figure:
    """Show the density of predicted against observed fractions, a panel per answer, with the root mean square error.

    Parameters
    ----------
    predicted, observed : arrays of shape (n, a)
        Fractions among the votes on each question; NaN where nobody was asked.
    names : sequence of a str
        Names of the answers.
    """
    ours, theirs = np.asarray(predicted, float), np.asarray(observed, float)
    n_columns = min(N_COLUMNS, len(names))
    n_rows = -(-len(names) // n_columns)
    figure = new_figure(0.9 + 2.3 * n_rows, heading=counted(heading, len(ours)))
    panels = list(figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    edges = np.linspace(0, 1, 33)
    for i, (axes, name) in enumerate(zip(panels, names, strict=False)):
        axes.set_title(name)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
        good = np.isfinite(ours[:, i]) & np.isfinite(theirs[:, i])
        if not good.any():
            say_empty(axes)
            continue
        counts = np.histogram2d(theirs[good, i], ours[good, i], edges)[0]
        axes.pcolormesh(edges, edges, np.log1p(counts).T, cmap=SHADES, zorder=0, rasterized=True)
        note(axes, f"rms {np.sqrt(np.mean((ours[good, i] - theirs[good, i]) ** 2)):.3f}", x=0.05, y=0.88)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    figure.supxlabel("fraction of the volunteers")
    figure.supylabel("predicted fraction")
    return figure


@styled
def fraction_errors(
    predicted: ArrayLike,
    observed: ArrayLike,
    error: ArrayLike,
    *,
    n_bins: int = 10,
    heading: str = "Errors of fractions",
) -> Figure:
    """Draw the measured scatter of the fractions against the scatter that is claimed, in bins of equal numbers.

    Parameters
    ----------
    predicted, observed, error : arrays of shape (n, a)
        Fractions, and the standard deviation that the difference should have.
    """
    ours, theirs, claimed = (np.asarray(values, float).ravel() for values in (predicted, observed, error))
    good = np.isfinite(ours) & np.isfinite(theirs) & np.isfinite(claimed)
    figure = new_figure(4.6, width=5.2, heading=counted(heading, int(good.sum()), "fractions"))
    axes = figure.subplots()
    axes.set(xlabel="standard deviation claimed", ylabel="root mean square difference")
    if not good.any():
        say_empty(axes)
        return figure
    order = np.argsort(claimed[good], kind="stable")
    parts = np.array_split(order, min(n_bins, len(order)))
    difference = (ours - theirs)[good]
    stated = np.array([np.sqrt(np.mean(claimed[good][part] ** 2)) for part in parts])
    found = np.array([np.sqrt(np.mean(difference[part] ** 2)) for part in parts])
    spread = found / np.sqrt(2 * np.array([len(part) for part in parts]))
    axes.errorbar(stated, found, spread, color=NETWORK, marker="o", linewidth=1.4, label="network")
    top = 1.1 * max(stated.max(), found.max())
    axes.plot([0, top], [0, top], color=INK, linewidth=1.0, label="ideal")
    axes.set(xlim=(0, top), ylim=(0, top))
    axes.legend(loc="upper left")
    return figure
