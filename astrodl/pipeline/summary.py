"""The verb summary: headline metrics and the places of the results, for the end of a run."""

import os
from pathlib import Path
from typing import Any

from astrodl.errors import DataError
from astrodl.pipeline.reports import MetricsReport, read_report

__all__ = ["read_metrics", "summary"]


def summary(folder: str | os.PathLike[str]) -> str:
    """Return one line per headline metric, network and baselines side by side, and the places of the results.

    Parameters
    ----------
    folder : path
        Results of a survey: `{task}/metrics.json`, `catalog.fits`, `report.html`.

    Returns
    -------
    str
        Text of several lines.

    Raises
    ------
    DataError
        The folder has no `metrics.json`, or one that is damaged.

    Examples
    --------
    >>> print(astrodl.summary("results/demo"))  # doctest: +SKIP
    """
    folder = Path(folder)
    paths = sorted(folder.glob("*/metrics.json"))
    if not paths:
        raise DataError(
            f"{folder}: holds no TASK/metrics.json; run the workflow first, or give the folder of a survey's results"
        )
    documents = [read_metrics(path) for path in paths]
    rows = [row for document in documents for row in _rows(document)]
    return "\n".join([*_align(rows), "", *_align(_places(folder, documents))])


def read_metrics(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a `metrics.json`.

    Raises
    ------
    DataError
        The file is missing or damaged, or holds no metrics.
    """
    return read_report(path, MetricsReport, "metrics", "evaluate", DataError).model_dump()


def _rows(metrics: dict[str, Any]) -> list[list[str]]:
    task, network = metrics["task"], metrics["network"]
    if not network:
        return [[task, "not measured: no labels on the test split"]]
    return [_row(task, name, metrics) for name in metrics["headline"] if name in network]


def _row(task: str, name: str, metrics: dict[str, Any]) -> list[str]:
    baselines = [f"{key} {_number(values[name])}" for key, values in metrics["baselines"].items() if name in values]
    n_objects = f"{metrics['n_objects']} objects"
    return [task, name, n_objects, f"network {_number(metrics['network'][name])}", *baselines]


def _number(metric: dict[str, float | None]) -> str:
    value, error = metric["value"], metric.get("error")
    if value is None:
        return "-"
    return f"{value:.4f}" if error is None else f"{value:.4f} +- {error:.4f}"


def _places(folder: Path, documents: list[dict[str, Any]]) -> list[list[str]]:
    files = {"catalog.fits": "catalogue"}
    for document in documents:
        files |= document.get("products", {})
    files |= {"hats": "HATS catalogue", "map.html": "map", "report.html": "report"}
    places = [[title, str(folder / name)] for name, title in files.items() if (folder / name).exists()]
    return places + [["figures", str(path)] for path in [*folder.glob("figures"), *sorted(folder.glob("*/figures"))]]


def _align(rows: list[list[str]]) -> list[str]:
    """Pad columns to equal width, except for the last cell of a row."""
    columns = range(max(map(len, rows), default=0))
    widths = [max((len(row[i]) for row in rows if i < len(row) - 1), default=0) for i in columns]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
