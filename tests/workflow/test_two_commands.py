"""Four surveys of real data: from images and a table to catalogue and report by `astrodl init` and `astrodl run`.

Between the two commands the tasks get small networks and one epoch. What the networks are worth is not tested here.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from astrodl import tasks
from astrodl.products import read_catalog
from tests.test_run import run_in
from tests.workflow.run import write_config

pytestmark = pytest.mark.slow

SETS: dict[str, tuple[str, str | None, int, tuple[str, ...]]] = {
    "hst_egs_specz": ("redshifts.csv", "cutouts/{id}.acs.{band}_6ac_.fits", 1, ("photoz", "latent", "outliers")),
    "multiband_9": ("sources.csv", "field/{band}.fits.fz", 3, ("latent", "outliers")),
    "gz1_morphology": ("labels.csv", "images/{id}.jpeg", 12, ("morphology", "latent", "outliers")),
    "photoz_catalogs": ("sdss_mgs_ugriz_train.csv", None, 10, ("photoz", "latent", "outliers")),
}
"""Catalogue, images, every how many rows are taken, and the tasks that `init` finds."""


@pytest.mark.parametrize("name", SETS)
def test_two_commands_lead_from_real_data_to_catalogue_and_report(name: str, test_data: Path, tmp_path: Path) -> None:
    catalog, images, every, expected = SETS[name]
    if not (test_data / name).is_dir():
        pytest.skip(f"no {test_data / name}: set ASTRODL_TEST_DATA")
    head, *rows = (test_data / name / catalog).read_text("utf-8").splitlines()
    rows = rows[::every]
    (tmp_path / catalog).write_text("\n".join([head, *rows, ""]), "utf-8")
    inputs: Sequence[str] = [] if images is None else ["--images", str(test_data / name / images)]
    run_in(tmp_path, "astrodl", "init", "--catalog", catalog, *inputs, "--name", "sky", "--out", "sky.yaml")
    values = yaml.safe_load((tmp_path / "sky.yaml").read_text("utf-8"))
    assert tuple(values["tasks"]) == expected
    training = {"train": {"epochs": 1, "batch_size": 16}}
    small = {task: tasks.get(task).small if images else {} for task in expected}
    values["tasks"] = {task: small[task] | training for task in expected}
    write_config(tmp_path / "sky.yaml", **values)
    run_in(tmp_path, "astrodl", "run", "sky.yaml", "--cores", "2")
    results = tmp_path / "results" / "sky"
    assert (results / "report.html").is_file()
    table = read_catalog(results / "catalog.fits")
    n_kept = json.loads((results / "ingest.json").read_text("utf-8"))["n_objects"]
    assert 0.9 * len(rows) < len(table) == n_kept
    for task in expected:
        assert any(column.startswith(f"{task}_") for column in table.colnames)
        assert json.loads((results / task / "metrics.json").read_text("utf-8"))["baselines"]
