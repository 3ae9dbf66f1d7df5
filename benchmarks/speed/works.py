"""What the benchmarks of training and prediction measure: the loop of astrodl, its limit, and plain PyTorch code."""

import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

from astrodl import tasks
from astrodl.config import parse
from astrodl.data.batches import Dataset, DirectReader, ResidentDataset, epoch_order
from astrodl.device import autocast, choose_memory_format, to_memory_format
from astrodl.pipeline import objects
from astrodl.pipeline.predict import PREDICT_BATCH, iterate_predictions
from astrodl.tasks.model import Model
from astrodl.training import loop
from astrodl.training.optimizers import parameters_of, step_unless

Work = Callable[[], int]
"""Processes some images and returns their number."""


@dataclass(frozen=True)
class Effort:
    """How long and on what to measure.

    Attributes
    ----------
    seconds : float
        Shortest duration of a measurement.
    rounds : int
        Number of measurements, after a warm-up.
    n_objects : int
        Number of objects in the store; half of them are resident.
    small : bool
        Measure the small networks of the tests, in batches of 16.
    """

    seconds: float = 1.2
    rounds: int = 4
    n_objects: int = 4096
    small: bool = False

    def settings(self, name: str, **training: Any) -> dict[str, Any]:
        """Return the settings of a task."""
        if self.small:
            return {**tasks.get(name).small, "train": {"batch_size": 16, **training}}
        return {"train": training}


def n_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def open_task(name: str, reader: DirectReader, effort: Effort, **training: Any) -> Any:
    """Return a task with the constants that it fits on a store."""
    task_class = tasks.get(name)
    settings = parse(task_class.Settings, effort.settings(name, **training))
    return task_class(settings, objects.fit_context(task_class, settings, reader))


def load(task: Any, reader: DirectReader, device: torch.device, n_objects: int) -> ResidentDataset:
    """Load the first objects of a store onto the device."""
    return ResidentDataset.load(partial(objects.training_arrays, task, reader), np.arange(n_objects), device)


def initial_state(task: Any, device: torch.device) -> loop.TrainingState:
    torch.manual_seed(0)
    network = task.build().to(device)
    return loop.TrainingState(task, network.to(memory_format=choose_memory_format(network)), task.settings.train, 0)


def train_with_loop(task: Any, data: Dataset) -> Work:
    """Make the updates of the training loop, a cycle of phases at a time."""
    state = initial_state(task, data.device)
    network = loop.compile_network(task, state.network, state.settings)
    precision, size = autocast(data.device, state.settings.precision), state.settings.batch_size
    batches = shuffled_batches(data, size)
    interval = loop.COLLECT_INTERVAL if data.device.type == "cuda" else 1

    def cycle() -> int:
        for _ in state.cycle:
            loop.update(state, network, next(batches), 10**6, precision)
            state.step += 1
            if state.step % interval == 0:
                loop.collect_results(state)
        return len(state.cycle) * size

    return cycle


def shuffled_batches(data: Dataset, size: int) -> Iterator[dict[str, torch.Tensor]]:
    for epoch in range(10**6):
        order = epoch_order(len(data), epoch, 0, data.device)[: len(data) // size * size]
        yield from data.batches(order.split(size))


def train_one_batch(task: Any, data: Dataset) -> Work:
    """Make the updates of the same network on one batch."""
    state = initial_state(task, data.device)
    precision, size = autocast(data.device, state.settings.precision), state.settings.batch_size
    batch = to_memory_format(data.batch(torch.arange(size, device=data.device)), state.memory_format)
    skip = torch.zeros((), dtype=torch.bool, device=data.device)

    def cycle() -> int:
        for phase in state.cycle:
            with precision:
                loss, _ = task.loss(state.network, batch, phase, 0.5)
            optimizer = state.optimizers[phase]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if state.settings.clip:
                torch.nn.utils.clip_grad_norm_(parameters_of(optimizer), 5.0)
            step_unless(optimizer, 1e-6, skip)
        return len(state.cycle) * size

    return cycle


class FlippedObjects(torch_data.Dataset):
    """A data set as in tutorials: one object at a time, with its maps flipped and turned at random."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        turns, flip = np.random.randint(4), np.random.randint(2)  # noqa: NPY002  as in tutorials
        return {name: torch.as_tensor(self.turn(array[row], turns, flip)) for name, array in self.arrays.items()}

    @staticmethod
    def turn(values: np.ndarray, turns: int, flip: int) -> np.ndarray:
        if values.ndim < 2:
            return values
        turned = np.rot90(values, turns, (-2, -1))
        return np.ascontiguousarray(turned[..., ::-1] if flip else turned)


def train_plain(task: Any, device: torch.device, batches: Iterator[dict[str, torch.Tensor]]) -> Work:
    torch.manual_seed(0)
    network = task.build().to(device)
    cycle = [phase for phase, updates in task.phases.items() for _ in range(updates)]
    optimizers = {phase: torch.optim.AdamW(task.parameters(network, phase), 1e-6) for phase in task.phases}

    def steps() -> int:
        n_images = 0
        for phase in cycle:
            batch = {name: tensor.to(device) for name, tensor in next(batches).items()}
            loss, _ = task.loss(network, batch, phase, 0.5)
            optimizers[phase].zero_grad()
            loss.backward()
            optimizers[phase].step()
            loss.item()
            n_images += len(next(iter(batch.values())))
        return n_images

    return steps


def plain_loop(task: Any, data: Dataset) -> Work:
    arrays = {name: tensor.cpu().numpy() for name, tensor in data.tensors.items()}
    size = task.settings.train.batch_size
    loader = torch_data.DataLoader(
        FlippedObjects(arrays), size, shuffle=True, num_workers=n_cores(), persistent_workers=True, drop_last=True
    )
    return train_plain(task, data.device, (batch for _ in range(10**6) for batch in loader))


def plain_step(task: Any, data: Dataset) -> Work:
    batch = data.batch(torch.arange(task.settings.train.batch_size, device=data.device))
    return train_plain(task, data.device, iter(lambda: batch, None))


def prediction_works(task: Any, reader: DirectReader, data: Dataset) -> dict[str, Work]:
    """Predict a store, without writing the result; one batch repeatedly; one view of it in float32, with its loss."""
    network = initial_state(task, data.device).network
    plain = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        task.context.constants.update(task.calibrate(network.eval(), data, data))
    model = Model(task, network)
    size = PREDICT_BATCH
    batch = data.batch(torch.arange(size, device=data.device))

    def predict_store() -> Iterator[int]:
        while True:
            for predicted in iterate_predictions([model], reader):
                yield len(next(iter(predicted.values())))

    sizes = predict_store()

    def predict_batch() -> int:
        model.predict_batch(batch)
        return size

    @torch.no_grad()
    def predict_one_view() -> int:
        task.validate(plain, batch)
        return size

    return {"store": lambda: next(sizes), "limit": predict_batch, "one_view": predict_one_view}
