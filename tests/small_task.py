"""Tasks with small networks, on the store of `tests.small_store`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import astrodl
from astrodl import tasks
from astrodl.config import parse
from astrodl.data.batches import Cutouts, ResidentDataset
from astrodl.pipeline import objects
from astrodl.store import open_store
from astrodl.tasks.base import AnyTask
from astrodl.tasks.model import Model, load_model
from astrodl.training import loop

CPU = torch.device("cpu")


def small_settings(name: str, **training: Any) -> dict[str, Any]:
    """Return the settings of a small network that trains for three epochs."""
    return {**tasks.get(name).small, "train": {"epochs": 3, "batch_size": 16, **training}}


def make_task(name: str, store: Path, settings: dict[str, Any]) -> AnyTask:
    """Return a task with the constants that it fits on a store."""
    task_class = tasks.get(name)
    parsed = parse(task_class.Settings, settings)
    with open_store(store) as reader:
        return task_class(parsed, objects.fit_context(task_class, parsed, reader))


def read_split(task: AnyTask, store: Path, split: str) -> ResidentDataset:
    """Read inputs and targets of the labelled objects of a split."""
    with open_store(store) as reader:
        indices = objects.labelled(type(task), task.settings, reader, split)
        return ResidentDataset(objects.training_arrays(task, reader, indices), CPU)


def read_batch(task: AnyTask, store: Path, n_objects: int) -> dict[str, torch.Tensor]:
    """Read inputs and targets of the first objects of a store."""
    with open_store(store) as reader:
        arrays = objects.training_arrays(task, reader, np.arange(n_objects))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def read_cutouts(store: Path, n_objects: int) -> Cutouts:
    """Read the first objects of a store."""
    with open_store(store) as reader:
        return Cutouts.from_store(reader, np.arange(n_objects))


def train_model(name: str, store: Path, folder: Path, settings: dict[str, Any]) -> Model:
    """Train a network on the CPU and load it."""
    path = astrodl.train(name, store, folder, settings=settings, progress=False)
    return load_model(path, device="cpu")


@contextmanager
def interrupt_training(step: int) -> Iterator[None]:
    """Let trainings save a checkpoint after every update and raise KeyboardInterrupt before update `step`."""
    original = loop.update

    def update(state: loop.TrainingState[Any], *arguments: Any, **options: Any) -> None:
        if state.step == step:
            raise KeyboardInterrupt
        original(state, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", 0.0)
        patch.setattr(loop, "update", update)
        yield
