"""Several trainings side by side: errors against the size of the training set, and with bands missing."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike

from astrodl.plots.style import (
    CYCLE,
    NETWORK,
    RULE,
    Array,
    baseline_colors,
    colors_of,
    label,
    legend_below,
    new_figure,
    plain_logarithm,
    say_empty,
    styled,
)

Measured = Mapping[str, Mapping[str, tuple[float, float]]]

SIGMA_MAD = r"$\sigma_\mathrm{MAD}$"


@styled
def error_against_size(
    sizes: ArrayLike,
    values: ArrayLike,
    *,
    errors: ArrayLike | None = None,
    ylabel: str,
    baselines: Mapping[str, ArrayLike] | None = None,
    baseline_errors: Mapping[str, ArrayLike] | None = None,
    name: str = "network",
    heading: str = "Error against the number of training galaxies",
) -> Figure:
    """Draw an error that falls with the size of the training set, on logarithmic axes, and where curves cross.

    The legend says from which size on the network lies below each baseline, or above it: the last crossing of the two
    curves, straight lines in logarithms between sizes. A ring marks it. It is where the means cross, whatever
    their spread.

    Parameters
    ----------
    sizes : array of shape (k,)
        Numbers of training galaxies, positive.
    values : array of shape (k,) or (k, n_runs)
        Positive metric, smaller is better; of several runs the mean is drawn, and their standard deviation as the
        spread. NaN and what is not positive is left out.
    errors : array of shape (k,), optional
        Spread to draw instead.
    ylabel : str
        Name of the metric.
    baselines, baseline_errors : mapping name -> array, optional
        The same of other estimators.
    """
    order = np.argsort(np.asarray(sizes, dtype=np.float64), kind="stable")
    size = np.asarray(sizes, dtype=np.float64)[order]
    others, spreads = dict(baselines or {}), dict(baseline_errors or {})
    network, spread = _mean_and_spread(values, errors, order)
    figure = new_figure(4.6 + 0.2 * len(others), width=6.6, heading=heading)
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log", xlabel="training galaxies", ylabel=ylabel)
    _draw_curve(axes, size, network, spread, NETWORK, name, zorder=5)
    for other, color in baseline_colors(list(others)).items():
        mean, error = _mean_and_spread(others[other], spreads.get(other), order)
        verdict, crossing = _compare(size, network, mean, name)
        _draw_curve(axes, size, mean, error, color, f"{other}{verdict}", zorder=3)
        if crossing is not None:
            axes.plot(*crossing, "o", color="none", markeredgecolor=color, markersize=12, markeredgewidth=1.6, zorder=6)
    if not np.isfinite(network).any():
        say_empty(axes)
    _tick_sizes(axes, size)
    plain_logarithm(axes.yaxis)
    legend_below(figure, *axes.get_legend_handles_labels())
    return figure


def _mean_and_spread(values: ArrayLike, errors: ArrayLike | None, order: Array) -> tuple[Array, Array]:
    table = np.asarray(values, dtype=np.float64)[order]
    table = np.where(table > 0, table, np.nan)
    if table.ndim == 1:
        table = table[:, None]
    known = np.isfinite(table)
    n = known.sum(axis=1)
    mean = np.where(n > 0, np.where(known, table, 0).sum(axis=1) / np.maximum(n, 1), np.nan)
    if errors is not None:
        return mean, np.asarray(errors, dtype=np.float64)[order]
    squares = np.where(known, (table - mean[:, None]) ** 2, 0).sum(axis=1)
    return mean, np.where(n > 1, np.sqrt(squares / np.maximum(n - 1, 1)), 0.0)


def _draw_curve(axes: Axes, size: Array, mean: Array, error: Array, color: str, text: str, *, zorder: int) -> None:
    good = np.isfinite(mean)
    # A bar down to zero has no end on a logarithmic axis.
    below = np.minimum(error, 0.9 * mean)
    axes.errorbar(
        size[good], mean[good], [below[good], error[good]], color=color, label=text, marker="o", markersize=5,
        linewidth=1.7, elinewidth=1.1, zorder=zorder,
    )  # fmt: skip


def _compare(size: Array, network: Array, other: Array, name: str) -> tuple[str, tuple[float, float] | None]:
    """Say where the network's curve lies to another, and find the last point where they cross."""
    good = np.isfinite(network) & np.isfinite(other)
    if not good.any():
        return "", None
    x, ours, theirs = np.log(size[good]), np.log(network[good]), np.log(other[good])
    gap = ours - theirs
    side = "below" if gap[-1] < 0 else "above"
    if gap[-1] == 0:
        return "", None
    for i in range(len(gap) - 2, -1, -1):
        if gap[i] * gap[-1] <= 0:
            part = gap[i] / (gap[i] - gap[i + 1])
            where, height = x[i] + part * (x[i + 1] - x[i]), ours[i] + part * (ours[i + 1] - ours[i])
            return f" ({name} {side} from {_two_digits(np.exp(where))} on)", (float(np.exp(where)), np.exp(height))
    return f" ({name} {side} at every size)", None


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.0f}"


def _tick_sizes(axes: Axes, size: Array) -> None:
    """Put a tick at every size, with its number where there is room."""
    positions = np.unique(size[size > 0])
    if not len(positions):
        return
    axes.set_xlim(positions[0] / 1.25, positions[-1] * 1.25)
    reach = np.log(positions[-1] / positions[0]) + 2 * np.log(1.25)
    texts: list[str] = []
    last = -np.inf
    for position in positions:
        room = np.log(position) - last > 0.1 * reach
        texts.append(f"{position:,.0f}" if room else "")
        last = np.log(position) if room else last
    axes.set_xticks(positions, texts)
    axes.xaxis.set_minor_locator(NullLocator())


@styled
def compared_curves(
    panels: Mapping[str, Mapping[str, Sequence[ArrayLike]]], *, heading: str = "Learning curves"
) -> Figure:
    """Draw learning curves of several choices: mean over runs, and a band of their standard deviation.

    Parameters
    ----------
    panels : mapping label of the axis -> mapping choice -> runs
        A run is an array of shape (epochs,); of runs of different length the epochs are drawn that all have.
    """
    names = list(dict.fromkeys(itertools.chain(*panels.values())))
    figure = new_figure(3.4 + 0.2 * (len(names) // 4), heading=heading)
    for axes, (text, curves) in zip(
        figure.subplots(1, max(1, len(panels)), squeeze=False)[0], panels.items(), strict=False
    ):
        for number, name in enumerate(names):
            if name in curves:
                # when colours run out, dashes tell the second round from the first
                style = ("-", (0, (3, 1.2)), (0, (1, 1)))[number // len(CYCLE) % 3]
                _draw_mean(axes, curves[name], CYCLE[number % len(CYCLE)], style, name)
        axes.set(xlabel="epoch", ylabel=text)
        axes.xaxis.get_major_locator().set_params(integer=True)
    legend_below(figure, *figure.axes[0].get_legend_handles_labels())
    return figure


def _draw_mean(axes: Axes, runs: Sequence[ArrayLike], color: str, style: Any, text: str) -> None:
    arrays = [np.asarray(run, dtype=np.float64) for run in runs]
    n_epochs = min(len(run) for run in arrays)
    table = np.stack([run[:n_epochs] for run in arrays])
    epoch, mean, spread = np.arange(1, n_epochs + 1), table.mean(0), table.std(0, ddof=len(table) > 1)
    axes.plot(epoch, mean, color=color, linestyle=style, label=text)
    axes.fill_between(epoch, mean - spread, mean + spread, color=color, alpha=0.13, linewidth=0)


@styled
def missing_band_degradation(
    rows: Measured,
    *,
    crps: Measured | None = None,
    xlabel: str = SIGMA_MAD,
    heading: str = "Missing bands",
) -> Figure:
    """Draw an error of several networks when bands are missing, a line of dots per network and scenario.

    The first scenario is the reference (no band missing): a dotted line continues each network's value through the
    others.

    Parameters
    ----------
    rows : mapping scenario -> mapping network -> (value, error)
        sigma_MAD, or what `xlabel` names. A network may lack a scenario; an error may be NaN.
    crps : mapping scenario -> mapping network -> (value, error), optional
        CRPS of the same, drawn in a second panel.
    """
    scenarios = list(dict.fromkeys([*rows, *(crps or {})]))
    tables = [rows] if crps is None else [rows, crps]
    names = list(dict.fromkeys(itertools.chain(*(table[key] for table in tables for key in table))))
    figure = new_figure(
        1.3 + 0.2 * len(scenarios) * (1 + len(names)) / 1.5, width=8.0 if crps else 6.6, heading=heading
    )
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axes, table, text in zip(panels, tables, (xlabel, "CRPS"), strict=False):
        _draw_scenarios(axes, table, scenarios, colors_of(names))
        axes.set_xlabel(text)
    panels[0].set_yticks(range(len(scenarios)), [label(key, 24) for key in scenarios])
    panels[0].set_ylim(max(len(scenarios), 1) - 0.5, -0.5)
    if not names:
        say_empty(panels[0])
    elif len(names) > 1:
        legend_below(figure, *panels[0].get_legend_handles_labels())
    return figure


def _draw_scenarios(axes: Axes, table: Measured, scenarios: Sequence[str], colors: Mapping[str, str]) -> None:
    drawn: list[float] = []
    for number, (name, color) in enumerate(colors.items()):
        offset = (number - (len(colors) - 1) / 2) * min(0.28, 0.7 / len(colors))
        points = [
            (row + offset, *table[key][name])
            for row, key in enumerate(scenarios)
            if key in table and name in table[key] and np.isfinite(table[key][name][0])
        ]
        y, value, error = np.array(points, dtype=np.float64).reshape(-1, 3).T
        axes.errorbar(
            value, y, xerr=error, color=color, label=name, marker="o", markersize=5.5, linestyle="", elinewidth=1.4,
            zorder=4,
        )  # fmt: skip
        if len(y) and scenarios[0] in table and name in table[scenarios[0]]:
            axes.axvline(value[0], color=color, linewidth=1.0, linestyle=(0, (1, 1.6)), zorder=2)
        drawn += value.tolist()
    axes.grid(False, axis="y")
    for row in range(1, len(scenarios)):
        axes.axhline(row - 0.5, color=RULE, linewidth=0.7, zorder=1)
    if drawn and min(drawn) > 0 and max(drawn) > 12 * min(drawn):
        axes.set_xscale("log")
        plain_logarithm(axes.xaxis)
    elif drawn:
        axes.set_xlim(left=0)
