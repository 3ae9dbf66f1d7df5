import doctest
import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy import units

from astrodl.errors import StoreError
from astrodl.store import BAND_FLAGS, FLAGS, Reader, Writer, check, open_store

N, BANDS, SIZE = 60, ("g", "r", "i"), 16


def arrays(start: int, end: int) -> dict[str, np.ndarray]:
    """Rows of a store with the number of the object as pixel value."""
    n = end - start
    rng = np.random.default_rng(0)
    number = np.arange(start, end)
    image = number[:, None, None, None] + np.zeros((n, len(BANDS), SIZE, SIZE), np.float32)
    image[:, 1, 0, 0] = np.nan
    return {
        "image": image,
        "object_id": np.array([f"galaxy é{k}" for k in number], dtype=object),
        "features": np.stack([number, -number], axis=1).astype(np.float32),
        "sky_sigma": np.ones((n, len(BANDS)), np.float32),
        "background": np.zeros((n, len(BANDS)), np.float32),
        "flags": np.full(n, FLAGS["padded"]),
        "band_flags": np.full((n, len(BANDS)), BAND_FLAGS["padded"], np.uint8),
        "split": number % 3,
        "fold": np.where(number % 3 == 2, -1, 0),
        "catalog/z": number / 100,
        "catalog/ra": 150 + number / 4,
        "catalog/dec": number / 4,
        "catalog/n_visits": number,
        "catalog/class": np.array(["spiral" if k % 2 else "" for k in number], dtype=object),
        "label/bulge": rng.normal(size=(n, SIZE, SIZE)).astype(np.float32),
    }


def write(path: Path, n: int = N, n_allocated: int | None = None, step: int = 25, folds: int = 1) -> Path:
    writer = Writer(
        path,
        n_objects=n_allocated or n,
        bands=BANDS,
        size=SIZE,
        feature_names=("one", "two"),
        pixel_scale_arcsec=0.06,
        zero_points=(25.0, 26.0, np.nan),
        unit="uJy",
        survey="toy",
        source_checksum="abc",
        settings='{"a":1}',
    )
    with writer:
        for start in range(0, n, step):
            block = arrays(start, min(start + step, n))
            if folds > 1:
                block["fold"] = np.where(block["fold"] < 0, -1, np.arange(len(block["fold"])) % folds)
            writer.write_block(start, block)
        if n_allocated:
            writer.keep(range(n))
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("store") / "store.h5")


def test_a_store_reads_what_was_written(path: Path) -> None:
    with open_store(path) as store:
        expected = arrays(0, N)
        assert (len(store), store.bands, store.size, store.survey, store.unit) == (N, BANDS, SIZE, "toy", "uJy")
        assert store.pixel_scale_arcsec == 0.06
        np.testing.assert_array_equal(store.zero_points, [25, 26, np.nan])
        np.testing.assert_array_equal(store.images(), expected["image"])
        np.testing.assert_array_equal(store.object_id, expected["object_id"].astype(str))
        np.testing.assert_array_equal(store.label("bulge", [3]), expected["label/bulge"][[3]])
        np.testing.assert_array_equal(store.column("z"), expected["catalog/z"])
        np.testing.assert_array_equal(store.features(["two"], [5]), [[-5]])
        assert store.column("n_visits").dtype == np.int64
        assert list(store.column("class", [0, 1])) == ["", "spiral"]
        assert store.column_names == ("class", "dec", "n_visits", "ra", "z")
        assert store.label_names == ("bulge",)
        assert store.has_column("z")
        assert not store.has_column("bt")
        assert check(path) == []


def test_a_table_has_all_columns_with_units_and_descriptions(path: Path) -> None:
    with open_store(path) as store:
        table = store.table()
        assert table.colnames == ["object_id", "split", "fold", "flags", "class", "dec", "n_visits", "ra", "z"]
        assert len(table) == N
        for name in store.column_names:
            np.testing.assert_array_equal(table[name], store.column(name))
        np.testing.assert_array_equal(table["object_id"], store.object_id)
        np.testing.assert_array_equal(table["flags"], store.flags)
        assert list(table["split"][:3]) == ["train", "validation", "test"]
        assert (table["ra"].unit, table["dec"].unit, table["z"].unit) == (units.deg, units.deg, None)
        assert "4 padded" in table["flags"].description
        assert table.meta == {"survey": "toy"}


def test_a_table_of_some_columns_and_objects_has_the_requested_order(path: Path) -> None:
    with open_store(path) as store:
        table = store.table(["z", "object_id"], indices=[7, 2, 2])
        assert table.colnames == ["z", "object_id"]
        np.testing.assert_array_equal(table["z"], store.column("z")[[7, 2, 2]])
        assert len(store.table(indices=store.split == 0)) == len(store.select("train"))
        with pytest.raises(StoreError, match="column 'bt' is not in the store"):
            store.table(["bt"])
        with pytest.raises(IndexError, match="the store has 60 objects"):
            store.table(indices=[60])


def test_pixel_scale_and_zero_point_have_units_or_are_none(path: Path, tmp_path: Path) -> None:
    with open_store(path) as store:
        assert store.pixel_scale == 0.06 * units.arcsec
        assert store.zero_point == 23.9 * units.mag
        microjansky = (store.zero_point.value * units.ABmag).to(units.uJy)
        assert microjansky.value == pytest.approx(1, rel=0.01)
    with Writer(tmp_path / "relative.h5", n_objects=3, bands=BANDS, size=SIZE) as writer:
        writer.write_block(0, arrays(0, 3))
    with open_store(tmp_path / "relative.h5") as store:
        assert (store.pixel_scale, store.zero_point) == (None, None)


def test_the_example_of_the_table_method_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    (example,) = [test for test in doctest.DocTestFinder().find(Reader.table, "table") if test.examples]
    result = doctest.DocTestRunner().run(example)
    assert (result.attempted, result.failed) == (3, 0)


@pytest.mark.parametrize("indices", [[0], [5, 4, 3], [59, 0, 30, 30], list(range(10, 50)), [], [7, 8, 9, 1, 2]])
def test_images_have_the_requested_order(path: Path, indices: list[int]) -> None:
    with open_store(path) as store:
        images = store.images(np.array(indices, int))
        assert images.shape == (len(indices), len(BANDS), SIZE, SIZE)
        np.testing.assert_array_equal(images[:, 0, 0, 0], indices)
        np.testing.assert_array_equal(images, store._file["image"][:][np.array(indices, int)])


def test_a_chunked_store_reads_the_same(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "chunked.h5"
    with h5py.File(path) as source, h5py.File(other, "w") as target:
        for name in source:
            source.copy(name, target)
        target.attrs.update(source.attrs)
        image = target["image"][:]
        del target["image"]
        target.create_dataset("image", data=image, chunks=(7, 1, SIZE, SIZE), compression="gzip")
    with open_store(path) as store, open_store(other) as chunked:
        np.testing.assert_array_equal(store.images([9, 2, 40]), chunked.images([9, 2, 40]))


def test_an_index_beyond_the_store_raises_an_index_error(path: Path) -> None:
    with open_store(path) as store, pytest.raises(IndexError, match="the store has 60 objects"):
        store.images([60])


def test_a_closed_store_says_so(path: Path) -> None:
    store = open_store(path)
    store.close()
    with pytest.raises(StoreError, match="is closed; open it again"):
        store.images()


def test_each_object_is_in_one_subset(path: Path) -> None:
    with open_store(path) as store:
        parts = [store.select(name) for name in ("train", "validation", "test")]
        assert np.array_equal(np.sort(np.concatenate(parts)), store.select("all"))
        assert set(store.split[parts[2]]) == {2}


def test_each_object_is_in_one_validation_fold(tmp_path: Path) -> None:
    with open_store(write(tmp_path / "folds.h5", folds=3)) as store:
        test = store.select("test")
        held_out = [store.select("validation", fold) for fold in range(3)]
        assert np.array_equal(np.sort(np.concatenate([*held_out, test])), np.arange(N))
        for fold in range(3):
            assert not np.intersect1d(store.select("train", fold), held_out[fold]).size
            assert not np.intersect1d(store.select("train", fold), test).size
        with pytest.raises(StoreError, match="fold 3 is not in the store"):
            store.select("train", 3)


def test_equal_content_gives_equal_bytes_at_any_time_and_in_any_blocks(tmp_path: Path) -> None:
    first = write(tmp_path / "a.h5").read_bytes()
    time.sleep(1.1)  # HDF5 records times in seconds
    assert write(tmp_path / "b.h5", step=25).read_bytes() == first


def test_a_writer_keeps_fewer_objects_than_allocated(path: Path, tmp_path: Path) -> None:
    shorter = write(tmp_path / "short.h5", n_allocated=N + 100)
    assert check(shorter) == []
    with open_store(path) as store, open_store(shorter) as other:
        np.testing.assert_array_equal(store.images(), other.images())
        assert store.fingerprint == other.fingerprint
    assert os.listdir(tmp_path) == ["short.h5"]


def test_an_error_while_writing_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(AssertionError), Writer(tmp_path / "x.h5", n_objects=5, bands=BANDS, size=SIZE) as writer:
        writer.write_block(0, arrays(0, 3))  # two objects are missing when the context ends
    assert os.listdir(tmp_path) == []


def test_an_error_while_writing_keeps_the_old_store(tmp_path: Path) -> None:
    old = write(tmp_path / "x.h5")
    content = old.read_bytes()
    with pytest.raises(RuntimeError), Writer(old, n_objects=5, bands=BANDS, size=SIZE):
        raise RuntimeError
    assert old.read_bytes() == content
    assert os.listdir(tmp_path) == ["x.h5"]


def test_the_fingerprint_depends_on_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with open_store(path) as store:
        first = store.fingerprint
    other = write(tmp_path / "b.h5", n=N - 1)
    with open_store(other) as store:
        assert store.fingerprint != first


def test_check_finds_a_changed_pixel(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["image"][3, 0, 0, 0] = -1
    assert check(path) == [f"{path}: image: content differs from its checksum; ingest again"]


def write_broken(kind: str, path: Path, folder: Path) -> Path:
    target = folder / "broken.h5"
    if kind == "truncated":
        target.write_bytes(path.read_bytes()[:-1000])
    elif kind == "text":
        target.write_text("hello")
    elif kind == "empty":
        target.touch()
    elif kind == "folder":
        target.mkdir()
    elif kind == "foreign":
        h5py.File(target, "w").close()
    elif kind in ("future", "no unit", "no image"):
        target.write_bytes(path.read_bytes())
        with h5py.File(target, "r+") as file:
            if kind == "future":
                file.attrs["format_version"] = 99
            elif kind == "no unit":
                del file.attrs["unit"]
            else:
                del file["image"]
    return target


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent", "no such store"),
        ("truncated", "truncated"),
        ("text", "not an HDF5 file"),
        ("empty", "not an HDF5 file"),
        ("folder", "cannot be read"),
        ("foreign", "not an astrodl store"),
        ("future", "store format 99, this astrodl reads 2"),
        ("no unit", "lacks an attribute"),
        ("no image", "has no image"),
    ],
)
def test_a_broken_store_gives_an_error_of_one_line(kind: str, message: str, path: Path, tmp_path: Path) -> None:
    target = write_broken(kind, path, tmp_path)
    with pytest.raises(StoreError, match=message) as caught:
        Reader(target)
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert check(target) == [str(caught.value)]


def test_unknown_names_list_the_existing_ones(path: Path) -> None:
    with open_store(path) as store:
        with pytest.raises(StoreError, match=r"band 'y' is not in the store \(has g, r, i\)"):
            store.band_indices(["g", "y"])
        with pytest.raises(StoreError, match=r"column 'bt' is not in the store \(has class, dec, n_visits, ra, z\)"):
            store.column("bt")
        with pytest.raises(StoreError, match=r"label 'disk' is not in the store \(has bulge\)"):
            store.label("disk")
        with pytest.raises(StoreError, match=r"feature 'three' is not in the store \(has one, two\)"):
            store.features(["three"])
        assert store.band_indices(["i", "g"]) == [2, 0]
