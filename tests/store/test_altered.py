"""Stores that were altered: each either reads as before, or gives one line that says what is wrong."""

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from astrodl.errors import StoreError
from astrodl.store import Reader, check
from tests.test_store import BANDS, SIZE, N, write


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("store") / "store.h5")


class HangError(BaseException):
    """Not an error that the reader could explain."""


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def stop(*arguments: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read_all(path: Path) -> None:
    """Use everything that a reader offers."""
    with Reader(path) as store:
        store.images([0, 1])
        store.images()
        store.features()
        store.table()
        for name in store.column_names:
            store.column(name, [0])
        for name in store.label_names:
            store.label(name, [0, 2])
        for name in store.planes:
            store.plane(name, [0])
        for subset in ("train", "validation", "test", "rest"):
            store.select(subset)
        assert len(store.object_id) == len(store.sky_sigma) == len(store.background) == len(store.flags) == len(store)
        assert store.fingerprint
        assert store.identifier_width
        repr(store)


def replace(file: h5py.File, name: str, values: Any, **options: Any) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, data=values, **options).attrs.update(attributes)


def external(file: h5py.File, name: str) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    file.create_dataset(name, shape, dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File, name: str) -> None:
    layout = h5py.VirtualLayout(shape=file[name].shape, dtype=file[name].dtype)
    layout[:] = h5py.VirtualSource("other.h5", name, shape=file[name].shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def link(file: h5py.File, name: str, target: Any) -> None:
    del file[name]
    file[name] = target


def declare(file: h5py.File, name: str, shape: tuple[int, ...]) -> None:
    """Declare a dataset of any size without data."""
    dtype = file[name].dtype
    del file[name]
    file.create_dataset(name, shape, dtype, chunks=(1, *shape[1:]))


ALTERED: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "external": (lambda f: external(f, "image"), "image: its data are in other files; copy them into the store"),
    "external column": (lambda f: external(f, "catalog/z"), "catalog/z: its data are in other files"),
    "virtual": (lambda f: virtual(f, "background"), "background: its data are in other files"),
    "soft link": (lambda f: link(f, "split", h5py.SoftLink("/flags")), "split: is a link to data elsewhere"),
    "external link": (
        lambda f: link(f, "catalog/z", h5py.ExternalLink("/etc/x.h5", "/z")),
        "catalog/z: is a link to data elsewhere",
    ),
    "link of a group": (lambda f: link(f, "label", h5py.ExternalLink("x.h5", "/")), "label: is a link"),
    "cycle": (lambda f: link(f, "label", f["/"]), "label/background: has|is not a dataset|label/"),
    "group for a dataset": (lambda f: link(f, "image", f["catalog"]), "image: is not a dataset"),
    "unknown dataset": (lambda f: f.create_dataset("images", data=1.0), "images: is not part of a store; remove it"),
    "no data": (lambda f: declare(f, "image", (N, len(BANDS), SIZE, SIZE)), "image: a part of its data is missing"),
    "huge": (lambda f: declare(f, "split", (1 << 50,)), r"split: shape \(1125899906842624,\), expected \(60,\)"),
    "huge objects": (lambda f: declare(f, "image", (1 << 50, 3, 16, 16)), "shape|a part of its data is missing"),
    "fewer rows": (lambda f: replace(f, "fold", f["fold"][:-1]), r"fold: shape \(59,\), expected \(60,\) \(objects\)"),
    "scalar": (lambda f: replace(f, "flags", 3), r"flags: shape \(\), expected \(60,\)"),
    "empty": (lambda f: replace(f, "flags", h5py.Empty("<i4")), "flags: shape None"),
    "two axes": (lambda f: replace(f, "image", f["image"][:, :, 0, 0]), "image: shape"),
    "not square": (lambda f: replace(f, "image", f["image"][:, :, 1:]), "image: shape"),
    "another type": (lambda f: replace(f, "image", f["image"][:].astype("f8")), "image: type <f8, expected <f4"),
    "text for numbers": (lambda f: replace(f, "sky_sigma", f["sky_sigma"][:].astype("S5")), "sky_sigma: type"),
    "fixed text": (lambda f: replace(f, "object_id", np.zeros(N, "S9")), "object_id: type .*, expected text"),
    "compound": (lambda f: replace(f, "catalog/z", np.zeros(N, "f4,f4")), "catalog/z: type"),
    "split": (lambda f: f["split"].write_direct(np.full(N, 9, "i1")), "split: values other than 0 to 3"),
    "negative split": (lambda f: f["split"].write_direct(np.full(N, -1, "i1")), "split: values other than 0 to 3"),
    "fold": (lambda f: f["fold"].write_direct(np.zeros(N, "i2")), "fold: does not agree with split"),
    "fold below": (lambda f: f["fold"].write_direct(f["fold"][:] * 5), "fold: does not agree with split"),
    "infinite noise": (lambda f: f["sky_sigma"].write_direct(np.full((N, 3), np.inf, "f4")), "sky_sigma: holds inf"),
    "negative noise": (lambda f: f["sky_sigma"].write_direct(np.full((N, 3), -1, "f4")), "sky_sigma: holds negative"),
    "infinite background": (
        lambda f: f["background"].write_direct(np.full((N, 3), -np.inf, "f4")),
        "background: holds",
    ),
    "infinite features": (lambda f: f["features"].write_direct(np.full((N, 2), np.inf, "f4")), "features: holds inf"),
    "checksum": (lambda f: f["image"].attrs.__delitem__("sha256"), "image has no checksum"),
    "checksum type": (lambda f: f["image"].attrs.__setitem__("sha256", 3), "image: attribute 'sha256' is not text"),
    "feature names": (lambda f: f["features"].attrs.__setitem__("names", ["one"]), "features: shape"),
    "equal feature names": (
        lambda f: f["features"].attrs.__setitem__("names", ["a", "a"]),
        "features: attribute 'names'",
    ),
    "numbers as names": (lambda f: f["features"].attrs.__setitem__("names", [1, 2]), "features: attribute 'names'"),
    "no feature names": (lambda f: f["features"].attrs.__delitem__("names"), r"lacks an attribute \(names\)"),
    "fewer bands": (lambda f: f.attrs.__setitem__("bands", ["g", "r"]), "shape .*, expected"),
    "no bands": (lambda f: f.attrs.__setitem__("bands", h5py.Empty("f4")), "attribute 'bands' is not a list"),
    "one band as text": (lambda f: f.attrs.__setitem__("bands", "gri"), "attribute 'bands' is not a list"),
    "equal bands": (lambda f: f.attrs.__setitem__("bands", ["g", "g", "g"]), "attribute 'bands' is not a list"),
    "unit": (lambda f: f.attrs.__setitem__("unit", "Jy"), "attribute 'unit' is 'Jy', expected uJy or relative"),
    "number for a unit": (lambda f: f.attrs.__setitem__("unit", 3), "attribute 'unit' is not text"),
    "bytes": (lambda f: f.attrs.__setitem__("survey", np.bytes_(b"\xff")), "attribute 'survey' is not text"),
    "settings": (lambda f: f.attrs.__setitem__("settings", "{"), "attribute 'settings' is not JSON"),
    "text for folds": (
        lambda f: f.attrs.__setitem__("settings", '{"split": {"folds": "x"}}'),
        "split.folds x, accepted",
    ),
    "nested settings": (lambda f: f.attrs.__setitem__("settings", "[" * 9999), "attribute 'settings' is not JSON"),
    "folds": (
        lambda f: f.attrs.__setitem__("settings", '{"split": {"folds": 1000000000000}}'),
        "attribute 'settings' has split.folds 1000000000000, accepted are 1 to 32767",
    ),
    "scale": (lambda f: f.attrs.__setitem__("pixel_scale_arcsec", -0.1), "attribute 'pixel_scale_arcsec' is -0.1"),
    "tiny scale": (
        lambda f: f.attrs.__setitem__("pixel_scale_arcsec", 1e-300),
        "attribute 'pixel_scale_arcsec' is 1e-300",
    ),
    "scale as text": (lambda f: f.attrs.__setitem__("pixel_scale_arcsec", "x"), "attribute 'pixel_scale_arcsec' is x"),
    "zero points": (lambda f: f.attrs.__setitem__("zero_points", [25.0]), "attribute 'zero_points' does not hold 3"),
    "infinite zero points": (lambda f: f.attrs.__setitem__("zero_points", [np.inf] * 3), "attribute 'zero_points'"),
    "version as text": (lambda f: f.attrs.__setitem__("format_version", "2"), "store format 2"),
    "list of versions": (lambda f: f.attrs.__setitem__("format_version", [2, 2]), "store format"),
    "format": (lambda f: f.attrs.__setitem__("format", np.arange(3)), "not an astrodl store"),
    "null": (lambda f: f["catalog/n_visits"].attrs.__setitem__("null", "x"), "attribute 'null' is not an integer"),
}


@pytest.mark.parametrize("kind", ALTERED)
def test_an_altered_store_gives_one_line_that_says_what_is_wrong(kind: str, path: Path, tmp_path: Path) -> None:
    alter, message = ALTERED[kind]
    target = Path(shutil.copy(path, tmp_path / "altered.h5"))
    with h5py.File(target, "r+") as file:
        alter(file)
    with time_limit(5), pytest.raises(StoreError, match=message) as caught:
        read_all(target)
    assert str(caught.value).startswith(f"{target}: ")
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)
    assert check(target)


def test_the_store_itself_reads(path: Path) -> None:
    read_all(path)
    assert check(path) == []


@pytest.mark.parametrize("version", [1, 3, 10**9, -2])
def test_another_format_version_is_refused(version: int, path: Path, tmp_path: Path) -> None:
    target = Path(shutil.copy(path, tmp_path / "other.h5"))
    with h5py.File(target, "r+") as file:
        file.attrs["format_version"] = version
    with pytest.raises(StoreError, match=f"store format {version}, this astrodl reads 2; ingest again"):
        Reader(target)


def test_a_store_of_the_first_release_still_opens(path: Path, tmp_path: Path) -> None:
    """Later releases added attributes of columns; a store without them has format version 2, too."""
    target = Path(shutil.copy(path, tmp_path / "old.h5"))
    with h5py.File(target, "r+") as file:
        for name, dataset in file["catalog"].items():
            for attribute in set(dataset.attrs) - {"sha256"}:
                del file["catalog"][name].attrs[attribute]
    read_all(target)
    assert check(target) == []


@pytest.mark.parametrize("column", ["object_id", "catalog/class"])
@pytest.mark.parametrize("field", [0, 4])  # its length, its address
def test_a_text_of_gigabytes_is_not_looked_for(column: str, field: int, path: Path, tmp_path: Path) -> None:
    with h5py.File(path) as file:
        offset = file[column].id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset + 16 + field : offset + 16 + field + 4] = b"\xff\xff\xff\xff"
    target = tmp_path / "altered.h5"
    target.write_bytes(data)
    with time_limit(5), pytest.raises(StoreError, match=f"{column}: a part of its data is missing; ingest again"):
        read_all(target)


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_never_end_in_a_traceback_or_a_hang(seed: int, path: Path, tmp_path: Path) -> None:
    """Overwrite, cut and repeat parts of the file where HDF5 keeps its structure and the text."""
    rng = np.random.default_rng(seed)
    content = path.read_bytes()
    with h5py.File(path) as file:
        offset, n_bytes = file["image"].id.get_offset(), file["image"].id.get_storage_size()
    places = np.concatenate([np.arange(offset), np.arange(offset + n_bytes, len(content))])
    target = tmp_path / "random.h5"
    for _ in range(12):
        data = bytearray(content)
        for place in rng.choice(places, rng.integers(1, 30)).tolist():
            data[place] = rng.integers(256)
        if rng.random() < 0.2:
            del data[int(rng.choice(places)) :]
        target.write_bytes(data)
        with time_limit(5):
            with suppress(StoreError):
                read_all(target)
            assert all("\n" not in problem for problem in check(target))
