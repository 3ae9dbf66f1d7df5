"""Workers start only where they pay, and change nothing but the time."""

import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest

from astrodl.errors import DataError
from astrodl.ingestion.blocks import ingest_block
from astrodl.ingestion.ingest import ingest
from astrodl.ingestion.workers import StartRule
from astrodl.workers import WorkerPool
from tests.ingestion.toy import image_file, settings


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the functions that workers are asked to run; blocks have five objects."""
    names: list[str] = []
    submit = WorkerPool.submit

    def record(self: WorkerPool, function: Any, *arguments: Any) -> Any:
        names.append(function.__name__)
        return submit(self, function, *arguments)

    monkeypatch.setattr(WorkerPool, "submit", record)
    monkeypatch.setattr("astrodl.ingestion.ingest.block_length", lambda data: 5)
    return names


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start workers also for a small survey, and wait for them."""
    monkeypatch.setattr(StartRule, "workers_pay", lambda self, n_done, n_left: True)
    monkeypatch.setattr(WorkerPool, "ready", property(lambda self: self._first_started.wait()))


def run_in_a_worker(expression: str) -> Any:
    pool = WorkerPool(1, ["astrodl.ingestion.blocks"])
    try:
        return pool.submit(eval, expression).result()
    finally:
        pool.shutdown()


@pytest.mark.usefixtures("eager")
def test_the_store_has_the_same_bytes_for_any_number_of_processes(
    survey: Path, tmp_path: Path, submitted: list[str]
) -> None:
    image_file(survey, 6).write_bytes(b"broken")
    results = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        ingest(settings(survey), folder / "store.h5", workers=workers)
        results.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert submitted == ["getpid", "ingest_block", "ingest_block"]
    assert set(results[0]) == {"store.h5", "ingest.json", "quarantine.ecsv"}
    assert results[0] == results[1]


def test_a_small_survey_starts_no_workers(survey: Path, tmp_path: Path, submitted: list[str]) -> None:
    ingest(settings(survey), tmp_path / "store.h5", workers=2)
    assert submitted == []


@pytest.mark.parametrize(
    ("waited", "seconds", "n_left", "pays"),
    [(0.0, 1.0, 3, False), (0.0, 1.0, 10, True), (0.5, 1.0, 10, False), (0.5, 1.0, 100, True), (0.0, 100.0, 1, False)],
)
def test_workers_pay_if_much_is_left_and_a_core_is_free(
    waited: float, seconds: float, n_left: int, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 2 * seconds])
    without_core = iter([0.0, waited * 2 * seconds])
    monkeypatch.setattr("astrodl.ingestion.workers.time.perf_counter", lambda: next(now))
    monkeypatch.setattr("astrodl.ingestion.workers._seconds_without_core", lambda: next(without_core))
    assert StartRule().workers_pay(2, n_left) == pays


def _die_in_a_worker(*arguments: Any) -> Any:
    if multiprocessing.parent_process() is not None:
        os._exit(1)
    return ingest_block(*arguments)


@pytest.mark.usefixtures("eager", "submitted")
def test_a_worker_that_dies_ends_the_ingestion_with_an_error(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astrodl.ingestion.ingest.ingest_block", _die_in_a_worker)
    with pytest.raises(DataError, match="a process that read images died"):
        ingest(settings(survey), tmp_path / "store.h5", workers=2)


def test_workers_do_not_import_torch() -> None:
    assert run_in_a_worker("'torch' in __import__('sys').modules") is False


@pytest.mark.skipif(sys.platform != "linux", reason="/proc lists the open files of a process")
def test_workers_inherit_no_open_file(tmp_path: Path) -> None:
    files = "[os.path.realpath(f'/proc/self/fd/{n}') for os in [__import__('os')] for n in os.listdir('/proc/self/fd')]"
    with h5py.File(tmp_path / "open.h5", "w"):
        assert str(tmp_path / "open.h5") not in run_in_a_worker(files)
