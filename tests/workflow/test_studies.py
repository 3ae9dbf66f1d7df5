"""Studies of the documentation: their settings are accepted, and their workflow plans every job."""

import copy
import subprocess
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from astrodl import tasks
from astrodl.config import DataSettings, SimulateSettings, parse
from tests.conftest import ROOT
from tests.workflow.run import BIN, count_jobs, environment

FOLDER = ROOT / "benchmarks" / "studies"
STUDIES = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in FOLDER.glob("*.yaml") if path.stem != "tiny"}


def plan(study: str, folder: Path, *options: str) -> dict[str, int]:
    configuration = ["--configfile", FOLDER / f"{study}.yaml", FOLDER / "tiny.yaml"]
    words = [BIN / "snakemake", "--snakefile", FOLDER / "Snakefile", *configuration, "--directory", folder]
    words += ["--cores", "2", "--dry-run", *options]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return count_jobs(done.stdout + done.stderr)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_surveys_and_settings_of_a_study_are_accepted(study):
    for survey in study.get("surveys", {}).values():
        if "simulate" in survey:
            parse(SimulateSettings, survey["simulate"])
        else:
            parse(DataSettings, survey["data"])
    for name, part in study["parts"].items():
        for settings in part.get("runs", {}).values():
            merged = copy.deepcopy(part.get("settings", {}))
            update_config(merged, settings)
            parse(tasks.get(part["task"]).Settings, merged, name)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_every_part_with_a_page_has_its_markers_there(study):
    for name, part in study["parts"].items():
        if "page" in part:
            assert f"<!-- study-{name}:begin -->" in (ROOT / "docs" / part["page"]).read_text("utf-8")


def test_all_jobs_of_a_study_are_planned(tmp_path):
    jobs = plan("photoz", tmp_path)
    part = STUDIES["photoz"]["parts"]
    n_networks = 2 + len(part["curve"]["runs"]) + len(part["variants"]["runs"])
    assert jobs["train"] == n_networks
    assert jobs["evaluate"] == n_networks + 1
    assert jobs["page"] == 3


def test_a_part_of_a_study_runs_alone_with_what_it_needs(tmp_path):
    assert plan("morphology", tmp_path, "record", "--config", "only=noise") == {
        **dict.fromkeys(("simulate", "ingest", "predict", "evaluate", "page", "record"), 1),
        "train": 2,
    }
