"""Before a release: the numbers that the pages record hold for a run of the demo.

`make release-test RESULTS=results/demo`: pytest -m slow with the folder in `ASTRODL_RESULTS`.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from astrodl import tasks
from tests.conftest import ROOT

Numbers = dict[str, dict[str, tuple[float, float | None]]]

NETWORK, BASELINE = 3.0, 1.5
"""Tolerances in recorded errors. A training of another machine ends in other weights of the same quality; baselines are
fitted to the same measurements, and differ by rounding alone."""


def parse_number(text: str) -> tuple[float, float | None] | None:
    """Read a cell such as "0.0289 ± 0.0016"; None for a dash."""
    if text == "–":
        return None
    value, _, error = text.replace("−", "-").partition(" ± ")
    return float(value), float(error) if error else None


def read_tables(page: str) -> dict[str, tuple[int, Numbers]]:
    """Read the table of each task by its title: number of test objects, and metric, column, value and error."""
    tables: dict[str, tuple[int, Numbers]] = {}
    for section in re.split(r"^## ", page, flags=re.M)[1:]:
        title, _, text = section.partition("\n")
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
        count = re.search(r"(\d+) test objects", text)
        if not count or rows[0][0] != "metric":
            continue
        numbers: Numbers = {}
        for metric, _, *cells in rows[2:]:
            found = {name: parse_number(cell) for name, cell in zip(rows[0][2:], cells, strict=True)}
            numbers[metric.strip("`")] = {name: number for name, number in found.items() if number is not None}
        tables[title] = int(count[1]), numbers
    return tables


def find_differences(numbers: Numbers, document: Mapping[str, Any]) -> list[str]:
    """List what a run has otherwise than recorded."""
    made = {"network": document["network"]}
    made |= {name.replace("_", " "): values for name, values in document["baselines"].items()}
    differences = []
    for metric in sorted(numbers.keys() | document["network"].keys()):
        if metric not in numbers or metric not in document["network"]:
            differences.append(f"{metric} is {'not recorded' if metric not in numbers else 'recorded, but not made'}")
            continue
        for name, (value, error) in numbers[metric].items():
            now = made.get(name, {}).get(metric, {}).get("value")
            tolerance = (NETWORK if name == "network" else BASELINE) * (error or 0.005 * abs(value))
            if now is None or abs(now - value) > tolerance:
                differences.append(f"{metric} of {name}: recorded {value:g} +- {error}, now {now}")
    return differences


@pytest.fixture(scope="module")
def recorded() -> dict[str, tuple[int, Numbers]]:
    return read_tables((ROOT / "docs" / "results.md").read_text("utf-8"))


def test_a_difference_beyond_the_tolerance_is_found(recorded: dict[str, tuple[int, Numbers]]) -> None:
    _, numbers = recorded[tasks.get("photoz").title]
    names = {name for row in numbers.values() for name in row if name != "network"}
    document: dict[str, Any] = {
        "network": {metric: {"value": row["network"][0]} for metric, row in numbers.items()},
        "baselines": {
            name.replace(" ", "_"): {m: {"value": row[name][0]} for m, row in numbers.items() if name in row}
            for name in names
        },
    }
    assert {"knn", "forest", "mlp"} <= names
    assert find_differences(numbers, document) == []
    value, error = numbers["sigma_mad"]["network"]
    assert error is not None
    document["network"]["sigma_mad"]["value"] = value - 2.9 * error
    assert find_differences(numbers, document) == []
    document["network"]["sigma_mad"]["value"] = value + 3.1 * error
    del document["network"]["crps"], document["baselines"]["knn"]["eta_005"]
    assert [line.split()[0] for line in find_differences(numbers, document)] == ["crps", "eta_005", "sigma_mad"]


@pytest.mark.slow
@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_run_of_the_demo_gives_the_recorded_numbers(name: str, recorded: dict[str, tuple[int, Numbers]]) -> None:
    folder = os.environ.get("ASTRODL_RESULTS")
    if not folder:
        pytest.skip("no finished run of the demo: set ASTRODL_RESULTS to its folder, such as results/demo")
    path = Path(folder, name, "metrics.json")
    if not path.exists():
        assert tasks.get(name).title not in recorded, f"{path} is missing, but docs/results.md has its numbers"
        return
    n_objects, numbers = recorded[tasks.get(name).title]
    document = json.loads(path.read_text("utf-8"))
    assert document["n_objects"] == n_objects
    differences = find_differences(numbers, document)
    assert not differences, "\n".join([f"{path}: record again with docs/record.py if this is meant", *differences])
