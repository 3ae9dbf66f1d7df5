"""Train every task briefly, in one process or as one of several ranks: `python -m tests.tasks.train_ranks STORE OUT`.

Each rank writes its weights, and rank 0 the history. With a task as third argument only that task is trained, and every
rank exits after two updates, as if it were killed.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from astrodl import distributed, tasks
from astrodl.training import loop
from tests.small_task import make_task, read_split, small_settings

DIVERGING_TASK = "latent"
"""The task whose validation loss has the wrong sign, so that it grows and training stops early."""
KILLED = 3
"""Exit status of a killed rank."""
# Gradient descent without Adam, which would enlarge the rounding errors of small gradients.
_TRAINING: dict[str, Any] = {"epochs": 1, "optimizer": "sgd", "learning_rate": 1e-2, "precision": "float32", "ema": 0.5}
_AUGMENTATION: dict[str, Any] = {"rotate": 90, "noise": 0.5, "blur": 1, "band_dropout": 0.3, "cutout": 0.2}


def rank_settings(name: str) -> dict[str, Any]:
    """Return settings with dropout, augmentation, and at least one update of every phase."""
    settings = small_settings(name, **_TRAINING)
    if name in ("photoz", "morphology", "segmentation"):
        settings["dropout"] = 0.5
    if name == "outliers":
        settings |= {"autoencoder": 1, "critic": 1, "generator": 1}
    if name == "morphology":
        settings["augment"] = _AUGMENTATION
    if name == DIVERGING_TASK:
        settings["train"] |= {"epochs": 6, "patience": 1}
    return settings


def train(name: str, store: Path, out: Path) -> None:
    """Train a task in this rank."""
    task = make_task(name, store, rank_settings(name))
    splits = [read_split(task, store, split) for split in ("train", "validation")]
    if name == DIVERGING_TASK:
        validate = task.validate
        task.validate = lambda *arguments: {"loss": -validate(*arguments)["loss"]}  # type: ignore[method-assign]
    torch.manual_seed(5)
    network = task.build()
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"seed": 3, "fingerprint": name, "progress": False}
    history = loop.fit(task, network, *splits, task.settings.train, folder, **options)
    if distributed.is_main():
        (folder / "history.json").write_text(json.dumps(history))
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, folder / f"rank{distributed.rank()}.safetensors")


def exit_after_two_updates() -> None:
    """Let the training loop save after every update and exit before the third."""
    original = loop.update

    def update(state: loop.TrainingState[Any], *arguments: Any, **options: Any) -> None:
        if state.step == 2:
            os._exit(KILLED)
        original(state, *arguments, **options)

    loop.SAVE_SECONDS = 0.0
    loop.update = update


def main(store: Path, out: Path, killed_task: str = "") -> None:
    torch.set_num_threads(1)
    with distributed.process_group("cpu"):
        if killed_task:
            exit_after_two_updates()
        for name in [killed_task] if killed_task else tasks.NAMES:
            train(name, store, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
