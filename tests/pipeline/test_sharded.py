"""The shards of a survey give the rows and columns of the undivided survey."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table, vstack
from safetensors.numpy import load_file

from astrodl import cli, tasks
from astrodl.products import read_catalog
from astrodl.products.pdfs import read_pdfs
from astrodl.tasks import NAMES

N_SHARDS = 3
SURVEY = {
    "survey": "tiny",
    "simulate": {"n_objects": 60, "size": 32, "bands": ["F606W", "F850LP"], "oddity_fraction": 0.2, "votes": 20},
    "split": {"sample": 40},
}


def run(*words: object) -> None:
    assert cli.main([str(word) for word in words]) == 0, words


def settings(task: str) -> str:
    small = {key: value for key, value in tasks.get(task).small.items() if key != "tree"}
    return json.dumps({**small, "train": {"epochs": 1, "batch_size": 16}})


def finish(store: Path, models: Path, out: Path) -> None:
    """Predict all tasks, and write the catalogue and the file of p(z)."""
    for task in NAMES:
        model = models / task / "model.safetensors"
        run("predict", task, store, model, "--out", out / f"{task}.h5", "--device", "cpu", "--threads", 1)
    predictions = [out / f"{task}.h5" for task in NAMES]
    run("catalog", store, *predictions, "--out", out / "catalog.fits")
    run("product", "photoz", store, out / "photoz.h5", "--out", out / "photoz_pdf.hdf5")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Run a survey undivided and in shards; return the folders of both."""
    root = tmp_path_factory.mktemp("sharded")
    whole, parts = root / "whole", root / "parts"
    survey = ["--settings", json.dumps(SURVEY), "--simulated", root / "simulated"]
    run("simulate", "--out", root / "simulated", "--settings", json.dumps(SURVEY["simulate"]))
    run("ingest", "--out", whole / "store.h5", *survey)
    run("shard", "--out", parts / "shards", "--shards", N_SHARDS, *survey)
    run("ingest", "--out", parts / "store.h5", *survey, "--shard", parts / "shards" / "sample.fits")
    for folder in (whole, parts):
        for task in NAMES:
            machine = ["--device", "cpu", "--threads", 1]
            run("train", task, folder / "store.h5", "--out", folder / task, "--settings", settings(task), *machine)
    finish(whole / "store.h5", whole, whole)
    for path in sorted((parts / "shards").glob("*/objects.fits")):
        run("ingest", "--out", path.with_name("store.h5"), *survey, "--shard", path)
        finish(path.with_name("store.h5"), parts, path.parent)
    return whole, parts


def test_networks_trained_on_the_sample_are_bitwise_equal(runs: tuple[Path, Path]) -> None:
    whole, parts = runs
    for task in NAMES:
        first, second = (load_file(folder / task / "model.safetensors") for folder in (whole, parts))
        assert all(first[name].tobytes() == second[name].tobytes() for name in first), task


def test_the_catalogues_of_the_shards_make_up_the_catalogue_of_the_survey(runs: tuple[Path, Path]) -> None:
    whole, parts = runs
    expected = read_catalog(whole / "catalog.fits")
    shards = [read_catalog(path) for path in sorted((parts / "shards").glob("*/catalog.fits"))]
    assert len(shards) == N_SHARDS
    together = vstack(shards, metadata_conflicts="silent")
    expected.sort("object_id")
    together.sort("object_id")
    assert together.colnames == expected.colnames
    assert len(together) == len(expected) == 60
    assert set(expected["split"]) == {"train", "validation", "test", "rest"}
    for name in expected.colnames:
        assert_equal(name, expected, together)


def assert_equal(name: str, expected: Table, found: Table) -> None:
    first, second = np.asarray(expected[name]), np.asarray(found[name])
    assert expected[name].unit == found[name].unit
    assert expected[name].description == found[name].description
    if first.dtype.kind == "f":
        np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-6, err_msg=name)
    else:
        assert first.tolist() == second.tolist(), name


def test_the_redshift_distributions_of_the_shards_make_up_those_of_the_survey(runs: tuple[Path, Path]) -> None:
    whole, parts = runs
    names, edges, pdf = read_pdfs(whole / "photoz_pdf.hdf5")
    expected = dict(zip(names, pdf, strict=True))
    n_found = 0
    for path in sorted((parts / "shards").glob("*/photoz_pdf.hdf5")):
        names, own_edges, pdf = read_pdfs(path)
        assert (own_edges == edges).all()
        n_found += len(names)
        for name, density in zip(names, pdf, strict=True):
            np.testing.assert_allclose(density, expected[name], rtol=1e-4, atol=1e-6)
    assert n_found == len(expected)


def test_the_hats_catalogue_contains_the_rows_of_all_shards(runs: tuple[Path, Path], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    whole, parts = runs
    run("hats", *sorted((parts / "shards").glob("*/catalog.fits")), "--out", tmp_path / "hats", "--rows", 20)
    expected = read_catalog(whole / "catalog.fits")
    tables = [parquet.ParquetFile(path).read() for path in (tmp_path / "hats").rglob("Npix=*.parquet")]
    assert tables[0].column_names == ["_healpix_29", *expected.colnames]
    found = [identifier for table in tables for identifier in table["object_id"].to_pylist()]
    assert sorted(found) == sorted(expected["object_id"])
