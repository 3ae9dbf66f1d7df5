"""Surveys of real data: the stores contain what astropy and Pillow read, and the workflow runs with little training."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from astrodl.config import DataSettings, IngestSettings, parse
from astrodl.ingestion.ingest import ingest
from astrodl.pipeline.schema import load_config
from astrodl.store import open_store
from tests.workflow.run import ROOT, plan, run_workflow, write_config

EXAMPLES = ROOT / "config" / "examples"
EGS, GALAXYZOO = EXAMPLES / "egs.yaml", EXAMPLES / "galaxyzoo.yaml"


@pytest.fixture(scope="module")
def real_data(test_data: Path) -> Iterator[Path]:
    """Folder of the real data, which the configurations find in the environment."""
    for name in ("hst_egs_specz", "gz1_morphology"):
        if not (test_data / name).is_dir():
            pytest.skip(f"no {test_data / name}: set ASTRODL_TEST_DATA")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASTRODL_TEST_DATA", str(test_data))
        yield test_data


def ingest_as_test_split(config: Path, survey: str, out: Path, **changes: Any) -> tuple[DataSettings, dict[str, Any]]:
    """Ingest a survey of a configuration with changed keys of `data`; return these settings and the summary."""
    section = load_config(config).surveys[survey].model_dump(exclude_unset=True)
    values = {"survey": survey, "data": section["data"] | changes, "split": {"validation": 0.0, "test": 1.0}}
    settings = parse(IngestSettings, values)
    assert settings.data
    return settings.data, ingest(settings, out)


def read_metrics(folder: Path, survey: str, task: str) -> dict[str, Any]:
    return json.loads((folder / "results" / survey / task / "metrics.json").read_text())


def test_the_simulated_egs_survey_has_the_bands_and_pixels_of_the_real_one() -> None:
    surveys = load_config(EGS).surveys
    simulated, real = surveys["egs-sim"].simulate, surveys["egs"].data
    assert simulated.bands == tuple(band.name for band in real.bands)
    assert simulated.size == real.size
    assert 0.03 * real.rebin == pytest.approx(simulated.pixel_scale_arcsec)


@pytest.fixture(scope="module")
def egs_store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("egs") / "store.h5"
    _, summary = ingest_as_test_split(EGS, "egs", path)
    assert summary["split"] == {"train": 0, "validation": 0, "test": 24, "rest": 0}
    assert summary["flags"]["partial_coverage"] == 1
    return path


def test_egs_images_are_those_of_astropy_in_microjansky(egs_store: Path, real_data: Path) -> None:
    with (real_data / "hst_egs_specz" / "redshifts.csv").open() as file:
        rows = {row["deep2_objno"]: row for row in csv.DictReader(file)}
    # Sirianni et al. 2005; the AB magnitude of a microjansky is 23.9.
    zero_points = (26.486, 25.937)
    with open_store(egs_store) as store:
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


def test_pixels_outside_the_egs_mosaic_are_nan(egs_store: Path, real_data: Path) -> None:
    with open_store(egs_store) as store:
        (edge,) = np.flatnonzero(store.object_id == "12011504")
        missing = np.isnan(store.images([edge])[0])
    assert 0.2 < missing.mean() < 0.5
    counts = fits.getdata(real_data / "hst_egs_specz" / "cutouts" / "12011504.acs.v_6ac_.fits")
    outside = (counts == 0).reshape(67, 3, 67, 3).sum((1, 3))[1:65, 1:65] > 4
    np.testing.assert_array_equal(missing[0], outside)


@pytest.fixture(scope="module")
def galaxy_zoo_store(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DataSettings]:
    """Two galaxies of every Galaxy Zoo class, and the settings of their ingestion."""
    source, folder = real_data / "gz1_morphology", tmp_path_factory.mktemp("galaxy_zoo")
    (folder / "images").mkdir(parents=True)
    table = Table.read(source / "labels.csv", format="ascii.csv")
    chosen = np.concatenate([np.flatnonzero(table["class_name"] == name)[:2] for name in set(table["class_name"])])
    table[np.sort(chosen)].write(folder / "labels.csv", format="ascii.csv")
    for name in table["file"][chosen]:
        shutil.copyfile(source / name, folder / name)
    settings, _ = ingest_as_test_split(GALAXYZOO, "galaxyzoo", folder / "store.h5", root=str(folder))
    return folder / "store.h5", settings


def test_galaxy_zoo_images_are_those_of_pillow(galaxy_zoo_store: tuple[Path, DataSettings], real_data: Path) -> None:
    path, settings = galaxy_zoo_store
    rebin, size = settings.rebin, settings.size
    n_blocks = 423 // rebin
    margin, first = (423 - n_blocks * rebin) // 2, n_blocks // 2 - size // 2
    used = slice(margin, margin + n_blocks * rebin)
    with open_store(path) as store:
        assert store.bands == ("g", "r", "i")
        for index, name in enumerate(store.object_id):
            picture = np.asarray(Image.open(real_data / "gz1_morphology" / "images" / f"{name}.jpeg"), float)
            # The first row is the top of a picture and the bottom of a store; SDSS shows i, r, g as red, green, blue.
            bands = picture[::-1].transpose(2, 0, 1)[::-1]
            blocks = bands[:, used, used].reshape(3, n_blocks, rebin, n_blocks, rebin).sum((2, 4))
            expected = blocks[:, first : first + size, first : first + size]
            stored = store.images([index])[0] + store.background[index][:, None, None]
            np.testing.assert_allclose(stored, expected, atol=1e-3)


def test_galaxy_zoo_classes_are_renamed(galaxy_zoo_store: tuple[Path, DataSettings]) -> None:
    with open_store(galaxy_zoo_store[0]) as store:
        pairs = sorted(zip(store.column("class"), store.column("oddity"), strict=True))
    assert pairs == sorted(
        [("", "dont_know")] * 2
        + [("spiral", "")] * 4
        + [(name, "") for name in ("elliptical", "edge_on", "merger")] * 2
    )


@pytest.mark.parametrize(("config", "n_trained"), [(EGS, 3), (GALAXYZOO, 7)])
def test_networks_are_trained_on_one_survey_only(config: Path, n_trained: int, real_data: Path, tmp_path: Path) -> None:
    assert plan(tmp_path, config)["train"] == n_trained


def shorten_training(config: Path) -> dict[str, Any]:
    """Read a configuration and reduce its trainings to two epochs of one seed."""
    values: dict[str, Any] = yaml.safe_load(config.read_text())
    for section in values["tasks"].values():
        section["train"] = {"epochs": 2, "batch_size": 32}
        section.pop("seeds", None)
    return values


@pytest.mark.slow
def test_networks_trained_on_the_simulated_egs_survey_predict_the_real_one(real_data: Path, tmp_path: Path) -> None:
    values = shorten_training(EGS)
    values["surveys"]["egs-sim"]["simulate"]["n_objects"] = 150
    run_workflow(tmp_path, write_config(tmp_path / "config.yaml", **values))
    photoz = read_metrics(tmp_path, "egs", "photoz")
    assert photoz["n_objects"] == 24
    assert np.isfinite(photoz["network"]["sigma_mad"]["value"])
    catalog = Table.read(tmp_path / "results" / "egs" / "catalog.fits")
    assert len(catalog) == 24
    assert np.isfinite(catalog["photoz_z_median"]).all()
    assert np.isfinite(catalog["outliers_score"]).all()


@pytest.mark.slow
def test_the_workflow_runs_on_galaxy_zoo(real_data: Path, tmp_path: Path) -> None:
    values = shorten_training(GALAXYZOO)
    run_workflow(tmp_path, write_config(tmp_path / "config.yaml", **values))
    morphology = read_metrics(tmp_path, "galaxyzoo", "morphology")
    assert morphology["baselines"]["forest"]["accuracy"]["value"] > 0.6
    assert "accuracy" in morphology["network"]
    assert "auc" in read_metrics(tmp_path, "galaxyzoo", "outliers")["network"]
    assert len(Table.read(tmp_path / "results" / "galaxyzoo" / "catalog.fits")) == 1245
