"""The benchmarks can measure every task with its default settings on the store that they write."""

import importlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from astrodl import tasks
from astrodl.data.batches import DirectReader, ResidentDataset
from astrodl.pipeline import objects
from tests.conftest import ROOT
from tests.small_task import CPU, make_task


@pytest.fixture(scope="module")
def benchmark_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks" / "speed"))
        path: Path = importlib.import_module("read").write_store(tmp_path_factory.mktemp("store") / "store.h5", 64)
    return path


@pytest.mark.parametrize("name", tasks.NAMES)
def test_the_losses_with_default_settings_are_finite(name: str, benchmark_store: Path) -> None:
    task = make_task(name, benchmark_store, {})
    with DirectReader(benchmark_store) as reader:
        data = ResidentDataset.load(partial(objects.training_arrays, task, reader), np.arange(2), CPU)
    network = task.build()
    for phase in task.phases:
        loss, _ = task.loss(network, data.batch(torch.arange(2)), phase, 0.5)
        assert loss.isfinite()
