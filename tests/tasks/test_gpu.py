"""Training and prediction of every task on a CUDA device."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import astrodl
from astrodl import tasks
from astrodl.device import autocast
from astrodl.pipeline.predictions import Predictions
from astrodl.tasks.model import load_model
from astrodl.training import loop
from tests.small_task import interrupt_training, make_task, read_cutouts, read_split, small_settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("name", tasks.NAMES)
def test_the_loss_decreases_on_a_gpu(name: str, store: Path, tmp_path: Path) -> None:
    astrodl.train(name, store, tmp_path, settings=small_settings(name, epochs=20), device="cuda", progress=False)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert rows[-1]["validation"]["loss"] < rows[0]["validation"]["loss"]


@pytest.mark.parametrize("name", tasks.NAMES)
def test_gpu_and_cpu_give_the_same_predictions(
    name: str, store: Path, trained_model: Callable[[str], Path], tmp_path: Path
) -> None:
    path = trained_model(name) / "model.safetensors"
    predictions = {}
    for device in ("cpu", "cuda"):
        out = astrodl.predict(name, store, [path], tmp_path / f"{device}.h5", device=device, progress=False)
        predictions[device] = Predictions(out).read()
    for key, values in predictions["cpu"].items():
        np.testing.assert_allclose(predictions["cuda"][key], values, rtol=2e-2, atol=2e-2, err_msg=key)
    cutouts = read_cutouts(store, 4)
    model = load_model(path, device="cuda")
    assert model.device.type == "cuda"
    predicted = model.predict(cutouts.images, sky_sigma=cutouts.sky_sigma, features=cutouts.features)
    assert set(predicted) == set(predictions["cuda"])


@pytest.mark.parametrize("name", tasks.NAMES)
def test_an_interrupted_training_resumes_on_a_gpu(
    name: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = small_settings(name, epochs=4)
    with interrupt_training(7):
        astrodl.train(name, store, tmp_path, settings=settings, device="cuda", progress=False)
    astrodl.train(name, store, tmp_path, settings=settings, device="cuda", progress=False)
    assert "resumed at update 6" in capsys.readouterr().err


@pytest.mark.parametrize("name", tasks.NAMES)
def test_an_update_does_not_wait_for_the_gpu(name: str, store: Path) -> None:
    task = make_task(name, store, small_settings(name))
    data = read_split(task, store, "train")
    cuda = torch.device("cuda")
    data.tensors = {key: value.to(cuda) for key, value in data.tensors.items()}
    data.device = cuda
    state = loop.TrainingState(task, task.build().to(cuda), task.settings.train, 0)
    batch, precision = data.batch(torch.arange(16, device=cuda)), autocast(cuda, "auto")
    for sync_mode in ("default", "error"):  # the first cycle may wait: it sends constants to the device
        torch.cuda.set_sync_debug_mode(sync_mode)
        try:
            for _ in state.cycle:
                loop.update(state, state.network, batch, 10**6, precision)
                state.step += 1
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert not loop.collect_results(state)
