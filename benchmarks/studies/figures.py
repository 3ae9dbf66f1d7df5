"""Figures of the studies: errors against training size, learning curves, missing bands, noise, and speed."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import NullLocator, PercentFormatter
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike

from astrodl.plots.images import lupton_rgb
from astrodl.plots.style import (
    CYCLE,
    INK,
    MUTED,
    NETWORK,
    RULE,
    Array,
    add_count,
    add_legend_below,
    apply_style,
    assign_colors,
    label_log_axis,
    new_figure,
    wrap_label,
)

__all__ = [
    "Speed",
    "accuracy_against_noise",
    "accuracy_against_speed",
    "clump_sheet",
    "compare_curves",
    "error_against_size",
    "free_response_curves",
    "missing_bands",
    "segment_sheet",
]

Values = Mapping[str, ArrayLike]


@apply_style
def error_against_size(sizes: ArrayLike, values: Values, errors: Values, *, ylabel: str) -> Figure:
    """Draw errors that fall with the size of the training set, on logarithmic axes.

    The legend gives the size from which the first curve stays below or above each other one. It is the last crossing of
    the two curves, drawn as straight lines in logarithms between sizes, and marked by a ring. The error bars have no
    part in it.

    Parameters
    ----------
    sizes : array of shape (k,)
        Numbers of training galaxies, increasing.
    values, errors : mapping name -> array of shape (k,)
        Positive metric, smaller is better, and its standard error; the network first. NaN is left out.
    ylabel : str
        Name of the metric.
    """
    size = np.asarray(sizes, dtype=np.float64)
    first = next(iter(values))
    figure = new_figure(4.4 + 0.2 * len(values), width=6.6, heading="Error against the number of training galaxies")
    axes = figure.subplots()
    axes.set(xscale="log", yscale="log", xlabel="training galaxies", ylabel=ylabel)
    network = np.asarray(values[first], dtype=np.float64)
    for name, color in assign_colors(list(values)).items():
        value, error = (np.asarray(table[name], dtype=np.float64) for table in (values, errors))
        verdict, crossing = ("", None) if name == first else _compare(size, network, value, first)
        good = np.isfinite(value)
        # A bar that reaches zero has no end on a logarithmic axis.
        below = np.minimum(error, 0.9 * value)
        axes.errorbar(
            size[good], value[good], [below[good], error[good]], color=color, label=f"{name}{verdict}", marker="o",
            markersize=5, linewidth=1.7, elinewidth=1.1, zorder=5 if name == first else 3,
        )  # fmt: skip
        if crossing is not None:
            axes.plot(*crossing, "o", color="none", markeredgecolor=color, markersize=12, markeredgewidth=1.6, zorder=6)
    axes.set_xlim(size[0] / 1.25, size[-1] * 1.25)
    axes.set_xticks(size, [f"{value:,.0f}" for value in size])
    axes.xaxis.set_minor_locator(NullLocator())
    label_log_axis(axes.yaxis)
    add_legend_below(figure, *axes.get_legend_handles_labels())
    return figure


@apply_style
def free_response_curves(methods: Mapping[str, Sequence[tuple[ArrayLike, ArrayLike]]], *, goal: float = 0.85) -> Figure:
    """Draw completeness of bright clumps against purity for all thresholds; a line per run, the network first.

    Parameters
    ----------
    methods : mapping name -> sequence of (purity, completeness)
        Arrays of shape (k,), decreasing threshold.
    goal : float
        Value of both that is aimed at, drawn as lines.
    """
    figure = new_figure(4.2, width=5.6)
    axes = figure.add_subplot()
    colors = assign_colors(list(methods))
    for name, runs in methods.items():
        for number, (purity, completeness) in enumerate(runs):
            axes.plot(completeness, purity, color=colors[name], linewidth=1.2, label=name if number == 0 else None)
    for draw in (axes.axhline, axes.axvline):
        draw(goal, color=MUTED, linewidth=0.9, linestyle=":", zorder=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="completeness of bright clumps", ylabel="purity of all found")
    add_legend_below(figure, *axes.get_legend_handles_labels())
    return figure


@apply_style
def clump_sheet(
    images: Array, published: Sequence[Array], predicted: Mapping[str, Array], names: Sequence[str], *, n: int = 12
) -> Figure:
    """Draw the galaxies with most published clumps, with those and the detected ones.

    Parameters
    ----------
    images : array of shape (k, bands, y, x)
        Fluxes, blue to red.
    published : sequence of arrays (m, 2 or more)
        Row and column of the published clumps of each galaxy.
    predicted : mapping
        `clump_y` and `clump_x` of the detected ones, (k, most), NaN where there are fewer.
    """
    chosen = np.argsort([-len(one) for one in published], kind="stable")[:n]
    colours = lupton_rgb(images[chosen], per_image=True)
    figure = new_figure(6.3)
    for place, (number, rgb) in enumerate(zip(chosen, colours, strict=True)):
        axes = figure.add_subplot(3, -(-n // 3), place + 1)
        axes.imshow(rgb, origin="lower", interpolation="nearest")
        axes.plot(
            published[number][:, 1], published[number][:, 0], "o", mfc="none", color="white", markersize=8, mew=0.8
        )
        axes.plot(
            predicted["clump_x"][number], predicted["clump_y"][number], "+", color=CYCLE[1], markersize=6, mew=1.3
        )
        axes.set_title(names[number], fontsize=7)
        axes.set_axis_off()
    return figure


def segment_sheet(rows: Sequence[tuple[str, Array, Array, Array, Array]]) -> Figure:
    """Draw galaxies with the outlines of three segments: the true one, the network's and another method's.

    Parameters
    ----------
    rows : sequence of tuples
        Title, image (y, x) in units of the noise, and three masks (y, x).
    """
    figure = new_figure(6.3)
    for place, (title, image, *masks) in enumerate(rows):
        axes = figure.add_subplot(-(-len(rows) // 6), 6, place + 1)
        axes.imshow(np.arcsinh(image / 3), origin="lower", cmap="gray_r", vmax=5, interpolation="nearest")
        for mask, color in zip(masks, (INK, CYCLE[1], CYCLE[0]), strict=True):
            axes.contour(mask, [0.5], colors=[color], linewidths=0.9)
        axes.set_title(title, fontsize=7)
        axes.set_axis_off()
    return figure


def _compare(size: Array, network: Array, other: Array, name: str) -> tuple[str, tuple[float, float] | None]:
    """Return a text that compares two curves, and the last point where they cross."""
    good = np.isfinite(network) & np.isfinite(other)
    if not good.any():
        return "", None
    x, height = np.log(size[good]), np.log(network[good])
    gap = height - np.log(other[good])
    if gap[-1] == 0:
        return "", None
    side = "below" if gap[-1] < 0 else "above"
    crossings = np.flatnonzero(gap[:-1] * gap[-1] <= 0)
    if not len(crossings):
        return f" ({name} {side} at every size)", None
    i = crossings[-1]
    part = gap[i] / (gap[i] - gap[i + 1])
    where, level = (np.exp(values[i] + part * (values[i + 1] - values[i])) for values in (x, height))
    return f" ({name} {side} from {float(f'{where:.2g}'):,.0f} on)", (where, level)


@apply_style
def compare_curves(panels: Mapping[str, Mapping[str, Sequence[ArrayLike]]], *, heading: str) -> Figure:
    """Draw learning curves of several choices: the mean over runs, and a band of their standard deviation.

    Parameters
    ----------
    panels : mapping label of the axis -> mapping choice -> runs
        A run is an array of shape (epochs,). Of runs of different length the epochs are drawn that all have.
    heading : str
        Heading of the figure.
    """
    names = list(dict.fromkeys(itertools.chain(*panels.values())))
    figure = new_figure(3.4 + 0.2 * (len(names) // 4), heading=heading)
    for axes, (text, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for number, name in enumerate(names):
            # When the colours run out, dashes distinguish the second round from the first.
            style = ("-", (0, (3, 1.2)), (0, (1, 1)))[number // len(CYCLE) % 3]
            n_epochs = min(len(np.asarray(run)) for run in curves[name])
            table = np.stack([np.asarray(run, dtype=np.float64)[:n_epochs] for run in curves[name]])
            epoch, mean, spread = np.arange(1, n_epochs + 1), table.mean(0), table.std(0, ddof=len(table) > 1)
            color = CYCLE[number % len(CYCLE)]
            axes.plot(epoch, mean, color=color, linestyle=style, label=name)
            axes.fill_between(epoch, mean - spread, mean + spread, color=color, alpha=0.13, linewidth=0)
        axes.set(xlabel="epoch", ylabel=text)
        axes.xaxis.get_major_locator().set_params(integer=True)
    add_legend_below(figure, *figure.axes[0].get_legend_handles_labels())
    return figure


@apply_style
def missing_bands(rows: Mapping[str, Mapping[str, tuple[float, float]]]) -> Figure:
    r"""Draw sigma_MAD of several networks when bands are missing, a dot per network and scenario.

    A dotted line continues each network's value in the first scenario, the reference, through the others.

    Parameters
    ----------
    rows : mapping scenario -> mapping network -> (value, error)
        A network may lack a scenario.
    """
    names = list(dict.fromkeys(itertools.chain(*rows.values())))
    figure = new_figure(1.3 + 0.2 * len(rows) * (1 + len(names)) / 1.5, width=6.6, heading="Missing bands")
    axes = figure.subplots()
    drawn: list[float] = []
    for number, (name, color) in enumerate(assign_colors(names).items()):
        offset = (number - (len(names) - 1) / 2) * min(0.28, 0.7 / len(names))
        points = [(row + offset, *found[name]) for row, found in enumerate(rows.values()) if name in found]
        y, value, error = np.array(points, dtype=np.float64).reshape(-1, 3).T
        axes.errorbar(
            value, y, xerr=error, color=color, label=name, marker="o", markersize=5.5, linestyle="", elinewidth=1.4,
            zorder=4,
        )  # fmt: skip
        axes.axvline(value[0], color=color, linewidth=1.0, linestyle=(0, (1, 1.6)), zorder=2)
        drawn += value.tolist()
    axes.grid(False, axis="y")
    for row in range(1, len(rows)):
        axes.axhline(row - 0.5, color=RULE, linewidth=0.7, zorder=1)
    if min(drawn) > 0 and max(drawn) > 12 * min(drawn):
        axes.set_xscale("log")
        label_log_axis(axes.xaxis)
    else:
        axes.set_xlim(left=0)
    axes.set_xlabel(r"$\sigma_\mathrm{MAD}$")
    axes.set_yticks(range(len(rows)), [wrap_label(key, 24) for key in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    add_legend_below(figure, *axes.get_legend_handles_labels())
    return figure


@apply_style
def accuracy_against_noise(factors: ArrayLike, accuracy: Values, errors: Values, *, n_objects: int) -> Figure:
    """Draw the accuracy of several methods on images made noisier than those they were trained on.

    Parameters
    ----------
    factors : array of shape (k,)
        Noise of a pixel over that of the survey, 1 or more.
    accuracy, errors : mapping name -> array of shape (k,)
        Of each method, the network first, and their standard errors.
    n_objects : int
        Number of galaxies, for the heading.
    """
    figure = new_figure(4.6, width=6.6, heading=add_count("Accuracy under added noise", n_objects))
    axes = figure.subplots()
    for number, (name, color) in enumerate(assign_colors(list(accuracy)).items()):
        axes.errorbar(
            factors, accuracy[name], errors[name], color=color, label=name, marker="o", markersize=5, elinewidth=1.1,
            zorder=5 if number == 0 else 3,
        )  # fmt: skip
    axes.set(xscale="log", xlabel="noise over that of the survey", ylabel="accuracy")
    axes.set_xticks(factors, [f"{value:g}" for value in np.asarray(factors)])
    axes.tick_params(axis="x", which="minor", length=0, labelbottom=False)
    add_legend_below(figure, *axes.get_legend_handles_labels())
    return figure


@apply_style
def score_against_labels(sizes: ArrayLike, panels: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]]) -> Figure:
    """Draw scores against the number of labels, a panel per metric.

    Parameters
    ----------
    sizes : array of shape (k,)
        Numbers of labels, increasing.
    panels : mapping label of the axis -> mapping method -> (values, errors)
        Arrays of shape (k,). Methods of one family share a colour: "kind, family", and kinds share dashes.
    """
    figure = new_figure(5.6, width=9.2, heading="Scores against the number of labels")
    size = np.asarray(sizes, dtype=np.float64)
    methods = list(dict.fromkeys(itertools.chain(*panels.values())))
    families = assign_colors(list(dict.fromkeys(name.partition(", ")[2] or name for name in methods)))
    kinds = list(dict.fromkeys(name.partition(", ")[0] for name in methods if ", " in name))
    dashes = dict(zip(kinds, ("-", (0, (4, 1.5)), (0, (1, 1.2))), strict=False))
    for axes, (text, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, (value, error) in curves.items():
            kind, _, family = name.partition(", ")
            axes.errorbar(
                size, value, error, color=families[family or name], linestyle=dashes.get(kind, "-") if family else "-",
                label=name, marker="o" if family else "s", markersize=4.5, linewidth=1.6, elinewidth=1.0,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="labels", ylabel=text)
        axes.set_xticks(size, [f"{value:,.0f}" for value in size])
        axes.xaxis.set_minor_locator(NullLocator())
    handles = {
        text: handle for axes in figure.axes for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    add_legend_below(figure, list(handles.values()), list(handles))
    return figure


class Speed(NamedTuple):
    """A network in `accuracy_against_speed`."""

    accuracy: float
    """Accuracy on the test objects."""
    error: float
    """Its standard error."""
    images_per_second: float
    """Speed of the training."""
    n_parameters: int
    """Number of weights."""


@apply_style
def accuracy_against_speed(networks: Mapping[str, Speed], *, heading: str) -> Figure:
    """Draw the accuracy of networks against the speed of their training; larger circles have more parameters."""
    figure = new_figure(5.0, width=7.2, heading=heading)
    axes = figure.subplots()
    axes.set(xscale="log", xlabel="images per second in training", ylabel="accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    label_log_axis(axes.xaxis)
    accuracy, error, x, n_parameters = np.array(list(networks.values()), dtype=np.float64).T
    # The fourth root, because networks differ by a factor of a hundred in parameters.
    width = 22 * (n_parameters / n_parameters.max()) ** 0.25
    axes.errorbar(x, accuracy, error, linestyle="", color=MUTED, elinewidth=1.1, zorder=2)
    circles = {"color": NETWORK, "alpha": 0.75, "linewidths": 0}
    axes.scatter(x, accuracy, s=width**2, zorder=3, **circles)
    axes.scatter(x, accuracy, s=6, color=INK, linewidths=0, zorder=4)
    axes.set_xlim(x.min() / 1.5, x.max() * 1.5)
    axes.margins(y=0.15)
    shown = dict.fromkeys(float(f"{n_parameters.max() * part:.1g}") for part in (0.01, 0.1, 1))
    handles = [axes.scatter([], [], s=22**2 * np.sqrt(n / n_parameters.max()), **circles) for n in shown]
    add_legend_below(figure, handles, [f"{n / 1e6:g} M parameters" for n in shown])
    _label_points(axes, list(networks), np.stack([x, accuracy], axis=1), width / 2, error)
    return figure


def _label_points(axes: Axes, names: Sequence[str], points: Array, radii: Array, errors: Array) -> None:
    """Write names beside circles (radius in points) so that they cover no circle, bar or other name."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    # Places can be compared only after the layout is fixed, and the labels must not change the layout.
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    circles = [
        Bbox([center - radius * scale, center + radius * scale])
        for center, radius in zip(axes.transData.transform(points), radii, strict=True)
    ]
    low, high = (axes.transData.transform(points + [[0, sign * error] for error in errors]) for sign in (-1, 1))
    others = [Bbox(ends).padded(scale) for ends in zip(low, high, strict=True)]
    for k, (name, point, radius) in enumerate(zip(names, points, radii, strict=True)):
        # A name next to another circle would be read as that circle's name.
        covered = [*(box if i == k else box.padded(5 * scale) for i, box in enumerate(circles)), *others]
        text = axes.annotate(name, point, (0, 0), textcoords="offset points", fontsize=8.5, zorder=6)
        text.set_in_layout(False)
        x, y = _place(axes, text, covered, radius)
        others.append(text.get_window_extent())
        if np.hypot(x, y) > radius + 4:  # so far away that a line must connect the name to its circle
            line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", point, (x, y), textcoords="offset points", arrowprops=line, zorder=5)


def _place(axes: Axes, text: Annotation, covered: Sequence[Bbox], radius: float) -> tuple[float, float]:
    """Move a name to the place around its circle where it overlaps least; return the offset in points."""
    frame = axes.get_window_extent()

    def move(place: tuple[float, int, int]) -> tuple[float, float]:
        reach, x, y = place
        offset = reach * x / np.hypot(x, y), reach * y / np.hypot(x, y)
        text.set_position(offset)
        text.set(ha=("right", "center", "left")[x + 1], va=("top", "center", "bottom")[y + 1])
        return offset

    def overlap(place: tuple[float, int, int]) -> float:
        move(place)
        box = text.get_window_extent()
        outside = 0 if frame.contains(*box.min) and frame.contains(*box.max) else 1e6
        common = [Bbox.intersection(box, other) for other in covered]
        return outside + sum(float(both.width * both.height) for both in common if both is not None)

    ways = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
    return move(min(((radius + gap, *way) for gap in (3, 14, 28) for way in ways), key=overlap))
