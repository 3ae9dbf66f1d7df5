"""Photometric redshifts as point estimates: against the truth, and bias and scatter in bins."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from astrodl.metrics.bins import split_equal_counts
from astrodl.metrics.bootstrap import bootstrap
from astrodl.metrics.photoz import bias_median, eta, sigma_mad
from astrodl.plots.style import (
    INK,
    NETWORK,
    ODD,
    Array,
    add_count,
    add_legend_above,
    apply_style,
    draw_density,
    format_signed,
    list_methods,
    mark_empty,
    new_figure,
    select_finite_pairs,
    write_note,
)

__all__ = ["DELTA_Z", "Z_PHOT", "Z_SPEC", "draw_binned_statistic", "redshift_scatter", "redshift_trends"]

Z_SPEC, Z_PHOT = r"$z_\mathrm{spec}$", r"$z_\mathrm{phot}$"
DELTA_Z = r"$\Delta z\,/\,(1+z_\mathrm{spec})$"
_OUTLIER_LIMITS = (0.05, 0.15)
_MAX_RESIDUAL = 0.22
"""Limit of the axis of the residuals."""


@apply_style
def redshift_scatter(
    z_spec: ArrayLike,
    z_phot: ArrayLike,
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    name: str = "network",
    heading: str = "Photometric against spectroscopic redshift",
) -> Figure:
    """Draw z_phot against z_spec, coloured by density, and the residuals, one column per method.

    Dashed and dotted lines are the outlier limits |dz| = 0.05 (1 + z) of Pasquet et al. (2019), and 0.15 (1 + z), which
    is in common use.

    Parameters
    ----------
    z_spec, z_phot : arrays of shape (n,)
        Spectroscopic (true) and photometric redshifts; pairs with a NaN are left out.
    baselines : mapping name -> array of shape (n,), optional
        Photometric redshifts of other methods; up to three are drawn.
    name : str
        Title of the column of the network.
    """
    methods = list_methods(z_phot, baselines, name)[:4]
    n_columns = len(methods)
    truth, estimate = select_finite_pairs(z_spec, z_phot)
    upper = 1.04 * max(np.max(truth, initial=0.1), np.quantile(estimate, 0.999) if len(estimate) else 0.1)
    width = 8.0 if n_columns > 1 else 6.6
    figure = new_figure(
        {1: 8.5, 2: 5.8, 3: 4.4}.get(n_columns, 3.6), width=width, heading=add_count(heading, len(truth))
    )
    panels = figure.subplots(
        2, n_columns, squeeze=False, sharex=True, sharey="row", gridspec_kw={"height_ratios": (3, 1)}
    )
    for column, (label, values, _) in enumerate(methods):
        _draw_scatter(panels[0, column], panels[1, column], *select_finite_pairs(z_spec, values), upper, label)
    panels[0, 0].legend(loc="lower right", handletextpad=0.5, borderaxespad=0.2, labelspacing=0.2)
    panels[0, 0].set_ylabel(Z_PHOT)
    panels[1, 0].set_ylabel(DELTA_Z)
    return figure


def _draw_scatter(top: Axes, bottom: Axes, z_spec: Array, z_phot: Array, upper: float, label: str) -> None:
    line = np.array([0.0, upper])
    residual = (z_phot - z_spec) / (1 + z_spec)
    for limit, style in zip(_OUTLIER_LIMITS, ((0, (5, 3)), (0, (1, 1.6))), strict=True):
        for sign in (-1, 1):
            limit_label = rf"$\pm{limit:g}\,(1+z)$" if sign > 0 else None
            y = line + sign * limit * (1 + line)
            top.plot(line, y, color=ODD, linestyle=style, linewidth=1.0, label=limit_label)
            bottom.axhline(sign * limit, color=ODD, linestyle=style, linewidth=1.0)
    top.plot(line, line, color=INK, linewidth=1.0, label="ideal")
    bottom.axhline(0, color=INK, linewidth=1.0)
    for axes, values in ((top, z_phot), (bottom, residual)):
        draw_density(axes, z_spec, values)
    top.set(xlim=(0, upper), ylim=(0, upper), title=label, box_aspect=1)
    bottom.set(ylim=(-_MAX_RESIDUAL, _MAX_RESIDUAL), xlabel=Z_SPEC, box_aspect=1 / 3)
    n_outside = np.count_nonzero(np.abs(residual) > _MAX_RESIDUAL)
    if n_outside:
        write_note(bottom, f"{n_outside} outside", x=0.98, y=0.95)
    if not len(residual):
        mark_empty(top)
        return
    outliers = [100 * eta(z_phot, z_spec, limit) for limit in _OUTLIER_LIMITS]
    write_note(
        top,
        rf"$\sigma_\mathrm{{MAD}}$ = {sigma_mad(z_phot, z_spec):.4f}" + "\n"
        f"bias = {format_signed(bias_median(z_phot, z_spec))}\n"
        rf"$\eta_{{0.05}}$ = {outliers[0]:.1f} %" + "\n"
        rf"$\eta_{{0.15}}$ = {outliers[1]:.1f} %",
    )


@apply_style
def redshift_trends(
    z_spec: ArrayLike,
    z_phot: ArrayLike,
    *,
    against: ArrayLike | None = None,
    label: str = "spectroscopic redshift",
    baselines: Mapping[str, ArrayLike] | None = None,
    n_bins: int = 8,
    name: str = "network",
    heading: str = "Bias and scatter",
) -> Figure:
    """Draw median bias, sigma_MAD and outlier fraction in bins of equal counts, with bootstrap errors.

    Parameters
    ----------
    z_spec, z_phot : arrays of shape (n,)
        Spectroscopic (true) and photometric redshifts; NaN is left out.
    against : array of shape (n,), optional
        Quantity of the abscissa, by default `z_spec`.
    label : str
        Name of this quantity with its unit, such as "F775W (AB mag)".
    baselines : mapping name -> array of shape (n,), optional
        Photometric redshifts of other methods.
    n_bins : int
        Number of bins; with few objects there are fewer bins, of at least ten objects each.
    name : str
        Name of the network in the legend.
    """
    truth = np.asarray(z_spec, dtype=np.float64)
    axis = truth if against is None else np.asarray(against, dtype=np.float64)
    good = np.isfinite(truth) & np.isfinite(axis)
    figure = new_figure(6.4, heading=add_count(f"{heading} against {label}", int(good.sum())))
    panels = figure.subplots(3, 1, sharex=True)
    bins = [np.flatnonzero(good)[members] for members in split_equal_counts(axis[good], n_bins, min_count=10)]
    methods = list_methods(z_phot, baselines, name)
    statistics: Sequence[Callable[..., float]] = (bias_median, sigma_mad, partial(eta, threshold=_OUTLIER_LIMITS[1]))
    for i, (key, values, color) in enumerate(methods):
        estimate = np.asarray(values, dtype=np.float64)
        known = [members[np.isfinite(estimate[members])] for members in bins]
        for axes, statistic in zip(panels, statistics, strict=True):
            draw_binned_statistic(
                axes,
                axis,
                known,
                statistic,
                (estimate, truth),
                color=color,
                label=key,
                offset=i - (len(methods) - 1) / 2,
                zorder=5 if color == NETWORK else 3,
            )
    panels[0].axhline(0, color=INK, linewidth=1.0)
    panels[0].set_ylabel(f"median of\n{DELTA_Z}")
    panels[1].set_ylabel(r"$\sigma_\mathrm{MAD}$")
    panels[2].set_ylabel("outliers\n" + r"($|\Delta z| > 0.15\,(1+z)$)")
    for axes in panels[1:]:
        axes.set_ylim(bottom=0)
    panels[2].set_xlabel(label)
    if good.any():
        add_legend_above(panels[0])
    else:
        mark_empty(panels[1])
    return figure


def draw_binned_statistic(
    axes: Axes,
    x: Array,
    bins: Sequence[NDArray[np.intp]],
    statistic: Callable[..., float],
    arrays: Sequence[Array],
    *,
    color: str,
    label: str,
    offset: float = 0.0,
    zorder: float = 3,
) -> None:
    """Draw a statistic in bins with bootstrap errors, at the median abscissa of each bin.

    Parameters
    ----------
    axes : Axes
        Panel to draw in.
    x : array of shape (n,)
        Quantity of the abscissa.
    bins : sequence of int arrays
        Indices of the objects of each bin; empty bins are left out.
    statistic : callable
        Function of `arrays` that returns one number.
    arrays : sequence of arrays of shape (n,)
        Arguments of the statistic.
    color, label : str
        Colour, and label in the legend.
    offset : float
        Offset along the abscissa in per cent of its range, so that error bars of several methods do not overlap.
    zorder : float
        Drawing order.
    """
    bins = [members for members in bins if len(members)]
    if not bins:
        return
    rows = [bootstrap(statistic, *(array[members] for array in arrays), n_draws=200) for members in bins]
    value, error = np.transpose(rows)
    low, high = np.quantile(x[np.concatenate(bins)], [0.005, 0.995])
    position = np.array([np.median(x[members]) for members in bins]) + 0.01 * offset * (high - low)
    axes.errorbar(
        position, value, error, color=color, label=label, marker="o", markersize=4.5, linewidth=1.4, elinewidth=1.0,
        zorder=zorder,
    )  # fmt: skip
