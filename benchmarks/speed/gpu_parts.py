"""The parts of `gpu_check.py`; each runs in a process of its own and keeps its results in a file, row by row."""

import json
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu import Row, clock, describe, measure_task, measure_training, ratio, take_turns
from read import BANDS, drop_cache, write_store
from works import Effort, load, open_task, train_with_loop

from astrodl import tasks
from astrodl.atomic import write_json
from astrodl.data.batches import DirectReader, StreamedDataset
from astrodl.device import choose_device
from astrodl.photometry.features import measure
from astrodl.pipeline import objects
from astrodl.store import Writer

ROOT = Path(__file__).resolve().parents[2]
LARGEST_BATCH = 1024
SURVEYS = ((20_000, 64), (20_000, 32), (200_000, 32))
"""Synthetic surveys: number of objects and side of the images; streaming costs more per image, the larger it is."""
MODES = {"off": False, "default": True, "reduce-overhead": "reduce-overhead"}
"""Values of `train.compile`."""


class Rows:
    """Results of a part in a file; a part that was interrupted goes on after the last row.

    Parameters
    ----------
    path : Path
        The file; results that it holds are kept.

    Attributes
    ----------
    rows : dict of dict
        Results by key.
    errors : dict of str
        Messages of what failed, by key; tried again the next time.
    complete : bool
        Whether all keys have a row.
    names : list of str
        Tasks that were asked for.
    """

    def __init__(self, path: Path, names: Iterable[str] = ()) -> None:
        self.path, self.names = path, list(names)
        saved = json.loads(path.read_text()) if path.exists() else {}
        self.rows: dict[str, Row] = saved.get("rows", {})
        self.errors: dict[str, str] = {}
        self.complete: bool = saved.get("complete", False)

    def save(self) -> None:
        """Write the file."""
        shown = {"complete": self.complete, "names": self.names, "rows": self.rows, "errors": self.errors}
        write_json(self.path, shown)

    def measure(self, keys: Iterable[str], function: Callable[[str], Row], deadline: float) -> None:
        """Call a function for every key without a row, until the deadline."""
        keys = list(keys)
        for key in keys:
            if key in self.rows or time.monotonic() > deadline:
                continue
            start = time.monotonic()
            try:
                self.rows[key] = function(key)
            except Exception as error:  # the other keys are measured all the same
                traceback.print_exc()
                self.errors[key] = f"{type(error).__name__}: {error}"
            print(f"    {key}: {time.monotonic() - start:.0f} s", flush=True)
            self.save()
        self.complete = all(key in self.rows for key in keys)
        self.save()


@dataclass(frozen=True)
class Run:
    """What a part is to measure.

    Attributes
    ----------
    device : torch.device
        Device of networks and data.
    names : sequence of str
        Tasks to measure.
    effort : Effort
        Duration and size of the measurements.
    deadline : float
        Time of the monotonic clock after which nothing more is begun.
    """

    device: torch.device
    names: tuple[str, ...]
    effort: Effort
    deadline: float


def run_part(part: str, out: Path, device: str, *, quick: bool, names: Iterable[str], seconds: float) -> None:
    """Run a part in this process."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device on this machine; --device cpu --quick rehearses the check")
    effort = Effort(0.02, 1, 256, small=True) if quick else Effort(0.25, 3)
    run = Run(choose_device(device, 1 if quick else None), tuple(names), effort, time.monotonic() + seconds)
    PARTS[part](Rows(out / f"{part}.json", run.names), run)


@contextmanager
def benchmark_store(effort: Effort) -> Iterator[Path]:
    """Write a store on which every task can be trained, and remove it at the end."""
    from tests.small_store import write_store as write_small_store

    with tempfile.TemporaryDirectory() as folder:
        write = write_small_store if effort.small else write_store
        yield write(Path(folder) / "store.h5", effort.n_objects)


# -- device, tests ----------------------------------------------------------------------------------------------------


def check_device(results: Rows, run: Run) -> None:
    """Describe the device; the results of another one cannot be continued."""
    cuda = run.device.type == "cuda"
    name = torch.cuda.get_device_name(run.device) if cuda else "CPU"
    identity = {"name": name, "torch": torch.__version__, "small": run.effort.small}
    saved = results.rows.get("identity", identity)
    if saved != identity:
        raise SystemExit(f"{results.path.parent} holds results of {saved}, this is {identity}; give another folder")
    results.rows["identity"] = identity
    threads = torch.get_num_threads()
    results.measure(
        ["description"], lambda key: {"text": describe(run.device, threads, small=run.effort.small)}, run.deadline
    )


def run_tests(results: Rows, run: Run) -> None:
    """Run the tests of the GPU; those that passed before are left out."""
    import pytest

    os.environ["ASTRODL_TEST_DEVICE"] = run.device.type
    arguments = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "-W", "default", f"--rootdir={ROOT}"]
    if set(run.names) != set(tasks.NAMES):
        arguments += ["-k", " or ".join(run.names)]
    recorder = TestRecorder(results, run.deadline)
    status = pytest.main([*arguments, str(ROOT / "tests" / "tasks" / "test_gpu.py")], plugins=[recorder])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        results.errors["pytest"] = f"exit status {int(status)}"
    results.complete = all(name in results.rows for name in recorder.names)
    results.save()


class TestRecorder:
    """Plugin of pytest that keeps the outcome of every test."""

    __test__ = False

    def __init__(self, results: Rows, deadline: float) -> None:
        self.results, self.deadline = results, deadline
        self.names: list[str] = []
        self.session: Any = None

    def pytest_sessionstart(self, session: Any) -> None:
        self.session = session

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        self.names = [item.name for item in items]
        items[:] = [item for item in items if item.name not in self.results.rows]

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.split("::")[-1]
        if report.failed:
            self.results.rows.pop(name, None)
            self.results.errors[name] = report.longreprtext.splitlines()[-1]
        elif report.when == "call" or report.skipped:
            reason = report.longrepr[2].removeprefix("Skipped: ") if report.skipped else ""
            self.results.rows[name] = {"outcome": report.outcome, "reason": reason, "seconds": report.duration}
        else:
            return
        self.results.save()
        if time.monotonic() > self.deadline:
            self.session.shouldstop = "the time of this part is over"


# -- speed ------------------------------------------------------------------------------------------------------------


def measure_speed(results: Rows, run: Run) -> None:
    """Measure training, prediction, memory and start-up of every task with its default settings."""
    threads = torch.get_num_threads()
    with benchmark_store(run.effort) as store:
        results.measure(
            run.names, lambda name: measure_task(name, store, run.device, threads, run.effort), run.deadline
        )


def measure_batches(results: Rows, run: Run) -> None:
    """Find the batch size from which on a larger one does not pay, and measure the training with it."""

    def measure_batch_sizes(name: str) -> Row:
        with DirectReader(store) as reader:
            data = load(open_task(name, reader, run.effort), reader, run.device, run.effort.n_objects // 2)
            rates: dict[int, float] = {}
            batch = first = 8 if run.effort.small else 64
            while batch <= min(LARGEST_BATCH, len(data) // 2):
                work = train_with_loop(open_task(name, reader, run.effort, batch_size=batch), data)
                try:
                    (rate,) = take_turns({"x": work}, run.device, Effort(run.effort.seconds, 1))["x"]
                except torch.OutOfMemoryError:
                    break
                if rates and rate < 1.1 * max(rates.values()):
                    break
                rates[batch], batch = rate, 2 * batch
            largest = max(rates)
            training = measure_training(open_task(name, reader, run.effort, batch_size=largest), data, run.effort)
        return {"task": name, "rates": rates, "gain": rates[largest] / rates[first], **training}

    with benchmark_store(run.effort) as store:
        results.measure(run.names, measure_batch_sizes, run.deadline)


def measure_surveys(results: Rows, run: Run) -> None:
    """Measure the training of photo-z on surveys of growing size, resident and streamed from the disk."""
    scale = 80 if run.effort.small else 1
    surveys = {f"{n // scale:,} objects of {size} pixels": (n // scale, size) for n, size in SURVEYS}

    def measure_survey(key: str) -> Row:
        n_objects, size = surveys[key]
        with tempfile.TemporaryDirectory() as folder:
            store = write_survey(Path(folder) / "store.h5", n_objects, size)
            with DirectReader(store) as reader:
                task = open_task("photoz", reader, run.effort)
                start = clock(run.device)
                resident = load(task, reader, run.device, n_objects)
                loading = clock(run.device) - start
                prepare = partial(objects.training_arrays, task, reader)
                streamed = StreamedDataset(prepare, np.arange(n_objects), run.device)
                drop_cache(store)
                works = {"resident": train_with_loop(task, resident), "streamed": train_with_loop(task, streamed)}
                speeds = take_turns(works, run.device, run.effort)
        medians = {name: float(np.median(values)) for name, values in speeds.items()}
        return {
            "objects": n_objects,
            "pixels": size,
            **medians,
            "share": ratio(speeds, "streamed", "resident"),
            "loading": loading,
        }

    results.measure(surveys, measure_survey, run.deadline)


def write_survey(path: Path, n_objects: int, size: int, n_block: int = 1000) -> Path:
    """Write a store of synthetic objects for photo-z, whose images repeat after `n_block` objects."""
    random = np.random.default_rng(0)
    shape, sky = (n_block, len(BANDS), size, size), np.ones((n_block, len(BANDS)), np.float32)
    image = random.standard_normal(shape, dtype=np.float32)
    features, names = measure(image, sky_sigma=sky, pixel_scale_arcsec=0.2, bands=BANDS)
    if shutil.disk_usage(path.parent).free < 1.1 * n_objects * image[0].nbytes:
        raise OSError(f"{path.parent}: too little space for {n_objects:,} objects; set TMPDIR to a larger disk")
    attributes = {"bands": BANDS, "size": size, "feature_names": names, "pixel_scale_arcsec": 0.2}
    with Writer(path, n_objects=n_objects, **attributes) as writer:
        for start in range(0, n_objects, n_block):
            n = min(n_block, n_objects - start)
            block = {
                "image": image[:n],
                "object_id": [f"object {k}" for k in range(start, start + n)],
                "features": features[:n],
                "sky_sigma": sky[:n],
                "background": np.zeros_like(sky[:n]),
                "flags": np.zeros(n),
                "band_flags": np.zeros_like(sky[:n]),
                "split": np.zeros(n),
                "fold": np.zeros(n),
                "catalog/z": random.uniform(0, 1, n),
            }
            writer.write_block(start, block)
    return path


def measure_compiled(results: Rows, run: Run) -> None:
    """Measure the training with `torch.compile`, in the default batches first and then in the largest sensible ones."""
    if run.device.type != "cuda":
        results.rows["skipped"] = {"reason": "no CUDA device"}
        results.complete = True
        results.save()
        return
    largest = {name: row["batch"] for name, row in Rows(results.path.with_name("batches.json")).rows.items()}
    keys = [f"{name} 64" for name in run.names]
    keys += [f"{name} {largest[name]}" for name in run.names if largest.get(name, 64) > 64]

    def measure_modes(key: str) -> Row:
        name, batch = key.split()
        torch.compiler.reset()
        with DirectReader(store) as reader:
            task = open_task(name, reader, run.effort)
            if len(task.phases) > 1:
                return {"task": name, "reason": "its phases are not compiled"}
            data = load(task, reader, run.device, run.effort.n_objects // 2)
            works, seconds = {}, {}
            for mode, value in MODES.items():
                chosen = open_task(name, reader, run.effort, compile=value, batch_size=int(batch))
                works[mode] = train_with_loop(chosen, data)
                start = clock(run.device)
                works[mode]()
                seconds[mode] = clock(run.device) - start
            speeds = take_turns(works, run.device, run.effort)
        gains = {mode: ratio(speeds, mode, "off") for mode in MODES}
        return {"task": name, "batch": int(batch), "images": float(np.median(speeds["off"])), **gains, "start": seconds}

    with benchmark_store(run.effort) as store:
        results.measure(keys, measure_modes, run.deadline)


PARTS: dict[str, Callable[[Rows, Run], None]] = {
    "device": check_device,
    "tests": run_tests,
    "speed": measure_speed,
    "batches": measure_batches,
    "surveys": measure_surveys,
    "compiled": measure_compiled,
}
