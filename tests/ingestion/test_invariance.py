"""What is stored of an object depends neither on other objects, nor on the order of files, rows and bands."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table

from astrodl.ingestion.ingest import ingest
from astrodl.ingestion.workers import StartRule
from astrodl.store import check, open_store
from astrodl.workers import WorkerPool
from tests.ingestion.toy import catalog, image_file, settings, write_object

COLUMNS = {"columns": {"class": "kind", "z": "z_spec", "n": "n_visits"}, "ra_column": "ra", "dec_column": "dec"}


def read_objects(store: Path) -> dict[str, dict[str, Any]]:
    """Return the bytes and values of each object, by identifier; images and features by band and name."""
    with open_store(store) as reader:
        bands, names = reader.bands, reader.feature_names
        rows: dict[str, Any] = {name: reader.column(name) for name in reader.column_names}
        rows |= {"flags": reader.flags, "split": reader.split, "fold": reader.fold}
        rows |= dict(zip([f"feature {name}" for name in names], reader.features().T, strict=True))
        for position, band in enumerate(bands):
            rows[f"image {band}"] = reader.images()[:, position]
            for name in ("sky_sigma", "background", "band_flags"):
                rows[f"{name} {band}"] = getattr(reader, name)[:, position]
        return {
            str(identifier): {name: np.asarray(values[row]).tobytes() for name, values in sorted(rows.items())}
            for row, identifier in enumerate(reader.object_id)
        }


@pytest.fixture
def expected(survey: Path, tmp_path: Path) -> dict[str, dict[str, Any]]:
    ingest(settings(survey, **COLUMNS), tmp_path / "expected.h5")
    return read_objects(tmp_path / "expected.h5")


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("length", [3, 256])
def test_shuffled_rows_give_the_same_objects(
    seed: int, length: int, survey: Path, tmp_path: Path, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astrodl.ingestion.ingest.block_length", lambda data: length)
    table = Table.read(survey / "catalog.fits")
    table[np.random.default_rng(seed).permutation(len(table))].write(survey / "catalog.fits", overwrite=True)
    ingest(settings(survey, **COLUMNS), tmp_path / "store.h5")
    assert read_objects(tmp_path / "store.h5") == expected


def test_files_that_were_written_in_another_order_give_the_same_store(survey: Path, tmp_path: Path) -> None:
    ingest(settings(survey, **COLUMNS), tmp_path / "first.h5")
    files = {path.name: path.read_bytes() for path in (survey / "images").iterdir()}
    shutil.rmtree(survey / "images")
    (survey / "images").mkdir()
    for name in sorted(files, reverse=True):
        (survey / "images" / name).write_bytes(files[name])
    ingest(settings(survey, **COLUMNS), tmp_path / "second.h5")
    assert (tmp_path / "first.h5").read_bytes() == (tmp_path / "second.h5").read_bytes()


def test_extensions_in_another_order_give_the_same_pixels(survey: Path, tmp_path: Path, expected: Any) -> None:
    for number in range(len(catalog())):
        write_object(image_file(survey, number), number, bands="rg")
    ingest(settings(survey, **COLUMNS), tmp_path / "store.h5")
    assert read_objects(tmp_path / "store.h5") == expected


def test_bands_in_another_order_give_the_same_objects(survey: Path, tmp_path: Path, expected: Any) -> None:
    ingest(settings(survey, bands=[{"name": "r"}, {"name": "g"}], **COLUMNS), tmp_path / "store.h5")
    swapped = read_objects(tmp_path / "store.h5")
    for identifier, values in expected.items():
        other = swapped[identifier]
        shared = [name for name in values if not name.startswith("feature colour")]
        assert [name for name in shared if values[name] != other[name]] == []


def test_measurements_of_many_bands_in_another_order_agree_within_rounding(survey: Path, tmp_path: Path) -> None:
    """A sum over three bands is rounded in their order; pixels, noise and flags are the same to the last bit."""
    features = {}
    for bands in ("gri", "irg"):
        for number in range(len(catalog())):
            write_object(image_file(survey, number), number, bands="gri", zero_points=False)
        ingest(settings(survey, bands=[{"name": band} for band in bands]), tmp_path / f"{bands}.h5")
        with open_store(tmp_path / f"{bands}.h5") as store:
            features[bands] = dict(zip(store.feature_names, store.features().T, strict=True))
    expected, swapped = read_objects(tmp_path / "gri.h5"), read_objects(tmp_path / "irg.h5")
    for identifier, values in expected.items():
        same = [name for name in values if not name.startswith("feature")]
        assert [name for name in same if values[name] != swapped[identifier][name]] == []
    for name in features["gri"].keys() & features["irg"].keys():
        np.testing.assert_allclose(features["gri"][name], features["irg"][name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_an_object_does_not_depend_on_the_others(survey: Path, tmp_path: Path, expected: Any) -> None:
    table = Table.read(survey / "catalog.fits")
    table[[2, 5, 6, 7, 8, 9, 10]].write(survey / "catalog.fits", overwrite=True)
    ingest(settings(survey, **COLUMNS), tmp_path / "store.h5")
    for identifier, values in read_objects(tmp_path / "store.h5").items():
        same = {name for name in values if name not in ("split", "fold")}
        assert {name: values[name] for name in same} == {name: expected[identifier][name] for name in same}


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fewer_objects_than_workers_and_blocks(
    n: int, survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Table.read(survey / "catalog.fits")[:n].write(survey / "catalog.fits", overwrite=True)
    values = settings(survey, split={"test": 0.0, "validation": 0.0})
    ingest(values, tmp_path / "alone" / "store.h5")
    monkeypatch.setattr(StartRule, "workers_pay", lambda self, n_done, n_left: n_left > 0)
    monkeypatch.setattr(WorkerPool, "ready", property(lambda self: self._first_started.wait()))
    monkeypatch.setattr("astrodl.ingestion.ingest.block_length", lambda data: 2)
    ingest(values, tmp_path / "many" / "store.h5", workers=16)
    assert check(tmp_path / "many" / "store.h5") == []
    assert read_objects(tmp_path / "many" / "store.h5") == read_objects(tmp_path / "alone" / "store.h5")
