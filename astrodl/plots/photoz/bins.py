"""Photometric redshifts in bins of redshift: tomographic bins, and the bias caused by an uneven n(z)."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from astrodl.metrics.bins import split_equal_counts
from astrodl.metrics.bootstrap import bootstrap
from astrodl.metrics.photoz import MEAN_Z_REQUIREMENT, bias_median
from astrodl.plots.photoz.pdf import cumulate
from astrodl.plots.photoz.scatter import DELTA_Z, Z_PHOT, draw_binned_statistic
from astrodl.plots.style import (
    BAND,
    INK,
    SEQUENTIAL,
    Array,
    add_count,
    add_legend_below,
    apply_style,
    assign_colors,
    mark_empty,
    new_figure,
    select_finite,
    select_finite_pairs,
)

__all__ = ["imbalance_bias", "tomographic_bins"]

_BACKGROUND = "#e9ebee"
_Z_TRUE = r"$z_\mathrm{true}$"
_Color = tuple[float, float, float, float]


@apply_style
def tomographic_bins(
    pdf: ArrayLike,
    edges: ArrayLike,
    z_true: ArrayLike,
    z_phot: ArrayLike,
    *,
    n_bins: int = 5,
    heading: str = "Tomographic bins",
) -> Figure:
    """Draw stacked PDFs and true redshifts in bins of the point estimate, and the bias of the mean redshift per bin.

    The grey band is the requirement of the LSST DESC Science Requirements Document (arXiv:1809.01669) on the mean
    redshift of weak-lensing sources in year 1, 0.002 (1 + z). The requirement is for the error after calibration of the
    mean redshifts, whereas the points are without any such calibration.

    Parameters
    ----------
    pdf : array of shape (n, m)
        Densities over `edges`; objects whose row is not finite or empty, or whose redshift is NaN, are left out.
    edges : array of shape (m + 1,)
        Bin edges in redshift.
    z_true, z_phot : arrays of shape (n,)
        True redshifts, and point estimates that define the bins.
    n_bins : int
        Number of bins of equal counts; with few objects there are fewer bins, of at least two objects each.
    """
    bounds, truth, estimate = (np.asarray(values, dtype=np.float64) for values in (edges, z_true, z_phot))
    density = np.asarray(pdf, dtype=np.float64).reshape(len(truth), len(bounds) - 1)
    good = np.isfinite(density).all(axis=1) & (density.sum(axis=1) > 0) & np.isfinite(truth) & np.isfinite(estimate)
    density, truth, estimate = density[good], truth[good], estimate[good]
    figure = new_figure(5.6, heading=add_count(heading, len(truth)))
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2.2, 1)})
    bottom.axhspan(-MEAN_Z_REQUIREMENT, MEAN_Z_REQUIREMENT, color=BAND, linewidth=1.2, zorder=1)
    bottom.axhline(0, color=INK, linewidth=0.8, zorder=2)
    bins = split_equal_counts(estimate, n_bins, min_count=2)
    for number, members in enumerate(bins):
        color = SEQUENTIAL(0.88 * number / max(1, len(bins) - 1))
        _draw_bin(top, bottom, density[members], bounds, truth[members], color)
    top.set(ylabel="density per unit redshift", ylim=(0, None), xlim=_redshift_limits(bounds, density, truth))
    bottom.set_xlabel("redshift")
    bottom.set_ylabel(r"$(\bar z_\mathrm{stack} - \bar z_\mathrm{true})$" + "\n" + r"$/\,(1 + \bar z_\mathrm{true})$")
    if not len(truth):
        mark_empty(top)
    # The band must not fill the panel where errors are small.
    low, high = bottom.get_ylim()
    bottom.set_ylim(min(low, -1.7 * MEAN_Z_REQUIREMENT), max(high, 1.7 * MEAN_Z_REQUIREMENT))
    color = SEQUENTIAL(0.44)
    entries = {
        "true redshifts": Patch(color=color, alpha=0.28, linewidth=0),
        "stacked PDFs": Line2D([], [], color=color),
        "bias, bootstrap error": Line2D([], [], color=color, marker="o", markersize=5, linestyle=""),
        f"±{MEAN_Z_REQUIREMENT:g}, LSST year-1 requirement": Patch(color=BAND),
    }
    add_legend_below(figure, list(entries.values()), list(entries))
    return figure


def _draw_bin(top: Axes, bottom: Axes, density: Array, edges: Array, truth: Array, color: _Color) -> None:
    probability = density * np.diff(edges)
    probability /= probability.sum(axis=1, keepdims=True)
    # With few objects the bins of the PDFs are too narrow for a histogram.
    low, high = min(edges[0], truth.min()), max(edges[-1], truth.max())
    coarse = np.linspace(low, high, int(np.clip(4 * np.sqrt(len(truth)), 12, 45)) + 1)
    height = np.histogram(truth, coarse)[0] / len(truth) / (coarse[1] - coarse[0])
    top.stairs(height, coarse, fill=True, color=color, alpha=0.28, linewidth=0)
    top.stairs(probability.mean(axis=0) / np.diff(edges), edges, color=color, linewidth=1.7)
    middle = 0.5 * (edges[1:] + edges[:-1])
    scale = 1 + truth.mean()
    bias, error = bootstrap(np.mean, (probability @ middle - truth) / scale, n_draws=200)
    bottom.errorbar(truth.mean(), bias, error, color=color, marker="o", markersize=5, elinewidth=1.3, zorder=4)


def _redshift_limits(edges: Array, density: Array, truth: Array) -> tuple[float, float]:
    """Return limits that contain all true redshifts, and all but 0.1 % of the stacked PDFs at each end."""
    if not len(truth):
        return float(edges[0]), float(edges[-1])
    low, high = np.interp([0.001, 0.999], cumulate(density.sum(axis=0), edges), edges)
    low, high = min(low, truth.min()), max(high, truth.max())
    margin = 0.03 * (high - low)
    return float(low - margin), float(high + margin)


@apply_style
def imbalance_bias(
    z_true: ArrayLike,
    estimates: Mapping[str, ArrayLike],
    *,
    z_train: ArrayLike | None = None,
    n_bins: int = 8,
    heading: str = "Bias against true and against estimated redshift",
) -> Figure:
    """Draw the median bias in bins of the true redshift, and in bins of the estimate, with bootstrap errors.

    The estimates of a network trained on an uneven n(z) are biased towards frequent redshifts. The bias appears in bins
    of the true redshift; in bins of the estimate, which is all that an observer has, the same network may be unbiased.
    Weights inverse to n(z) reduce the former bias and increase the latter.

    Parameters
    ----------
    z_true : array of shape (n,)
        True redshifts; NaN is left out.
    estimates : mapping name -> array of shape (n,)
        Photometric redshifts of the same objects by several networks.
    z_train : array, optional
        Redshifts of the training galaxies, drawn as a histogram of arbitrary scale; by default `z_true`.
    n_bins : int
        Number of bins of equal counts; with few objects there are fewer bins, of at least ten objects each.
    """
    truth = np.asarray(z_true, dtype=np.float64)
    background = select_finite(truth if z_train is None else z_train)
    height = 3.9 + 0.17 * max(0, len(estimates) - 3)
    figure = new_figure(height, heading=add_count(heading, int(np.isfinite(truth).sum())))
    panels = figure.subplots(1, 2, sharey=True)
    limits: list[list[float]] = [[], []]
    for i, (name, color) in enumerate(assign_colors(list(estimates)).items()):
        z, estimate = select_finite_pairs(truth, estimates[name])
        if not len(z):
            continue
        for axes, x, ends in zip(panels, (z, estimate), limits, strict=True):
            draw_binned_statistic(
                axes,
                x,
                split_equal_counts(x, n_bins, min_count=10),
                bias_median,
                (estimate, z),
                color=color,
                label=name,
                offset=i - (len(estimates) - 1) / 2,
            )
            ends += [*np.quantile(x, [0.005, 0.995])]
    for axes, label, ends in zip(panels, (_Z_TRUE, Z_PHOT), limits, strict=True):
        axes.axhline(0, color=INK, linewidth=1.0, zorder=2)
        axes.set_xlabel(label)
        _draw_background(axes, background)
        if ends:
            margin = 0.04 * (max(ends) - min(ends)) + 1e-3
            axes.set_xlim(min(ends) - margin, max(ends) + margin)
        else:
            mark_empty(axes)
    panels[0].set_ylabel(f"median of {DELTA_Z.replace('spec', 'true')}")
    handles, labels = panels[0].get_legend_handles_labels()
    histogram = "n(z) of these galaxies" if z_train is None else "n(z) of the training galaxies"
    add_legend_below(figure, [*handles, Patch(color=_BACKGROUND)], [*labels, histogram])
    return figure


def _draw_background(axes: Axes, z: Array) -> None:
    """Draw a histogram in the lower part of a panel, with a height in units of the panel."""
    if len(z):
        counts, bounds = np.histogram(z, int(np.clip(np.sqrt(len(z)), 8, 40)))
        height = 0.45 * counts / counts.max()
        axes.stairs(
            height, bounds, fill=True, color=_BACKGROUND, linewidth=0, transform=axes.get_xaxis_transform(), zorder=0.5
        )
