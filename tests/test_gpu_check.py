"""The check of a GPU, rehearsed on the CPU: the parts of benchmarks/speed/gpu_check.py, its verdicts, its packages."""

import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from astrodl import tasks
from tests.conftest import ROOT
from tests.small_task import make_task, read_batch, small_settings

SPEED = ROOT / "benchmarks" / "speed"


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SPEED))
    return importlib.import_module("gpu_check")


def run_check(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Rehearse the check on the CPU."""
    command = ["bash", str(SPEED / "gpu_check.sh"), str(out), "--device", "cpu", "--quick", *options]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=1200)


# -- rehearsal --------------------------------------------------------------------------------------------------------


def test_some_parts_run_on_a_cpu_and_are_kept_the_next_time(tmp_path: Path) -> None:
    first = run_check(tmp_path, "--parts", "surveys", "compiled")
    assert first.returncode == 0, first.stdout + first.stderr
    assert re.search("SKIPPED +compiled: no CUDA device", first.stdout)
    again = run_check(tmp_path, "--parts", "surveys", "compiled")
    assert "== surveys: kept" in again.stdout
    report = json.loads((tmp_path / "gpu_check.json").read_text())
    assert report["parts"]["surveys"]["status"] == "REHEARSED"
    rows = report["parts"]["surveys"]["rows"].values()
    assert [row["objects"] for row in rows] == [250, 250, 2500]
    assert all(row["resident"] > 0 and row["streamed"] > 0 for row in rows)


@pytest.mark.slow
def test_all_parts_run_on_a_cpu(tmp_path: Path) -> None:
    done = run_check(tmp_path, "--minutes", "15")
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads((tmp_path / "gpu_check.json").read_text())["parts"]
    assert {part: result["status"] for part, result in parts.items()} == {
        **dict.fromkeys(("device", "tests", "speed", "batches", "surveys"), "REHEARSED"),
        "compiled": "SKIPPED",
    }
    assert set(parts["speed"]["rows"]) == set(parts["batches"]["rows"]) == set(tasks.NAMES)


# -- parts that fail --------------------------------------------------------------------------------------------------

STUB = """
import json, os, sys, time
out, part = sys.argv[1], sys.argv[3]
rows = {"description": {"text": "a device"}} if part == "device" else {}
results = {"complete": part in ("device", "compiled"), "names": ["photoz"], "rows": rows, "errors": {}}
json.dump(results, open(f"{out}/{part}.json", "w"))
if part == "speed":
    raise SystemExit(3)
if part == "batches":
    time.sleep(100)
"""


def test_a_part_that_fails_or_takes_too_long_does_not_stop_the_others(
    gpu_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.setattr(gpu_check, "__file__", str(tmp_path / "stub.py"))
    monkeypatch.setattr(gpu_check, "GRACE", 1)
    parts = ["speed", "batches", "compiled"]
    options = SimpleNamespace(out=tmp_path, parts=parts, device="cpu", tasks=["photoz"], quick=True, minutes=0.0)
    report = gpu_check.run_parts(options)
    assert {part: result["status"] for part, result in report["parts"].items()} == {
        "device": "REHEARSED", "speed": "FAILED", "batches": "INCOMPLETE", "compiled": "REHEARSED"
    }  # fmt: skip
    assert "ended with status 3" in report["parts"]["speed"]["verdict"]
    assert "killed, because its time was over" in report["parts"]["batches"]["verdict"]


def test_a_key_that_fails_is_tried_again_and_the_others_are_kept(gpu_check: ModuleType, tmp_path: Path) -> None:
    rows_class = importlib.import_module("gpu_parts").Rows
    called = []

    def measure(key: str) -> dict[str, Any]:
        called.append(key)
        if len(called) == 2:
            raise ValueError("once")
        return {"key": key}

    first = rows_class(tmp_path / "part.json")
    first.measure(["a", "b", "c"], measure, float("inf"))
    assert not first.complete
    assert first.errors == {"b": "ValueError: once"}
    second = rows_class(tmp_path / "part.json")
    second.measure(["a", "b", "c"], measure, float("inf"))
    assert second.complete
    assert called == ["a", "b", "c", "b"]
    assert not second.errors


def test_nothing_is_begun_after_the_deadline(gpu_check: ModuleType, tmp_path: Path) -> None:
    rows = importlib.import_module("gpu_parts").Rows(tmp_path / "part.json")
    rows.measure(["a"], lambda key: {}, 0.0)
    assert not rows.rows
    assert not rows.complete


def test_results_of_fewer_tasks_are_not_complete(gpu_check: ModuleType) -> None:
    results = {"complete": True, "names": ["photoz", "votes"]}
    assert gpu_check.is_complete(results, ["votes"])
    assert not gpu_check.is_complete(results, ["votes", "latent"])


# -- verdicts ---------------------------------------------------------------------------------------------------------

SPEED_ROW: dict[str, Any] = {
    "task": "photoz", "batch": 64, "images": 9e3, "limit": 0.97, "loop": 3.5, "step": 1.2, "matmul": 0.2, "busy": 0.6,
    "start": 8.0, "peak": 2e9, "estimate": 2e9, "predict": 5e3, "predict_limit": 0.95, "gain": 2.0,
    "predict_one_view": 0.4,
}  # fmt: skip
SURVEY_ROWS = [
    {"objects": n, "pixels": p, "resident": 9e3, "streamed": 9e3, "share": 1.0, "loading": 2.0}
    for n, p in ((20_000, 64), (20_000, 32), (200_000, 32))
]


def judge(gpu_check: ModuleType, part: str, *rows: dict[str, Any], complete: bool = True) -> str:
    results = {"complete": complete, "rows": {str(k): row for k, row in enumerate(rows)}, "errors": {}}
    status: str = gpu_check.judge(results, part, "", quick=False)["status"]
    return status


@pytest.mark.parametrize("goal", ["limit", "loop", "predict_limit"])
def test_a_speed_below_its_goal_is_missed(gpu_check: ModuleType, goal: str) -> None:
    assert judge(gpu_check, "speed", SPEED_ROW, {**SPEED_ROW, "task": "votes"}) == "OK"
    assert judge(gpu_check, "speed", SPEED_ROW, {**SPEED_ROW, goal: 0.6}) == "MISSED"
    assert judge(gpu_check, "speed", SPEED_ROW, complete=False) == "INCOMPLETE"


@pytest.mark.parametrize(("way", "value"), [("resident", 8e3), ("streamed", 8e3), ("share", 0.9)])
def test_a_larger_survey_that_is_slower_is_missed(gpu_check: ModuleType, way: str, value: float) -> None:
    assert judge(gpu_check, "surveys", *SURVEY_ROWS) == "OK"
    assert judge(gpu_check, "surveys", *SURVEY_ROWS[:2], {**SURVEY_ROWS[2], way: value}) == "MISSED"


def test_the_fastest_mode_of_compilation_is_recommended(gpu_check: ModuleType) -> None:
    row = {"task": "photoz", "batch": 64, "images": 1e3, "off": 1.0, "default": 1.1, "reduce-overhead": 1.6}
    assert "reduce-overhead 1.60 x; train.compile should be reduce-overhead" in gpu_check.judge_compiled({"a": row})[1]
    slower = {**row, "default": 0.8, "reduce-overhead": 0.9}
    assert "train.compile should be off" in gpu_check.judge_compiled({"a": slower})[1]


def test_the_tables_of_a_gpu_are_recorded_and_those_of_a_cpu_refused(gpu_check: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text((ROOT / "docs" / "performance.md").read_text("utf-8"), "utf-8")
    compiled = {"task": "photoz", "batch": 64, "images": 1e3, "off": 1.0, "default": 1.1, "reduce-overhead": 1.6}
    rows: dict[str, dict[str, Any]] = {
        "device": {"identity": {"name": "GPU", "small": False}, "description": {"text": "**GPU**; today."}},
        "tests": {"test": {"outcome": "passed", "reason": "", "seconds": 1.0}},
        "speed": {"photoz": SPEED_ROW},
        "batches": {"photoz": {**SPEED_ROW, "batch": 512}},
        "surveys": {str(k): row for k, row in enumerate(SURVEY_ROWS)},
        "compiled": {"photoz 64": {**compiled, "start": {"off": 1.0, "default": 20.0, "reduce-overhead": 20.0}}},
    }
    parts = {
        part: gpu_check.judge({"complete": True, "rows": values, "errors": {}}, part, "", quick=False)
        for part, values in rows.items()
    }
    gpu_check.record_report({"parts": parts}, tmp_path, page)
    text = page.read_text("utf-8").split("<!-- device-cuda:begin -->")[1].split("<!-- device-cuda:end -->")[0]
    assert "**GPU**; today." in text
    assert "| photoz | 512 | 9,000 | 2.00 | 0.97 | 3.50 | 60% |" in text
    assert "| photoz | 64 | 1,000 | 1.10 (20) | 1.60 (20) |" in text
    assert "| 200,000 | 32 | 9,000 | 9,000 | 1.00 | 2.0 |" in text
    assert text.count(" | ok | ") == 5
    parts["device"]["rows"]["identity"]["name"] = "CPU"
    with pytest.raises(SystemExit, match="only those of a GPU"):
        gpu_check.record_report({"parts": parts}, tmp_path, page)


# -- packages ---------------------------------------------------------------------------------------------------------

PIP = """#!/bin/bash
# in place of python3 -m pip download: writes the arguments, and a wheel of WHEEL_SIZE bytes
while [[ $# -gt 0 ]]; do
  [[ $1 == --dest ]] && folder=$2
  [[ $1 == --constraint ]] && constraints=$2
  echo "$1"
  shift
done > arguments
truncate --size "$WHEEL_SIZE" "$folder/one.whl"
"""


def collect(folder: Path, *packages: str, size: int = 1000) -> tuple[int, list[str]]:
    """Run collect_wheels.sh without network, and return its exit status and the names of the packages."""
    stub = folder / "bin" / "python3"
    stub.parent.mkdir()
    stub.write_text(PIP)
    stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}", "WHEEL_SIZE": str(size)}
    command = ["bash", str(SPEED / "collect_wheels.sh"), "3.12", "wheels", *packages]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    arguments = (folder / "arguments").read_text().split()
    return done.returncode, arguments[arguments.index("wheels") + 1 :]


def test_the_wheels_have_pinned_versions_and_a_folder_that_is_too_large_is_refused(tmp_path: Path) -> None:
    status, names = collect(tmp_path, "matplotlib", "scikit-learn")
    assert status == 0
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().split()}
    assert set(names) <= pinned
    (tmp_path / "large").mkdir()
    assert collect(tmp_path / "large", size=65 * 2**20)[0] == 1


LIMITED = """
import sys
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path

allowed, homes = set(sys.argv[1].split(",")), packages_distributions()

class LimitedFinder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        home = homes.get(name.partition(".")[0])
        if home and not allowed & {part.lower().replace("_", "-") for part in home}:
            return None
        return super().find_spec(name, path, target)

sys.meta_path = [LimitedFinder if finder is PathFinder else finder for finder in sys.meta_path]
sys.path[:0] = sys.argv[2:4]
import astrodl
import gpu_check
from tests.small_store import write_store
from tests.small_task import small_settings
folder = Path(sys.argv[4])
store = write_store(folder / "store.h5")
for name in ("photoz", "latent"):
    settings = small_settings(name, epochs=1)
    model = astrodl.train(name, store, folder / name, settings=settings, device="cpu", threads=1, progress=False)
    astrodl.predict(name, store, [model], folder / f"{name}.h5", device="cpu", progress=False)
for name in ("galsim", "photutils", "reproject", "snakemake", "pyarrow"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(name)
"""


def test_training_and_prediction_need_only_the_collected_packages_and_no_simulator(tmp_path: Path) -> None:
    collected = collect(tmp_path, "matplotlib", "scikit-learn")[1]
    allowed = {
        "astrodl",
        "astrodl-survey",
        "setuptools",
        *collected,
        *with_requirements("torch", "numpy", "h5py", "scipy"),
    }
    command = [sys.executable, "-c", LIMITED, ",".join(allowed), str(SPEED), str(ROOT), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def with_requirements(*names: str) -> set[str]:
    """Return distributions and all that they require."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [re.split(r"[^\w.-]", line)[0].lower() for line in requirements if "extra ==" not in line]
    return found


# -- shapes and transfers, without a device ---------------------------------------------------------------------------


class RefuseTransfers(TorchDispatchMode):
    """Refuse operations that mix tensors of the host and of the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor) and leaf.ndim]
        assert len({tensor.device.type for tensor in tensors}) <= 1, func
        return out


class RefuseConstants(TorchFunctionMode):
    """Refuse tensors made from Python numbers on the device, which wait for a GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        assert func not in (torch.tensor, torch.as_tensor) or "device" not in kwargs, args
        return func(*args, **kwargs)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_losses_on_the_meta_device_have_shapes_and_send_nothing_to_it(
    name: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meta device has shapes and no numbers, so that what depends on numbers, and would wait for a GPU, fails."""
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())  # refuses the meta device
    task = make_task(name, store, small_settings(name))
    batch = {key: value.to("meta") for key, value in read_batch(task, store, 16).items()}
    network = task.build().to("meta").train()
    for phase in task.phases:
        task.loss(network, task.augment(batch), phase, 0.5)  # sends constants to the device, once
        with RefuseTransfers(), RefuseConstants():
            loss, terms = task.loss(network, task.augment(batch), phase, 0.5)
            loss.backward()
        assert loss.shape == ()
        assert all(term.shape == () for term in terms.values())
        assert all(weight.grad is not None and weight.grad.is_meta for weight in task.parameters(network, phase))
    with torch.no_grad(), RefuseTransfers():
        assert all(value.shape == () for value in task.validate(network.eval(), batch).values())
