"""The two configurations of real data: what they ingest, against astropy and Pillow; and runs with little training."""

import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from astrodl.config import IngestSettings, parse
from astrodl.ingestion.ingest import ingest
from astrodl.pipeline.schema import load_config
from astrodl.store import open_store
from tests.workflow.run import ENVIRONMENT, ROOT, command, planned, write_config

EXAMPLES = ROOT / "config" / "examples"
EGS, GALAXYZOO = EXAMPLES / "egs.yaml", EXAMPLES / "galaxyzoo.yaml"


@pytest.fixture
def real_data(test_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the real data, as the configurations name it."""
    for name in ("hst_egs_specz", "gz1_morphology"):
        if not (test_data / name).is_dir():
            pytest.skip(f"no {test_data / name}: set ASTRODL_TEST_DATA")
    monkeypatch.setenv("ASTRODL_TEST_DATA", str(test_data.resolve()))
    return test_data.resolve()


def ingest_settings(config: Path, survey: str, **data: Any) -> IngestSettings:
    """Give what the workflow ingests for a survey, all of it as test objects, with some keys of `data` replaced."""
    section = load_config(config).surveys[survey].model_dump(exclude_unset=True)
    values = {"survey": survey, "data": section["data"] | data, "split": {"validation": 0.0, "test": 1.0}}
    return parse(IngestSettings, values)


def run_workflow(folder: Path, config: Path, real_data: Path, *options: str) -> str:
    environment = {**ENVIRONMENT, "ASTRODL_TEST_DATA": str(real_data)}
    words = command(folder, config, *options)
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def read_metrics(folder: Path, survey: str, task: str) -> dict[str, Any]:
    path = folder / "results" / survey / task / "metrics.json"
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def test_the_simulated_strip_has_the_bands_and_pixels_of_the_real_one() -> None:
    surveys = load_config(EGS).surveys
    simulated, real = surveys["egs-sim"].simulate, surveys["egs"].data
    assert simulated.bands == tuple(band.name for band in real.bands)
    assert simulated.size == real.size
    assert 0.03 * real.rebin == pytest.approx(simulated.pixel_scale_arcsec)


def test_strip_cutouts_are_what_astropy_reads_in_microjansky(real_data: Path, tmp_path: Path) -> None:
    settings = ingest_settings(EGS, "egs")
    summary = ingest(settings, tmp_path / "store.h5")
    assert summary["split"] == {"train": 0, "validation": 0, "test": 24, "rest": 0}
    assert summary["flags"]["partial_coverage"] == 1
    with (real_data / "hst_egs_specz" / "redshifts.csv").open() as file:
        rows = {row["deep2_objno"]: row for row in csv.DictReader(file)}
    # Sirianni et al. 2005, and 23.9 is the AB magnitude of a microjansky
    zero_points = (26.486, 25.937)
    with open_store(tmp_path / "store.h5") as store:
        assert store.unit == "uJy"
        assert store.pixel_scale_arcsec == pytest.approx(0.09, rel=1e-4)
        np.testing.assert_allclose(store.column("z"), [float(rows[name]["z_spec"]) for name in store.object_id])
        for index in (0, 7, 23):
            row = rows[store.object_id[index]]
            for position, file_name in enumerate((row["file_v"], row["file_i"])):
                counts = fits.getdata(real_data / "hst_egs_specz" / file_name).astype(float)
                blocks = counts.reshape(67, 3, 67, 3).sum((1, 3))[1:65, 1:65]
                expected = blocks * 10 ** (-0.4 * (zero_points[position] - 23.9))
                np.testing.assert_allclose(store.images([index])[0, position], expected, rtol=1e-5, atol=1e-7)


def test_pixels_outside_the_mosaic_are_missing(real_data: Path, tmp_path: Path) -> None:
    ingest(ingest_settings(EGS, "egs"), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        (edge,) = np.flatnonzero(store.object_id == "12011504")
        missing = np.isnan(store.images([edge])[0])
        assert 0.2 < missing.mean() < 0.5
        counts = fits.getdata(real_data / "hst_egs_specz" / "cutouts" / "12011504.acs.v_6ac_.fits")
        outside = (counts == 0).reshape(67, 3, 67, 3).sum((1, 3))[1:65, 1:65] > 4
        np.testing.assert_array_equal(missing[0], outside)


@pytest.fixture
def few_galaxies(real_data: Path, tmp_path: Path) -> Path:
    """Two galaxies of every class of Galaxy Zoo, in a folder of their own."""
    source, folder = real_data / "gz1_morphology", tmp_path / "few"
    (folder / "images").mkdir(parents=True)
    table = Table.read(source / "labels.csv", format="ascii.csv")
    chosen = np.concatenate([np.flatnonzero(table["class_name"] == name)[:2] for name in set(table["class_name"])])
    table[np.sort(chosen)].write(folder / "labels.csv", format="ascii.csv")
    for name in table["file"][chosen]:
        shutil.copyfile(source / name, folder / name)
    return folder


def test_galaxy_zoo_cutouts_are_what_pillow_reads(few_galaxies: Path, tmp_path: Path) -> None:
    settings = ingest_settings(GALAXYZOO, "galaxyzoo", root=str(few_galaxies))
    ingest(settings, tmp_path / "store.h5")
    rebin, size = settings.data.rebin, settings.data.size
    n_blocks = 423 // rebin
    lost, first = (423 - n_blocks * rebin) // 2, n_blocks // 2 - size // 2
    with h5py.File(tmp_path / "store.h5") as file:
        background = file["background"][:]
    with open_store(tmp_path / "store.h5") as store:
        assert store.bands == ("g", "r", "i")
        for index, name in enumerate(store.object_id):
            # the first row of a picture is its top, of a store its bottom; SDSS shows i, r, g as red, green, blue
            picture = np.asarray(Image.open(few_galaxies / "images" / f"{name}.jpeg"), float)[::-1].transpose(2, 0, 1)
            kept = picture[::-1, lost : lost + n_blocks * rebin, lost : lost + n_blocks * rebin]
            blocks = kept.reshape(3, n_blocks, rebin, n_blocks, rebin).sum((2, 4))
            expected = blocks[:, first : first + size, first : first + size]
            stored = store.images([index])[0] + background[index][:, None, None]
            np.testing.assert_allclose(stored, expected, atol=1e-3)


def test_galaxy_zoo_classes_are_renamed(few_galaxies: Path, tmp_path: Path) -> None:
    settings = ingest_settings(GALAXYZOO, "galaxyzoo", root=str(few_galaxies))
    ingest(settings, tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        pairs = sorted(zip(store.column("class"), store.column("oddity"), strict=True))
    assert pairs == sorted(
        [("", "dont_know")] * 2
        + [("spiral", "")] * 4
        + [(name, "") for name in ("elliptical", "edge_on", "merger")] * 2
    )


@pytest.mark.parametrize(("config", "n_trained"), [(EGS, 3), (GALAXYZOO, 7)])
def test_a_dry_run_plans_the_training_of_one_survey(
    config: Path, n_trained: int, real_data: Path, tmp_path: Path
) -> None:
    jobs = planned(run_workflow(tmp_path, config, real_data, "--dry-run"))
    assert jobs["train"] == n_trained


def with_little_training(config: Path, folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(config.read_text())
    for section in values["tasks"].values():
        section["train"] = {"epochs": 2, "batch_size": 32}
        section.pop("seeds", None)
    return values


@pytest.mark.slow
def test_networks_of_the_simulated_strip_predict_the_real_one(real_data: Path, tmp_path: Path) -> None:
    values = with_little_training(EGS, tmp_path)
    values["surveys"]["egs-sim"]["simulate"]["n_objects"] = 150
    run_workflow(tmp_path, write_config(tmp_path / "config.yaml", **values), real_data)
    photoz = read_metrics(tmp_path, "egs", "photoz")
    assert photoz["n_objects"] == 24
    assert np.isfinite(photoz["network"]["sigma_mad"]["value"])
    catalog = Table.read(tmp_path / "results" / "egs" / "catalog.fits")
    assert len(catalog) == 24
    assert np.isfinite(catalog["photoz_z_median"]).all()
    assert np.isfinite(catalog["outliers_score"]).all()


@pytest.mark.slow
def test_galaxy_zoo_goes_through_the_workflow(real_data: Path, tmp_path: Path) -> None:
    values = with_little_training(GALAXYZOO, tmp_path)
    run_workflow(tmp_path, write_config(tmp_path / "config.yaml", **values), real_data)
    morphology = read_metrics(tmp_path, "galaxyzoo", "morphology")
    assert morphology["baselines"]["forest"]["accuracy"]["value"] > 0.6
    assert "accuracy" in morphology["network"]
    assert "auc" in read_metrics(tmp_path, "galaxyzoo", "outliers")["network"]
    assert len(Table.read(tmp_path / "results" / "galaxyzoo" / "catalog.fits")) == 1245
