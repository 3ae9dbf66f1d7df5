"""A task, a network and an input layout of another package, installed as users install it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.table import Table

from tests.conftest import ROOT

CODE = """
import sys, json
from pathlib import Path
import astrodl
from astrodl.config import IngestSettings, parse

folder = Path(sys.argv[1])
settings = json.loads((folder / "settings.json").read_text())
astrodl.ingest(parse(IngestSettings, settings), folder / "store.h5", progress=False)
chosen = {"train": {"epochs": 2, "batch_size": 8}}
model = astrodl.train("brightness", folder / "store.h5", folder / "out", settings=chosen, progress=False)
predicted = astrodl.predict("brightness", folder / "store.h5", [model], folder / "predictions.h5", progress=False)
astrodl.baseline("brightness", folder / "store.h5", folder / "baseline.json")
report = astrodl.evaluate(
    "brightness", folder / "store.h5", predicted, folder / "baseline.json", folder / "metrics.json",
    figures=folder / "figures", history=[folder / "out" / "history.jsonl"],
)
astrodl.catalog(folder / "store.h5", [predicted], folder / "catalog.fits")
astrodl.product("brightness", folder / "store.h5", predicted, folder / "brightest.txt")
astrodl.overview(folder / "store.h5", [folder / "metrics.json"], folder / "overview")
small = {"network": "pooled", "widths": [8], "joint": [8], "n_bins": 10, "train": {"epochs": 1, "batch_size": 8}}
astrodl.train("photoz", folder / "store.h5", folder / "photoz", settings=small, progress=False)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the example package in a folder of its own, and return the environment that finds it."""
    folder = tmp_path_factory.mktemp("site")
    # a copy, since the build writes beside its sources
    source = shutil.copytree(ROOT / "tests" / "plugin", tmp_path_factory.mktemp("source") / "plugin")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(source)]
    subprocess.run(command, check=True)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """Forty galaxies in NPY files, with a catalogue and the settings of their ingestion."""
    random, table = np.random.default_rng(0), Table()
    y, x = np.indices((32, 32)) - 15.5
    table["name"] = [f"n{number}" for number in range(40)]
    table["mag"] = random.uniform(18, 21, 40)
    table["z"] = random.uniform(0.1, 1.0, 40)
    for name, magnitude in table.iterrows("name", "mag"):
        light = 10 ** (0.4 * (22 - magnitude)) * np.exp(-(x**2 + y**2) / 20)
        np.save(tmp_path / f"{name}.npy", light + random.normal(0, 0.3, (2, 32, 32)))
    table.write(tmp_path / "catalog.ecsv")
    data = {
        "root": str(tmp_path),
        "catalog": "catalog.ecsv",
        "layout": "npy",
        "path": "{name}.npy",
        "bands": [{"name": "g", "zero_point": 23.9}, {"name": "r", "zero_point": 23.9}],
        "id_column": "name",
        "columns": {"magnitude": "mag", "z": "z"},
        "size": 32,
        "pixel_scale_arcsec": 0.2,
    }
    (tmp_path / "settings.json").write_text(json.dumps({"survey": "npy", "data": data}))
    return tmp_path


def test_a_task_a_network_and_a_layout_of_another_package_run_through_the_pipeline(
    installed: dict[str, str], survey: Path
) -> None:
    subprocess.run([sys.executable, "-c", CODE, str(survey)], check=True, env=installed, cwd=survey)
    report = json.loads((survey / "metrics.json").read_text())
    assert report["metrics"]["rmse"] == {"best": "low", "label": "RMSE (mag)"}
    assert set(report["network"]) == set(report["baselines"]["mean"]) == {"rmse", "bias"}
    table = Table.read(survey / "catalog.fits")
    brightest = table["object_id"][np.argmin(table["brightness_magnitude"])]
    assert (survey / "brightest.txt").read_text() == str(brightest).strip()
    assert (survey / "figures" / "scatter.png").exists()
    assert (survey / "overview" / "metrics.png").exists()
    assert (survey / "photoz" / "model.safetensors").exists()


def test_the_workflow_plans_the_task_and_its_product(installed: dict[str, str], survey: Path) -> None:
    settings = json.loads((survey / "settings.json").read_text())
    config = {"surveys": {"a": {"data": settings["data"]}}, "tasks": {"brightness": {}}}
    (survey / "run.yaml").write_text(yaml.safe_dump(config))
    command = [str(Path(sys.executable).with_name("snakemake")), "--snakefile", str(ROOT / "workflow" / "Snakefile")]
    command += ["--configfile", "run.yaml", "--cores", "1", "--dry-run", "--printshellcmds"]
    done = subprocess.run(command, check=False, env=installed, cwd=survey, capture_output=True, text=True)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert "astrodl train brightness" in text
    assert "astrodl product brightness" in text


def test_without_the_package_its_names_are_refused(survey: Path) -> None:
    from astrodl.config import IngestSettings, parse
    from astrodl.errors import ConfigError

    with pytest.raises(ConfigError, match=r"layout = 'npy': must be one of extensions, files"):
        parse(IngestSettings, json.loads((survey / "settings.json").read_text()))
