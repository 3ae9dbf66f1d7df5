"""Damaged files: no crash, no hang, no more memory than intact files take, and no exception but `UnreadableError`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astrodl.fits import UnreadableError, header, read_bytes
from tests.conftest import ROOT
from tests.fits.mutate import mutate, simulated_files

MAX_BASE_BYTES = 120_000
MAX_SECONDS = 10.0  # CPU time; the slowest file takes a tenth of a second
SLACK_BYTES = 1 << 20


def write_bases(folder: Path, test_data: Path | None) -> Path:
    """Write the intact files: simulated, and real ones if there are test data."""
    for name, data in simulated_files().items():
        (folder / f"{name}.base").write_bytes(data)
    for path in sorted((test_data / "awkward_fits" / "files").iterdir()) if test_data else []:
        if path.stat().st_size < MAX_BASE_BYTES:
            try:
                (folder / f"{path.name}.base").write_bytes(read_bytes(path))
            except UnreadableError:
                continue
    return folder


def read_damaged(folder: Path, first: int, last: int) -> list[dict[str, Any]]:
    """Read the damaged files of a range of seeds in a separate process, which may crash."""
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
        seed, end = decoder.raw_decode(line)
        rows.append({**seed, **decoder.raw_decode(line[end:].strip())[0]})
    return rows


def check(rows: list[dict[str, Any]]) -> None:
    refused = sum(bool(row["reason"]) for row in rows)
    assert 0.2 * len(rows) < refused < 0.9 * len(rows)  # otherwise the damage is too weak or too strong to test much
    for row in rows:
        assert row["seconds"] < MAX_SECONDS, row
        assert row["peak"] <= 2 * row["normal"] + SLACK_BYTES, row
        assert "\n" not in row["reason"], row


def test_damaged_files_are_refused_or_read_within_bounds(tmp_path: Path) -> None:
    check(read_damaged(write_bases(tmp_path, None), 0, 150))


@pytest.mark.slow
def test_two_thousand_damaged_files_are_refused_or_read_within_bounds(tmp_path: Path, test_data: Path) -> None:
    check(read_damaged(write_bases(tmp_path, test_data), 1000, 3000))


def outcome(find: Callable[[bytes], header.FileLayout], data: bytes) -> tuple[header.HduLayout, ...] | str:
    try:
        return find(data).hdus
    except UnreadableError as error:
        return str(error)


def test_a_damaged_file_gets_its_own_layout_and_not_the_cached_one() -> None:
    """The layout of the intact file is in the cache when the damaged file is read."""
    n_different = 0
    for name, data in simulated_files().items():
        for seed in range(12):
            damaged = mutate(data, seed)
            header._known_layouts.clear()
            intact = header.find_layout(data)
            parsed = outcome(lambda data: header.parse_layout(data)[0], damaged)
            assert outcome(header.find_layout, damaged) == parsed, (name, seed)
            n_different += parsed != intact.hdus
    assert n_different > 50


def test_equal_seeds_make_equal_damage() -> None:
    data = simulated_files()["bands"]
    assert mutate(data, 3) == mutate(data, 3)
    assert len({mutate(data, seed) for seed in range(50)}) > 45
    assert np.mean([mutate(data, seed) == data for seed in range(50)]) < 0.1
