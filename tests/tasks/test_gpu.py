"""What a CUDA device must do for every task; skipped, saying so, where there is none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import astrodl
from astrodl import tasks
from astrodl.device import autocast
from astrodl.pipeline.predictions import Predictions
from astrodl.store import open_store
from astrodl.tasks.model import load_model
from astrodl.training import loop
from tests.tasks.test_contract import job, small

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("name", tasks.NAMES)
def test_the_loss_falls_on_a_gpu(name: str, store: Path, tmp_path: Path) -> None:
    astrodl.train(name, store, tmp_path, settings=small(name, epochs=20), device="cuda", progress=False)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert rows[-1]["validation"]["loss"] < rows[0]["validation"]["loss"]


@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_gpu_predicts_what_a_cpu_does(name: str, store: Path, tmp_path: Path) -> None:
    path = astrodl.train(name, store, tmp_path, settings=small(name), device="cpu", progress=False)
    found = {}
    for device in ("cpu", "cuda"):
        out = astrodl.predict(name, store, [path], tmp_path / f"{device}.h5", device=device, progress=False)
        found[device] = Predictions(out).read()
    for key, values in found["cpu"].items():
        np.testing.assert_allclose(found["cuda"][key], values, rtol=2e-2, atol=2e-2, err_msg=key)
    with open_store(store) as reader:
        images, sky, features = reader.images(np.arange(4)), reader.sky_sigma[:4], reader.features()[:4]
    model = load_model(path, device="cuda")
    assert model.device.type == "cuda"
    assert set(model.predict(images, sky_sigma=sky, features=features)) == set(found["cuda"])


@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_killed_training_goes_on_on_a_gpu(
    name: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    original = loop.update

    def killed(state: loop.TrainingState, *rest: object, **options: object) -> None:
        if state.step == 7:
            raise KeyboardInterrupt
        original(state, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "update", killed)
    settings = small(name, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        astrodl.train(name, store, tmp_path, settings=settings, device="cuda", progress=False)
    monkeypatch.setattr(loop, "update", original)
    astrodl.train(name, store, tmp_path, settings=settings, device="cuda", progress=False)
    assert "resumed at update 6" in capsys.readouterr().err


@pytest.mark.parametrize("name", tasks.NAMES)
def test_nothing_in_an_update_waits_for_the_gpu(name: str, store: Path) -> None:
    task, data = job(name, store)
    cuda = torch.device("cuda")
    data.tensors = {key: value.to(cuda) for key, value in data.tensors.items()}
    data.device = cuda
    state = loop.TrainingState(task, task.build().to(cuda), task.settings.train, 0)
    batch, precision = data.batch(torch.arange(16, device=cuda)), autocast(cuda, "auto")
    for waits in ("default", "error"):  # the first cycle makes what is kept
        torch.cuda.set_sync_debug_mode(waits)
        try:
            for _ in state.cycle:
                loop.update(state, state.network, batch, 10**6, precision)
                state.step += 1
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert not loop.collect_results(state)
