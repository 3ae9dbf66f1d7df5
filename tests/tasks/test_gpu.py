"""Training and prediction of every task on a CUDA device.

With ASTRODL_TEST_DEVICE=cpu the tests run on the CPU, to rehearse them; those that need CUDA itself are then skipped.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import astrodl
from astrodl import tasks
from astrodl.data import batches
from astrodl.data.batches import StreamedDataset
from astrodl.device import autocast
from astrodl.pipeline.predictions import Predictions
from astrodl.tasks.base import AnyTask
from astrodl.tasks.model import load_model
from astrodl.training import loop
from tests.conftest import ROOT
from tests.small_task import interrupt_training, make_task, read_cutouts, read_split, small_settings
from tests.tasks.train_ranks import rank_settings

DEVICE = os.environ.get("ASTRODL_TEST_DEVICE", "cuda")
TIMEOUT = 120

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no CUDA device"),
]
needs_cuda = pytest.mark.skipif(DEVICE != "cuda" or not torch.cuda.is_available(), reason="no CUDA device")
every_task = pytest.mark.parametrize("name", tasks.NAMES)

RANK = """
import json, sys
from contextlib import nullcontext
from pathlib import Path
import torch
import astrodl
from astrodl import distributed
store, out, device, settings = sys.argv[1:]
torch.set_num_threads(1)
one_device = torch.cuda.device_count() < 2  # NCCL refuses two processes on one device
with distributed.process_group("cpu" if one_device else device):
    distributed.process_group = lambda device: nullcontext()
    for name, section in json.loads(settings).items():
        astrodl.train(name, Path(store), Path(out) / name, settings=section, device=device, progress=False)
"""


def train(name: str, store: Path, folder: Path, *, seed: int = 0, **training: Any) -> list[dict[str, Any]]:
    """Train a small network on the device and return its history."""
    settings = small_settings(name, **training)
    astrodl.train(name, store, folder, settings=settings, seed=seed, device=DEVICE, progress=False)
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def assert_equal_losses(history: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Compare the losses of all epochs; the kernels of a GPU do not sum in a fixed order."""
    assert len(history) == len(expected)
    for row, other in zip(history, expected, strict=True):
        for split in ("train", "validation"):
            assert row[split] == pytest.approx(other[split], rel=1e-2, abs=1e-3)


@every_task
def test_the_loss_decreases_on_a_gpu(name: str, store: Path, tmp_path: Path) -> None:
    history = train(name, store, tmp_path, epochs=20)
    assert history[-1]["validation"]["loss"] < history[0]["validation"]["loss"]


@every_task
def test_gpu_and_cpu_give_the_same_predictions(
    name: str, store: Path, trained_model: Callable[[str], Path], tmp_path: Path
) -> None:
    path = trained_model(name) / "model.safetensors"
    predictions = {}
    for device in ("cpu", DEVICE):
        out = astrodl.predict(name, store, [path], tmp_path / f"{device}.h5", device=device, progress=False)
        predictions[device] = Predictions(out).read()
    for key, values in predictions["cpu"].items():
        # ranks and thresholds turn a rounding error into a step, for few objects
        close = np.isclose(predictions[DEVICE][key], values, rtol=2e-2, atol=2e-2)
        assert close.mean() > 0.95, key
    cutouts = read_cutouts(store, 4)
    model = load_model(path, device=DEVICE)
    assert model.device.type == DEVICE
    predicted = model.predict(cutouts.images, sky_sigma=cutouts.sky_sigma, features=cutouts.features)
    assert set(predicted) == set(predictions[DEVICE])


@every_task
def test_a_killed_and_resumed_training_gives_the_losses_of_an_undisturbed_one(
    name: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = {"epochs": 4, "precision": "float32"}
    expected = train(name, store, tmp_path / "undisturbed", **training)
    with interrupt_training(7), pytest.raises(KeyboardInterrupt):
        train(name, store, tmp_path / "killed", **training)
    history = train(name, store, tmp_path / "killed", **training)
    # a GPU saves at the end of an epoch of three updates, a CPU after every update
    assert f"resumed at update {6 if DEVICE == 'cuda' else 7}" in capsys.readouterr().err
    assert_equal_losses(history, expected)


@every_task
def test_a_streamed_training_gives_the_losses_of_a_resident_one(
    name: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = train(name, store, tmp_path / "resident", precision="float32")
    monkeypatch.setattr(batches, "RESIDENT_SHARE", 0.0)
    streamed = train(name, store, tmp_path / "streamed", precision="float32")
    assert "batches are read from the store" in capsys.readouterr().err
    assert_equal_losses(streamed, resident)


@every_task
def test_bfloat16_and_float32_agree_within_the_spread_of_seeds(name: str, store: Path, tmp_path: Path) -> None:
    losses = {
        precision: [
            train(name, store, tmp_path / f"{precision}{seed}", seed=seed, epochs=8, precision=precision)[-1]
            for seed in range(3)
        ]
        for precision in ("bfloat16", "float32")
    }
    half, full = (np.array([row["validation"]["loss"] for row in rows]) for rows in losses.values())
    spread = max(half.std(ddof=1), full.std(ddof=1))
    assert abs(half.mean() - full.mean()) < 3 * spread + 0.01 * abs(full.mean())


@needs_cuda
def test_a_training_with_cuda_graphs_gives_the_losses_of_one_without(store: Path, tmp_path: Path) -> None:
    training = {"epochs": 8, "precision": "float32"}
    expected = train("photoz", store, tmp_path / "eager", **training)
    graphs = train("photoz", store, tmp_path / "graphs", compile="reduce-overhead", **training)
    assert_equal_losses(graphs, expected)


@pytest.mark.parametrize("optimizer", ["adamw", "momentum", "adagrad", "adadelta", "rmsprop", "nadam"])
def test_an_update_that_is_not_finite_changes_no_weight(optimizer: str, store: Path) -> None:
    task, data = task_and_data("photoz", store, optimizer=optimizer)
    state = loop.TrainingState(task, task.build().to(DEVICE), task.settings.train, 0)
    batch, precision = data.batch(torch.arange(16, device=DEVICE)), autocast(data.device, "float32")
    loop.update(state, state.network, batch, 10**6, precision)
    assert not loop.collect_results(state)
    before = [parameter.clone() for parameter in state.network.parameters()]
    loop.update(state, state.network, {**batch, "z": torch.full_like(batch["z"], torch.nan)}, 10**6, precision)
    with pytest.raises(loop.TrainingError, match="not finite"):
        loop.collect_results(state)
    assert all(torch.equal(old, new) for old, new in zip(before, state.network.parameters(), strict=True))


def test_two_processes_give_the_weights_of_one(store: Path, tmp_path: Path) -> None:
    """Two processes share a device (Gloo), or have one each where there are two (NCCL)."""
    wait_for([*start_ranks(1, store, tmp_path / "one"), *start_ranks(2, store, tmp_path / "two")])
    for name in tasks.NAMES:
        one, two = (
            load_model(tmp_path / folder / name / "model.safetensors", device="cpu") for folder in ("one", "two")
        )
        for (key, expected), weight in zip(one.network.named_parameters(), two.network.parameters(), strict=True):
            if name == "latent" and key.startswith("map."):
                continue  # fitted to the finished codes by thousands of updates, which magnify differences of rounding
            torch.testing.assert_close(
                weight, expected, rtol=1e-3, atol=1e-4, msg=lambda text, key=f"{name} {key}": f"{key}: {text}"
            )


def start_ranks(n_ranks: int, store: Path, out: Path) -> list[subprocess.Popen[str]]:
    """Start processes that train every task together, with the environment that `torchrun` sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # TensorFloat-32 would round the products of two half batches and of a whole one differently
    shared = {"WORLD_SIZE": str(n_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"OMP_NUM_THREADS": "1", "NVIDIA_TF32_OVERRIDE": "0"}
    settings = json.dumps({name: rank_settings(name) for name in tasks.NAMES})
    return [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(store), str(out), DEVICE, settings],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=ROOT,
            text=True,
            stderr=subprocess.PIPE,
        )
        for rank in range(n_ranks)
    ]


def wait_for(ranks: list[subprocess.Popen[str]]) -> None:
    """Wait for the processes and check that all succeeded."""
    errors = []
    try:
        errors += [process.communicate(timeout=TIMEOUT)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
            process.communicate()
    assert all(process.returncode == 0 for process in ranks), errors


# -- waits for the device ---------------------------------------------------------------------------------------------


@needs_cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@every_task
@pytest.mark.parametrize("streamed", [False, True])
def test_an_update_does_not_wait_for_the_gpu(name: str, streamed: bool, store: Path) -> None:
    task, resident = task_and_data(name, store)
    state = loop.TrainingState(task, task.build().to(DEVICE), task.settings.train, 0)
    arrays = {key: value.cpu().numpy() for key, value in resident.tensors.items()}
    data = StreamedDataset(
        lambda rows: {key: array[rows] for key, array in arrays.items()}, np.arange(32), resident.device
    )
    n_batches = len(state.cycle) + 2 * batches.PREFETCH
    precision = autocast(resident.device, "auto")
    for sync_mode in ("default", "error"):  # the first cycle may wait: it sends constants to the device
        parts = [torch.arange(16, device=DEVICE)] * n_batches
        source = data.batches(parts) if streamed else resident.batches(parts)
        next(source)  # indices are sent to the host
        torch.cuda.set_sync_debug_mode(sync_mode)
        try:
            for batch in source:
                loop.update(state, state.network, batch, 10**6, precision)
                state.step += 1
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert not loop.collect_results(state)


def task_and_data(name: str, store: Path, **training: Any) -> tuple[AnyTask, batches.ResidentDataset]:
    """Return a task, and its training objects on the device."""
    task = make_task(name, store, small_settings(name, **training))
    data = read_split(task, store, "train")
    data.device = torch.device(DEVICE)
    data.tensors = {key: value.to(DEVICE) for key, value in data.tensors.items()}
    return task, data
