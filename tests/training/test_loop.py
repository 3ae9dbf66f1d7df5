"""The training loop: learning, non-finite updates, early stopping, resuming."""

import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from astrodl.config import TrainSettings
from astrodl.config.training import LEARNING_RATES
from astrodl.data.batches import Batch, Dataset, ResidentDataset, epoch_order
from astrodl.device import autocast, choose_device
from astrodl.errors import AstrodlError
from astrodl.training import loop
from astrodl.training.checkpoint import save_checkpoint
from astrodl.training.optimizers import learning_rate_factor

CPU = torch.device("cpu")


class Line:
    """Fit y = w x + b; noise comes from torch's global generator, like that of dropout."""

    phases: ClassVar = {"main": 1}

    def parameters(self, network: nn.Module, phase: str) -> Iterable[nn.Parameter]:
        return network.parameters()

    def augment(self, batch: Batch) -> Batch:
        return {**batch, "x": batch["x"] + 0.01 * torch.randn_like(batch["x"])}

    def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        error = ((network(batch["x"]) - batch["y"]) ** 2).mean()
        return error, {"error": error}

    def validate(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.loss(network, batch, "main", 1.0)[0]}


class Interrupted(Line):
    """A line whose training receives SIGTERM in its eleventh update."""

    def __init__(self) -> None:
        self.updates = 0

    def augment(self, batch: Batch) -> Batch:
        self.updates += 1
        if self.updates == 11:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().augment(batch)


def data(n: int = 64, seed: int = 0) -> Dataset:
    x = np.random.default_rng(seed).normal(size=(n, 1)).astype(np.float32)
    return ResidentDataset({"x": x, "y": 3 * x - 1}, CPU)


def fit(folder: Path, task: Line | None = None, fingerprint: str = "a", **settings: object) -> nn.Linear:
    torch.manual_seed(1)
    network = nn.Linear(1, 1)
    chosen = TrainSettings.model_validate({"epochs": 5, "batch_size": 16, "learning_rate": 0.1, **settings})
    loop.fit(
        task or Line(), network, data(), data(20, 1), chosen, folder, seed=3, fingerprint=fingerprint, progress=False
    )
    return network


def read_history(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in rows]


def test_a_line_is_fitted(tmp_path: Path) -> None:
    network = fit(tmp_path, epochs=60, weight_decay=0.0)
    assert float(network.weight.detach()) == pytest.approx(3, abs=0.02)
    assert float(network.bias.detach()) == pytest.approx(-1, abs=0.02)


def test_history_has_a_row_per_epoch(tmp_path: Path) -> None:
    fit(tmp_path)
    rows = read_history(tmp_path)
    assert [row["epoch"] for row in rows] == list(range(5))
    assert rows[-1]["validation"]["loss"] < rows[0]["validation"]["loss"]
    assert set(rows[0]["train"]) == {"loss", "error"}


def test_the_global_random_state_is_unchanged(tmp_path: Path) -> None:
    torch.manual_seed(1)
    nn.Linear(1, 1)
    expected = torch.rand(3)
    fit(tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_a_loss_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    class Broken(Line):
        def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
            loss, terms = super().loss(network, batch, phase, done)
            return loss * float("nan"), terms

    with pytest.raises(loop.TrainingError, match=r"update 0, phase main.*learning_rate"):
        fit(tmp_path, Broken())


@pytest.mark.parametrize("name", LEARNING_RATES)
def test_an_update_that_is_not_finite_is_skipped_and_reported_by_collect_results(name: str) -> None:
    class Broken(Line):
        def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
            loss, terms = super().loss(network, batch, phase, done)
            return (loss * float("nan") if state.step == 2 else loss), terms

    settings = TrainSettings.model_validate({"optimizer": name})
    state = loop.TrainingState(Broken(), nn.Linear(1, 1), settings, 0)
    weights = []
    for state.step in range(4):
        loop.update(state, state.network, data().batch(torch.arange(16)), 100, autocast(CPU, "float32"))
        weights.append(float(state.network.weight.detach()))
    assert weights[2] == weights[1]
    assert len({*weights}) == 3
    with pytest.raises(loop.TrainingError, match="update 2, phase main"):
        loop.collect_results(state)


def test_a_gradient_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    class Cliff(Line):
        def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
            loss, terms = super().loss(network, batch, phase, done)
            return loss + (network.weight.sum() * 0).abs().sqrt(), terms

    with pytest.raises(loop.TrainingError, match=r"update 0.*its gradient is not finite"):
        fit(tmp_path, Cliff())


def test_sums_do_not_depend_on_the_interval_of_collecting() -> None:
    sums = []
    for interval in (1, 3):
        torch.manual_seed(1)
        state = loop.TrainingState(Line(), nn.Linear(1, 1), TrainSettings(), 0)
        for state.step in range(6):
            loop.update(state, state.network, data().batch(torch.arange(16)), 100, autocast(CPU, "float32"))
            if (state.step + 1) % interval == 0:
                assert not loop.collect_results(state)
        sums.append(state.sums)
    assert sums[0] == sums[1]
    assert sums[0]["loss"][1] == 6


def test_compiling_a_network_of_several_phases_warns_and_has_no_effect() -> None:
    class Two(Line):
        phases: ClassVar = {"critic": 1, "generator": 1}

    network = nn.Linear(1, 1)
    with pytest.warns(UserWarning, match="no effect"):
        assert loop.compile_network(Two(), network, TrainSettings(compile=True)) is network


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_stopped_by_sigterm_resumes_to_the_same_weights_and_history(ema: float, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    expected = fit(whole, ema=ema)
    with pytest.raises(loop.Stopped) as stop:
        fit(stopped, Interrupted(), ema=ema)
    assert stop.value.code == 143
    assert (stopped / "last.pt").exists()
    resumed = fit(stopped, ema=ema)
    assert torch.equal(expected.weight, resumed.weight)
    assert torch.equal(expected.bias, resumed.bias)
    assert read_history(whole) == read_history(stopped)


@pytest.mark.parametrize("name", LEARNING_RATES)
def test_every_optimizer_resumes_to_the_same_weights(name: str, tmp_path: Path) -> None:
    settings = {"optimizer": name, "learning_rate": None, "l1": 1e-3, "l2": 1e-2, "max_norm": 2.0}
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    whole = fit(tmp_path / "whole", **settings)
    with pytest.raises(loop.Stopped):
        fit(tmp_path / "stopped", Interrupted(), **settings)
    resumed = fit(tmp_path / "stopped", **settings)
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(whole.bias, resumed.bias)


def test_the_limit_on_the_norm_holds_after_training(tmp_path: Path) -> None:
    network = fit(tmp_path, epochs=60, max_norm=2.0)
    assert float(network.weight.detach()) == pytest.approx(2, abs=1e-4)


def test_a_checkpoint_of_other_settings_is_not_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = nn.Linear(1, 1)
    state = loop.TrainingState(Line(), network, TrainSettings(), 0)
    save_checkpoint({"fingerprint": "other", **state.state_dict()}, tmp_path / "last.pt")
    fit(tmp_path, fingerprint="this")
    assert "starts afresh" in capsys.readouterr().err


def test_training_stops_after_patience_epochs_with_the_best_weights(tmp_path: Path) -> None:
    class Worse(Line):
        def validate(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
            # grows during training, so that the first epoch is the best
            return {"loss": network.weight.detach().abs().sum()}

    network = fit(tmp_path, Worse(), epochs=50, patience=3)
    rows = read_history(tmp_path)
    assert len(rows) == 4
    assert float(network.weight.detach().abs()) == rows[0]["validation"]["loss"]


@pytest.mark.parametrize("name", ["cosine", "plateau", "constant"])
def test_the_learning_rate_warms_up_and_stays_in_range(name: str) -> None:
    settings = TrainSettings.model_validate({"schedule": name, "warmup": 0.1})
    factors = [learning_rate_factor(done, settings) for done in np.linspace(0, 1, 101)]
    assert factors[0] < 0.05
    assert max(factors) <= 1.0
    assert factors[-1] == pytest.approx(0.0 if name == "cosine" else 1.0, abs=1e-9)


def test_phases_take_turns(tmp_path: Path) -> None:
    order: list[str] = []

    class Two(Line):
        phases: ClassVar = {"critic": 3, "generator": 1}

        def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
            order.append(phase)
            return super().loss(network, batch, phase, done)

        def validate(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
            return {"loss": torch.zeros(())}

    fit(tmp_path, Two(), epochs=2)
    assert order == ["critic", "critic", "critic", "generator"] * 2


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_only() -> None:
    first = epoch_order(50, 2, 7, CPU)
    assert torch.equal(first, epoch_order(50, 2, 7, CPU))
    assert not torch.equal(first, epoch_order(50, 3, 7, CPU))
    assert sorted(first.tolist()) == list(range(50))


def test_asking_for_cuda_without_a_device_is_an_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is available")
    with pytest.raises(AstrodlError, match="accepted: auto, cpu"):
        choose_device("cuda")


@pytest.mark.parametrize("clip", [None, 5.0])
def test_a_gradient_that_is_not_finite_moves_nothing_with_and_without_clipping(clip: float | None) -> None:
    class Cliff(Line):
        def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
            loss, terms = super().loss(network, batch, phase, done)
            return loss + (network.weight.sum() * 0).abs().sqrt(), terms

    network = nn.Linear(1, 1)
    before = network.weight.detach().clone()
    state = loop.TrainingState(Cliff(), network, TrainSettings(clip=clip), 0)
    loop.update(state, network, data().batch(torch.arange(16)), 100, autocast(CPU, "float32"))
    assert torch.equal(network.weight, before)
    with pytest.raises(loop.TrainingError, match="gradient is not finite"):
        loop.collect_results(state)


def test_without_clipping_weights_are_those_of_a_limit_that_no_gradient_reaches(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "high").mkdir()
    unlimited, high = fit(tmp_path / "none", clip=None), fit(tmp_path / "high", clip=1e9)
    assert torch.equal(unlimited.weight, high.weight)


def test_a_plateau_halves_the_rate_once_and_waits_again(tmp_path: Path) -> None:
    class Flat(Line):
        def validate(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
            return {"loss": torch.ones(())}

    fit(tmp_path, Flat(), epochs=12, schedule="plateau", warmup=0.0)
    rates = [row["learning_rate"] for row in read_history(tmp_path)]
    assert rates == pytest.approx([0.1] * 3 + [0.05] * 2 + [0.025] * 2 + [0.0125] * 2 + [0.00625] * 2 + [0.003125])


def test_a_stopped_plateau_resumes_to_the_same_rates(tmp_path: Path) -> None:
    class Flat(Line):
        def validate(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
            return {"loss": torch.ones(())}

    class Stopping(Interrupted):
        validate = Flat.validate

    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    options: dict[str, Any] = {"epochs": 9, "schedule": "plateau", "warmup": 0.0}
    whole = fit(tmp_path / "whole", Flat(), **options)
    with pytest.raises(loop.Stopped):
        fit(tmp_path / "stopped", Stopping(), **options)
    resumed = fit(tmp_path / "stopped", Flat(), **options)
    assert torch.equal(whole.weight, resumed.weight)
    assert read_history(tmp_path / "whole") == read_history(tmp_path / "stopped")


class Normed(nn.Module):
    """A layer whose outputs a batch norm sees."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x)))


def test_running_statistics_of_the_moving_average_are_those_of_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network, train = Normed(), data(128)
    settings = TrainSettings(epochs=5, batch_size=16, learning_rate=0.5, ema=0.9, schedule="constant", clip=None)
    loop.fit(Line(), network, train, None, settings, tmp_path, seed=3, fingerprint="", progress=False)
    with torch.no_grad():
        seen = network.first(train.tensors["x"])
    torch.testing.assert_close(network.norm.running_mean, seen.mean(0), rtol=0, atol=0.03 * float(seen.std()))
    torch.testing.assert_close(network.norm.running_var, seen.var(0), rtol=0.1, atol=1e-4)


def test_units_that_start_alike_are_found(tmp_path: Path) -> None:
    def train(folder: Path, weight: float | None) -> list[dict[str, Any]]:
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
        if weight is not None:
            for parameter in network.parameters():
                nn.init.constant_(parameter, weight)
        folder.mkdir()
        settings = TrainSettings(epochs=2, batch_size=16, ema=0.0)
        loop.fit(Line(), network, data(), None, settings, folder, seed=3, fingerprint="", progress=False)
        return read_history(folder)

    assert all(row["alike"] == 1.0 for row in train(tmp_path / "constant", 0.1))
    assert not any("alike" in row for row in train(tmp_path / "random", None))


@pytest.mark.parametrize("settings", [{"patience": 2}, {"schedule": "plateau"}])
def test_settings_that_need_validation_objects_warn_where_there_are_none(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    chosen = TrainSettings.model_validate({"epochs": 1, "batch_size": 16, **settings})
    options: dict[str, Any] = {"seed": 3, "fingerprint": "", "progress": False}
    with pytest.warns(UserWarning, match="no effect without validation objects"):
        loop.fit(Line(), nn.Linear(1, 1), data(), None, chosen, tmp_path, **options)
