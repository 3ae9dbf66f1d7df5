"""Accuracy of training in bfloat16 and in float32: the metrics of every task over seeds.

`python benchmarks/speed/precision.py` trains every task three times in each precision on a simulated survey (or a store
with truth) and evaluates it on the test split, with the same code for predictions. It takes an hour on one core.
`--record` writes the table into docs/performance.md. `--epochs` shortens the trainings.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import astrodl
from astrodl import tasks
from astrodl.config import IngestSettings, SimulateSettings
from astrodl.ingestion.ingest import ingest
from astrodl.pipeline.evaluate import evaluate
from astrodl.simulator.survey import data_settings
from astrodl.simulator.survey import simulate as write_survey

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, nargs="?", help="store with truth (default: of 3,000 simulated galaxies)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings in each precision (default: 3)")
    parser.add_argument("--epochs", type=float, default=0.3, help="share of the usual epochs (default: 0.3)")
    parser.add_argument("--tasks", nargs="+", default=tasks.NAMES, choices=tasks.NAMES, metavar="TASK")
    parser.add_argument("--record", action="store_true", help="write the table into docs/performance.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.store = options.store or simulate_store(Path(tempfile.mkdtemp()))
    rows = ["| task | metric | bfloat16 | float32 | difference / its error |", "| --- | --- | --- | --- | --- |"]
    for name in options.tasks:
        for metric, values in headline_metrics(name, options).items():
            rows.append(table_row(name, metric, *values))
            print(rows[-1], flush=True)
    about = f"Mean and standard deviation over {options.seeds} seeds, {options.epochs:.0%} of the usual epochs.\n"
    text = "\n".join([about, *rows])
    if options.record:
        sys.path.insert(0, str(DOCS))
        from generate import write_block

        page = DOCS / "performance.md"
        page.write_text(write_block(page.read_text("utf-8"), "precision", text), "utf-8")


def simulate_store(folder: Path) -> Path:
    """Make the store of a simulated survey."""
    simulate = SimulateSettings(n_objects=3000, votes=40)
    write_survey(simulate, folder / "sky", workers=2)
    ingest(IngestSettings(data=data_settings(simulate, folder / "sky")), folder / "store.h5", workers=2)
    return folder / "store.h5"


def headline_metrics(name: str, options: argparse.Namespace) -> dict[str, tuple[list[float], list[float]]]:
    """Return the headline metrics of all trainings in bfloat16 and in float32."""
    found: dict[str, tuple[list[float], list[float]]] = {key: ([], []) for key in tasks.get(name).headline}
    for column, precision in enumerate(("bfloat16", "float32")):
        for seed in range(options.seeds):
            for metric, value in train_and_evaluate(name, options, precision, seed).items():
                if metric in found:
                    found[metric][column].append(value["value"])
    return found


def train_and_evaluate(name: str, options: argparse.Namespace, precision: str, seed: int) -> dict[str, Any]:
    epochs = max(1, round(options.epochs * tasks.get(name).Settings().train.epochs))
    settings = {"train": {"epochs": epochs, "precision": precision}}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        model = astrodl.train(name, options.store, out, settings=settings, seed=seed, threads=1, progress=False)
        predictions = astrodl.predict(name, options.store, [model], out / "predictions.h5", threads=1, progress=False)
        evaluate(name, options.store, predictions, None, out / "metrics.json")
        return json.loads((out / "metrics.json").read_text())["network"]


def table_row(name: str, metric: str, half: list[float], full: list[float]) -> str:
    spread = [statistics.stdev(values) for values in (half, full)]
    error = math.sqrt(sum(value**2 for value in spread) / len(half))
    difference = (statistics.mean(half) - statistics.mean(full)) / error if error else math.nan
    cells = [f"{statistics.mean(v):.4g} ± {s:.2g}" for v, s in zip((half, full), spread, strict=True)]
    return f"| {name} | `{metric}` | {' | '.join(cells)} | {difference:+.1f} |"


if __name__ == "__main__":
    main()
