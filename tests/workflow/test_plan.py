import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.run import BIN, ROOT, TASKS, planned, snakemake, write_config


def test_snakemake_has_nothing_to_complain_about() -> None:
    done = subprocess.run([BIN / "snakemake", "--lint"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


def test_the_rules_are_formatted() -> None:
    done = subprocess.run(
        [BIN / "snakefmt", "--check", "workflow"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr + "run: snakefmt workflow"


def test_the_schema_is_the_one_that_astrodl_writes() -> None:
    from astrodl.pipeline.schema import schema as json_schema

    path = ROOT / "workflow" / "schemas" / "config.schema.json"
    assert json.loads(path.read_text()) == json_schema(), f"run: astrodl schema --out {path.relative_to(ROOT)}"


def test_a_dry_run_of_the_demo_plans_every_task(tmp_path: Path) -> None:
    done = snakemake(tmp_path, ROOT / "config" / "config.yaml", "--dry-run", "--forceall")
    assert done.returncode == 0, done.stderr
    jobs = planned(done.stdout + done.stderr)
    assert {jobs[rule] for rule in ("train", "predict", "baseline", "evaluate")} == {len(TASKS)}


def test_a_given_configuration_is_not_merged_with_the_default_one(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    for name in ("config", "other"):
        path = tmp_path / "config" / f"{name}.yaml"
        config = write_config(path, surveys={name: {"simulate": {}}}, tasks={"latent": {}})
    done = snakemake(tmp_path, config, "--dry-run")
    assert planned(done.stdout + done.stderr)["simulate"] == 1


def test_folds_and_seeds_are_jobs_of_their_own(tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "config.yaml",
        surveys={"a": {"simulate": {}, "split": {"folds": 3}}, "b": {"simulate": {}, "models_from": "a"}},
        tasks={"morphology": {"folds": [0, 1, 2], "seeds": [0, 1]}},
    )
    jobs = planned("".join(snakemake(tmp_path, config, "--dry-run").stdout))
    assert jobs["train"] == 6
    assert jobs["predict"] == jobs["evaluate"] == 2
    assert jobs["baseline"] == 1
    assert jobs["catalog"] == 2
    assert "product" not in jobs


def test_shards_are_ingested_predicted_and_joined_as_jobs_of_their_own(tmp_path: Path) -> None:
    done = snakemake(tmp_path, ROOT / "config" / "shards.yaml", "--dry-run", "--printshellcmds")
    jobs = planned(done.stdout + done.stderr)
    assert (jobs["shard"], jobs["ingest_sample"], jobs["ingest_shard"]) == (1, 1, 3)
    assert (jobs["train"], jobs["predict"], jobs["predict_shard"]) == (2, 2, 6)
    assert (jobs["catalog_shard"], jobs["product_shard"], jobs["hats"]) == (3, 3, 1)
    assert not {"ingest", "catalog", "product"} & jobs.keys()
    assert "--shard results/wide/shards/0002/objects.fits" in done.stdout + done.stderr


def test_another_survey_s_models_predict_shards_and_nothing_is_trained_there(tmp_path: Path) -> None:
    other = {"simulate": {}, "models_from": "a", "shards": 4, "split": {"validation": 0, "test": 1, "sample": 50}}
    config = write_config(
        tmp_path / "config.yaml", surveys={"a": {"simulate": {}}, "b": other}, tasks={"morphology": {}}
    )
    jobs = planned("".join(snakemake(tmp_path, config, "--dry-run").stdout))
    assert jobs["train"] == jobs["ingest"] == jobs["ingest_sample"] == jobs["catalog"] == 1
    assert jobs["predict_shard"] == jobs["catalog_shard"] == jobs["ingest_shard"] == 4


def test_without_positions_on_the_sky_shards_are_not_joined_to_a_hats_catalogue(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("object_id\na\n")
    data = {"catalog": "c.csv", "layout": "rgb", "path": "x", "bands": [{"name": "g"}]}
    config = write_config(tmp_path / "c.yaml", surveys={"a": {"data": data, "shards": 2}}, tasks={"latent": {}})
    jobs = planned("".join(snakemake(tmp_path, config, "--dry-run").stdout))
    assert jobs["catalog_shard"] == 2
    assert "hats" not in jobs


def test_a_survey_that_is_not_divided_is_ingested_by_the_same_command_as_ever(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", surveys={"a": {"simulate": {}}}, tasks={"latent": {}})
    text = "".join(snakemake(tmp_path, config, "--dry-run", "--printshellcmds").stdout)
    assert (
        'astrodl ingest --out results/a/store.h5 --settings \'{"simulate":{},"survey":"a"}\' '
        "--simulated results/a/simulated --workers 2 > results/a/logs/ingest.log 2>&1"
    ) in text
    assert not {"shard", "ingest_sample", "ingest_shard", "hats"} & planned(text).keys()


@pytest.mark.parametrize(
    ("survey", "tasks", "message"),
    [
        ({"simulate": {"n_object": 3}}, {"latent": {}}, "n_object"),
        ({"simulate": {}}, {"latents": {}}, "latents"),
        (
            {"simulate": {}, "data": {"catalog": "c.csv", "layout": "rgb", "bands": [{"name": "g"}]}},
            {"latent": {}},
            "exactly one",
        ),
        ({"simulate": {}, "models_from": "b"}, {"latent": {}}, "'b'"),
        ({"simulate": {}, "shards": 0}, {"latent": {}}, "surveys.a.shards"),
        ({"simulate": {}, "tasks": ["photoz"]}, {"latent": {}}, "photoz"),
        ({"simulate": {}}, {"latent": {"folds": [1]}}, "fold 1"),
        (
            {"data": {"catalog": "c.csv", "layout": "rgb", "path": "x", "bands": [{"name": "g"}]}},
            {"latent": {}},
            "c.csv does not exist",
        ),
    ],
)
def test_a_wrong_configuration_is_one_line_and_exit_two(
    survey: dict[str, Any], tasks: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "config.yaml", surveys={"a": survey}, tasks=tasks)
    done = snakemake(tmp_path, config, "--dry-run", "--quiet")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("astrodl: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr
