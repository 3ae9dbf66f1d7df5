"""What a run reached and where its results are, as text for the end of a run."""

import json
import os
from pathlib import Path
from typing import Any

from astrodl.errors import DataError


def summary(folder: Path) -> str:
    """Give one line per headline metric (network, then each baseline) and the places of the results.

    Parameters
    ----------
    folder
        Results of a survey: `{task}/metrics.json`, `catalog.fits`, `report.html`.

    Raises
    ------
    DataError
        The folder has no `metrics.json`, or one that is damaged.
    """
    paths = sorted(folder.glob("*/metrics.json"))
    if not paths:
        raise DataError(
            f"{folder}: holds no TASK/metrics.json; run the workflow first, or give the folder of a survey's results"
        )
    rows = [row for path in paths for row in _rows(read_metrics(path))]
    return "\n".join([*_aligned(rows), "", *_aligned(_places(folder))])


def read_metrics(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a `metrics.json`.

    Raises
    ------
    DataError
        Missing, damaged, or something else.
    """
    try:
        metrics = json.loads(Path(path).read_text(encoding="utf-8"))
        if {"task", "n_objects", "headline", "network", "baselines"} <= metrics.keys():
            return dict(metrics)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); evaluate first") from None
    except (ValueError, AttributeError):
        pass
    raise DataError(f"{path}: does not hold metrics; evaluate again")


def _rows(metrics: dict[str, Any]) -> list[list[str]]:
    task, network = metrics["task"], metrics["network"]
    if not network:
        return [[task, "not measured: no labels on the test split"]]
    return [_row(task, name, metrics) for name in metrics["headline"] if name in network]


def _row(task: str, name: str, metrics: dict[str, Any]) -> list[str]:
    rivals = [f"{rival} {_number(values[name])}" for rival, values in metrics["baselines"].items() if name in values]
    n_objects = f"{metrics['n_objects']} objects"
    return [task, name, n_objects, f"network {_number(metrics['network'][name])}", *rivals]


def _number(metric: dict[str, float | None]) -> str:
    value, error = metric["value"], metric.get("error")
    if value is None:
        return "-"
    return f"{value:.4f}" if error is None else f"{value:.4f} +- {error:.4f}"


def _places(folder: Path) -> list[list[str]]:
    files = {
        "catalogue": "catalog.fits",
        "redshift PDFs": "photoz_pdf.hdf5",
        "HATS catalogue": "hats",
        "report": "report.html",
    }
    places = [[what, str(folder / name)] for what, name in files.items() if (folder / name).exists()]
    return places + [["figures", str(path)] for path in [*folder.glob("figures"), *sorted(folder.glob("*/figures"))]]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Pad columns to equal width; the last cell of a row may run on."""
    columns = range(max(map(len, rows), default=0))
    widths = [max((len(row[i]) for row in rows if i < len(row) - 1), default=0) for i in columns]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
