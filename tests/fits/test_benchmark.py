"""The ingestion benchmark runs, its readers agree, and its tables contain its numbers. Speed is not tested."""

import importlib
import json
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from astrodl.config import SimulateSettings
from astrodl.simulator.survey import simulate
from tests.conftest import ROOT


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import benchmarks/speed/ingest.py by name, so that worker processes can import it, too."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "speed"))
    module = importlib.import_module("ingest")
    monkeypatch.setattr(module, "TURN_SECONDS", 0.0)
    return module


def simulate_survey(benchmark: ModuleType, folder: Path, n_objects: int) -> Path:
    """Simulate a small survey."""
    simulate(SimulateSettings(n_objects=n_objects, size=64, bands=list(benchmark.BANDS)), folder, progress=False)
    return folder


def test_the_benchmark_times_every_reader(benchmark: ModuleType, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    options = ["--n", "3", "--processes", "1", "--turns", "1", "--lengths", "--json", str(numbers)]
    result = benchmark.main([*options, "--folder", str(simulate_survey(benchmark, tmp_path / "survey", 3))])
    assert json.loads(numbers.read_text()) == result
    names = {"raw bytes", "astropy", "astrodl", "astrodl, each file parsed anew"}
    assert set(result["objects_per_second"]) - {"fitsio"} == names


@pytest.mark.slow  # slow start of the processes, and the tools that write tables import torch
def test_the_benchmark_writes_its_tables(benchmark: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    blocks = (
        f"<!-- {name}:begin -->\n<!-- {name}:end -->\n"
        for name in ("ingestion", "ingestion-workers", "ingestion-steps")
    )
    page.write_text("".join(blocks))
    folder = simulate_survey(benchmark, tmp_path / "survey", 12)
    result = benchmark.main(["--n", "12", "--turns", "1", "--folder", str(folder), "--record", str(page)])
    assert {"astrodl, 2 processes", "ingest, 1 worker"} <= set(result["objects_per_second"])
    for row in [*benchmark.rate_rows(result), *benchmark.worker_rows(result), *benchmark.step_rows(result)]:
        assert f"| {' | '.join(row)} |" in page.read_text()
    assert f"| {result['ratios']['astropy']['astrodl']:.3g} |" in page.read_text()


def test_a_reader_with_wrong_pixels_stops_the_benchmark(benchmark: ModuleType, tmp_path: Path) -> None:
    paths = [str(path) for path in (simulate_survey(benchmark, tmp_path, 1) / "images").glob("*.fits")]
    with (
        benchmark.open_readers(1, 1) as (_, out),
        pytest.raises(SystemExit, match="wrong reads other pixels than astropy"),
    ):
        benchmark.check_agreement({"wrong": lambda paths, out: None}, paths, out)


def test_processes_write_their_objects_to_shared_memory(benchmark: ModuleType, tmp_path: Path) -> None:
    paths = [str(path) for path in sorted((simulate_survey(benchmark, tmp_path, 3) / "images").glob("*.fits"))]
    with benchmark.open_readers(3, 1) as (_, out):
        expected = np.empty_like(out)
        benchmark.with_astropy(paths, expected)
        memory = SharedMemory(create=True, size=out.nbytes)
        try:
            filled = np.ndarray(out.shape, np.float32, memory.buf)
            for start, names in ((0, paths[:2]), (2, paths[2:])):
                benchmark._read_part((memory.name, out.shape, start, names))
            assert filled.tobytes() == expected.tobytes()
            del filled
            benchmark._attached.pop(memory.name).close()
        finally:
            memory.close()
            memory.unlink()


def test_step_times_are_increments_and_ratios_compare_the_same_turn(benchmark: ModuleType) -> None:
    steps = {"a": [2e-6, 4e-6, 2e-6], "b": [5e-6, 8e-6, 5e-6], "c": [6e-6, 9e-6, 7e-6]}
    assert benchmark.increments(steps) == pytest.approx({"a": 2.0, "b": 3.0, "c": 1.0})
    # The machine is slow in the second turn; the reader has twice the rate of the reference in each turn.
    seconds = {"reference": [2.0, 8.0, 2.0], "reader": [1.0, 4.0, 1.0], "ingestion": [4.0]}
    assert benchmark.ratios(seconds, "reference") == {"reference": 1.0, "reader": 2.0, "ingestion": 0.5}
