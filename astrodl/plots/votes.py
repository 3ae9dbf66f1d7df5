"""Vote fractions: predicted against observed, and measured against predicted errors."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.metrics.bins import split_equal_counts
from astrodl.plots.style import (
    INK,
    NETWORK,
    SHADES,
    add_count,
    apply_style,
    mark_empty,
    new_figure,
    select_finite_pairs,
    write_note,
)

__all__ = ["fraction_errors", "fraction_scatter"]

_N_COLUMNS = 5


@apply_style
def fraction_scatter(
    predicted: ArrayLike, observed: ArrayLike, names: Sequence[str], *, heading: str = "Vote fractions"
) -> Figure:
    """Draw the density of predicted against observed vote fractions with the RMS error, a panel per answer.

    Parameters
    ----------
    predicted, observed : arrays of shape (n, a)
        Fractions of the votes on each question; NaN where the question was not asked.
    names : sequence of a str
        Names of the answers.
    """
    predicted, observed = np.asarray(predicted, float), np.asarray(observed, float)
    n_columns = min(_N_COLUMNS, len(names))
    n_rows = -(-len(names) // n_columns)
    figure = new_figure(0.9 + 2.3 * n_rows, heading=add_count(heading, len(predicted)))
    panels = list(figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    edges = np.linspace(0, 1, 33)
    for i, (axes, name) in enumerate(zip(panels, names, strict=False)):
        axes.set_title(name)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
        x, y = select_finite_pairs(observed[:, i], predicted[:, i])
        if not len(x):
            mark_empty(axes)
            continue
        counts = np.histogram2d(x, y, edges)[0]
        axes.pcolormesh(edges, edges, np.log1p(counts).T, cmap=SHADES, zorder=0, rasterized=True)
        write_note(axes, f"RMS {np.sqrt(np.mean((y - x) ** 2)):.3f}", x=0.05, y=0.88)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    figure.supxlabel("observed fraction of votes")
    figure.supylabel("predicted fraction of votes")
    return figure


@apply_style
def fraction_errors(
    predicted: ArrayLike,
    observed: ArrayLike,
    error: ArrayLike,
    *,
    n_bins: int = 10,
    heading: str = "Errors of the vote fractions",
) -> Figure:
    """Draw the RMS difference of vote fractions against its predicted standard deviation, in bins of equal counts.

    Parameters
    ----------
    predicted, observed : arrays of shape (n, a)
        Fractions of the votes on each question; pairs with a NaN are left out.
    error : array of shape (n, a)
        Predicted standard deviation of the difference.
    n_bins : int
        Number of bins.
    """
    difference, sigma = select_finite_pairs(
        np.asarray(predicted, float).ravel() - np.asarray(observed, float).ravel(), np.asarray(error, float).ravel()
    )
    figure = new_figure(4.6, width=5.2, heading=add_count(heading, len(sigma), "fractions"))
    axes = figure.subplots()
    axes.set(xlabel="predicted standard deviation", ylabel="RMS difference")
    if not len(sigma):
        mark_empty(axes)
        return figure
    bins = split_equal_counts(sigma, n_bins)
    stated = np.array([np.sqrt(np.mean(sigma[members] ** 2)) for members in bins])
    rms = np.array([np.sqrt(np.mean(difference[members] ** 2)) for members in bins])
    # Standard error of the RMS of n normal deviates.
    error_of_rms = rms / np.sqrt(2 * np.array([len(members) for members in bins]))
    axes.errorbar(stated, rms, error_of_rms, color=NETWORK, marker="o", linewidth=1.4, label="network")
    top = 1.1 * max(stated.max(), rms.max())
    axes.plot([0, top], [0, top], color=INK, linewidth=1.0, label="ideal")
    axes.set(xlim=(0, top), ylim=(0, top))
    axes.legend(loc="upper left")
    return figure
