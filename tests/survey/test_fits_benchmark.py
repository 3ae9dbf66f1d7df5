"""The benchmark of ingestion runs, its ways agree, and its tables are those of its numbers; never how fast."""

import importlib
import json
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from astrodl.config import SimulateSettings
from astrodl.survey.simulate import simulate
from tests.conftest import ROOT


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Give benchmarks/ingest.py as a module, so that processes can import it, too."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("ingest")
    monkeypatch.setattr(module, "TURN_SECONDS", 0.0)
    return module


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])  # processes take long to start
def test_the_benchmark_times_every_way_and_writes_its_tables(
    benchmark: ModuleType, tmp_path: Path, processes: int
) -> None:
    """Takes seconds, for it simulates a survey, and the tool that writes tables imports torch."""
    folder, page = tmp_path / "survey", tmp_path / "page.md"
    simulate(SimulateSettings(n_objects=3, size=64, bands=list(benchmark.BANDS)), folder, progress=False)
    blocks = "".join(f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in ("ingestion", "ingestion-steps"))
    page.write_text(blocks)
    options = [
        "--n",
        "3",
        "--processes",
        str(processes),
        "--turns",
        "1",
        "--no-ingestion",
        "--json",
        str(tmp_path / "numbers.json"),
    ]
    result = benchmark.main([*options, "--folder", str(folder), "--record", str(page)])
    assert json.loads((tmp_path / "numbers.json").read_text()) == result
    names = set(result["objects_per_second"]) - {"fitsio"}
    assert names == {"raw bytes", "astropy", "astrodl"} | ({"astrodl, 2 processes"} if processes == 2 else set())
    for row in benchmark.rate_rows(result):
        assert f"| {' | '.join(row)} |" in page.read_text()
    astropy = result["objects_per_second"]["astrodl"] / result["objects_per_second"]["astropy"]
    assert f"{astropy:.3g}" in page.read_text()


def test_a_way_that_reads_other_pixels_stops_the_benchmark(benchmark: ModuleType, tmp_path: Path) -> None:
    simulate(SimulateSettings(n_objects=1, size=64, bands=list(benchmark.BANDS)), tmp_path, progress=False)
    paths = [str(path) for path in (tmp_path / "images").glob("*.fits")]
    with benchmark.ways(1, 1) as (_, out), pytest.raises(SystemExit, match="wrong reads other pixels than astropy"):
        benchmark.agree({"wrong": lambda paths, out: None}, paths, out)


def test_parts_of_the_objects_are_written_into_shared_memory(benchmark: ModuleType, tmp_path: Path) -> None:
    simulate(SimulateSettings(n_objects=3, size=64, bands=list(benchmark.BANDS)), tmp_path, progress=False)
    paths = [str(path) for path in sorted((tmp_path / "images").glob("*.fits"))]
    with benchmark.ways(3, 1) as (_, out):
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


def test_increments_add_up_to_the_last_step(benchmark: ModuleType) -> None:
    assert benchmark.increments({"a": 2.0, "b": 5.0, "c": 6.0}) == {"a": 2.0, "b": 3.0, "c": 1.0}
