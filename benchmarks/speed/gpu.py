"""Speed of each task on a GPU or CPU, relative to the limit of the device and to plain PyTorch code.

- *limit*: the same network, loss and optimizer in the same precision, on one batch that stays on the device.
- *plain loop*: the code of tutorials: float32, channels first, a DataLoader with two worker processes that flip and
  turn each object, the default AdamW, and `loss.item()` after each step.
- *plain step*: the same on one batch that stays on the device, without reading or augmentation.
- *matmul*: floating-point operations per second in the convolutions and products of the network, as a share of those
  that a large matrix product reaches in the same precision on the same device.

The measurements take turns; a ratio is the median of the ratios within a round. `python benchmarks/speed/gpu.py` prints
the tables, `--record` writes them into docs/performance.md (about seventeen minutes on two cores).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from read import DOCS, write_store
from torch.utils import data as torch_data
from torch.utils.flop_counter import FlopCounterMode

from astrodl import tasks
from astrodl.data.batches import Dataset, DirectReader, ResidentDataset, epoch_order
from astrodl.device import autocast, choose_device, choose_memory_format, to_memory_format
from astrodl.pipeline import objects
from astrodl.pipeline.predict import PREDICT_BATCH, iterate_predictions
from astrodl.tasks.model import Model
from astrodl.training import loop
from astrodl.training.memory import estimate_memory
from astrodl.training.optimizers import parameters_of, step_unless

SECONDS, ROUNDS = 1.2, 4
OBJECTS = 4096

CHILD = """
import json, sys, time
started = float(open("/proc/self/stat").read().split()[21]) / 100  # seconds after the system
from pathlib import Path
import torch
import astrodl
from astrodl.training import loop
name, store, out, threads, device = sys.argv[1:]
original, times = loop.update, []
def update(state, *rest, **options):
    original(state, *rest, **options)
    times.append(time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    if len(times) == 2 * len(state.cycle) + 4:
        raise SystemExit
loop.update = update
try:
    astrodl.train(name, Path(store), Path(out), threads=int(threads), device=device, progress=False)
except SystemExit:
    pass
line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
peak = int(line.split()[1]) * 1024 if device == "cpu" else torch.cuda.max_memory_allocated()
print(json.dumps([times[0], peak]))
"""

Work = Callable[[], int]
"""Processes some images and returns their number."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads on a CPU (default: 1 2)")
    parser.add_argument("--tasks", nargs="+", default=tasks.NAMES, choices=tasks.NAMES, metavar="TASK")
    parser.add_argument("--record", action="store_true", help="write the tables into docs/performance.md")
    options = parser.parse_args()
    device = choose_device(options.device)
    report = []
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "store.h5", OBJECTS)
        for threads in options.threads if device.type == "cpu" else options.threads[:1]:
            torch.set_num_threads(threads)
            report += [describe(device, threads), *make_tables(store, device, threads, options.tasks)]
    text = "\n".join(report)
    print(text)
    if options.record:
        sys.path.insert(0, str(DOCS))
        from generate import write_block

        page = DOCS / "performance.md"
        page.write_text(write_block(page.read_text("utf-8"), f"device-{device.type}", text), "utf-8")


def describe(device: torch.device, threads: int) -> str:
    sys.path.insert(0, str(DOCS))
    from record import machine

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{threads} thread{'s' * (threads > 1)}"
    rates = [f"{matmul_rate(device, dtype) / 1e9:,.0f} GFLOP/s in {label}" for label, dtype in DTYPES.items()]
    versions = f"torch {torch.__version__}, {date.today():%d %B %Y}"
    return f"**{name}**; {machine()}; {versions}; matrix products: {', '.join(rates)}.\n"


DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the floating-point operations per second of a large matrix product."""
    side = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(6):
        start = clock(device)
        for _ in range(3):
            left @ right
        best = max(best, 3 * 2 * side**3 / (clock(device) - start))
    return best


def clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def make_tables(store: Path, device: torch.device, threads: int, names: list[str]) -> list[str]:
    """Measure every task, and return the lines of the tables."""
    train = [
        "| training | images/s | of the limit | x plain loop | x plain step | matmul | peak MB (estimated) | start s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    predict = ["", "| prediction | images/s | of the limit |", "| --- | --- | --- |"]
    gains = []
    for name in names:
        task_class = tasks.get(name)
        settings = task_class.Settings()
        with DirectReader(store) as reader:
            task = task_class(settings, objects.fit_context(task_class, settings, reader))
            data = ResidentDataset.load(partial(objects.training_arrays, task, reader), np.arange(2048), device)
            works = {
                "astrodl": train_with_loop(task, data),
                "limit": train_one_batch(task, data),
                "loop": plain_loop(task, data),
                "step": plain_step(task, data),
            }
            speeds = take_turns(works, device)
            share = count_flops(task, data) * speeds["limit"][0] / matmul_rate(device, precision_of(task, device))
            start, peak = first_steps(name, store, threads, device)
            network = task.build().to(device)
            estimate = estimate_memory(task, network, first_two(data), OBJECTS, settings.train).total
            ratios = [ratio(speeds, "astrodl", other) for other in ("limit", "loop", "step")]
            gains.append(ratios[1:])
            train.append(
                f"| {name} | {statistics.median(speeds['astrodl']):,.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} | "
                f"{ratios[2]:.2f} | {share:.0%} | {peak / 1e6:,.0f} ({estimate / 1e6:,.0f}) | {start:.1f} |"
            )
            speeds = take_turns(prediction_works(task, reader, data), device)
            predict.append(
                f"| {name} | {statistics.median(speeds['store']):,.0f} | {ratio(speeds, 'store', 'limit'):.2f} |"
            )
    means = [statistics.geometric_mean(column) for column in zip(*gains, strict=True)]
    train.append(f"| geometric mean | | | {means[0]:.2f} | {means[1]:.2f} | | | |")
    return [*train, *predict, ""]


def take_turns(works: dict[str, Work], device: torch.device) -> dict[str, list[float]]:
    """Measure the images per second of each work in every round."""
    speeds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(ROUNDS + 1):
        for name, work in works.items():
            start, n_images = clock(device), 0
            while not n_images or time.perf_counter() - start < SECONDS:
                n_images += work()
            if number:  # the first round is a warm-up
                speeds[name].append(n_images / (clock(device) - start))
    return speeds


def ratio(speeds: dict[str, list[float]], one: str, other: str) -> float:
    return statistics.median(a / b for a, b in zip(speeds[one], speeds[other], strict=True))


def precision_of(task: Any, device: torch.device) -> torch.dtype:
    with autocast(device, task.settings.train.precision):
        return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32


def first_two(data: Dataset) -> Dataset:
    return ResidentDataset({name: tensor[:2].cpu().numpy() for name, tensor in data.tensors.items()}, data.device)


# -- training ---------------------------------------------------------------------------------------------------------


def initial_state(task: Any, device: torch.device) -> loop.TrainingState:
    torch.manual_seed(0)
    network = task.build().to(device)
    return loop.TrainingState(task, network.to(memory_format=choose_memory_format(network)), task.settings.train, 0)


def train_with_loop(task: Any, data: Dataset) -> Work:
    """Make the updates of the training loop, a cycle of phases at a time."""
    state = initial_state(task, data.device)
    precision, size = autocast(data.device, state.settings.precision), state.settings.batch_size
    batches = shuffled_batches(data, size)
    interval = loop.COLLECT_INTERVAL if data.device.type == "cuda" else 1

    def cycle() -> int:
        for _ in state.cycle:
            loop.update(state, state.network, next(batches), 10**6, precision)
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
        FlippedObjects(arrays), size, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
    )
    return train_plain(task, data.device, (batch for _ in range(10**6) for batch in loader))


def plain_step(task: Any, data: Dataset) -> Work:
    batch = data.batch(torch.arange(task.settings.train.batch_size, device=data.device))
    return train_plain(task, data.device, iter(lambda: batch, None))


def count_flops(task: Any, data: Dataset) -> float:
    """Count the floating-point operations per image of a cycle of updates."""
    state = initial_state(task, data.device)
    size = state.settings.batch_size
    batch = to_memory_format(data.batch(torch.arange(size, device=data.device)), state.memory_format)
    counted = 0
    for phase, updates in task.phases.items():
        with FlopCounterMode(display=False) as counter:
            counter.mod_tracker.__exit__(None, None, None)  # its hooks refuse the gradient penalty
            task.loss(state.network, batch, phase, 0.5)[0].backward()
        counted += updates * counter.get_total_flops()
    return counted / (len(state.cycle) * size)


# -- prediction, memory, start-up -------------------------------------------------------------------------------------


def prediction_works(task: Any, reader: DirectReader, data: Dataset) -> dict[str, Work]:
    """Predict a store, without writing the result, and one batch repeatedly."""
    network = initial_state(task, data.device).network
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

    return {"store": lambda: next(sizes), "limit": predict_batch}


def first_steps(name: str, store: Path, threads: int, device: torch.device) -> tuple[float, int]:
    """Measure the seconds from the start of a process to its first update, and its peak memory after some more."""
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, "-c", CHILD, name, str(store), out, str(threads), device.type]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
