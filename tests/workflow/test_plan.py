"""Rules and schema of the workflow, and the jobs that it plans."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from astrodl.pipeline.schema import schema as json_schema
from tests.workflow.run import BIN, ROOT, TASKS, count_jobs, environment, plan, run_workflow, snakemake, write_config

PICTURES = {"catalog": "c.csv", "layout": "rgb", "path": "x", "bands": [{"name": "g"}]}


def run_linter(*words: str) -> None:
    done = subprocess.run(
        [BIN / words[0], *words[1:]], capture_output=True, text=True, env=environment(), cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_passes_the_snakemake_linter() -> None:
    run_linter("snakemake", "--lint")


def test_the_rules_are_formatted() -> None:
    run_linter("snakefmt", "--check", "workflow")


def test_the_schema_of_the_workflow_is_up_to_date() -> None:
    path = ROOT / "workflow" / "schemas" / "config.schema.json"
    assert json.loads(path.read_text()) == json_schema(), f"run: astrodl schema --out {path.relative_to(ROOT)}"


def test_the_demo_runs_every_task(tmp_path: Path) -> None:
    jobs = plan(tmp_path, ROOT / "config" / "config.yaml", "--forceall")
    assert {jobs[rule] for rule in ("train", "predict", "baseline", "evaluate")} == {len(TASKS)}


def test_a_configfile_replaces_the_default_configuration(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    for name in ("config", "other"):
        path = tmp_path / "config" / f"{name}.yaml"
        config = write_config(path, surveys={name: {"simulate": {}}}, tasks={"latent": {}})
    rules = ("all", "simulate", "ingest", "train", "predict", "baseline", "evaluate", "catalog", "map", "overview")
    assert plan(tmp_path, config) == dict.fromkeys(rules, 1)


def test_only_surveys_with_the_task_latent_have_a_map(tmp_path: Path) -> None:
    surveys = {"a": {"simulate": {}}, "b": {"simulate": {}, "tasks": ["outliers"]}}
    config = write_config(tmp_path / "config.yaml", surveys=surveys, tasks={"latent": {}, "outliers": {}})
    output = run_workflow(tmp_path, config, "--dry-run", "--printshellcmds")
    assert count_jobs(output)["map"] == 1
    inputs = "results/a/store.h5 results/a/latent/predictions.h5 results/a/outliers/predictions.h5"
    assert f"astrodl map {inputs} --out results/a/map.html" in output


def test_shares_are_columns_of_the_catalogue_where_a_survey_asks_for_them(tmp_path: Path) -> None:
    surveys = {"a": {"simulate": {}, "shares": ["latent"]}, "b": {"simulate": {}}}
    config = write_config(tmp_path / "config.yaml", surveys=surveys, tasks={"latent": {}})
    output = run_workflow(tmp_path, config, "--dry-run", "--printshellcmds")
    assert count_jobs(output)["shares"] == 1
    assert "--out results/a/catalog.fits --shares results/a/latent/shares.fits" in output
    assert "--out results/b/catalog.fits  >" in output


def test_every_fold_and_seed_is_trained_in_its_own_job(tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "config.yaml",
        surveys={"a": {"simulate": {}, "split": {"folds": 3}}, "b": {"simulate": {}, "models_from": "a"}},
        tasks={"morphology": {"folds": [0, 1, 2], "seeds": [0, 1]}},
    )
    jobs = plan(tmp_path, config)
    assert jobs["train"] == 6
    assert jobs["predict"] == jobs["evaluate"] == jobs["baseline"] == 2
    assert jobs["catalog"] == 2
    assert "product" not in jobs


def test_baselines_are_trained_on_the_survey_of_the_networks(tmp_path: Path) -> None:
    surveys = {"a": {"simulate": {}}, "b": {"simulate": {}, "models_from": "a"}}
    config = write_config(tmp_path / "config.yaml", surveys=surveys, tasks={"latent": {}})
    output = run_workflow(tmp_path, config, "--dry-run", "--printshellcmds")
    for command in (
        "astrodl baseline latent results/a/store.h5  --out results/a/latent/baseline.json",
        "astrodl baseline latent results/b/store.h5 --train-store results/a/store.h5 --out results/b/latent/",
        "results/a/latent/predictions.h5 --baseline results/a/latent/baseline.json",
        "results/b/latent/predictions.h5 --baseline results/b/latent/baseline.json",
    ):
        assert output.count(command) == 1, command


def test_baselines_of_shards_are_trained_on_the_sample_of_the_other_survey(tmp_path: Path) -> None:
    other = {"simulate": {}, "models_from": "a", "shards": 2, "split": {"validation": 0, "test": 1, "sample": 50}}
    surveys = {"a": {"simulate": {}, "shards": 2, "split": {"sample": 50}}, "b": other}
    config = write_config(tmp_path / "config.yaml", surveys=surveys, tasks={"latent": {}})
    output = run_workflow(tmp_path, config, "--dry-run", "--printshellcmds")
    assert "astrodl baseline latent results/b/store.h5 --train-store results/a/store.h5 " in output
    assert count_jobs(output)["ingest_sample"] == count_jobs(output)["baseline"] == 2


def test_every_shard_is_ingested_and_predicted_in_its_own_job(tmp_path: Path) -> None:
    output = run_workflow(tmp_path, ROOT / "config" / "shards.yaml", "--dry-run", "--printshellcmds")
    jobs = count_jobs(output)
    assert (jobs["shard"], jobs["ingest_sample"], jobs["ingest_shard"]) == (1, 1, 3)
    assert (jobs["train"], jobs["predict"], jobs["predict_shard"]) == (2, 2, 6)
    assert (jobs["catalog_shard"], jobs["product_shard"], jobs["hats"]) == (3, 3, 1)
    assert not {"ingest", "catalog", "product"} & jobs.keys()
    assert "--shard results/wide/shards/0002/objects.fits" in output


def test_models_of_another_survey_predict_shards_without_training(tmp_path: Path) -> None:
    other = {"simulate": {}, "models_from": "a", "shards": 4, "split": {"validation": 0, "test": 1, "sample": 50}}
    surveys = {"a": {"simulate": {}}, "b": other}
    jobs = plan(tmp_path, write_config(tmp_path / "config.yaml", surveys=surveys, tasks={"morphology": {}}))
    assert jobs["train"] == jobs["ingest"] == jobs["ingest_sample"] == jobs["catalog"] == 1
    assert jobs["predict_shard"] == jobs["catalog_shard"] == jobs["ingest_shard"] == 4


def test_shards_without_sky_positions_are_not_merged_into_a_hats_catalogue(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("object_id\na\n")
    surveys = {"a": {"data": PICTURES, "shards": 2}}
    jobs = plan(tmp_path, write_config(tmp_path / "c.yaml", surveys=surveys, tasks={"latent": {}}))
    assert jobs["catalog_shard"] == 2
    assert "hats" not in jobs


@pytest.mark.parametrize(
    ("survey", "tasks", "message"),
    [
        ({"simulate": {}}, {"latents": {}}, "latents"),
        ({"simulate": {}, "data": PICTURES}, {"latent": {}}, "exactly one"),
        ({"simulate": {}, "models_from": "b"}, {"latent": {}}, "'b'"),
        ({"simulate": {}, "shards": 0}, {"latent": {}}, "surveys.a.shards"),
        ({"simulate": {}, "tasks": ["photoz"]}, {"latent": {}}, "photoz"),
        ({"simulate": {}}, {"latent": {"folds": [1]}}, "fold 1"),
        ({"data": PICTURES}, {"latent": {}}, "c.csv does not exist"),
    ],
)
def test_the_error_of_a_wrong_configuration_is_one_line_with_status_2(
    survey: dict[str, Any], tasks: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "config.yaml", surveys={"a": survey}, tasks=tasks)
    assert_refused(tmp_path, config, message)


def assert_refused(folder: Path, config: Path, message: str) -> None:
    done = snakemake(folder, config, "--dry-run", "--quiet")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("astrodl: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr


BOMB = "a: &a0 [1, 1]\n" + "".join(f"b{k}: &a{k + 1} [*a{k}, *a{k}]\n" for k in range(40))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "surveys: {a: {simulate: {}}}\ntasks: {latent: {}}\nsurveys: {b: {simulate: {}}}\n",
            "'surveys' is given twice",
        ),
        (BOMB, "aliases included"),
        (
            "surveys: {a: {simulate: {n_objects: 5, n_objects: 50}}}\ntasks: {latent: {}}\n",
            "'n_objects' is given twice",
        ),
    ],
)
def test_files_that_only_snakemake_would_take_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    assert_refused(tmp_path, tmp_path / "c.yaml", message)


def test_every_configuration_file_is_read_strictly_and_options_still_count(tmp_path: Path) -> None:
    sound = write_config(tmp_path / "a.yaml", surveys={"a": {"simulate": {}}}, tasks={"latent": {}})
    (tmp_path / "b.yaml").write_text("results: x\nresults: y\n")
    done = snakemake(tmp_path, sound, str(tmp_path / "b.yaml"), "--dry-run", "--quiet")
    assert done.returncode == 2
    assert "b.yaml: key 'results' is given twice, at lines 1 and 2" in done.stderr
    output = run_workflow(tmp_path, sound, "--dry-run", "--config", "results=elsewhere")
    assert "elsewhere/a/store.h5" in output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"results": ""}, "results = ''"),
        ({"results": "{x}"}, "results = '{x}'"),
        ({"surveys": {"logs": {"simulate": {}}}}, "'logs' is the name of a folder"),
        ({"surveys": {"a": {"simulate": {}}, "A": {"simulate": {}}}}, "are one folder on some disks"),
    ],
)
def test_results_and_surveys_without_a_folder_of_their_own_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    sections = {"surveys": {"a": {"simulate": {}}}, "tasks": {"latent": {}}, **change}
    assert_refused(tmp_path, write_config(tmp_path / "config.yaml", **sections), message)


def test_the_home_is_expanded_in_the_folder_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = write_config(
        tmp_path / "c.yaml", results="~//results/", surveys={"a": {"simulate": {}}}, tasks={"latent": {}}
    )
    output = run_workflow(tmp_path, config, "--dry-run")
    assert f"{tmp_path}/home/results/a/store.h5" in output
