"""Photometric redshifts in bins of redshift: n(z) of tomographic bins, and the bias that an uneven n(z) leaves."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from astrodl.plots.photoz.scatter import DELTA, Z_PHOT
from astrodl.plots.style import (
    INK,
    SEQUENTIAL,
    Array,
    colors_of,
    counted,
    finite,
    finite_pairs,
    legend_below,
    new_figure,
    say_empty,
    styled,
)

REQUIREMENT = 0.002
N_DRAWS = 200
BACKGROUND, BAND = "#e9ebee", "#d5d9de"
Z_TRUE = r"$z_\mathrm{true}$"
Color = tuple[float, float, float, float]


@styled
def tomographic_bins(
    pdf: ArrayLike,
    edges: ArrayLike,
    z_true: ArrayLike,
    z_phot: ArrayLike,
    *,
    n_bins: int = 5,
    heading: str = "Tomographic bins",
) -> Figure:
    """Draw stacked PDFs over true redshifts in bins of the estimate, and the error of the mean redshift of each.

    The grey band is the requirement of the LSST DESC Science Requirements Document (arXiv:1809.01669) on the mean
    redshift of weak-lensing sources in year 1, 0.002 (1 + z). It is meant for what remains after calibration; the
    points are the stacked PDFs as they come.

    Parameters
    ----------
    pdf : array of shape (n, m)
        Densities over `edges`; objects whose row is not finite or empty, or whose redshift is NaN, are left out.
    edges : array of shape (m + 1,)
        Bin edges in redshift.
    z_true, z_phot : arrays of shape (n,)
        True redshift and the estimate that the bins, of equal counts, are cut in.
    n_bins : int
        Tomographic bins; fewer when a bin would hold less than two objects.
    """
    bounds, truth, estimate = (np.asarray(values, dtype=np.float64) for values in (edges, z_true, z_phot))
    density = np.asarray(pdf, dtype=np.float64).reshape(len(truth), len(bounds) - 1)
    good = np.isfinite(density).all(axis=1) & (density.sum(axis=1) > 0) & np.isfinite(truth) & np.isfinite(estimate)
    density, truth, estimate = density[good], truth[good], estimate[good]
    figure = new_figure(5.6, heading=counted(heading, len(truth)))
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2.2, 1)})
    bottom.axhspan(-REQUIREMENT, REQUIREMENT, color=BAND, linewidth=1.2, zorder=1)
    bottom.axhline(0, color=INK, linewidth=0.8, zorder=2)
    bins = _equal_counts(estimate, n_bins, fewest=2)
    for number, chosen in enumerate(bins):
        color = SEQUENTIAL(0.88 * number / max(1, len(bins) - 1))
        _draw_bin((top, bottom), density[chosen], bounds, truth[chosen], color)
    top.set(ylabel="density per unit redshift", ylim=(0, None), xlim=_seen(bounds, density, truth))
    bottom.set_xlabel("redshift")
    bottom.set_ylabel(r"$(\bar z_\mathrm{stack} - \bar z_\mathrm{true})$" + "\n" + r"$/\,(1 + \bar z_\mathrm{true})$")
    if not len(truth):
        say_empty(top)
    # The band must not fill the panel where errors are small.
    bottom.set_ylim(min(bottom.get_ylim()[0], -1.7 * REQUIREMENT), max(bottom.get_ylim()[1], 1.7 * REQUIREMENT))
    color = SEQUENTIAL(0.44)
    entries = {
        "true redshifts": Patch(color=color, alpha=0.28, linewidth=0),
        "stacked PDFs": Line2D([], [], color=color),
        "bias, bootstrap error": Line2D([], [], color=color, marker="o", markersize=5, linestyle=""),
        f"±{REQUIREMENT:g}, LSST year-1 requirement": Patch(color=BAND),
    }
    legend_below(figure, list(entries.values()), list(entries))
    return figure


def _draw_bin(panels: tuple[Axes, Axes], density: Array, edges: Array, truth: Array, color: Color) -> None:
    top, bottom = panels
    probability = density * np.diff(edges)
    probability /= probability.sum(axis=1, keepdims=True)
    # Few objects in narrow bins are a comb, not a histogram.
    low, high = min(edges[0], truth.min()), max(edges[-1], truth.max())
    coarse = np.linspace(low, high, int(np.clip(4 * np.sqrt(len(truth)), 12, 45)) + 1)
    height = np.histogram(truth, coarse)[0] / len(truth) / (coarse[1] - coarse[0])
    top.stairs(height, coarse, fill=True, color=color, alpha=0.28, linewidth=0)
    top.stairs(probability.mean(axis=0) / np.diff(edges), edges, color=color, linewidth=1.7)
    middle = 0.5 * (edges[1:] + edges[:-1])
    scale = 1 + truth.mean()
    bias, error = _bootstrapped((probability @ middle - truth) / scale, np.mean)
    bottom.errorbar(truth.mean(), bias, error, color=color, marker="o", markersize=5, elinewidth=1.3, zorder=4)


def _seen(edges: Array, density: Array, truth: Array) -> tuple[float, float]:
    """Give the range that holds all true redshifts and all but a thousandth of the stack at either end."""
    if not len(truth):
        return float(edges[0]), float(edges[-1])
    cumulative = np.concatenate([[0], np.cumsum(density.sum(axis=0) * np.diff(edges))])
    low, high = np.interp([0.001, 0.999], cumulative / cumulative[-1], edges)
    margin = 0.03 * (max(high, truth.max()) - min(low, truth.min()))
    return float(min(low, truth.min()) - margin), float(max(high, truth.max()) + margin)


@styled
def imbalance_bias(
    z_true: ArrayLike,
    estimates: Mapping[str, ArrayLike],
    *,
    z_train: ArrayLike | None = None,
    n_bins: int = 8,
    heading: str = "Bias against true and against estimated redshift",
) -> Figure:
    """Draw the median bias in bins of the true redshift and in bins of the estimate, side by side.

    A network trained on an uneven n(z) pulls rare redshifts towards common ones. That shows against the true redshift;
    against the estimate, which is all that an observer has, the same network may be unbiased. Weights against n(z)
    trade one for the other. Bins hold equal counts; errors are bootstrapped.

    Parameters
    ----------
    z_true : array of shape (n,)
        True redshifts; NaN are left out.
    estimates : mapping name -> array of shape (n,)
        Estimates of the same objects by several networks.
    z_train : array, optional
        Redshifts whose histogram stands behind the curves, at no scale: those of the training galaxies. By default
        `z_true`.
    n_bins : int
        Bins; fewer when a bin would hold less than ten objects.
    """
    truth = np.asarray(z_true, dtype=np.float64)
    behind = finite(truth if z_train is None else z_train)
    height = 3.9 + 0.17 * max(0, len(estimates) - 3)
    figure = new_figure(height, heading=counted(heading, int(np.isfinite(truth).sum())))
    panels = figure.subplots(1, 2, sharey=True)
    ends: list[list[float]] = [[], []]
    for (name, color), shift in zip(colors_of(list(estimates)).items(), _shifts(len(estimates)), strict=True):
        z, estimate = finite_pairs(truth, estimates[name])
        residual = (estimate - z) / (1 + z)
        for axes, axis, end in zip(panels, (z, estimate), ends, strict=True):
            _draw_bias(axes, axis, residual, n_bins, shift, name, color)
            end += [*np.quantile(axis, [0.005, 0.995])] if len(axis) else []
    for axes, label, end in zip(panels, (Z_TRUE, Z_PHOT), ends, strict=True):
        axes.axhline(0, color=INK, linewidth=1.0, zorder=2)
        axes.set_xlabel(label)
        _draw_behind(axes, behind)
        if end:
            margin = 0.04 * (max(end) - min(end)) + 1e-3
            axes.set_xlim(min(end) - margin, max(end) + margin)
        else:
            say_empty(axes)
    panels[0].set_ylabel(f"median of {DELTA.replace('spec', 'true')}")
    handles, labels = panels[0].get_legend_handles_labels()
    whose = "n(z) of these galaxies" if z_train is None else "n(z) of the training galaxies"
    legend_below(figure, [*handles, Patch(color=BACKGROUND)], [*labels, whose])
    return figure


def _draw_bias(axes: Axes, axis: Array, residual: Array, n_bins: int, shift: float, name: str, color: str) -> None:
    rows = [
        (np.median(axis[chosen]), *_bootstrapped(residual[chosen], np.median))
        for chosen in _equal_counts(axis, n_bins, fewest=10)
    ]
    if rows:
        x, y, error = np.array(rows).T
        # Networks side by side, or their error bars hide each other.
        x = x + shift * 0.01 * np.ptp(np.quantile(axis, [0.005, 0.995]))
        axes.errorbar(x, y, error, color=color, label=name, marker="o", markersize=4.5, linewidth=1.4, elinewidth=1.1)


def _draw_behind(axes: Axes, z: Array) -> None:
    """Draw a histogram over the lower part of a panel, in units of its height."""
    if len(z):
        counts, bounds = np.histogram(z, int(np.clip(np.sqrt(len(z)), 8, 40)))
        height = 0.45 * counts / counts.max()
        axes.stairs(
            height, bounds, fill=True, color=BACKGROUND, linewidth=0, transform=axes.get_xaxis_transform(), zorder=0.5
        )


def _shifts(n: int) -> Sequence[float]:
    return [number - (n - 1) / 2 for number in range(n)]


def _equal_counts(values: Array, n_bins: int, *, fewest: int) -> list[Array]:
    """Divide objects into bins of equal counts; give indices by bin, none for no objects."""
    if not len(values):
        return []
    n_bins = int(np.clip(len(values) // fewest, 1, n_bins))
    bounds = np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)))
    number = np.searchsorted(bounds[1:-1], values, side="right")
    return [chosen for i in range(max(1, len(bounds) - 1)) if len(chosen := np.flatnonzero(number == i))]


def _bootstrapped(values: Array, statistic: Callable[[Array], float]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    draws = [statistic(values[rng.integers(0, len(values), len(values))]) for _ in range(N_DRAWS)]
    return float(statistic(values)), float(np.std(draws))
