"""Shards: together they contain the same objects and values as the survey."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table

from astrodl.config import IngestSettings, parse
from astrodl.errors import DataError
from astrodl.ingestion.ingest import ingest
from astrodl.ingestion.shard import FOLD_COLUMN, ROW_COLUMN, SPLIT_COLUMN, shard
from astrodl.store import SPLITS, open_store
from astrodl.store.layout import list_datasets
from tests.ingestion.toy import N, catalog, galaxy, settings

SKY = {"ra_column": "ra", "dec_column": "dec", "columns": {"z": "z_spec", "class": "kind", "n_visits": "n_visits"}}


def find_shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/objects.fits"))


def ingest_shards(root: Path, out: Path, n_shards: int, **data: Any) -> list[Path]:
    """Divide a survey and ingest every shard; return the stores."""
    shard(settings(root, **data), out, n_shards)
    files = find_shards(out)
    assert len(files) == n_shards
    for path in files:
        ingest(settings(root, **data), path.with_name("store.h5"), shard=path)
    return [path.with_name("store.h5") for path in files]


def read_objects(path: Path) -> dict[str, dict[str, Any]]:
    """Read all datasets of a store by object, as bytes so that NaN equals NaN."""
    with open_store(path) as store:
        values = {name: store.block(name, 0, len(store)) for name, _ in list_datasets(store._file)}
    return {
        str(name): {key: to_comparable(array[k]) for key, array in values.items()}
        for k, name in enumerate(values["object_id"])
    }


def to_comparable(value: Any) -> Any:
    return str(value) if isinstance(value, str) else np.asarray(value).tobytes()


@pytest.mark.parametrize("n_shards", [1, 3, 7])
def test_the_stores_of_the_shards_equal_the_store_of_the_survey(survey: Path, tmp_path: Path, n_shards: int) -> None:
    ingest(settings(survey, **SKY), tmp_path / "store.h5")
    together: dict[str, dict[str, Any]] = {}
    for path in ingest_shards(survey, tmp_path / "shards", n_shards, **SKY):
        objects = read_objects(path)
        assert not together.keys() & objects.keys()
        together |= objects
    assert together == read_objects(tmp_path / "store.h5")


def test_the_summary_lists_pixels_and_counts(survey: Path, tmp_path: Path) -> None:
    summary = shard(settings(survey, **SKY), tmp_path / "shards", 3)
    assert summary == json.loads((tmp_path / "shards" / "shards.json").read_text())
    assert [part["name"] for part in summary["shards"]] == ["0000", "0001", "0002"]
    lengths = [len(Table.read(path)) for path in find_shards(tmp_path / "shards")]
    assert lengths == [part["n_objects"] for part in summary["shards"]]
    assert sum(lengths) == summary["n_objects"] == N
    assert all(sum(pixel[2] for pixel in part["pixels"]) == part["n_objects"] for part in summary["shards"])
    plan = {"calibrated": True, "pixel_scale_arcsec": pytest.approx(0.1), "psf_size": None, "picture_bits": None}
    assert summary["plan"] == plan
    assert summary["by"] == "position"
    assert str(tmp_path) not in json.dumps(summary)


def test_the_sample_contains_all_objects_outside_the_rest(survey: Path, tmp_path: Path) -> None:
    split = {"test": 0.3, "validation": 0.3, "sample": 8}
    summary = shard(settings(survey, **SKY, split=split), tmp_path / "shards", 2)
    sample = Table.read(tmp_path / "shards" / "sample.fits")
    assert len(sample) == N - summary["split"]["rest"] < N
    assert "rest" not in set(sample[SPLIT_COLUMN].astype(str))
    # the sample keeps its splits and is not sampled again
    ingest(settings(survey, **SKY, split=split), tmp_path / "store.h5", shard=tmp_path / "shards" / "sample.fits")
    with open_store(tmp_path / "store.h5") as store:
        assert [SPLITS[part] for part in store.split] == sample[SPLIT_COLUMN].astype(str).tolist()
        assert store.fold.tolist() == sample[FOLD_COLUMN].tolist()


def test_equal_input_gives_equal_bytes_and_no_other_files(survey: Path, tmp_path: Path) -> None:
    content = []
    for name in ("first", "second"):
        shard(settings(survey, **SKY), tmp_path / name, 3)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        content.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert content[0] == content[1]
    assert len(content[0]) == 5


def test_without_positions_objects_are_divided_by_a_hash_of_the_identifier(survey: Path, tmp_path: Path) -> None:
    names = [set(read_objects(path)) for path in ingest_shards(survey, tmp_path / "shards", 4)]
    assert sum(map(len, names)) == len(set.union(*names)) == N
    assert json.loads((tmp_path / "shards" / "shards.json").read_text())["by"] == "identifier"


def test_objects_without_a_position_are_in_a_shard(survey: Path, tmp_path: Path) -> None:
    table = catalog()
    table["ra"][[2, 7]] = np.nan
    table.write(survey / "catalog.fits", overwrite=True)
    assert sum(len(read_objects(path)) for path in ingest_shards(survey, tmp_path / "shards", 3, **SKY)) == N


def test_array_rows_stay_with_their_objects(tmp_path: Path) -> None:
    catalog().write(tmp_path / "catalog.fits")
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["image"] = np.stack([np.stack([galaxy(k), galaxy(k)]) for k in range(N)])
    options = {"layout": "arrays", "path": "images.h5", "extension": "image", **SKY}
    ingest(settings(tmp_path, **options), tmp_path / "store.h5")
    survey = read_objects(tmp_path / "store.h5")
    for path in ingest_shards(tmp_path, tmp_path / "shards", 3, **options):
        assert all(one["image"] == survey[name]["image"] for name, one in read_objects(path).items())
    assert ROW_COLUMN in Table.read(find_shards(tmp_path / "shards")[0]).colnames


def test_a_text_catalogue_keeps_leading_zeros_and_missing_values_and_renames_accents(
    survey: Path, tmp_path: Path
) -> None:
    table = catalog()
    table["file"] = [str(name) for name in table["objid"]]
    table["objid"] = [f"{k:03d}" for k in range(N)]
    table["kind"] = MaskedColumn(["é" if k % 2 else "E" for k in range(N)], mask=np.arange(N) == 3)
    table.write(survey / "catalog.ecsv")
    options = {**SKY, "catalog": "catalog.ecsv", "path": "images/{file}.fits", "replace": {"class": {"é": "e"}}}
    ingest(settings(survey, **options), tmp_path / "store.h5")
    columns: dict[str, dict[str, Any]] = {}
    for path in [tmp_path / "store.h5", *ingest_shards(survey, tmp_path / "shards", 2, **options)]:
        with open_store(path) as store:
            values = zip(store.object_id, *(store.column(name) for name in ("class", "z", "n_visits")), strict=True)
            found = {str(name): (str(kind), float(z), float(n)) for name, kind, z, n in values}
        columns = columns or found
        for name, value in found.items():
            np.testing.assert_equal(value, columns[name])
    assert {"000", "001"} <= columns.keys()


def test_columns_mean_in_a_shard_what_they_mean_in_the_survey(survey: Path, tmp_path: Path) -> None:
    """Masks, placeholders, units, text and floats in templates depend on the whole column."""
    table, row = catalog(), np.arange(N)
    big = 5853498713190525703 + row
    for number, name in zip(big, table["objid"], strict=True):
        (survey / "images" / f"{name}.fits").rename(survey / "images" / f"{number}-{row[number == big][0] / 2}.fits")
    table["parent"] = MaskedColumn(big, mask=row == 2)
    table["half"] = row / 2
    table["level"] = MaskedColumn((row - 6).astype(np.int8), mask=row == 5)
    table["z_spec"] = np.where(row == 4, -9999.0, row / N)
    table["text"] = np.where(row == 1, "N/A", np.where(row == 7, "0.5", "1"))
    table["mag"] = np.where(row == 9, 99.0, 20 + row / 10)
    table["kind"] = [bool(k % 2) for k in row]
    table["taken"] = MaskedColumn(row * 1.0, mask=row == 8, unit="h", description="hours since midnight")
    table.write(survey / "catalog.ecsv")
    names = {name: name for name in ("parent", "level", "text", "mag", "kind", "taken")} | {"z": "z_spec"}
    options = {**SKY, "catalog": "catalog.ecsv", "path": "images/{parent}-{half}.fits", "columns": names}
    ingest(settings(survey, **options), tmp_path / "store.h5")
    whole = read_objects(tmp_path / "store.h5")
    assert len(whole) == N - 1
    together: dict[str, dict[str, Any]] = {}
    for path in ingest_shards(survey, tmp_path / "shards", 4, **options):
        together |= read_objects(path)
        with open_store(path) as store, open_store(tmp_path / "store.h5") as of_survey:
            for name in ("object_id", *store.column_names):
                assert store.describe_column(name) == of_survey.describe_column(name)
    assert together == whole


def test_a_shard_of_an_older_version_is_read_by_its_own_columns(survey: Path, tmp_path: Path) -> None:
    shard(settings(survey, **SKY), tmp_path / "shards", 2)
    first = find_shards(tmp_path / "shards")[0]
    fits.delval(first, "COLUMNS", 1)
    ingest(settings(survey, **SKY), tmp_path / "store.h5", shard=first)
    assert len(read_objects(tmp_path / "store.h5")) == len(Table.read(first))


def test_what_a_shard_would_refuse_is_refused_for_the_survey(survey: Path, tmp_path: Path) -> None:
    table = catalog()
    table.replace_column("z_spec", Column(["unknown"] * N))
    table.write(survey / "catalog.fits", overwrite=True)
    with pytest.raises(DataError, match="'z_spec' holds text, 'unknown' in row 1"):
        shard(settings(survey, **SKY), tmp_path / "shards", 2)


def test_a_band_may_be_missing_for_a_whole_shard(survey: Path, tmp_path: Path) -> None:
    shard(settings(survey, **SKY), tmp_path / "shards", 3)
    first = find_shards(tmp_path / "shards")[0]
    for name in Table.read(first)["objid"]:
        path = survey / "images" / f"{name}.fits"
        with fits.open(path) as file:
            kept = fits.HDUList([hdu.copy() for hdu in file if hdu.name != "R"])
        kept.writeto(path, overwrite=True)
    ingest(settings(survey, **SKY), tmp_path / "store.h5", shard=first)
    with open_store(tmp_path / "store.h5") as store:
        assert store.unit == "uJy"
        assert np.isnan(store.images()[:, 1]).all()


@pytest.mark.parametrize("positions", [True, False])
def test_memory_of_a_large_catalogue_is_a_few_numbers_per_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, positions: bool
) -> None:
    """No text and no Python object per row: a list of identifiers alone would take 74 bytes a row."""
    n, rng = 20_000, np.random.default_rng(0)
    table = Table({"id": 10**17 + np.arange(n), "ra": rng.uniform(10, 20, n), "dec": rng.uniform(0, 10, n)})
    table["name"], table["g"] = np.char.add("galaxy ", np.arange(n).astype("U")), rng.normal(22, 1, n)
    table.write(tmp_path / "catalog.fits")
    data = {"layout": "table", "root": str(tmp_path), "catalog": "catalog.fits", "id_column": "id"}
    data |= {"bands": [{"name": "g", "magnitude": "g"}], "columns": {"name": "name"}}
    data |= {"ra_column": "ra", "dec_column": "dec"} if positions else {}
    for name in ("splits.groups._STRIP", "healpix._BLOCK", "ingestion.tables._TEXTS", "ingestion.shard._BLOCK"):
        monkeypatch.setattr(f"astrodl.{name}", 1000)
    monkeypatch.setattr("astrodl.ingestion.tables._BLOCK_BYTES", 10_000)
    values = parse(IngestSettings, {"survey": "big", "data": data, "split": {"sample": 500}})
    shard(values, tmp_path / "once", 2)  # modules are imported
    tracemalloc.start()
    shard(values, tmp_path / "shards", 50)
    per_row = tracemalloc.get_traced_memory()[1] / n
    tracemalloc.stop()
    row = sum(table[name].dtype.itemsize for name in table.colnames)
    assert per_row < row + 150


def test_more_shards_than_occupied_pixels_are_refused(survey: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"12 objects in 12 pixels .* cannot be divided into 13 shards; set fewer"):
        shard(settings(survey, **SKY), tmp_path / "shards", 13)
    assert not (tmp_path / "shards").exists()


def test_a_file_that_is_not_a_shard_is_refused(survey: Path, tmp_path: Path) -> None:
    table = catalog()
    table[SPLIT_COLUMN], table[FOLD_COLUMN] = "test", -1
    table.write(tmp_path / "other.fits")
    with pytest.raises(DataError, match=r"other.fits: not the file of a shard; give one that `astrodl shard` wrote"):
        ingest(settings(survey), tmp_path / "store.h5", shard=tmp_path / "other.fits")
