"""Measure the speed of reading random mini-batches from a store, in images per second, for several methods.

`python benchmarks/speed/read.py` prints the tables (about 5 minutes, 5 GB of temporary files); `--record` writes
them to docs/reading.md.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

import astrodl
from astrodl import tasks
from astrodl.data import batches
from astrodl.data.batches import Dataset, DirectReader, ResidentDataset, StreamedDataset
from astrodl.device import autocast, choose_device, choose_memory_format
from astrodl.photometry.features import measure
from astrodl.pipeline import objects
from astrodl.store import Writer, open_store
from astrodl.training import loop

DOCS = Path(__file__).resolve().parents[2] / "docs"
BANDS = ("g", "r", "i", "z", "y")
SIZE, BATCH, CHUNK = 64, 64, 64
SECONDS, ROUNDS = 1.0, 4
LABELS = ("bulge", "disk", "clump")

Step = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=20480, help="number of objects (default: 20480)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device of the trainings")
    parser.add_argument("--record", action="store_true", help="write the tables to docs/reading.md")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "store.h5", options.objects)
        tables = [describe_setup(options), *methods_table(store), *tasks_table(store, choose_device(options.device))]
        tables += memory_table(store, Path(folder))
    text = "\n".join(tables)
    print(text)
    if options.record:
        sys.path.insert(0, str(DOCS))
        from generate import write_block

        page = DOCS / "reading.md"
        page.write_text(write_block(page.read_text("utf-8"), "rates", text), "utf-8")


def describe_setup(options: argparse.Namespace) -> str:
    sys.path.insert(0, str(DOCS))
    from record import machine

    device = choose_device(options.device)
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return (
        f"{options.objects:,} objects of {len(BANDS)} × {SIZE} × {SIZE} pixels, batches of {BATCH}, warm cache, "
        f"torch on {options.threads} thread{'s' * (options.threads > 1)}; {machine()}{gpu}.\n"
    )


def write_store(path: Path, n_objects: int) -> Path:
    """Write a store of random numbers on which every task can be trained."""
    random = np.random.default_rng(0)
    sample = random.standard_normal((2, len(BANDS), SIZE, SIZE), dtype=np.float32)
    _, names = measure(sample, sky_sigma=np.ones((2, len(BANDS)), np.float32), pixel_scale_arcsec=0.2, bands=BANDS)
    writer = Writer(path, n_objects=n_objects, bands=BANDS, size=SIZE, feature_names=names, pixel_scale_arcsec=0.2)
    with writer:
        for start in range(0, n_objects, 1024):
            n = min(1024, n_objects - start)
            block: dict[str, Any] = {
                "image": random.standard_normal((n, len(BANDS), SIZE, SIZE), dtype=np.float32),
                "object_id": [f"object {k}" for k in range(start, start + n)],
                "features": random.standard_normal((n, len(names)), dtype=np.float32),
                "sky_sigma": np.ones((n, len(BANDS))),
                "background": np.zeros((n, len(BANDS))),
                "flags": np.zeros(n),
                "band_flags": np.zeros((n, len(BANDS))),
                "split": np.zeros(n),
                "fold": np.zeros(n),
                "catalog/z": random.uniform(0, 1, n),
                "catalog/class": random.choice(["disk", "elliptical"], n),
            }
            block |= {
                f"catalog/{name}": random.integers(0, 9, n) for name in tasks.get("votes").Settings().tree.columns
            }
            block |= {f"label/{name}": random.random((n, SIZE, SIZE), dtype=np.float32) for name in LABELS}
            writer.write_block(start, block)
    return path


# -- methods of reading -----------------------------------------------------------------------------------------------


def methods_table(store: Path) -> list[str]:
    """Time every method of reading raw images."""
    cold = cold_rate(store)  # first, because mapped pages cannot be dropped from the disk cache
    with open_store(store) as reader:
        images = torch.from_numpy(reader.images())
    chunked = store.with_name("chunked.h5")
    with h5py.File(chunked, "w") as file:
        file.create_dataset("image", data=images.numpy(), chunks=(CHUNK, *images.shape[1:]))
    with h5py.File(chunked, "r") as file, DirectReader(store) as direct:
        rates = best_of_rounds(make_steps(file["image"], direct, images))
    rates["**StreamedDataset**, nothing cached"] = cold
    chunked.unlink()
    reference = rates["tensor in memory, `x[indices]`"]
    rows = [f"| {name} | {value:,.0f} | {value / reference:.2g} |" for name, value in rates.items()]
    return ["| way | images/s | relative |", "| --- | --- | --- |", *rows, ""]


def make_steps(chunked: h5py.Dataset, direct: DirectReader, images: torch.Tensor) -> dict[str, Step]:
    """Return the methods, each as a function that reads the next batch."""
    n_objects, n_chunks = len(images), len(images) // CHUNK
    contiguous = direct._file["image"]  # h5py does not open a file twice with different locks
    plain = np.memmap(direct.path, np.float32, "r", contiguous.id.get_offset(), contiguous.shape)
    resident = ResidentDataset({"image": images.numpy()}, images.device)
    streamed = StreamedDataset(lambda rows: {"image": direct.images(rows)}, np.arange(n_objects), images.device)
    out = images.new_empty((BATCH, *images.shape[1:]))
    by_index: dict[str, Callable[[np.ndarray], Any]] = {
        "HDF5 chunked, fancy indexing": lambda rows: chunked[np.sort(rows)],
        # less random: neighbours in the file are in the same batch in every epoch
        "HDF5 chunked, whole chunks in random order": lambda rows: read_chunk(chunked, int(rows[0]) % n_chunks),
        "HDF5 contiguous, object by object": lambda rows: np.stack([contiguous[row] for row in rows]),
        "HDF5 contiguous, sorted fancy indexing": lambda rows: contiguous[np.sort(rows)],
        "memory map of the contiguous dataset": lambda rows: plain[rows],
        "tensor in memory, `x[indices]`": lambda rows: images[torch.from_numpy(rows)],
        "tensor in memory, `index_select` into a preallocated one": lambda rows: torch.index_select(
            images, 0, torch.from_numpy(rows), out=out
        ),
        "**DirectReader**, `store.images(indices)`": direct.images,
        "**ResidentDataset**": lambda rows: resident.batch(torch.from_numpy(rows)),
    }
    steps = {name: make_step(method, random_batches(n_objects)) for name, method in by_index.items()}
    steps["**StreamedDataset** (images alone)"] = partial(next, repeat_epochs(streamed))
    loader = torch.utils.data.DataLoader(
        Images(plain), BATCH, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
    )
    batches = (batch for _ in range(10**6) for batch in loader)
    steps["DataLoader, 2 processes, memory map"] = partial(next, batches)
    return steps


def make_step(method: Callable[[np.ndarray], Any], batches: Iterator[np.ndarray]) -> Step:
    return lambda: method(next(batches))


def read_chunk(dataset: h5py.Dataset, number: int) -> np.ndarray:
    return dataset[number * CHUNK : (number + 1) * CHUNK]


def random_batches(n_objects: int) -> Iterator[np.ndarray]:
    """Yield batches of indices without end, each object once per epoch."""
    random = np.random.default_rng(0)
    while True:
        order = random.permutation(n_objects)
        for start in range(0, n_objects - BATCH + 1, BATCH):
            yield order[start : start + BATCH]


def repeat_epochs(data: Dataset) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches without end, each object once per epoch."""
    n_used = len(data) // BATCH * BATCH
    for epoch in range(10**6):
        yield from data.batches(batches.epoch_order(len(data), epoch, 0, data.device)[:n_used].split(BATCH))


def best_of_rounds(steps: dict[str, Step]) -> dict[str, float]:
    """Time the steps in turns and return the best rate of each, because other work on the machine only slows down."""
    rates = dict.fromkeys(steps, 0.0)
    for number in range(ROUNDS + 1):
        for name, step in steps.items():
            value = objects_per_second(step)
            rates[name] = max(rates[name], value) if number else 0.0  # the first round fills the caches
    return rates


def objects_per_second(step: Step) -> float:
    n_steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS or not n_steps:
        step()
        n_steps += 1
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return n_steps * BATCH / (time.perf_counter() - start)


class Images(torch.utils.data.Dataset):
    """A typical Dataset: one object at a time from a memory map."""

    def __init__(self, images: np.memmap) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> torch.Tensor:
        return torch.from_numpy(self.images[row].copy())


def cold_rate(store: Path) -> float:
    """Time an epoch of random batches without disk cache."""
    drop_cache(store)
    with DirectReader(store) as direct:
        streamed = StreamedDataset(
            lambda rows: {"image": direct.images(rows)}, np.arange(len(direct)), torch.device("cpu")
        )
        order = batches.epoch_order(len(streamed), 0, 0, streamed.device)
        start = time.perf_counter()
        n_read = sum(len(batch["image"]) for batch in streamed.batches(order.split(BATCH)))
        return n_read / (time.perf_counter() - start)


def drop_cache(path: Path) -> None:
    """Ask the system to drop the file from the disk cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


# -- tasks ------------------------------------------------------------------------------------------------------------


def tasks_table(store: Path, device: torch.device) -> list[str]:
    """Compare the rate at which each task streams batches with its training rates from memory and streamed."""
    rows = [
        f"| task with its defaults, {device.type} | streams, images/s | trains from memory | trains streamed |",
        "| --- | --- | --- | --- |",
    ]
    for name in tasks.NAMES:
        task_class = tasks.get(name)
        settings = task_class.Settings()
        with DirectReader(store) as reader:
            task = task_class(settings, objects.fit_context(task_class, settings, reader))
            indices = np.arange(min(len(reader), 8192))
            prepare = partial(objects.training_arrays, task, reader)
            streamed, resident = (
                StreamedDataset(prepare, indices, device),
                ResidentDataset.load(prepare, indices, device),
            )
            rates = best_of_rounds(
                {
                    "streams": partial(next, repeat_epochs(streamed)),
                    "memory": make_update(task, resident),
                    "streamed": make_update(task, streamed),
                }
            )
        rows.append(f"| {name} | {' | '.join(f'{value:,.0f}' for value in rates.values())} |")
    return rows


def make_update(task: Any, data: Dataset) -> Step:
    """Return a function that makes one update of the training loop."""
    settings = task.settings.train
    network = task.build().to(data.device)
    network = network.to(memory_format=choose_memory_format(network))
    state = loop.TrainingState(task, network, settings, 0)
    precision = autocast(data.device, settings.precision)
    batches = repeat_epochs(data)

    def step() -> None:
        loop.update(state, network, next(batches), 10**6, precision)
        loop.collect_results(state)
        state.step += 1

    return step


# -- memory -----------------------------------------------------------------------------------------------------------


def memory_table(store: Path, folder: Path) -> list[str]:
    """Return the peak memory of processes that train and predict, on an eighth of the objects and on all."""
    with open_store(store) as reader:
        n_objects = reader.n_objects
    stores = {n_objects // 8: write_store(folder / "few.h5", n_objects // 8), n_objects: store}
    head = [f"{number:,} objects, MB" for number in stores]
    rows = ["", f"| peak memory of a process | {' | '.join(head)} |", "| --- | --- | --- |"]
    for action in ("train, streamed", "train from memory", "predict"):
        rows.append(f"| {action} | {' | '.join(f'{peak_megabytes(action, path):,.0f}' for path in stores.values())} |")
    return rows


def peak_megabytes(action: str, store: Path) -> float:
    """Return the peak memory of an action in a separate process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure_peak, (action, store))


def measure_peak(action: str, store: Path) -> float:
    torch.set_num_threads(1)
    folder = store.with_suffix("")
    settings = {"n_bins": 8, "widths": [4], "train": {"epochs": 1}}
    if action == "predict":
        astrodl.predict("photoz", store, [folder / "model.safetensors"], folder / "predictions.h5")
    else:
        batches.RESIDENT_SHARE = 0.0 if action == "train, streamed" else 1.0
        (folder / "model.safetensors").unlink(missing_ok=True)
        astrodl.train("photoz", store, folder, settings=settings, progress=False)
    # not getrusage, whose peak is inherited from the parent process
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
