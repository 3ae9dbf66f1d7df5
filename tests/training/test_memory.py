"""The memory of a training is estimated from two objects, and a training that does not fit is an error."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import astrodl
from astrodl.config import TrainSettings
from astrodl.data import batches
from astrodl.data.batches import Batch, Dataset, ResidentDataset
from astrodl.errors import DataError
from astrodl.training import memory
from tests.small_store import write_store
from tests.training.test_loop import Line, data

WIDE = 1000


class Wide(Line):
    """One hidden layer; without autocast the tanh saves its output, and the linear layers their inputs."""

    def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        return network(batch["x"]).sum(), {}


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(1, WIDE), nn.Tanh(), nn.Linear(WIDE, 1))


def settings(**changed: Any) -> TrainSettings:
    return TrainSettings.model_validate({"precision": "float32", **changed})


def first_objects(n: int) -> Dataset:
    return ResidentDataset({name: tensor[:n].numpy() for name, tensor in data().tensors.items()}, torch.device("cpu"))


@pytest.mark.parametrize("n_objects", [2, 16])
def test_each_saved_tensor_is_counted_once(n_objects: int) -> None:
    saved = memory.count_saved_bytes(Wide(), network(), first_objects(n_objects), "main", settings())
    assert saved == n_objects * 4 * (1 + WIDE)


def estimate(n_objects: int, **changed: Any) -> memory.MemoryEstimate:
    return memory.estimate_memory(Wide(), network(), first_objects(2), n_objects, settings(**changed))


def test_the_estimate_scales_with_batch_size_and_number_of_objects() -> None:
    small = estimate(1000, batch_size=32)
    large = memory.estimate_memory(
        Wide(), network(), first_objects(2), 5000, settings(batch_size=64, ema=0.9, patience=3)
    )
    assert large.data == 5 * small.data == 5000 * 8
    assert large.activations == 2 * small.activations
    assert small.weights == 4 * 4 * (3 * WIDE + 1)
    assert large.weights == 6 * 4 * (3 * WIDE + 1)
    assert small.total == small.data + small.weights + small.activations + small.libraries


def test_the_estimate_changes_neither_network_nor_random_numbers() -> None:
    torch.manual_seed(1)
    probe = nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    before, expected = {key: value.clone() for key, value in probe.state_dict().items()}, torch.get_rng_state()
    memory.estimate_memory(Wide(), probe, first_objects(2), 10, settings())
    assert all(torch.equal(before[key], value) for key, value in probe.state_dict().items())
    assert torch.equal(torch.get_rng_state(), expected)


def test_a_training_that_does_not_fit_is_an_error_before_its_data_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "store.h5")
    monkeypatch.setattr(memory, "memory_bytes", lambda device: 10**6)
    monkeypatch.setattr("astrodl.pipeline.train.load_splits", lambda *rest: pytest.fail("data were loaded"))
    with pytest.raises(DataError, match=r"tasks.photoz: training needs 0\.\d+ GB \(data 0\.\d+.*has 0\.00; lower"):
        astrodl.train("photoz", store, tmp_path / "out", device="cpu", progress=False)
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_streamed_data_need_memory_for_a_few_batches_only(monkeypatch: pytest.MonkeyPatch) -> None:
    few = estimate(1000, batch_size=32).data
    monkeypatch.setattr(memory, "memory_bytes", lambda device: 2 * few - 1)
    assert estimate(1000, batch_size=32).data == (batches.PREFETCH + 2) * 32 * 8
