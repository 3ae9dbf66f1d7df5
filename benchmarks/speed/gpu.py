"""Speed of each task on a GPU or CPU, relative to the limit of the device and to plain PyTorch code.

- *limit*: the same network, loss and optimizer in the same precision, on one batch that stays on the device.
- *plain loop*: the code of tutorials: float32, channels first, a DataLoader with a worker process per core that flip
  and turn each object, the default AdamW, and `loss.item()` after each step.
- *plain step*: the same on one batch that stays on the device, without reading or augmentation.
- *matmul*: floating-point operations per second in the convolutions and products of the network, as a share of those
  that a large matrix product reaches in the same precision on the same device.
- *busy* (on a GPU): share of the time in which the device runs a kernel; the rest is the launching of kernels.

The measurements take turns; a ratio is the median of the ratios within a round. `python benchmarks/speed/gpu.py` prints
the tables, `--record` writes those of a CPU into docs/performance.md (about seventeen minutes on two cores).
`gpu_check.py` measures the same on a GPU, and more, and records it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
from read import DOCS, write_store
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from works import (
    Effort,
    Work,
    initial_state,
    load,
    n_cores,
    open_task,
    plain_loop,
    plain_step,
    prediction_works,
    train_one_batch,
    train_with_loop,
)

from astrodl import tasks
from astrodl.data.batches import Dataset, DirectReader, ResidentDataset
from astrodl.device import autocast, choose_device, to_memory_format
from astrodl.training.memory import estimate_memory

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}

CHILD = """
import json, sys, time
started = float(open("/proc/self/stat").read().split()[21]) / 100  # seconds after the system
from pathlib import Path
import torch
import astrodl
from astrodl.training import loop
name, store, out, threads, device, settings = sys.argv[1:]
original, times = loop.update, []
def update(state, *rest, **options):
    original(state, *rest, **options)
    times.append(time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    if len(times) == 2 * len(state.cycle) + 4:
        raise SystemExit
loop.update = update
options = {"threads": int(threads), "device": device, "settings": json.loads(settings), "progress": False}
try:
    astrodl.train(name, Path(store), Path(out), **options)
except SystemExit:
    pass
line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
peak = int(line.split()[1]) * 1024 if device == "cpu" else torch.cuda.max_memory_allocated()
print(json.dumps([times[0], peak]))
"""

Row = dict[str, Any]
"""Results of one task."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads on a CPU (default: 1 2)")
    parser.add_argument("--tasks", nargs="+", default=tasks.NAMES, choices=tasks.NAMES, metavar="TASK")
    parser.add_argument("--record", action="store_true", help="write the tables of a CPU into docs/performance.md")
    options = parser.parse_args()
    device, effort = choose_device(options.device), Effort()
    if options.record and device.type == "cuda":
        parser.error("gpu_check.py records the results of a GPU; give --device cpu here")
    report = []
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "store.h5", effort.n_objects)
        for threads in options.threads if device.type == "cpu" else options.threads[:1]:
            torch.set_num_threads(threads)
            rows = [measure_task(name, store, device, threads, effort) for name in options.tasks]
            report += [describe(device, threads), *speed_tables(rows)]
    text = "\n".join(report)
    print(text)
    if options.record:
        record(DOCS / "performance.md", "device-cpu", text)


def record(page: Path, block: str, text: str) -> None:
    """Write a block of a documentation page."""
    sys.path.insert(0, str(DOCS))
    from generate import write_block

    page.write_text(write_block(page.read_text("utf-8"), block, text), "utf-8")


def describe(device: torch.device, threads: int, *, small: bool = False) -> str:
    """Describe device, machine and versions, and measure the rates of a large matrix product."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{threads} thread{'s' * (threads > 1)}"
    rates = [
        f"{matmul_rate(device, dtype, small=small) / 1e9:,.0f} GFLOP/s in {label}" for label, dtype in DTYPES.items()
    ]
    versions = f"torch {torch.__version__}, {date.today():%d %B %Y}"
    return f"**{name}**; {processor()}; {versions}; matrix products: {', '.join(rates)}.\n"


def processor() -> str:
    """Return the number of cores and the name of the processor."""
    # not docs/record.py, which imports the simulator
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
    return f"{n_cores()} cores of {model}"


def matmul_rate(device: torch.device, dtype: torch.dtype, *, small: bool = False) -> float:
    """Measure the floating-point operations per second of a large matrix product."""
    side = 256 if small else 8192 if device.type == "cuda" else 2048
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


# -- tables -----------------------------------------------------------------------------------------------------------


def measure_task(name: str, store: Path, device: torch.device, threads: int, effort: Effort) -> Row:
    """Measure training, prediction, memory and start-up of a task."""
    with DirectReader(store) as reader:
        task = open_task(name, reader, effort)
        data = load(task, reader, device, effort.n_objects // 2)
        row = {"task": name, **measure_training(task, data, effort)}
        start, peak = first_steps(name, store, threads, device, effort)
        network = task.build().to(device)
        estimate = estimate_memory(task, network, first_two(data), effort.n_objects, task.settings.train).total
        speeds = take_turns(prediction_works(task, reader, data), device, effort)
    predicted = {f"predict_{name}": ratio(speeds, "store", name) for name in ("limit", "one_view")}
    rate = statistics.median(speeds["store"])
    return {**row, "start": start, "peak": peak, "estimate": estimate, "predict": rate, **predicted}


def measure_training(task: Any, data: Dataset, effort: Effort) -> Row:
    """Measure the training loop relative to its limit and to plain code."""
    works = {
        "astrodl": train_with_loop(task, data),
        "limit": train_one_batch(task, data),
        "loop": plain_loop(task, data),
        "step": plain_step(task, data),
    }
    speeds = take_turns(works, data.device, effort)
    rate = statistics.median(speeds["astrodl"])
    highest = matmul_rate(data.device, precision_of(task, data.device), small=effort.small)
    return {
        "batch": task.settings.train.batch_size,
        "images": rate,
        **{name: ratio(speeds, "astrodl", name) for name in ("limit", "loop", "step")},
        "matmul": count_flops(task, data) * statistics.median(speeds["limit"]) / highest,
        "busy": busy_share(works["astrodl"], rate, data.device),
    }


def speed_tables(rows: Sequence[Row]) -> list[str]:
    """Return the lines of the tables of training and prediction."""
    head = ["training", "images/s", "of the limit", "x plain loop", "x plain step", "matmul", "busy"]
    lines = [
        [
            row["task"],
            f"{row['images']:,.0f}",
            *(f"{row[name]:.2f}" for name in ("limit", "loop", "step")),
            f"{row['matmul']:.0%}",
            "–" if row["busy"] is None else f"{row['busy']:.0%}",
            f"{row['peak'] / 1e6:,.0f} ({row['estimate'] / 1e6:,.0f})",
            f"{row['start']:.1f}",
        ]
        for row in rows
    ]
    means = [f"{statistics.geometric_mean([row[name] for row in rows]):.2f}" for name in ("loop", "step")]
    lines.append(["geometric mean", "", "", *means, *[""] * 4])
    predicted = [
        [row["task"], f"{row['predict']:,.0f}", *(f"{row[name]:.2f}" for name in ("predict_limit", "predict_one_view"))]
        for row in rows
    ]
    return [
        *table([*head, "peak MB (estimated)", "start s"], lines),
        *table(["prediction", "images/s", "of the limit", "x one view"], predicted),
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table, and an empty line."""
    return [*(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)), ""]


def take_turns(works: dict[str, Work], device: torch.device, effort: Effort) -> dict[str, list[float]]:
    """Measure the images per second of each work in every round."""
    speeds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(effort.rounds + 1):
        for name, work in works.items():
            start, n_images = clock(device), 0
            while not n_images or time.perf_counter() - start < effort.seconds:
                n_images += work()
            if number:  # the first round is a warm-up
                speeds[name].append(n_images / (clock(device) - start))
    return speeds


def ratio(speeds: dict[str, list[float]], one: str, other: str) -> float:
    return statistics.median(a / b for a, b in zip(speeds[one], speeds[other], strict=True))


# -- measurements -----------------------------------------------------------------------------------------------------


def precision_of(task: Any, device: torch.device) -> torch.dtype:
    with autocast(device, task.settings.train.precision):
        return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32


def first_two(data: Dataset) -> Dataset:
    return ResidentDataset({name: tensor[:2].cpu().numpy() for name, tensor in data.tensors.items()}, data.device)


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


def busy_share(work: Work, rate: float, device: torch.device) -> float | None:
    """Return the share of the time in which a GPU runs kernels at a rate in images per second; None on a CPU."""
    if device.type != "cuda":
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        n_images = work()
        torch.cuda.synchronize(device)
    events = [event for event in profiler.events() if event.device_type == DeviceType.CUDA]
    kernels = [event for event in events if not getattr(event, "is_user_annotation", False)]
    seconds = sum(event.time_range.elapsed_us() for event in kernels) / 1e6
    return seconds / n_images * rate if kernels else None


def first_steps(name: str, store: Path, threads: int, device: torch.device, effort: Effort) -> tuple[float, int]:
    """Measure the seconds from the start of a process to its first update, and its peak memory after some more."""
    with tempfile.TemporaryDirectory() as out:
        settings = json.dumps(effort.settings(name))
        words = [sys.executable, "-c", CHILD, name, str(store), out, str(threads), device.type, settings]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
