"""Fixtures of all tests: seeds, the folder of real data, a small store, and small networks that are trained on it."""

import os
import random
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

# Before torch and numpy start their thread pools: results must not depend on the machine, and xdist uses all cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  some reference libraries use the global generator
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the real data sets; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("ASTRODL_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: set ASTRODL_TEST_DATA")
    return folder.resolve()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store with known truth; tests must not change it."""
    from tests.small_store import write_store

    return write_store(tmp_path_factory.mktemp("store") / "store.h5")


@pytest.fixture(scope="session")
def trained_model(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that trains a small network of a task once, predicts `store`, and returns the folder of both files."""
    import astrodl
    from tests.small_task import small_settings

    @cache
    def train(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        model = astrodl.train(name, store, folder, settings=small_settings(name), progress=False)
        astrodl.predict(name, store, [model], folder / "predictions.h5")
        return folder

    return train
