"""Train every task for a few updates, in one process or in several: `python -m tests.tasks.together STORE OUT`.

Each process writes its weights and history; a task that is named after OUT is stopped after two updates.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from astrodl import distributed, tasks
from astrodl.config import parse
from astrodl.data.batches import Cutouts, ResidentDataset
from astrodl.pipeline import objects
from astrodl.store import open_store
from astrodl.training import loop
from tests.tasks.test_contract import small

CPU = torch.device("cpu")
CHANGED: dict[str, Any] = {"rotate": 90, "noise": 0.5, "blur": 1, "band_dropout": 0.3, "cutout": 0.2}
"""Augmentation of morphology, beside the usual one."""
WORSE = "latent"
"""The task whose validation loss is turned round, so that it grows and training stops early."""
# plain gradient descent: Adam's division makes rounding errors of small gradients as large as any
TRAINING: dict[str, Any] = {"epochs": 1, "optimizer": "sgd", "learning_rate": 1e-2, "precision": "float32", "ema": 0.5}


def settings_of(name: str) -> dict[str, Any]:
    """Give settings under which every phase takes its turn."""
    chosen = small(name, **TRAINING)
    if name == "outliers":
        chosen |= {"autoencoder": 1, "critic": 1, "generator": 1}
    if name == "morphology":
        chosen["augment"] = CHANGED
    if name == WORSE:
        chosen["train"] |= {"epochs": 6, "patience": 1}
    return {**chosen, "dropout": 0.5} if name in ("photoz", "morphology", "segmentation") else chosen


def train(name: str, store: Path, out: Path) -> None:
    """Train one task on all labelled objects of a store, in this process's share of it."""
    kind = tasks.get(name)
    settings = parse(kind.Settings, settings_of(name))
    with open_store(store) as reader:
        task = kind(settings, objects.fit_context(kind, settings, reader))
        splits = {}
        for part in ("train", "validation"):
            indices = objects.labelled(kind, settings, reader, part)
            arrays = {**task.inputs(Cutouts.from_store(reader, indices)), **task.targets(reader, indices)}
            splits[part] = ResidentDataset(arrays, CPU)
    if name == WORSE:
        validate = task.validate
        task.validate = lambda *some: {"loss": -validate(*some)["loss"]}  # type: ignore[method-assign]
    torch.manual_seed(5)
    network = task.build()
    history = loop.fit(
        task, network, *splits.values(), settings.train, out / name, seed=3, fingerprint=name, progress=False
    )
    if distributed.is_main():
        (out / name / "done.json").write_text(json.dumps(history))
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, out / name / f"rank{distributed.rank()}.safetensors")


def main(store: Path, out: Path, stopped: str = "") -> None:
    torch.set_num_threads(1)
    with distributed.process_group("cpu"):
        for name in [stopped] if stopped else tasks.NAMES:
            (out / name).mkdir(parents=True, exist_ok=True)
            if stopped:
                loop.SAVE_SECONDS = 0.0
                original = loop.update

                def update(state: loop.TrainingState, *rest: Any, original: Any = original, **options: Any) -> None:
                    if state.step == 2:
                        os._exit(3)
                    original(state, *rest, **options)

                loop.update = update
            train(name, store, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
