"""Two ranks train the same network as one process: equal weights on both ranks, and within rounding those of one."""

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

import astrodl
from astrodl import distributed, tasks
from astrodl.errors import AstrodlError
from tests.conftest import ROOT
from tests.small_task import small_settings
from tests.tasks.train_ranks import DIVERGING_TASK, KILLED, main, train

TIMEOUT = 120


def start_ranks(n_ranks: int, *arguments: Any) -> list[subprocess.Popen[str]]:
    """Start `train_ranks` with the environment that `torchrun` sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(n_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.tasks.train_ranks", *map(str, arguments)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=ROOT,
            text=True,
            stderr=subprocess.PIPE,
        )
        for rank in range(n_ranks)
    ]


def wait_for(ranks: list[subprocess.Popen[str]]) -> list[int]:
    """Wait for the ranks and return their exit statuses."""
    errors = [process.communicate(timeout=TIMEOUT)[1] for process in ranks]
    statuses = [process.returncode for process in ranks]
    # A rank whose partner was killed aborts or fails.
    assert set(statuses) <= {0, KILLED, -signal.SIGABRT, 1}, errors
    return statuses


HEALTH = {"distance", "gradient", "diversity"}


@pytest.fixture(scope="module")
def one_process(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of all tasks trained in one process."""
    folder = tmp_path_factory.mktemp("one")
    main(store, folder)
    return folder


@pytest.fixture(scope="module")
def two_ranks(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of all tasks trained by two ranks."""
    folder = tmp_path_factory.mktemp("two")
    assert wait_for(start_ranks(2, store, folder)) == [0, 0]
    return folder


@pytest.mark.parametrize("name", tasks.NAMES)
def test_both_ranks_have_bitwise_equal_weights(name: str, two_ranks: Path) -> None:
    first, second = (load_file(two_ranks / name / f"rank{rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_two_ranks_give_weights_and_losses_of_one_process(name: str, one_process: Path, two_ranks: Path) -> None:
    folders = (one_process / name, two_ranks / name)
    one, two = (load_file(folder / "rank0.safetensors") for folder in folders)
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
    histories = [json.loads((folder / "history.json").read_text()) for folder in folders]
    for expected, row in zip(*histories, strict=True):
        assert row["train"] == pytest.approx(expected["train"], rel=1e-4, abs=1e-5)
        # The health of a GAN is that of galaxies that each rank draws for its own part of the validation objects.
        losses = [
            {key: value for key, value in found["validation"].items() if key not in HEALTH} for found in (row, expected)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-5)


def test_ranks_stop_early_at_the_same_epoch(two_ranks: Path) -> None:
    history = json.loads((two_ranks / DIVERGING_TASK / "history.json").read_text())
    losses = [row["validation"]["loss"] for row in history]
    assert len(losses) < 6
    assert losses[-1] >= min(losses)


def test_one_process_resumes_a_killed_training_of_two_ranks(one_process: Path, store: Path, tmp_path: Path) -> None:
    name = "outliers"  # three phases, two optimizers
    assert KILLED in wait_for(start_ranks(2, store, tmp_path, name))
    assert (tmp_path / name / "last.pt").exists()
    train(name, store, tmp_path)
    expected, resumed = (load_file(folder / name / "rank0.safetensors") for folder in (one_process, tmp_path))
    for key, value in expected.items():
        torch.testing.assert_close(resumed[key], value, rtol=1e-4, atol=1e-5)


def test_the_command_line_trains_in_two_processes_stops_on_sigterm_and_resumes_in_one(
    store: Path, tmp_path: Path
) -> None:
    settings = json.dumps({"widths": [8], "n_bins": 10, "train": {"epochs": 4000, "batch_size": 16}})
    command = [sys.executable, "-m", "astrodl", "train", "photoz", str(store), "--out", str(tmp_path)]
    command += ["--settings", settings, "--threads", "1", "--device", "cpu"]
    two = subprocess.Popen([*command, "--processes", "2"], cwd=ROOT, text=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + TIMEOUT
    while not (tmp_path / "history.jsonl").exists():
        assert time.monotonic() < deadline
        assert two.poll() is None
        time.sleep(0.1)
    two.send_signal(signal.SIGTERM)
    two.communicate(timeout=TIMEOUT)
    assert two.returncode == 143
    step = json.loads(torch.load(tmp_path / "last.pt", weights_only=True)["plain"])[0]
    assert step > 0
    one = subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE)
    assert one.stderr is not None
    message = one.stderr.readline()
    one.send_signal(signal.SIGTERM)
    one.communicate(timeout=TIMEOUT)
    assert message.endswith(f"resumed at update {step}\n")


def test_a_batch_size_that_the_ranks_cannot_divide_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    assert distributed.local_batch_size(6) == 2
    with pytest.raises(AstrodlError, match="batch_size 64 cannot be divided among 3 processes"):
        distributed.local_batch_size(64)


def test_fewer_objects_than_ranks_are_an_error(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 55)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    monkeypatch.setattr(distributed, "broadcast", lambda value: value)
    settings = {**small_settings("latent"), "train": {"epochs": 1, "batch_size": 55}}
    with pytest.raises(
        AstrodlError, match=r"54 labelled training objects, needs at least 55; .*or use fewer processes"
    ):
        astrodl.train("latent", store, tmp_path, settings=settings, progress=False)


def test_only_slurm_steps_of_several_tasks_are_ranks() -> None:
    assert distributed.read_launcher({}) is None
    assert distributed.read_launcher({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) is None
    step = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "77"}
    launcher = distributed.read_launcher({**step, "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1"})
    assert launcher == {"rank": 3, "world_size": 4, "local_rank": 1, "init_method": "tcp://10.0.0.1:20077"}
