"""What all tests share: seeds, one thread, and the folder of real data where there is one."""

import os
import random
import sys
from pathlib import Path

# Before torch and numpy start their pools: results must not depend on the machine, and xdist fills the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  libraries that we test against use the global generator
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the real data sets; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("ASTRODL_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: set ASTRODL_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny store with known truth."""
    from tests.small_store import write_store

    return write_store(tmp_path_factory.mktemp("store") / "store.h5")
