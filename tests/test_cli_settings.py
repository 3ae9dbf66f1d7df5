"""`--settings` of every verb: a section, or the whole configuration from which the verb takes its part."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from astrodl.cli.settings import read_simulation, read_survey, read_task
from astrodl.errors import ConfigError

BANDS = [{"name": "g"}]
CONFIG: dict[str, Any] = {
    "surveys": {
        "one": {"simulate": {"n_objects": 7}, "split": {"test": 0.3}},
        "two": {"data": {"catalog": "c.fits", "layout": "cube", "path": "a.fits", "bands": BANDS}, "shards": 4},
    },
    "tasks": {"photoz": {"n_bins": 20, "seeds": [0, 1], "folds": [0]}, "latent": None, "votes": 3},
}


@pytest.fixture(params=["text", "file"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The configuration as text, or as a file."""
    text = json.dumps(CONFIG)
    if request.param == "text":
        return text
    (tmp_path / "c.yaml").write_text(text)
    return str(tmp_path / "c.yaml")


def arguments(settings: str | None, **chosen: Any) -> argparse.Namespace:
    return argparse.Namespace(settings=settings, **{"survey": None, "simulated": None, "task": "photoz", **chosen})


def test_a_task_takes_its_section_without_folds_and_seeds(whole: str) -> None:
    assert read_task(arguments(whole)) == {"n_bins": 20}
    assert read_task(arguments(whole, task="latent")) == {}
    assert read_task(arguments('{"n_bins": 20}')) == {"n_bins": 20}
    assert read_task(arguments(None)) == {}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("segmentation", r"no section tasks.segmentation \(has photoz, latent, votes\)"),
        ("votes", "tasks.votes = 3: must be"),
    ],
)
def test_a_configuration_without_the_section_of_the_task_is_an_error(task: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_task(arguments(json.dumps(CONFIG), task=task))


def test_a_configuration_of_surveys_alone_has_no_task() -> None:
    with pytest.raises(ConfigError, match="has no tasks"):
        read_task(arguments(json.dumps({"surveys": CONFIG["surveys"]})))


def test_a_simulation_takes_the_section_of_its_survey(whole: str) -> None:
    assert read_simulation(arguments(whole, survey="one")).n_objects == 7
    assert read_simulation(arguments('{"n_objects": 7}')).n_objects == 7
    assert read_simulation(arguments('{"survey": "x", "simulate": {"n_objects": 7}}')).n_objects == 7


@pytest.mark.parametrize(
    ("name", "message"), [("two", "has no key `simulate`"), (None, "several surveys"), ("x", "no survey")]
)
def test_a_survey_that_is_not_simulated_is_an_error(name: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_simulation(arguments(json.dumps(CONFIG), survey=name))


def test_an_ingestion_takes_the_section_of_its_survey(whole: str) -> None:
    settings, n_shards = read_survey(arguments(whole, survey="two"))
    assert (settings.survey, settings.data.catalog, n_shards) == ("two", "c.fits", 4)
    settings, n_shards = read_survey(arguments(whole, survey="one", simulated=Path("sky")))
    assert (settings.survey, settings.data.root, settings.split.test, n_shards) == ("one", "sky", 0.3, None)


def test_a_simulated_survey_without_its_folder_is_an_error() -> None:
    with pytest.raises(ConfigError, match="give its folder as --simulated"):
        read_survey(arguments(json.dumps(CONFIG), survey="one"))


def test_a_survey_is_chosen_from_a_whole_configuration_only() -> None:
    with pytest.raises(ConfigError, match="has no key `surveys`"):
        read_survey(arguments('{"data": {}}', survey="one"))
