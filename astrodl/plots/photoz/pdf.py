"""Redshift PDFs: calibration, examples, and the stacked redshift distribution."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from astrodl.plots.photoz.scatter import Z_PHOT, Z_SPEC
from astrodl.plots.style import (
    BAND,
    INK,
    NETWORK,
    ODD,
    Array,
    add_count,
    apply_style,
    list_methods,
    mark_empty,
    new_figure,
    select_finite,
    write_note,
)

__all__ = ["cumulate", "example_pdfs", "pit_histogram", "redshift_distribution"]

_MAX_EXAMPLES = 12


def cumulate(density: Array, edges: Array) -> Array:
    """Return the cumulative distribution at the bin edges, normalised to one at the last edge."""
    cumulative = np.concatenate([[0], np.cumsum(density * np.diff(edges))])
    return cumulative / cumulative[-1]


@apply_style
def pit_histogram(
    pit: ArrayLike,
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    n_bins: int = 20,
    ks: float | None = None,
    heading: str = "Calibration of the redshift PDFs",
) -> Figure:
    """Draw the histogram of the probability integral transform (PIT), and its cumulative deviation from uniform.

    The grey bands contain 95 % of the values that calibrated PDFs would give for this number of objects: binomial
    scatter per bin on the left, 1.36 / sqrt(n) (Kolmogorov-Smirnov) on the right. A histogram with a peak in the middle
    indicates PDFs that are too wide, a U shape PDFs that are too narrow, and a slope a bias.

    Parameters
    ----------
    pit : array of shape (n,)
        CDF of each object at its true redshift; NaN is left out.
    baselines : mapping name -> array of shape (n,), optional
        PIT of other methods.
    n_bins : int
        Number of bins of the histogram.
    ks : float, optional
        Kolmogorov-Smirnov distance to print.
    """
    values = select_finite(pit)
    figure = new_figure(3.4, heading=add_count(heading, len(values)))
    left, right = figure.subplots(1, 2)
    edges, n = np.linspace(0, 1, n_bins + 1), max(len(values), 1)
    scatter = 1.96 * np.sqrt((1 - 1 / n_bins) * n_bins / n)
    left.axhspan(max(0.0, 1 - scatter), 1 + scatter, color=BAND, label="95 % if calibrated", zorder=1)
    left.axhline(1, color=INK, linewidth=1.0, zorder=4)
    right.axhspan(-1.36 / np.sqrt(n), 1.36 / np.sqrt(n), color=BAND, zorder=1)
    right.axhline(0, color=INK, linewidth=1.0)
    if not len(values):
        mark_empty(left)
    for name, method_pit, color in list_methods(pit, baselines):
        ordered = np.sort(select_finite(method_pit))
        if not len(ordered):
            continue
        height = np.histogram(ordered, edges)[0] * n_bins / len(ordered)
        style = {"fill": True, "alpha": 0.85, "linewidth": 0} if name == "network" else {"linewidth": 1.6}
        left.stairs(height, edges, color=color, label=name, **style)
        right.plot(ordered, (np.arange(len(ordered)) + 0.5) / len(ordered) - ordered, color=color, label=name)
    left.set(xlabel="PIT", ylabel="relative frequency", xlim=(0, 1))
    left.set_ylim(0, max(left.get_ylim()[1], 1.6) * 1.12)
    left.legend(loc="upper center", ncols=3, columnspacing=1.0, handlelength=1.2)
    right.set(xlabel="PIT", ylabel="cumulative fraction − uniform", xlim=(0, 1))
    if ks is not None:
        write_note(right, f"KS = {ks:.3f}")
    return figure


@apply_style
def example_pdfs(
    pdf: ArrayLike,
    edges: ArrayLike,
    z_spec: ArrayLike,
    *,
    rgb: ArrayLike | None = None,
    z_phot: ArrayLike | None = None,
    titles: Sequence[str] | None = None,
    n_total: int | None = None,
    heading: str = "Examples of redshift PDFs",
) -> Figure:
    """Draw the PDFs of a few galaxies next to their cutouts, with the true redshifts.

    Parameters
    ----------
    pdf : array of shape (n, n_bins)
        Density over `edges`; up to twelve are drawn.
    edges : array of shape (n_bins + 1,)
        Bin edges in redshift.
    z_spec : array of shape (n,)
        True redshift, NaN where unknown.
    rgb : array of shape (n, y, x, 3), optional
        Colour cutouts.
    z_phot : array of shape (n,), optional
        Point estimate.
    titles : sequence of n str, optional
        Text above each PDF.
    n_total : int, optional
        Size of the sample that the examples are from, for the heading.
    """
    density, edges, z_spec = (np.asarray(values, dtype=float) for values in (pdf, edges, z_spec))
    n = min(len(density), _MAX_EXAMPLES)
    n_rows = max(1, -(-n // 2))
    figure = new_figure(1.0 + 1.45 * n_rows, heading=add_count(heading, n, n_total=n_total))
    grid = figure.add_gridspec(n_rows, 4, width_ratios=(1, 2.1, 1, 2.1))
    if n == 0:
        mark_empty(figure.add_subplot(grid[:, :]))
    for i in range(n):
        row, column = divmod(i, 2)
        if rgb is not None:
            _draw_image(figure.add_subplot(grid[row, 2 * column]), np.asarray(rgb)[i])
            axes = figure.add_subplot(grid[row, 2 * column + 1])
        else:
            axes = figure.add_subplot(grid[row, 2 * column : 2 * column + 2])
        point = None if z_phot is None else float(np.asarray(z_phot)[i])
        _draw_pdf(axes, density[i], edges, float(z_spec[i]), point)
        if titles is not None:
            axes.set_title(titles[i], fontsize=8.0)
        if i + 2 >= n:
            axes.set_xlabel("redshift")
        if i == 0:
            handles = axes.get_legend_handles_labels()
            figure.legend(*handles, loc="outside lower right", ncols=2)
    return figure


def _draw_image(axes: Axes, rgb: Array) -> None:
    axes.imshow(rgb, origin="lower", interpolation="bicubic")
    axes.set_axis_off()


def _draw_pdf(axes: Axes, density: Array, edges: Array, z_spec: float, z_phot: float | None) -> None:
    axes.grid(False)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if not np.isfinite(density).all() or density.sum() <= 0:
        mark_empty(axes, "no PDF")
        return
    axes.stairs(density, edges, fill=True, color=NETWORK, alpha=0.3)
    axes.stairs(density, edges, color=NETWORK, linewidth=1.3)
    if np.isfinite(z_spec):
        axes.axvline(z_spec, color=ODD, linewidth=1.5, label=Z_SPEC)
    if z_phot is not None and np.isfinite(z_phot):
        axes.axvline(z_phot, color=INK, linewidth=1.1, linestyle=(0, (3, 2)), label=Z_PHOT)
    low, high = np.interp([0.0015, 0.9985], cumulate(density, edges), edges)
    shown = [low, high, *(z for z in (z_spec, z_phot) if z is not None and np.isfinite(z))]
    margin = 0.12 * (max(shown) - min(shown)) + 0.02
    axes.set(xlim=(min(shown) - margin, max(shown) + margin), ylim=(0, 1.15 * density.max()))


@apply_style
def redshift_distribution(
    pdf: ArrayLike,
    edges: ArrayLike,
    z_spec: ArrayLike,
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    n_bins: int = 30,
    heading: str = "Redshift distribution n(z)",
) -> Figure:
    """Draw the mean PDF of all objects with the histogram of true redshifts, and their difference.

    Parameters
    ----------
    pdf : array of shape (n, m)
        Densities over `edges`; rows that are not finite are left out.
    edges : array of shape (m + 1,)
        Bin edges in redshift.
    z_spec : array of shape (n,)
        True redshifts.
    baselines : mapping name -> array of shape (n, m), optional
        PDFs of other methods over the same edges.
    n_bins : int
        Number of bins of the histogram.
    """
    truth, edges = select_finite(z_spec), np.asarray(edges, dtype=np.float64)
    figure = new_figure(4.6, heading=add_count(heading, len(truth)))
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1.1)})
    bins = np.linspace(edges[0], edges[-1], n_bins + 1)
    width = bins[1] - bins[0]
    n = max(len(truth), 1)
    counts = np.histogram(truth, bins)[0]
    true_density = counts / n / width
    top.stairs(true_density, bins, fill=True, color="#d5d9de", label="truth")
    bottom.axhline(0, color=INK, linewidth=1.0)
    error = np.sqrt(np.maximum(counts, 1)) / n / width
    bottom.stairs(error, bins, baseline=-error, fill=True, color=BAND, label="Poisson error")
    for name, values, color in list_methods(pdf, baselines):
        densities = np.asarray(values, dtype=np.float64).reshape(-1, len(edges) - 1)
        densities = densities[np.isfinite(densities).all(axis=1)]
        if not len(densities):
            continue
        stacked = densities.mean(axis=0)
        top.stairs(stacked, edges, color=color, linewidth=1.8, label=f"{name}, stacked PDFs")
        cumulative = np.concatenate([[0], np.cumsum(stacked * np.diff(edges))])
        rebinned = np.diff(np.interp(bins, edges, cumulative)) / width
        bottom.stairs(rebinned - true_density, bins, color=color)
    top.set_ylabel("density per unit redshift")
    top.set_ylim(bottom=0)
    top.legend(loc="upper right")
    bottom.set(xlabel="redshift", ylabel="PDFs − truth", xlim=(edges[0], edges[-1]))
    bottom.legend(loc="upper right", fontsize=7.5)
    if not len(truth):
        mark_empty(top)
    return figure
