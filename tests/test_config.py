"""The configuration: defaults, files, and errors in one line."""

import json
from pathlib import Path

import pytest

from astrodl import tasks
from astrodl.config import (
    IngestSettings,
    SimulateSettings,
    TrainSettings,
    canonical_json,
    expand,
    parse,
    read_settings,
    read_yaml,
)
from astrodl.errors import ConfigError
from astrodl.pipeline.schema import load_config, root
from astrodl.pipeline.schema import schema as json_schema
from tests.conftest import ROOT

MINIMAL = {"surveys": {"demo": {"simulate": {}}}, "tasks": {"photoz": {}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surveys": {"a": {"simulat": {}}}}, r"surveys.a.simulat.*accepted here: data, models_from, shards, simulate"),
        ({"surveys": {"a": {"simulate": {"n_objets": 3}}}}, r"'surveys.a.simulate.n_objets'.*n_objects"),
        ({"tasks": {"photoz": {"train": {"epoch": 3}}}}, r"'tasks.photoz.train.epoch'.*epochs"),
        ({"tasks": {"photoz": {"n_bins": "many"}}}, r"tasks.photoz.n_bins = 'many'.*valid integer"),
        ({"tasks": {"photoz": {"dropout": 1.5}}}, r"tasks.photoz.dropout = 1.5.*less than 1"),
        ({"tasks": {"latent": {"seeds": [0, 1]}}}, r"tasks.latent.seeds.*at most 1"),
        ({"tasks": {"spectra": {}}}, r"'tasks.spectra' is not known; accepted here: latent, morphology"),
        ({"surveys": {"a": {}}}, r"surveys.a.*exactly one of `simulate` and `data`"),
        ({"surveys": {"a": {"simulate": {}, "models_from": "b"}}}, r"models_from 'b'"),
        ({"surveys": {}}, r"surveys"),
    ],
)
def test_the_error_of_a_wrong_configuration_is_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(root(), {**MINIMAL, **change}, "c.yaml")
    assert str(caught.value).startswith("c.yaml: ")
    assert "\n" not in str(caught.value)


def test_an_empty_section_has_all_defaults() -> None:
    config = parse(root(), {**MINIMAL, "tasks": {"photoz": None}})
    assert config.tasks.photoz == tasks.get("photoz").Settings()
    assert config.tasks.latent is None


def test_a_partial_section_keeps_the_defaults_of_its_task() -> None:
    settings = tasks.get("outliers").Settings
    assert parse(settings, {"train": {"epochs": 3}}).train.betas == settings().train.betas != TrainSettings().betas


@pytest.mark.parametrize(
    "path",
    sorted([*(ROOT / "config").glob("*.yaml"), *(ROOT / "config" / "examples").glob("*.yaml")]),
    ids=lambda path: path.name,
)
def test_the_configurations_of_the_project_are_valid(path: Path) -> None:
    assert load_config(path).surveys


def test_the_schema_contains_its_dialect_and_every_task() -> None:
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert set(schema["$defs"]["TasksSettings"]["properties"]) == set(tasks.NAMES)


def test_equal_sections_have_the_same_canonical_json() -> None:
    first = parse(SimulateSettings, {"size": 32, "seed": 2})
    second = parse(SimulateSettings, {"seed": 2, "size": 32})
    assert canonical_json(first) == canonical_json(second)
    assert json.loads(canonical_json(first))["size"] == 32


@pytest.mark.parametrize(
    ("text", "message"),
    [("{broken", "not valid JSON"), ("absent.yaml", "cannot be read"), ('{"a": 1', "not valid JSON")],
)
def test_unreadable_settings_are_an_error(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_settings(text)


@pytest.mark.parametrize(("content", "message"), [("a: [1", "not valid YAML at line"), ("- 1", "must hold a mapping")])
def test_damaged_yaml_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_yaml(tmp_path / "c.yaml")


def test_environment_variables_are_expanded_and_unset_ones_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRODL_SKY", "sky")
    monkeypatch.delenv("ASTRODL_NOWHERE", raising=False)
    assert expand("${ASTRODL_SKY}/images") == "sky/images"
    with pytest.raises(ConfigError, match="ASTRODL_NOWHERE is not set"):
        expand("${ASTRODL_NOWHERE}/images")


def test_a_repeated_band_and_a_missing_path_are_errors() -> None:
    data = {"catalog": "c.fits", "layout": "cube", "path": "{object_id}.fits"}
    with pytest.raises(ConfigError, match="named twice"):
        parse(IngestSettings, {"data": {**data, "bands": [{"name": "g"}, {"name": "g"}]}})
    with pytest.raises(ConfigError, match="`path` for each band"):
        parse(IngestSettings, {"data": {**data, "path": None, "bands": [{"name": "g"}]}})
