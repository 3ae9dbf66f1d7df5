"""Two processes train as one does: the same weights in both, and those of one process within rounding."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from astrodl import distributed, tasks
from astrodl.errors import AstrodlError
from tests.conftest import ROOT
from tests.tasks.together import WORSE, main

WAIT = 120


def start(n_processes: int, *arguments: Any) -> list[subprocess.Popen[str]]:
    """Start processes that find each other as those of `torchrun` do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(n_processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "tests.tasks.together", *map(str, arguments)]
    return [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
            text=True,
            stderr=subprocess.PIPE,
        )
        for rank in range(n_processes)
    ]


def ended(processes: list[subprocess.Popen[str]]) -> list[int]:
    """Wait for the processes and give how they ended; say what they said where one failed unasked."""
    said = [process.communicate(timeout=WAIT)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert set(codes) <= {0, 3, -signal.SIGABRT, 1}, said
    return codes


@pytest.fixture(scope="module")
def alone(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    main(store, folder)
    return folder


@pytest.fixture(scope="module")
def two(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    assert ended(start(2, store, folder)) == [0, 0]
    return folder


@pytest.mark.parametrize("name", tasks.NAMES)
def test_both_ranks_hold_bitwise_the_same_weights(name: str, two: Path) -> None:
    first, second = (load_file(two / name / f"rank{rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_two_ranks_train_the_network_of_one(name: str, alone: Path, two: Path) -> None:
    one, both = (load_file(folder / name / "rank0.safetensors") for folder in (alone, two))
    for key, value in one.items():
        torch.testing.assert_close(both[key], value, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
    histories = [json.loads((folder / name / "done.json").read_text()) for folder in (alone, two)]
    for row, other in zip(*histories, strict=True):
        for part in ("train", "validation"):
            assert other[part] == pytest.approx(row[part], rel=1e-4, abs=1e-5)


def test_ranks_agree_to_stop_early(two: Path) -> None:
    history = json.loads((two / WORSE / "done.json").read_text())
    losses = [row["validation"]["loss"] for row in history]
    assert len(losses) < 6
    assert losses[-1] >= min(losses)


def test_another_number_of_ranks_resumes_a_training(alone: Path, store: Path, tmp_path: Path) -> None:
    name = "outliers"  # three phases, two optimizers
    assert 3 in ended(start(2, store, tmp_path, name))
    assert (tmp_path / name / "last.pt").exists()
    from tests.tasks.together import train

    train(name, store, tmp_path)
    whole, resumed = (load_file(folder / name / "rank0.safetensors") for folder in (alone, tmp_path))
    for key, value in whole.items():
        torch.testing.assert_close(resumed[key], value, rtol=1e-4, atol=1e-5)


def test_the_command_line_trains_in_two_processes_stops_on_sigterm_and_goes_on_in_one(
    store: Path, tmp_path: Path
) -> None:
    settings = json.dumps({"widths": [8], "n_bins": 10, "train": {"epochs": 4000, "batch_size": 16}})
    words = [sys.executable, "-m", "astrodl", "train", "photoz", str(store), "--out", str(tmp_path)]
    words += ["--settings", settings, "--threads", "1", "--device", "cpu"]
    running = subprocess.Popen([*words, "--processes", "2"], cwd=ROOT, text=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + WAIT
    while not (tmp_path / "history.jsonl").exists():
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=WAIT)
    assert running.returncode == 143
    reached = torch.load(tmp_path / "last.pt", weights_only=True)
    step = json.loads(reached["plain"])[0]
    alone = subprocess.Popen(words, cwd=ROOT, text=True, stderr=subprocess.PIPE)
    assert alone.stderr is not None
    first = alone.stderr.readline()
    alone.send_signal(signal.SIGTERM)
    alone.communicate(timeout=WAIT)
    assert first.endswith(f"resumed at update {step}\n")
    assert step > 0


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    assert distributed.local_batch_size(6) == 2
    with pytest.raises(AstrodlError, match="batch_size 64 cannot be divided among 3 processes"):
        distributed.local_batch_size(64)


def test_only_steps_of_several_tasks_are_taken_for_ranks() -> None:
    assert distributed.read_launcher({}) is None
    assert distributed.read_launcher({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) is None
    step = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "77"}
    place = distributed.read_launcher({**step, "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1"})
    assert place == {"rank": 3, "world_size": 4, "local_rank": 1, "init_method": "tcp://10.0.0.1:20077"}
