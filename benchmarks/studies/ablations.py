"""Ablations of docs/tasks/segmentation.md: networks that differ in one setting of ablations.yaml, with equal budgets.

    python benchmarks/studies/ablations.py FOLDER STORE

STORE is that of `clumps.py`, of which some galaxies are taken. A quarter of an hour of CPU time; a training that is
there is not repeated. `--record` copies the table into docs/.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import copy_to_docs
import numpy as np
import study
import torch
from clumps import DOCS
from surveys import copy_objects

import astrodl
from astrodl.atomic import write_json, write_text
from astrodl.pipeline.objects import labelled
from astrodl.store import open_store
from astrodl.tasks.model import load_model

METRICS = ("clump_dice", "clump_f1", "fraction_mae", "bt_rmse", "bt_within_01", "bt_coverage_68")


def take(store: Path, objects: dict[str, int]) -> None:
    """Copy the first galaxies of each split."""
    with open_store(store) as reader:
        rows = np.sort(np.concatenate([reader.select(split)[:n] for split, n in objects.items()]))
    copy_objects(store, rows, Path("store.h5"))


def measure(name: str, settings: dict[str, Any], seed: int) -> study.Metrics:
    """Train a network, and return its scores on the test galaxies and the CPU `seconds` of the training."""
    folder = Path(name.replace(" ", "_"), f"seed{seed}")
    kept = folder / "scores.json"
    if kept.exists():
        return study.read_json(kept)
    start = time.process_time()
    path = astrodl.train(
        "segmentation", "store.h5", folder, settings=settings, seed=seed, device="cpu", threads=1, progress=False
    )
    seconds = time.process_time() - start
    model = load_model(path, device="cpu")
    with open_store("store.h5") as store:
        rows = labelled(type(model.task), model.task.settings, store, "test")
        predicted = model.task.finish(model.raw(model.task.read(store, rows)))
        scores = model.task.score(predicted, model.task.truth(store, rows), {})
    write_json(kept, {**study.values_of(scores), "seconds": seconds})
    return study.read_json(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the study")
    parser.add_argument("store", type=Path, help="store of clumps.py")
    parser.add_argument("--record", action="store_true", help="copy the table into docs/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plan, store = study.read_yaml(__file__), options.store.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(options.folder)
    if not Path("store.h5").exists():
        take(store, plan["objects"])
    part, lines = plan["parts"]["segmentation-ablations"], []
    for name, changed in part["runs"].items():
        runs = [measure(name, part["settings"] | changed, seed) for seed in range(part["seeds"])]
        lines.append([name, *(study.cell(runs, key, 3) for key in (*METRICS, "seconds"))])
        print(*lines[-1], sep="  ", flush=True)
    about = (
        f"{plan['objects']['train']:,} training and {plan['objects']['test']:,} test galaxies, "
        f"{part['settings']['train']['epochs']} epochs, one view; mean and standard deviation over {part['seeds']} "
        "seeds, and CPU seconds of a training. Written by `python "
        "benchmarks/studies/ablations.py FOLDER STORE --record`."
    )
    table = study.table(["network", *(f"`{key}`" for key in METRICS), "seconds"], lines)
    study.PAGES.mkdir(exist_ok=True)
    write_text(study.PAGES / "segmentation-ablations.md", f"{about}\n\n{table}\n")
    if options.record:
        copy_to_docs.main(str(DOCS), "tasks/segmentation.md=segmentation-ablations")


if __name__ == "__main__":
    main()
