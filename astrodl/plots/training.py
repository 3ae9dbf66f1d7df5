"""Learning curves: loss terms and metrics against the epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from astrodl.plots.style import (
    CYCLE,
    INK,
    MUTED,
    Array,
    apply_style,
    label_log_axis,
    mark_empty,
    new_figure,
    wrap_heading,
)
from astrodl.training.diagnosis import diagnose

__all__ = ["learning_curves"]

_Row = Mapping[str, Any]
_Run = Sequence[_Row]

_MAX_PANELS = 12
_N_COLUMNS = 3
_DASHED = (0, (2.2, 1.4))


@apply_style
def learning_curves(
    history: _Run | Sequence[_Run], heading: str = "Learning curves", *, names: Sequence[str] = ()
) -> Figure:
    """Draw every term of the history against the epoch: training dashed, validation solid, the best epoch marked.

    The legend contains a diagnosis of the losses (`astrodl.training.diagnosis`).

    Parameters
    ----------
    history : list of dict, or one such list per run
        Rows with `epoch`, `train` and `validation` (mappings term -> value, may be missing or None), and optionally
        `learning_rate` and `images_per_second`, which get a panel each.
    heading : str
        Heading, to which the numbers of runs and epochs are added.
    names : sequence of str
        Names of the runs, for the legend.
    """
    runs = _list_runs(history)
    n_epochs = max((len(run) for run in runs), default=0)
    terms = _list_terms(runs)[:_MAX_PANELS]
    rates = [key for key in ("learning_rate", "images_per_second") if any(key in row for run in runs for row in run)]
    n_panels = max(1, len(terms) + len(rates))
    n_columns = min(_N_COLUMNS, n_panels)
    n_rows = -(-n_panels // n_columns)
    count = f"{len(runs)} run{'s' * (len(runs) != 1)} of {n_epochs} epoch{'s' * (n_epochs != 1)}"
    figure = new_figure(0.8 + 2.15 * n_rows, heading=f"{heading} · {count}")
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes in panels[n_panels:]:
        axes.set_visible(False)
    if not terms and not rates:
        mark_empty(panels[0], "no epochs yet")
        return figure
    for axes, term in zip(panels, terms, strict=False):
        _draw_term(axes, runs, term)
    for axes, key in zip(panels[len(terms) :], rates, strict=False):
        _draw_rate(axes, runs, key)
    for axes in panels[:n_panels]:
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    _add_legend(figure, runs, names)
    return figure


def _write_diagnosis(runs: Sequence[_Run], names: Sequence[str]) -> str:
    """Describe how a single run went and why, or how each of several runs went."""
    diagnoses = [diagnose(run) for run in runs]
    if len(diagnoses) == 1:
        return str(diagnoses[0] or "")
    runs_of: dict[str, list[str]] = {}
    for number, diagnosis in enumerate(diagnoses):
        if diagnosis is not None:
            runs_of.setdefault(diagnosis.kind, []).append(_name_run(names, number))
    return "; ".join(f"{kind}: {', '.join(of_kind)}" for kind, of_kind in runs_of.items())


def _name_run(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else f"run {number + 1}"


def _list_runs(history: _Run | Sequence[_Run]) -> list[_Run]:
    if history and isinstance(history[0], Mapping):
        return [history]  # type: ignore[list-item]
    return list(history)  # type: ignore[arg-type]


def _list_terms(runs: Sequence[_Run]) -> list[str]:
    """List the terms in order of their first appearance, losses first."""
    parts = (row.get(part) or {} for run in runs for row in run for part in ("validation", "train"))
    terms = dict.fromkeys(term for part in parts for term in part)
    return sorted(terms, key=lambda term: not term.endswith("loss"))


def _select_finite(run: _Run, part: str, term: str) -> tuple[Array, Array]:
    """Return the epochs in which a term is finite, and its values."""
    pairs = [(row["epoch"], (row.get(part) or {}).get(term)) for row in run]
    known = [(epoch, value) for epoch, value in pairs if value is not None and np.isfinite(value)]
    table = np.array(known, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _draw_term(axes: Axes, runs: Sequence[_Run], term: str) -> None:
    drawn = []
    for i, run in enumerate(runs):
        color = CYCLE[i % len(CYCLE)]
        marker = "o" if len(run) < 2 else ""
        for part, style, width in (("train", _DASHED, 1.2), ("validation", "-", 1.8)):
            epoch, value = _select_finite(run, part, term)
            if not len(epoch):
                continue
            axes.plot(epoch, value, color=color, linestyle=style, linewidth=width, marker=marker, markersize=4)
            drawn.append(value)
            if part == "validation" and term == "loss":
                best = int(np.argmin(value))
                axes.plot(epoch[best], value[best], "o", color=color, markeredgecolor="white", markersize=6.5, zorder=5)
    axes.set_title(term.replace("_", " "), fontweight="bold" if term == "loss" else "normal")
    if not drawn:
        mark_empty(axes, "no finite values")
        return
    values = np.concatenate(drawn)
    # Losses that decrease by more than a decade are unreadable on a linear scale.
    if values.min() > 0 and values.max() > 12 * values.min():
        axes.set_yscale("log")
        label_log_axis(axes.yaxis)


def _draw_rate(axes: Axes, runs: Sequence[_Run], key: str) -> None:
    tables = [[(row["epoch"], row[key]) for row in run if row.get(key) is not None] for run in runs]
    largest = max((value for table in tables for _, value in table if np.isfinite(value)), default=1.0)
    # The power of ten is part of the title, because matplotlib would draw it over the title.
    exponent = int(np.floor(np.log10(largest))) if 0 < largest < 0.1 else 0
    for i, pairs in enumerate(tables):
        table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
        axes.plot(
            table[:, 0],
            table[:, 1] / 10.0**exponent,
            color=CYCLE[i % len(CYCLE)],
            linewidth=1.3,
            marker="o" if len(table) < 2 else "",
            markersize=4,
        )
    axes.set_title(key.replace("_", " ") + (rf" $\times\,10^{{{-exponent}}}$" if exponent else ""), color=MUTED)
    axes.set_ylim(bottom=0)


def _add_legend(figure: Figure, runs: Sequence[_Run], names: Sequence[str]) -> None:
    handles = [
        Line2D([], [], color=INK, linestyle=_DASHED, linewidth=1.2, label="training"),
        Line2D([], [], color=INK, linewidth=1.8, label="validation"),
        Line2D(
            [], [], color=INK, linestyle="", marker="o", markeredgecolor="white", markersize=6.5, label="best epoch"
        ),
    ]
    for i in range(len(runs) if len(runs) > 1 else 0):
        handles.append(Line2D([], [], color=CYCLE[i % len(CYCLE)], linewidth=3, label=_name_run(names, i)))
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=min(6, len(handles)),
        title=wrap_heading(_write_diagnosis(runs, names), 1.3 * figure.get_figwidth()),
        title_fontproperties={"size": 8.5},
        alignment="left",
    )
