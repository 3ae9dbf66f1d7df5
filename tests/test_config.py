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
        (
            {"surveys": {"a": {"simulat": {}}}},
            r"surveys.a.simulat.*accepted here: data, explain, models_from, shards, shares, simulate",
        ),
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


_STEPS = list(zip("abcdefghijk", "bcdefghijkl", strict=True))
_BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in _STEPS
)

_MAPPINGS, _MERGED = (
    "a: &a {k: 1}\n" + "".join(f"{name}: &{name} {text.replace('*', '*' + before)}\n" for before, name in _STEPS)
    for text in ("{1: *, 2: *, 3: *, 4: *, 5: *, 6: *, 7: *, 8: *, 9: *}", "{<<: [*, *, *, *, *, *, *, *, *]}")
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_MAPPINGS, "more than 200,000 values, aliases included"),
        (_MERGED, "more than 200,000 values, aliases included"),
        (_BOMB, "more than 200,000 values, aliases included"),
        ("a: &a [*a]", "nested more than 50 deep"),
        ("? &a [*a]\n: 3", "nested more than 50 deep"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than 50 deep"),
        ("[" * 3000, "nested more than 50 deep"),
        ("a: 1\nb: 2\na: 3", "key 'a' is given twice, at lines 1 and 3"),
        ("a: 1\n'a': 3", "key 'a' is given twice"),
        ("b: {c: [{d: 1, d: 2}]}", "key 'd' is given twice"),
        ("a: 1\n---\na: 2", "not valid YAML at line 2"),
        ("a: \0", "not valid YAML .*character #x0000"),
        ("a: 2024-99-99", "a value that cannot be read"),
        ("a: " + "9" * 5000, "a value that cannot be read"),
        ("? [1]\n: 2", "unhashable key"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("#" * (16 * 2**20 + 1), "more than 16 MiB"),
    ],
)
def test_yaml_without_limits_or_with_a_key_twice_is_an_error(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_aliases_and_merged_keys_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("base: &base {a: 1, b: 2}\nother: {<<: *base, a: 3}\nlist: [*base, *base]")
    values = read_yaml(tmp_path / "c.yaml")
    assert values["other"] == {"a": 3, "b": 2}
    assert values["list"] == [{"a": 1, "b": 2}] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "key 'a' is given twice"),
        ('{"b": {"a": 1, "a": 2}}', "key 'a' is given twice"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "nested more than 50 deep"),
        ('{"a": ' + "9" * 5000 + "}", "a value that cannot be read"),
    ],
)
def test_json_settings_have_the_limits_of_a_file(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_settings(text)


def test_the_error_of_a_large_value_is_short_and_takes_no_time() -> None:
    value: list[object] = ["x"] * 10
    for _ in range(12):
        value = [value] * 10
    for values in ({"n_objects": value}, {"n_objects": "a\n" * 10_000}, {"x\n" * 10_000: 1}):
        with pytest.raises(ConfigError) as caught:
            parse(SimulateSettings, values)
        assert len(str(caught.value)) < 600
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "results", ["", "/", ".", "./", "{x}", "a/{survey}", "~no-such-user/x", "$ASTRODL_NOWHERE/x", "a\nb"]
)
def test_results_without_a_folder_are_an_error(results: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASTRODL_NOWHERE", raising=False)
    with pytest.raises(ConfigError):
        parse(root(), {**MINIMAL, "results": results})


@pytest.mark.parametrize("results", ["results", "../r", "/scratch/r", "~/r", "a b"])
def test_folders_of_results_are_accepted(results: str) -> None:
    assert parse(root(), {**MINIMAL, "results": results}).results == results


@pytest.mark.parametrize(("names", "message"), [(["logs"], "'logs' is the name"), (["sky", "Sky"], "are one folder")])
def test_surveys_whose_folders_would_collide_are_an_error(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(root(), {**MINIMAL, "surveys": {name: {"simulate": {}} for name in names}})


def test_the_home_of_nobody_is_an_error() -> None:
    with pytest.raises(ConfigError, match="there is no user 'no-such-user'"):
        expand("~no-such-user/images")


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


@pytest.mark.parametrize("values", [{"n_objects": 10**12}, {"size": 80_000}, {"votes": 10**9}, {"n_objects": 10**40}])
def test_sizes_of_a_simulation_have_a_limit(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be less than or equal to"):
        parse(SimulateSettings, values)
