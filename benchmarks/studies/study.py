"""What the pages of the studies share: results in the working directory, tables and figures."""

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

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
    "PAGES", "Metrics", "cell", "count_training", "load", "main", "mean_and_spread", "metric_table", "read_classical",
    "read_entries", "read_headline", "read_history", "read_json", "read_metrics", "read_runs", "read_test",
    "read_yaml", "run_table", "show", "show_ensemble", "table", "values_of",
]  # fmt: skip

PAGES = Path("pages")
Metrics = dict[str, float]


def main(parts: Mapping[str, Callable[[], str]]) -> None:
    """Write the page of a part: ``python STUDY.py PART OUT``."""
    torch.set_num_threads(1)
    part, out = sys.argv[1:]
    write_text(out, parts[part]() + "\n")


def read_json(path: Path | str) -> dict[str, Any]:
    """Read a JSON file."""
    return json.loads(Path(path).read_text("utf-8"))


def read_yaml(script: str) -> dict[str, Any]:
    """Read the YAML file beside the script of a study."""
    return yaml.safe_load(Path(script).with_suffix(".yaml").read_text("utf-8"))


def read_runs(script: str, part: str) -> dict[str, list[Path]]:
    """List the folders of the seeds of each run of a part, in the order of the YAML file."""
    runs = read_yaml(script)["parts"][part]["runs"]
    found = {run: sorted(Path(part, run.replace(" ", "_")).glob("seed*")) for run in runs}
    return {run: folders for run, folders in found.items() if folders}


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Read the history of a training, a row per epoch."""
    return [json.loads(line) for line in (folder / "history.jsonl").read_text("utf-8").splitlines()]


def read_entries(folder: Path) -> dict[str, Metrics]:
    """Read the metrics of a network: name -> ``{"value", "error"}``."""
    return read_json(folder / "metrics.json")["network"]


def values_of(entries: Mapping[str, Metrics]) -> Metrics:
    """Return the values of metrics without their errors."""
    return {name: entry["value"] for name, entry in entries.items()}


def read_metrics(folder: Path) -> Metrics:
    """Read the values of the metrics of a network, if it was measured, with the `seconds` that its training took."""
    metrics = values_of(read_entries(folder)) if (folder / "metrics.json").exists() else {}
    if (folder / "train.tsv").exists():
        with open(folder / "train.tsv", encoding="utf-8") as lines:
            *_, row = csv.DictReader(lines, delimiter="\t")
        metrics["seconds"] = float(row["s"])
    return metrics


def read_classical(folder: Path) -> dict[str, list[Metrics]]:
    """Read the values of the metrics of each classical method, with its CPU `seconds`, for every seed."""
    found: dict[str, list[Metrics]] = {}
    for path in sorted(folder.glob("classical-seed*.json")):
        report = read_json(path)
        for name, entries in report["baselines"].items():
            found.setdefault(name, []).append({**values_of(entries), "seconds": report["seconds"][name]})
    return found


def read_headline(script: str) -> tuple[list[Path], Path, dict[str, list[Metrics]]]:
    """Return the folders of the network and of its ensemble, and the metrics of both and of the classical methods."""
    (runs,) = read_runs(script, "headline").values()
    ensemble = runs[0].with_name("ensemble")
    networks = {"network": [read_metrics(run) for run in runs], f"ensemble of {len(runs)}": [read_metrics(ensemble)]}
    return runs, ensemble, networks | read_classical(ensemble.parent)


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


def mean_and_spread(values: Sequence[float], digits: int = 4) -> str:
    """Write a mean and the standard deviation over seeds."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def cell(runs: Sequence[Metrics], metric: str, digits: int = 4) -> str:
    """Write a metric over seeds; nothing where it was not measured."""
    digits = 0 if metric == "seconds" else digits
    return mean_and_spread([run[metric] for run in runs], digits) if metric in runs[0] else ""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    head = list(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def metric_table(columns: Mapping[str, Sequence[Metrics]], *metrics: str) -> str:
    """Write a table with a row per metric and a column per method."""
    return table(
        ["metric", *columns], ([f"`{name}`", *(cell(runs, name) for runs in columns.values())] for name in metrics)
    )


def run_table(rows: Mapping[str, Sequence[Metrics]], *metrics: str) -> str:
    """Write a table with a row per kind of training and a column per metric."""
    cells = ([name, *(cell(runs, metric, 3) for metric in metrics), str(len(runs))] for name, runs in rows.items())
    return table(["training", *(f"`{metric}`" for metric in metrics), "seeds"], cells)


def show(caption: str, name: str, figure: Figure | Path, images: str = "../images") -> str:
    """Save or copy a figure for the page; return the line that shows it there."""
    if isinstance(figure, Path):
        shutil.copyfile(figure, PAGES / name)
    else:
        save(figure, PAGES / name)
    return f"\n![{caption}]({images}/{name})"


def show_ensemble(folder: Path, prefix: str, **captions: str) -> list[str]:
    """Show figures that `astrodl evaluate` drew of an ensemble."""
    return [show(text, f"{prefix}-{name}.png", folder / "figures" / f"{name}.png") for name, text in captions.items()]
