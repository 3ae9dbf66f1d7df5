import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from astrodl.errors import StoreError
from astrodl.store import BAND_FLAGS, FLAGS, Reader, Writer, check, open_store

N, BANDS, SIZE = 60, ("g", "r", "i"), 16


def arrays(start: int, end: int) -> dict[str, np.ndarray]:
    """Rows of a store whose pixels tell their object."""
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
        "catalog/n_visits": number,
        "catalog/class": np.array(["spiral" if k % 2 else "" for k in number], dtype=object),
        "label/bulge": rng.normal(size=(n, SIZE, SIZE)).astype(np.float32),
    }


def write(path: Path, n: int = N, n_announced: int | None = None, step: int = 25, folds: int = 1) -> Path:
    writer = Writer(
        path,
        n_objects=n_announced or n,
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
        if n_announced:
            writer.keep_written()
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("store") / "store.h5")


def test_what_was_written_is_read(path: Path) -> None:
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
        assert store.column_names == ("class", "n_visits", "z")
        assert store.label_names == ("bulge",)
        assert store.has_column("z")
        assert not store.has_column("bt")
        assert check(path) == []


@pytest.mark.parametrize("indices", [[0], [5, 4, 3], [59, 0, 30, 30], list(range(10, 50)), [], [7, 8, 9, 1, 2]])
def test_images_come_in_the_order_asked(path: Path, indices: list[int]) -> None:
    with open_store(path) as store:
        images = store.images(np.array(indices, int))
        assert images.shape == (len(indices), len(BANDS), SIZE, SIZE)
        np.testing.assert_array_equal(images[:, 0, 0, 0], indices)
        np.testing.assert_array_equal(images, store._file["image"][:][np.array(indices, int)])


def test_a_repacked_chunked_store_reads_the_same(path: Path, tmp_path: Path) -> None:
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


def test_an_index_beyond_the_store_is_an_index_error(path: Path) -> None:
    with open_store(path) as store, pytest.raises(IndexError, match="the store has 60 objects"):
        store.images([60])


def test_select_divides_the_objects_once(path: Path) -> None:
    with open_store(path) as store:
        parts = [store.select(name) for name in ("train", "validation", "test")]
        assert np.array_equal(np.sort(np.concatenate(parts)), store.select("all"))
        assert set(store.split[parts[2]]) == {2}


def test_select_with_folds_leaves_each_object_out_once(tmp_path: Path) -> None:
    with open_store(write(tmp_path / "folds.h5", folds=3)) as store:
        test = store.select("test")
        held_out = [store.select("validation", fold) for fold in range(3)]
        assert np.array_equal(np.sort(np.concatenate([*held_out, test])), np.arange(N))
        for fold in range(3):
            assert not np.intersect1d(store.select("train", fold), held_out[fold]).size
            assert not np.intersect1d(store.select("train", fold), test).size
        with pytest.raises(StoreError, match="fold 3 is not in the store"):
            store.select("train", 3)


def test_the_same_content_has_the_same_bytes_whenever_and_however_it_is_written(tmp_path: Path) -> None:
    first = write(tmp_path / "a.h5").read_bytes()
    time.sleep(1.1)  # HDF5 keeps times in seconds
    assert write(tmp_path / "b.h5", step=25).read_bytes() == first


def test_fewer_objects_than_announced_leave_a_shorter_store(path: Path, tmp_path: Path) -> None:
    shorter = write(tmp_path / "short.h5", n_announced=N + 100)
    assert check(shorter) == []
    with open_store(path) as store, open_store(shorter) as other:
        np.testing.assert_array_equal(store.images(), other.images())
        assert store.fingerprint == other.fingerprint
    assert os.listdir(tmp_path) == ["short.h5"]


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError), Writer(tmp_path / "x.h5", n_objects=5, bands=BANDS, size=SIZE) as writer:
        writer.write_block(0, arrays(0, 3))  # two objects are missing when the block ends
    assert os.listdir(tmp_path) == []


def test_an_error_while_writing_keeps_the_old_store(tmp_path: Path) -> None:
    old = write(tmp_path / "x.h5")
    content = old.read_bytes()
    with pytest.raises(RuntimeError), Writer(old, n_objects=5, bands=BANDS, size=SIZE):
        raise RuntimeError
    assert old.read_bytes() == content
    assert os.listdir(tmp_path) == ["x.h5"]


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with open_store(path) as store:
        first = store.fingerprint
    other = write(tmp_path / "b.h5", n=N - 1)
    with open_store(other) as store:
        assert store.fingerprint != first


def test_check_sees_a_flipped_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["image"][3, 0, 0, 0] = -1
    assert check(path) == [f"{path}: image: content differs from its checksum; ingest again"]


def broken(kind: str, path: Path, folder: Path) -> Path:
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
def test_a_broken_store_is_one_line(kind: str, message: str, path: Path, tmp_path: Path) -> None:
    target = broken(kind, path, tmp_path)
    with pytest.raises(StoreError, match=message) as caught:
        Reader(target)
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert check(target) == [str(caught.value)]


def test_unknown_names_list_those_that_exist(path: Path) -> None:
    with open_store(path) as store:
        with pytest.raises(StoreError, match=r"band 'y' is not in the store \(has g, r, i\)"):
            store.band_indices(["g", "y"])
        with pytest.raises(StoreError, match=r"column 'bt' is not in the store \(has class, n_visits, z\)"):
            store.column("bt")
        with pytest.raises(StoreError, match=r"label 'disk' is not in the store \(has bulge\)"):
            store.label("disk")
        with pytest.raises(StoreError, match=r"feature 'three' is not in the store \(has one, two\)"):
            store.features(["three"])
        assert store.band_indices(["i", "g"]) == [2, 0]
