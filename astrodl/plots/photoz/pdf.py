"""Photometric redshifts as PDFs: calibration, examples and the distribution they add up to."""

from collections.abc import Mapping, Sequence

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
    new_figure,
    note,
    say_empty,
    styled,
)

Z_SPEC, Z_PHOT = r"$z_\mathrm{spec}$", r"$z_\mathrm{phot}$"


@styled
def pit_histogram(
    pit: ArrayLike,
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    n_bins: int = 20,
    ks: float | None = None,
    heading: str = "Calibration of the redshift PDFs",
) -> Figure:
    """Draw the histogram of the probability integral transform and its cumulative deviation from uniform.

    The grey bands hold 95 % of what a calibrated PDF gives for so many objects: binomial scatter per bin on the left,
    1.36 / sqrt(n) (Kolmogorov-Smirnov) on the right. A hollow histogram means PDFs too wide, a U shape too narrow, a
    slope a bias.

    Parameters
    ----------
    pit : array of shape (n,)
        CDF of each object at its true redshift; NaN is left out.
    baselines : mapping name -> array of shape (n,), optional
        PIT of other estimators.
    ks : float, optional
        Kolmogorov-Smirnov distance to print.
    """
    values = finite(pit)
    figure = new_figure(3.4, heading=counted(heading, len(values)))
    left, right = figure.subplots(1, 2)
    edges, n = np.linspace(0, 1, n_bins + 1), max(len(values), 1)
    scatter = 1.96 * np.sqrt((1 - 1 / n_bins) * n_bins / n)
    left.axhspan(max(0.0, 1 - scatter), 1 + scatter, color="#dfe2e6", label="95 % if calibrated", zorder=1)
    left.axhline(1, color=INK, linewidth=1.0, zorder=4)
    if len(values):
        left.hist(values, edges, weights=np.full(len(values), n_bins / n), color=NETWORK, alpha=0.85, label="network")
    else:
        say_empty(left)
    right.axhspan(-1.36 / np.sqrt(n), 1.36 / np.sqrt(n), color="#dfe2e6", zorder=1)
    right.axhline(0, color=INK, linewidth=1.0)
    _draw_deviation(right, values, NETWORK, "network")
    others = baselines or {}
    for name, color in baseline_colors(list(others)).items():
        other = finite(others[name])
        if len(other):
            height = np.histogram(other, edges)[0] * n_bins / len(other)
            left.stairs(height, edges, color=color, linewidth=1.6, label=name)
        _draw_deviation(right, other, color, name)
    left.set(xlabel="PIT", ylabel="relative frequency", xlim=(0, 1))
    left.set_ylim(0, max(left.get_ylim()[1], 1.6) * 1.12)
    left.legend(loc="upper center", ncols=3, columnspacing=1.0, handlelength=1.2)
    right.set(xlabel="PIT", ylabel="cumulative fraction − uniform", xlim=(0, 1))
    if ks is not None:
        note(right, f"KS = {ks:.3f}")
    return figure


def _draw_deviation(axes: Axes, pit: Array, color: str, label: str) -> None:
    if len(pit):
        ordered = np.sort(pit)
        axes.plot(ordered, (np.arange(len(pit)) + 0.5) / len(pit) - ordered, color=color, label=label)


@styled
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
    """Draw the PDF of a few galaxies beside their cutout, with the true redshift.

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
        Size of the set the examples are taken from, for the heading.
    """
    density, edges, z_spec = (
        np.asarray(pdf, dtype=float),
        np.asarray(edges, dtype=float),
        np.asarray(z_spec, dtype=float),
    )
    n = min(len(density), 12)
    source = f" of {n_total:,}" if n_total else ""
    figure = new_figure(1.0 + 1.45 * max(1, -(-n // 2)), heading=f"{heading} · {n}{source} galaxies")
    grid = figure.add_gridspec(max(1, -(-n // 2)), 4, width_ratios=(1, 2.1, 1, 2.1))
    if n == 0:
        say_empty(figure.add_subplot(grid[:, :]))
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
        if row == -(-n // 2) - 1 or i + 2 >= n:
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
        say_empty(axes, "no PDF")
        return
    axes.stairs(density, edges, fill=True, color=NETWORK, alpha=0.3)
    axes.stairs(density, edges, color=NETWORK, linewidth=1.3)
    if np.isfinite(z_spec):
        axes.axvline(z_spec, color=ODD, linewidth=1.5, label=Z_SPEC)
    if z_phot is not None and np.isfinite(z_phot):
        axes.axvline(z_phot, color=INK, linewidth=1.1, linestyle=(0, (3, 2)), label=Z_PHOT)
    cumulative = np.concatenate([[0], np.cumsum(density * np.diff(edges))])
    low, high = np.interp([0.0015, 0.9985], cumulative / cumulative[-1], edges)
    marks = [low, high, *(z for z in (z_spec, z_phot) if z is not None and np.isfinite(z))]
    margin = 0.12 * (max(marks) - min(marks)) + 0.02
    axes.set(xlim=(min(marks) - margin, max(marks) + margin), ylim=(0, 1.15 * density.max()))


@styled
def redshift_distribution(
    pdf: ArrayLike,
    edges: ArrayLike,
    z_spec: ArrayLike,
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    n_bins: int = 30,
    heading: str = "Redshift distribution n(z)",
) -> Figure:
    """Draw the mean PDF of all objects against the histogram of true redshifts, and their difference.

    Parameters
    ----------
    pdf : array of shape (n, m)
        Densities over `edges`; rows that are not finite are left out.
    edges : array of shape (m + 1,)
        Bin edges in redshift.
    z_spec : array of shape (n,)
        True redshifts.
    baselines : mapping name -> array of shape (n, m), optional
        PDFs of other estimators over the same edges.
    """
    truth, edges = finite(z_spec), np.asarray(edges, dtype=np.float64)
    figure = new_figure(4.6, heading=counted(heading, len(truth)))
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1.1)})
    bins = np.linspace(edges[0], edges[-1], n_bins + 1)
    width = bins[1] - bins[0]
    n = max(len(truth), 1)
    counts = np.histogram(truth, bins)[0]
    top.stairs(counts / n / width, bins, fill=True, color="#d5d9de", label="truth")
    bottom.axhline(0, color=INK, linewidth=1.0)
    error = np.sqrt(np.maximum(counts, 1)) / n / width
    bottom.stairs(error, bins, baseline=-error, fill=True, color="#dfe2e6", label="Poisson error of the truth")
    stacks = {"network": pdf, **(baselines or {})}
    colors = {"network": NETWORK, **baseline_colors(list(baselines or {}))}
    for name, values in stacks.items():
        values = np.asarray(values, dtype=np.float64)
        values = values[np.isfinite(values).all(axis=1)] if values.size else values
        if not len(values):
            continue
        stacked = values.mean(axis=0)
        top.stairs(stacked, edges, color=colors[name], linewidth=1.8, label=f"{name}, stacked PDFs")
        cumulative = np.concatenate([[0], np.cumsum(stacked * np.diff(edges))])
        bottom.stairs(
            np.diff(np.interp(bins, edges, cumulative)) / width - counts / n / width, bins, color=colors[name]
        )
    top.set_ylabel("density per unit redshift")
    top.set_ylim(bottom=0)
    top.legend(loc="upper right")
    bottom.set(xlabel="redshift", ylabel="difference", xlim=(edges[0], edges[-1]))
    bottom.legend(loc="upper right", fontsize=7.5)
    if not len(truth):
        say_empty(top)
    return figure
