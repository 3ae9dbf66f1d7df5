"""Photometric redshifts as point estimates: against the truth, and bias and scatter in bins."""

import itertools
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
    density_scatter,
    finite_pairs,
    legend_above,
    new_figure,
    note,
    say_empty,
    signed,
    styled,
)

OUTLIER_LIMITS = (0.05, 0.15)
Z_SPEC, Z_PHOT = r"$z_\mathrm{spec}$", r"$z_\mathrm{phot}$"
DELTA = r"$\Delta z\,/\,(1+z_\mathrm{spec})$"


def _residual(z_spec: Array, z_phot: Array) -> Array:
    return (z_phot - z_spec) / (1 + z_spec)


def _sigma_mad(residual: Array) -> float:
    return float(1.4826 * np.median(np.abs(residual - np.median(residual))))


@styled
def redshift_scatter(
    z_spec: ArrayLike,
    z_phot: ArrayLike,
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    name: str = "network",
    heading: str = "Photometric against spectroscopic redshift",
) -> Figure:
    """Draw z_phot against z_spec as a density with its residuals below, one column per estimator.

    Dashed and dotted lines are |dz| = 0.05 and 0.15 (1 + z), the outlier limits of Pasquet et al. (2019) and of common
    use. The numbers in the corner are those of the points drawn.

    Parameters
    ----------
    z_spec, z_phot : arrays of shape (n,)
        Pairs with a NaN are left out.
    baselines : mapping name -> array of shape (n,), optional
        Other estimates of the same objects; up to three are drawn.
    """
    estimates = {name: z_phot, **dict(list((baselines or {}).items())[:3])}
    n_columns = len(estimates)
    truth, estimate = finite_pairs(z_spec, z_phot)
    upper = 1.04 * max(np.max(truth, initial=0.1), np.quantile(estimate, 0.999) if len(estimate) else 0.1)
    width = 8.0 if n_columns > 1 else 6.6
    figure = new_figure({1: 8.5, 2: 5.8, 3: 4.4}.get(n_columns, 3.6), width=width, heading=counted(heading, len(truth)))
    panels = figure.subplots(
        2, n_columns, squeeze=False, sharex=True, sharey="row", gridspec_kw={"height_ratios": (3, 1)}
    )
    for column, (label, values) in enumerate(estimates.items()):
        _scatter_panel(panels[0, column], panels[1, column], *finite_pairs(z_spec, values), upper, label)
    panels[0, 0].legend(loc="lower right", handletextpad=0.5, borderaxespad=0.2, labelspacing=0.2)
    panels[0, 0].set_ylabel(Z_PHOT)
    panels[1, 0].set_ylabel(DELTA)
    return figure


def _scatter_panel(top: Axes, bottom: Axes, z_spec: Array, z_phot: Array, upper: float, label: str) -> None:
    line = np.array([0.0, upper])
    residual = _residual(z_spec, z_phot)
    for limit, style in zip(OUTLIER_LIMITS, ((0, (5, 3)), (0, (1, 1.6))), strict=True):
        for sign in (-1, 1):
            tag = rf"$\pm{limit:g}\,(1+z)$" if sign > 0 else None
            top.plot(line, line + sign * limit * (1 + line), color=ODD, linestyle=style, linewidth=1.0, label=tag)
            bottom.axhline(sign * limit, color=ODD, linestyle=style, linewidth=1.0)
    top.plot(line, line, color=INK, linewidth=1.0, label="ideal")
    bottom.axhline(0, color=INK, linewidth=1.0)
    for axes, values in ((top, z_phot), (bottom, residual)):
        density_scatter(axes, z_spec, values)
    top.set(xlim=(0, upper), ylim=(0, upper), title=label, box_aspect=1)
    bottom.set(ylim=(-0.22, 0.22), xlabel=Z_SPEC, box_aspect=1 / 3)
    beyond = int(np.sum(np.abs(residual) > 0.22))
    if beyond:
        note(bottom, f"{beyond} beyond", x=0.98, y=0.95)
    if not len(residual):
        say_empty(top)
        return
    fractions = [100 * np.mean(np.abs(residual) > limit) for limit in OUTLIER_LIMITS]
    note(
        top,
        rf"$\sigma_\mathrm{{MAD}}$ = {_sigma_mad(residual):.4f}" + "\n"
        f"bias = {signed(float(np.median(residual)))}\n"
        rf"$\eta_{{0.05}}$ = {fractions[0]:.1f} %" + "\n"
        rf"$\eta_{{0.15}}$ = {fractions[1]:.1f} %",
    )


@styled
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
        True and estimated redshift.
    against : array of shape (n,), optional
        Quantity of the abscissa, by default `z_spec`; `label` names it with its unit (for example "F775W (AB mag)").
    baselines : mapping name -> array of shape (n,), optional
        Other estimates of the same objects.
    n_bins : int
        Bins; fewer when a bin would hold less than ten objects.
    """
    truth = np.asarray(z_spec, dtype=np.float64)
    axis = truth if against is None else np.asarray(against, dtype=np.float64)
    estimates = {name: np.asarray(z_phot, dtype=np.float64)}
    estimates |= {key: np.asarray(values, dtype=np.float64) for key, values in (baselines or {}).items()}
    good = np.isfinite(truth) & np.isfinite(axis)
    figure = new_figure(6.4, heading=counted(f"{heading} against {label}", int(good.sum())))
    panels = figure.subplots(3, 1, sharex=True)
    edges = _equal_count_edges(axis[good], n_bins)
    colors = {name: NETWORK, **baseline_colors(list(baselines or {}))}
    for shift, (key, estimate) in enumerate(estimates.items()):
        use = good & np.isfinite(estimate)
        _draw_trend(
            panels, axis[use], _residual(truth[use], estimate[use]), edges, shift, len(estimates), key, colors[key]
        )
    panels[0].axhline(0, color=INK, linewidth=1.0)
    panels[0].set_ylabel(f"median of\n{DELTA}")
    panels[1].set_ylabel(r"$\sigma_\mathrm{MAD}$")
    panels[2].set_ylabel("outliers\n" + r"($|\Delta z| > 0.15\,(1+z)$)")
    for axes in panels[1:]:
        axes.set_ylim(bottom=0)
    panels[2].set_xlabel(label)
    if good.any():
        legend_above(panels[0])
    else:
        say_empty(panels[1])
    return figure


def _equal_count_edges(values: Array, n_bins: int) -> Array:
    if not len(values):
        return np.array([0.0, 1.0])
    n_bins = int(np.clip(len(values) // 10, 1, n_bins))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)))
    return edges if len(edges) > 1 else np.array([edges[0] - 0.5, edges[0] + 0.5])


def _draw_trend(
    panels: Sequence[Axes], axis: Array, residual: Array, edges: Array, shift: int, n: int, label: str, color: str
) -> None:
    rng = np.random.default_rng(0)
    points = []
    for low, high in itertools.pairwise(edges):
        chosen = (axis >= low) & ((axis < high) | (high == edges[-1]))
        inside = residual[chosen]
        if len(inside):
            draws = inside[rng.integers(0, len(inside), (200, len(inside)))]
            # Estimators side by side, or their error bars hide each other.
            where = np.median(axis[chosen]) + (shift - (n - 1) / 2) * 0.008 * (edges[-1] - edges[0])
            points.append((where, _three(inside[None])[:, 0], _three(draws).std(axis=1)))
    for i, axes in enumerate(panels):
        x, y, error = ([p[0] for p in points], [p[1][i] for p in points], [p[2][i] for p in points])
        if not x:
            continue
        axes.errorbar(
            x, y, error, color=color, label=label, marker="o", markersize=4.5, linewidth=1.4, elinewidth=1.0,
            zorder=5 if shift == 0 else 3,
        )  # fmt: skip


def _three(residual: Array) -> Array:
    """Return median, sigma_MAD and the fraction beyond 0.15 over the last axis, of shape (3, ...)."""
    median = np.median(residual, axis=-1)
    mad = 1.4826 * np.median(np.abs(residual - median[..., None]), axis=-1)
    return np.stack([median, mad, np.mean(np.abs(residual) > OUTLIER_LIMITS[1], axis=-1)])
