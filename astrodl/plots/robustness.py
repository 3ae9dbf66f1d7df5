"""How classes hold up: sets of classes, noise, signal to noise, and networks of different size."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike

from astrodl.plots.style import (
    INK,
    MUTED,
    NETWORK,
    Array,
    baseline_colors,
    colors_of,
    counted,
    legend_above,
    legend_below,
    new_figure,
    note,
    plain_logarithm,
    say_empty,
    styled,
    wilson_interval,
)


@styled
def set_sizes(sets: ArrayLike, truth: ArrayLike, *, nominal: float, heading: str = "Sets of classes") -> Figure:
    """Draw how many classes the sets hold, and how often sets of each size hold the true one, with Wilson errors.

    Parameters
    ----------
    sets : bool array of shape (n, k)
        Which classes are in the set of each object.
    truth : int array of shape (n,)
        True class, negative where unknown.
    nominal : float
        Share of the sets that was to hold the true class.
    """
    known = np.asarray(truth) >= 0
    held, label = np.asarray(sets, dtype=bool)[known], np.asarray(truth)[known]
    hit, size = held[np.arange(len(held)), label], held.sum(axis=1)
    sizes = np.arange(1, max(held.shape[1], 1) + 1)
    trials = np.array([(size == k).sum() for k in sizes])
    used = trials > 0
    figure = new_figure(5.0, width=6.2, heading=counted(heading, len(held)))
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (1.3, 1)})
    top.axhline(nominal, color=INK, linewidth=1.0, label=f"nominal {100 * nominal:g} %")
    hits = np.array([hit[size == k].sum() for k in sizes])
    _draw_fractions(top, sizes[used], hits[used], trials[used], NETWORK, "sets of that size", line="")
    bottom.bar(sizes, trials, color=NETWORK, width=0.7)
    for k, count in zip(sizes[used], trials[used], strict=True):
        bottom.annotate(f"{count:,}", (k, count), (0, 2), textcoords="offset points", ha="center", fontsize=8.5)
    if len(held):
        numbers = f"all sets: {100 * hit.mean():.1f} % hold the true class\nmean size {size.mean():.2f}"
        note(bottom, numbers, x=0.97)
    else:
        say_empty(top)
    top.set_ylabel("fraction with the true class")
    top.set_ylim(top=1.02)
    legend_above(top)
    bottom.margins(y=0.15)
    bottom.set(xlabel="classes in the set", ylabel="galaxies", xticks=sizes)
    bottom.grid(False, axis="x")
    return figure


def _draw_fractions(
    axes: Axes, x: Array, hits: Array, trials: Array, color: str, name: str, *, line: str = "-", zorder: int = 3
) -> None:
    fraction = hits / trials
    low, high = wilson_interval(hits, trials)
    axes.errorbar(
        x, fraction, np.clip([fraction - low, high - fraction], 0, None), color=color, label=name, marker="o",
        markersize=5, linestyle=line, elinewidth=1.1, zorder=zorder,
    )  # fmt: skip


@styled
def noise_robustness(
    noise_factor: ArrayLike,
    accuracy: Mapping[str, ArrayLike],
    *,
    errors: Mapping[str, ArrayLike] | None = None,
    n_objects: int = 0,
    chance: float | None = None,
    ylabel: str = "accuracy",
    heading: str = "Accuracy under added noise",
) -> Figure:
    """Draw the accuracy of several methods on images made noisier than those they were trained on.

    Parameters
    ----------
    noise_factor : array of shape (k,)
        Noise of a pixel over that of the survey, 1 or more.
    accuracy : mapping name -> array of shape (k,)
        Of each method, the network first; NaN is left out.
    errors : mapping name -> array of shape (k,), optional
        Their standard errors.
    n_objects : int
        Number of galaxies, for the heading.
    chance : float, optional
        Accuracy of the most frequent class for everybody.
    """
    factor = np.asarray(noise_factor, dtype=np.float64)
    title = counted(heading, n_objects) if n_objects else heading
    figure = new_figure(4.6, width=6.6, heading=title)
    axes = figure.subplots()
    drawn = False
    for number, (name, color) in enumerate(colors_of(list(accuracy)).items()):
        value = np.asarray(accuracy[name], dtype=np.float64)
        spread = np.asarray((errors or {}).get(name, np.zeros(len(factor))), dtype=np.float64)
        good = np.isfinite(value)
        drawn |= bool(good.any())
        axes.errorbar(
            factor[good], value[good], spread[good], color=color, label=name, marker="o", markersize=5, elinewidth=1.1,
            zorder=5 if number == 0 else 3,
        )  # fmt: skip
    if chance is not None:
        axes.axhline(chance, color=INK, linewidth=1.0, label="most frequent class")
    axes.set(xscale="log", xlabel="noise over that of the survey", ylabel=ylabel)
    axes.set_xticks(factor, [f"{value:g}" for value in factor])
    axes.tick_params(axis="x", which="minor", length=0, labelbottom=False)
    if not drawn:
        say_empty(axes)
    legend_below(figure, *axes.get_legend_handles_labels())
    return figure


@styled
def accuracy_against_snr(
    snr: ArrayLike,
    correct: ArrayLike,
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    n_bins: int = 8,
    heading: str = "Accuracy against signal to noise",
) -> Figure:
    """Draw the fraction of right classes in bins of signal to noise with as many galaxies each, with Wilson errors.

    Parameters
    ----------
    snr : array of shape (n,)
        Signal to noise; what is not positive is left out.
    correct : array of shape (n,)
        Whether the class is the true one.
    baselines : mapping name -> array of shape (n,), optional
        The same of other classifiers.
    """
    values = np.asarray(snr, dtype=np.float64)
    good = np.isfinite(values) & (values > 0)
    values = values[good]
    figure = new_figure(4.6, width=6.6, heading=counted(heading, len(values)))
    axes = figure.subplots()
    axes.set(xscale="log", xlabel="signal to noise", ylabel="fraction correct")
    plain_logarithm(axes.xaxis)
    if not len(values):
        say_empty(axes)
        return figure
    parts = [part for part in np.array_split(np.argsort(values, kind="stable"), n_bins) if len(part)]
    x, trials = np.array([np.median(values[part]) for part in parts]), np.array([len(part) for part in parts])
    colors = {"network": NETWORK, **baseline_colors(list(baselines or {}))}
    for name, right in {"network": correct, **(baselines or {})}.items():
        hits = np.array([np.asarray(right, dtype=np.float64)[good][part].sum() for part in parts])
        _draw_fractions(axes, x, hits, trials, colors[name], name, zorder=5 if name == "network" else 3)
    axes.set_ylim(top=1.02)
    legend_below(figure, *axes.get_legend_handles_labels())
    return figure


class Architecture(NamedTuple):
    """A network in `architectures`."""

    accuracy: float
    """Accuracy on the test objects."""
    error: float
    """Its standard error."""
    images_per_second: float
    """Speed."""
    n_parameters: int
    """Number of weights."""


@styled
def architectures(
    networks: Mapping[str, Architecture],
    *,
    speed: str = "images per second in training",
    heading: str = "Accuracy against speed",
) -> Figure:
    """Draw the accuracy of networks against their speed; circles are wider the more parameters they have.

    Parameters
    ----------
    networks : mapping name -> Architecture
        What was measured of each; those whose accuracy or speed is not finite are left out.
    speed : str
        Name of the speed.
    """
    rows = {name: row for name, row in networks.items() if np.isfinite(row.accuracy) and row.images_per_second > 0}
    figure = new_figure(5.0, width=7.2, heading=heading)
    axes = figure.subplots()
    axes.set(xscale="log", xlabel=speed, ylabel="accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    plain_logarithm(axes.xaxis)
    if not rows:
        say_empty(axes)
        return figure
    x, accuracy, error, n_parameters = (
        np.array(values, dtype=np.float64)
        for values in zip(
            *((r.images_per_second, r.accuracy, r.error, r.n_parameters) for r in rows.values()), strict=True
        )
    )
    # The fourth root: networks differ by a factor of a hundred in parameters, and all must be seen.
    width = 22 * (n_parameters / n_parameters.max()) ** 0.25
    axes.errorbar(x, accuracy, np.nan_to_num(error), linestyle="", color=MUTED, elinewidth=1.1, zorder=2)
    axes.scatter(x, accuracy, s=width**2, color=NETWORK, alpha=0.75, linewidths=0, zorder=3)
    axes.scatter(x, accuracy, s=6, color=INK, linewidths=0, zorder=4)
    axes.set_xlim(x.min() / 1.5, x.max() * 1.5)
    axes.margins(y=0.15)
    shown = [_one_digit(n_parameters.max() * part) for part in (0.01, 0.1, 1)]
    handles = [
        axes.scatter(
            [],
            [],
            s=22**2 * np.sqrt(n / n_parameters.max()),
            color=NETWORK,
            alpha=0.75,
            linewidths=0,
            label=f"{n / 1e6:g} M parameters",
        )
        for n in dict.fromkeys(shown)
    ]
    legend_below(figure, handles, [str(handle.get_label()) for handle in handles])
    low, high = (np.stack([x, accuracy + sign * np.nan_to_num(error)], axis=1) for sign in (-1, 1))
    _label_points(axes, list(rows), np.stack([x, accuracy], axis=1), width / 2, [*zip(low, high, strict=True)])
    return figure


def _one_digit(value: float) -> float:
    return float(f"{value:.1g}")


def _label_points(
    axes: Axes, names: Sequence[str], points: Array, radius: Array, bars: Sequence[tuple[Array, Array]]
) -> None:
    """Write names beside circles (radius in points), where they cover neither circles nor bars nor each other."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    # The layout must be known before places can be compared, and may not change by the labels.
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    centres = axes.transData.transform(points)
    taken = [Bbox([centre - r * scale, centre + r * scale]) for centre, r in zip(centres, radius, strict=True)]
    taken += [Bbox(axes.transData.transform(ends)).padded(scale) for ends in bars]
    frame = axes.get_window_extent()
    for k, (name, point, r) in enumerate(zip(names, points, radius, strict=True)):
        # A name next to another circle would be taken for its name.
        blocked = [box if i == k else box.padded(5 * scale) for i, box in enumerate(taken[: len(names)])]
        blocked += taken[len(names) :]
        text = axes.annotate(name, point, (0, 0), textcoords="offset points", fontsize=8.5, zorder=6)
        text.set_in_layout(False)
        best = np.inf
        choice = (0.0, 0.0, "left", "center")
        for reach in (r + 3, r + 14, r + 28):
            for way_x, way_y in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
                norm = reach / np.hypot(way_x, way_y)
                across = ("right", "center", "left")[way_x + 1]
                along = ("top", "center", "bottom")[way_y + 1]
                place = (way_x * norm, way_y * norm, across, along)
                _put(text, place)
                box = text.get_window_extent()
                outside = 0 if frame.contains(*box.min) and frame.contains(*box.max) else 1e6
                covered = sum(_common_area(box, other) for other in blocked)
                if covered + outside < best:
                    best, choice = covered + outside, place
        _put(text, choice)
        taken.append(text.get_window_extent())
        if np.hypot(*choice[:2]) > r + 4:  # too far away to tell whose name it is
            line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", point, choice[:2], textcoords="offset points", arrowprops=line, zorder=5)


def _put(text: Annotation, place: tuple[float, float, str, str]) -> None:
    text.set_position(place[:2])
    text.set(ha=place[2], va=place[3])


def _common_area(first: Bbox, second: Bbox) -> float:
    both = Bbox.intersection(first, second)
    return 0.0 if both is None else float(both.width * both.height)
