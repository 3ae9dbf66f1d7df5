"""Stores, models, predictions and products of former versions open, and give the numbers that they gave then.

`python -m tests.frozen.make` writes the files of a version at its release (CONTRIBUTING.md).
"""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

import astrodl
from astrodl.pipeline.predictions import Predictions
from astrodl.products import read_catalog
from astrodl.products.pdfs import read_pdfs
from astrodl.store import open_store
from astrodl.tasks.model import load_model
from tests.frozen.make import FOLDER
from tests.small_task import read_cutouts

VERSIONS = sorted(path.stem for path in FOLDER.glob("*.zip"))
ROUNDING = {"segmentation": 2e-2}
"""Relative and absolute difference between processors; maps are computed in bfloat16 where the processor has it."""


@pytest.fixture(scope="module", params=VERSIONS)
def frozen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    with zipfile.ZipFile(FOLDER / f"{request.param}.zip") as archive:
        archive.extractall(folder)
    return folder


def find_tasks(frozen: Path) -> list[str]:
    return sorted(path.parent.name for path in frozen.glob("*/model.safetensors"))


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], task: str) -> None:
    """Compare arrays; a later version may add some."""
    tolerance = ROUNDING.get(task, 2e-3)
    assert expected.keys() <= found.keys()
    for name, values in expected.items():
        if values.dtype.kind in "OSU":
            assert found[name].astype(str).tolist() == values.astype(str).tolist(), (task, name)
        else:
            np.testing.assert_allclose(found[name], values, tolerance, tolerance, err_msg=f"{task} {name}")


def test_the_first_version_and_all_tasks_are_there() -> None:
    assert "0.1.0" in VERSIONS
    with zipfile.ZipFile(FOLDER / "0.1.0.zip") as archive:
        models = {name.split("/")[0] for name in archive.namelist() if name.endswith("model.safetensors")}
    assert models >= {"photoz", "morphology", "votes", "segmentation", "latent", "outliers"}


def test_the_store_is_read(frozen: Path) -> None:
    assert astrodl.check(frozen / "store.h5") == []
    with open_store(frozen / "store.h5") as store:
        assert (len(store), store.bands, store.survey, store.unit) == (6, ("g", "r", "i"), "tiny", "uJy")
        images = store.images()
        assert images.shape == (6, 3, 16, 16)
        assert np.isnan(images[0, 0]).all()
        assert np.isfinite(images[1:]).all()
        assert store.object_id.tolist() == [f"T{number:03d}" for number in range(6)]
        assert store.column("ra") == pytest.approx(np.linspace(149, 150, 6))


def test_models_predict_what_they_predicted(frozen: Path, tmp_path: Path) -> None:
    for task in find_tasks(frozen):
        expected = Predictions(frozen / task / "predictions.h5").read(np.arange(6))
        cutouts = read_cutouts(frozen / "store.h5", 6)
        model = load_model(frozen / task / "model.safetensors", device="cpu")
        assert_close(
            model.predict(cutouts.images, sky_sigma=cutouts.sky_sigma, features=cutouts.features), expected, task
        )
        made = astrodl.predict(task, frozen / "store.h5", [frozen / task / "model.safetensors"], tmp_path / task)
        assert_close(Predictions(made).read(np.arange(6)), expected, task)


def test_predictions_join_into_the_catalogue_that_they_gave(frozen: Path, tmp_path: Path) -> None:
    predictions = [frozen / task / "predictions.h5" for task in find_tasks(frozen)]
    made = read_catalog(astrodl.catalog(frozen / "store.h5", predictions, tmp_path / "catalog.fits"))
    written = read_catalog(frozen / "catalog.fits")
    assert len(written) == 6
    assert_close(*({name: np.asarray(table[name]) for name in table.colnames} for table in (made, written)), "catalog")
    assert {name: str(made[name].unit) for name in written.colnames} == {
        name: str(written[name].unit) for name in written.colnames
    }


def test_redshift_densities_are_read(frozen: Path) -> None:
    names, edges, pdf = read_pdfs(frozen / "photoz_pdf.hdf5")
    assert names.tolist() == [f"T{number:03d}" for number in range(6)]
    assert (pdf * np.diff(edges)).sum(axis=1) == pytest.approx(np.ones(6), abs=1e-3)


def test_a_training_continues_from_a_model(frozen: Path, tmp_path: Path) -> None:
    """`init_from` reads the weights of a former version."""
    from tests.frozen import make

    shutil.copy(frozen / "morphology" / "model.safetensors", tmp_path / "old.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make.small_store, "SIZE", make.SIZE)
        store = make.small_store.write_store(tmp_path / "store.h5")
    settings = make.small_settings("morphology", epochs=1) | make.SMALLER["morphology"]
    settings["init_from"] = str(tmp_path / "old.safetensors")
    assert astrodl.train("morphology", store, tmp_path / "new", settings=settings, progress=False).is_file()
