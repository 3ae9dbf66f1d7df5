"""The catalogue and the products agree with the store and do not depend on the block length."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

import astrodl
from astrodl.errors import ConfigError, StoreError
from astrodl.pipeline import catalog, product
from astrodl.products import read_catalog
from astrodl.products.pdfs import read_pdfs
from astrodl.store import open_store
from tests.small_store import write_store
from tests.small_task import small_settings

TASKS = ("photoz", "outliers", "morphology")


@pytest.fixture(scope="module")
def predictions(store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("joined")
    for name in TASKS:
        astrodl.train(name, store, folder / name, settings=small_settings(name, epochs=1), progress=False)
        astrodl.predict(name, store, [folder / name / "model.safetensors"], folder / f"{name}.h5")
    return [folder / f"{name}.h5" for name in TASKS]


@pytest.mark.parametrize("block", [7, 45])
def test_the_files_do_not_depend_on_the_length_of_the_blocks(
    block: int, store: Path, predictions: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(name: str) -> list[bytes]:
        folder = tmp_path / name
        paths = (
            astrodl.catalog(store, predictions, folder / "catalog.fits"),
            astrodl.product("photoz", store, predictions[0], folder / "photoz_pdf.hdf5"),
        )
        return [path.read_bytes() for path in paths]

    whole = write("whole")
    monkeypatch.setattr(catalog, "BLOCK", block)
    monkeypatch.setattr(product, "BLOCK", block)
    assert write("blocks") == whole


def test_rows_are_those_of_the_store_and_every_task_has_columns(
    store: Path, predictions: list[Path], tmp_path: Path
) -> None:
    astrodl.catalog(store, predictions, tmp_path / "catalog.fits")
    written = astrodl.product("photoz", store, predictions[0], tmp_path / "photoz_pdf.hdf5")
    table = read_catalog(tmp_path / "catalog.fits")
    with open_store(store) as reader:
        assert table["object_id"].tolist() == reader.object_id.tolist()
        assert np.array_equal(np.asarray(table["flags"]), reader.flags)
        assert (table["split"] == "test").sum() == len(reader.select("test"))
    assert all(any(name.startswith(task) for name in table.colnames) for task in TASKS)
    assert read_pdfs(written)[0].tolist() == table["object_id"].tolist()


def test_predictions_of_other_objects_are_refused_and_nothing_is_left(predictions: list[Path], tmp_path: Path) -> None:
    other = write_store(tmp_path / "other.h5", 50)
    with pytest.raises(StoreError, match=r"photoz.h5: made for other objects than .*other.h5 holds"):
        astrodl.catalog(other, predictions, tmp_path / "catalog.fits")
    with pytest.raises(StoreError, match=r"photoz.h5: made for other objects than .*other.h5 holds"):
        astrodl.product("photoz", other, predictions[0], tmp_path / "photoz_pdf.hdf5")
    assert [path.name for path in tmp_path.iterdir()] == ["other.h5"]


def test_training_objects_are_told_from_those_no_network_saw(
    store: Path, predictions: list[Path], tmp_path: Path
) -> None:
    astrodl.catalog(store, predictions, tmp_path / "catalog.fits")
    table = read_catalog(tmp_path / "catalog.fits")
    for task in TASKS:
        assert np.array_equal(np.asarray(table[f"{task}_unseen"]), np.asarray(table["split"]) != "train"), task


def test_predictions_of_an_older_version_are_refused(store: Path, predictions: list[Path], tmp_path: Path) -> None:
    old = Path(shutil.copy(predictions[0], tmp_path / "old.h5"))
    with h5py.File(old, "r+") as file:
        del file["unseen"]
    with pytest.raises(StoreError, match=r"old.h5: written by an older astrodl; predict again"):
        astrodl.catalog(store, [old], tmp_path / "catalog.fits")


def test_products_of_another_task_or_name_are_refused(store: Path, predictions: list[Path], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="predictions of task outliers, not of photoz"):
        astrodl.product("photoz", store, predictions[1], tmp_path / "photoz_pdf.hdf5")
    with pytest.raises(ConfigError, match=r"pdf.hdf5: task photoz has no product of that name \(has photoz_pdf.hdf5\)"):
        astrodl.product("photoz", store, predictions[0], tmp_path / "pdf.hdf5")
