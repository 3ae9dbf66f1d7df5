"""The verb summary: headline metrics beside the baselines, and the places of the results."""

import json
import re
from pathlib import Path

import pytest

from astrodl import cli
from astrodl.errors import DataError
from astrodl.pipeline.summary import summary


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of a survey with labels for photo-z and none for outliers."""
    values = {"sigma_mad": {"value": 0.025, "error": 0.001}, "bias_mean": {"value": 0.0, "error": 0.1}}
    photoz = {
        "task": "photoz",
        "split": "test",
        "n_objects": 7,
        "headline": ["sigma_mad"],
        "metrics": {name: {"best": "low", "label": name} for name in values},
        "network": values,
        "baselines": {"knn": {"sigma_mad": {"value": 0.03, "error": None}}},
    }
    outliers = {**photoz, "task": "outliers", "n_objects": 0, "network": {}, "baselines": {}}
    for document in (photoz, outliers):
        (tmp_path / document["task"]).mkdir()
        (tmp_path / document["task"] / "metrics.json").write_text(json.dumps(document))
    (tmp_path / "photoz" / "figures").mkdir()
    (tmp_path / "catalog.fits").touch()
    return tmp_path


def test_network_and_baselines_are_in_one_line(results: Path) -> None:
    line = next(line for line in summary(results).splitlines() if line.startswith("photoz"))
    cells = ["photoz", "sigma_mad", "7 objects", "network 0.0250 +- 0.0010", "knn 0.0300"]
    assert re.split(" {2,}", line) == cells


def test_a_task_without_labels_is_not_measured(results: Path) -> None:
    assert "not measured" in next(line for line in summary(results).splitlines() if line.startswith("outliers"))


def test_the_places_of_existing_results_are_listed(results: Path) -> None:
    places = summary(results).split("\n\n")[1]
    assert str(results / "catalog.fits") in places
    assert str(results / "photoz" / "figures") in places
    assert "report.html" not in places


def test_a_file_without_metrics_is_an_error(results: Path) -> None:
    (results / "outliers" / "metrics.json").write_text("[]")
    with pytest.raises(DataError, match="does not hold metrics"):
        summary(results)


def test_a_folder_without_results_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["summary", str(tmp_path)]) == 2
    assert "run the workflow first" in capsys.readouterr().err
