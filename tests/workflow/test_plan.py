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
    from astrodl.schema import json_schema

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
    assert "catalog_with_pdfs" not in jobs


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
