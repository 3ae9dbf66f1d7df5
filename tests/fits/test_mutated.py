"""Thousands of damaged files: no crash, no hang, no more memory than good ones take, and no exception but the one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astrodl.fits import header
from astrodl.fits.file import UnreadableError, read_bytes
from tests.conftest import ROOT
from tests.fits.mutate import mutate, simulated_files

LARGEST_BASE = 120_000
SECONDS = 10.0  # of the processor; the slowest takes a tenth of one
SLACK_BYTES = 1 << 20


def bases(folder: Path, test_data: Path | None) -> Path:
    """Write the good files, real ones too where there are any."""
    for name, data in simulated_files().items():
        (folder / f"{name}.base").write_bytes(data)
    for path in sorted((test_data / "awkward_fits" / "files").iterdir()) if test_data else []:
        if path.stat().st_size < LARGEST_BASE:
            try:
                (folder / f"{path.name}.base").write_bytes(read_bytes(path))
            except UnreadableError:
                continue
    return folder


def read_damaged(folder: Path, first: int, last: int) -> list[dict[str, Any]]:
    """Read the damaged files of some seeds in a process of its own, and tell which of them ended it."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.fits.mutate", str(folder), str(first), str(last)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    lines = run.stdout.splitlines()
    assert run.returncode == 0, f"ended with {run.returncode} at {lines[-1:]}\n{run.stderr[-3000:]}"
    assert len(lines) == last - first
    decoder = json.JSONDecoder()
    rows = []
    for line in lines:
        told, end = decoder.raw_decode(line)
        rows.append({**told, **decoder.raw_decode(line[end:].strip())[0]})
    return rows


def check(rows: list[dict[str, Any]]) -> None:
    refused = sum(bool(row["reason"]) for row in rows)
    assert 0.2 * len(rows) < refused < 0.9 * len(rows)  # else the damage is none, or hides all that follows the first
    for row in rows:
        assert row["seconds"] < SECONDS, row
        assert row["peak"] <= 2 * row["normal"] + SLACK_BYTES, row
        assert "\n" not in row["reason"], row


def test_damaged_files_are_refused_or_read_within_bounds(tmp_path: Path) -> None:
    check(read_damaged(bases(tmp_path, None), 0, 150))


@pytest.mark.slow
def test_two_thousand_damaged_files_are_refused_or_read_within_bounds(tmp_path: Path, test_data: Path) -> None:
    check(read_damaged(bases(tmp_path, test_data), 1000, 3000))


def verdict(walk: Callable[[bytes], header.Layout], data: bytes) -> tuple[header.Unit, ...] | str:
    try:
        return walk(data).units
    except UnreadableError as error:
        return str(error)


def test_a_damaged_file_has_the_layout_that_parsing_finds() -> None:
    """The good file is known when the damaged one comes: it must not be taken for it."""
    differed = 0
    for name, data in simulated_files().items():
        for seed in range(12):
            damaged = mutate(data, seed)
            header._known.clear()
            good = header.find_units(data)
            parsed = verdict(lambda data: header.parse(data)[0], damaged)
            assert verdict(header.find_units, damaged) == parsed, (name, seed)
            differed += parsed != good.units
    assert differed > 50


def test_the_same_seed_makes_the_same_damage() -> None:
    data = simulated_files()["bands"]
    assert mutate(data, 3) == mutate(data, 3)
    assert len({mutate(data, seed) for seed in range(50)}) > 45
    assert np.mean([mutate(data, seed) == data for seed in range(50)]) < 0.1
