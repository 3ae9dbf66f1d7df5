"""Every task can be measured on the store that the benchmarks make; never how fast."""

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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks" / "speed"))
        path: Path = importlib.import_module("read").write_store(tmp_path_factory.mktemp("store") / "store.h5", 64)
    return path


@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_task_with_its_defaults_learns_from_the_store_of_the_benchmarks(name: str, store: Path) -> None:
    kind = tasks.get(name)
    settings = kind.Settings()
    with DirectReader(store) as reader:
        task = kind(settings, objects.fit_context(kind, settings, reader))
        data = ResidentDataset.load(partial(objects.training_arrays, task, reader), np.arange(2), torch.device("cpu"))
    network = task.build()
    for phase in task.phases:
        loss, _ = task.loss(network, data.batch(torch.arange(2)), phase, 0.5)
        assert loss.isfinite()
