"""What the pages of the studies share: results in the working directory, tables and figures."""

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from matplotlib.figure import Figure

from astrodl import load_model, open_store
from astrodl.atomic import write_text
from astrodl.pipeline.objects import labelled, trainable
from astrodl.pipeline.predictions import Predictions
from astrodl.plots.style import save
from astrodl.tasks.base import Arrays
from astrodl.tasks.model import Model

__all__ = [
    "PAGES",
    "Metrics",
    "count_training",
    "load",
    "main",
    "mean_and_spread",
    "metric_table",
    "read_classical",
    "read_entries",
    "read_metrics",
    "read_runs",
    "read_test",
    "show",
    "table",
    "train_seconds",
]

PAGES = Path("pages")
Metrics = dict[str, float]


def main(parts: Mapping[str, Callable[[], str]]) -> None:
    """Write the page of a part: ``python STUDY.py PART OUT``."""
    torch.set_num_threads(1)
    part, out = sys.argv[1:]
    write_text(out, parts[part]() + "\n")


def read_runs(script: str, part: str) -> dict[str, list[Path]]:
    """List the folders of the seeds of each run of a part, in the order of the YAML file beside the script."""
    parts = yaml.safe_load(Path(script).with_suffix(".yaml").read_text("utf-8"))["parts"]
    found = {run: sorted(Path(part, run.replace(" ", "_")).glob("seed*")) for run in parts[part]["runs"]}
    return {run: folders for run, folders in found.items() if folders}


def read_entries(folder: Path) -> dict[str, Metrics]:
    """Read the metrics of a network: name -> ``{"value", "error"}``."""
    return json.loads((folder / "metrics.json").read_text("utf-8"))["network"]


def read_metrics(folder: Path) -> Metrics:
    """Read the values of the metrics of a network."""
    return {name: entry["value"] for name, entry in read_entries(folder).items()}


def read_classical(folder: Path) -> dict[str, list[Metrics]]:
    """Read the values of the metrics of each classical method, with its CPU `seconds`, for every seed."""
    found: dict[str, list[Metrics]] = {}
    for path in sorted(folder.glob("classical-seed*.json")):
        report = json.loads(path.read_text("utf-8"))
        for name, metrics in report["baselines"].items():
            values = {key: entry["value"] for key, entry in metrics.items()}
            found.setdefault(name, []).append({**values, "seconds": report["seconds"][name]})
    return found


def read_test(folder: Path, survey: str) -> tuple[Arrays, Arrays]:
    """Read predictions and truth of the labelled test objects."""
    predicted = Predictions(folder / "predictions.h5")
    task = predicted.task()
    with open_store(f"surveys/{survey}/test.h5") as store:
        rows = labelled(type(task), task.settings, store, "test")
        return predicted.read(rows), task.truth(store, rows)


def load(folder: Path | str) -> Model:
    """Load the model of a run and seed."""
    return load_model(Path(folder, "model.safetensors"), device="cpu")


def count_training(folder: Path, survey: str) -> int:
    """Count the objects that a network was trained on."""
    task = load(folder).task
    with open_store(f"surveys/{survey}/store.h5") as store:
        return len(trainable(type(task), task.settings, store))


def train_seconds(folder: Path) -> float:
    """Return the wall time of a training."""
    with open(folder / "train.tsv", encoding="utf-8") as lines:
        *_, row = csv.DictReader(lines, delimiter="\t")
    return float(row["s"])


def mean_and_spread(values: Sequence[float], digits: int = 4) -> str:
    """Write a mean and the standard deviation over seeds."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    head = list(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def metric_table(columns: Mapping[str, Sequence[Metrics]], metrics: Iterable[str]) -> str:
    """Write a table with a row per metric and a column per method, the mean and the spread over its seeds."""
    rows = []
    for name in metrics:
        digits = 0 if name == "seconds" else 4
        cells = [
            mean_and_spread([run[name] for run in runs], digits) if name in runs[0] else "" for runs in columns.values()
        ]
        rows.append([f"`{name}`", *cells])
    return table(["metric", *columns], rows)


def show(caption: str, name: str, figure: Figure | Path, images: str = "../images") -> str:
    """Keep a figure, or copy one, for the page; return the line that shows it there."""
    if isinstance(figure, Path):
        shutil.copyfile(figure, PAGES / name)
    else:
        save(figure, PAGES / name)
    return f"\n![{caption}]({images}/{name})"
