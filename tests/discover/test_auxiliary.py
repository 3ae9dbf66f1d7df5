"""What `init` does not take for bands, where it finds the bands of arrays, and columns that measure results."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astrodl import cli
from astrodl.discover.images import read_image_info
from astrodl.discover.names import extension_role
from tests.discover.toy import IDS, N, ingest, run, table, write
from tests.ingestion.toy import SIZE, galaxy

FLAT = np.ones((SIZE, SIZE), np.float32)
LOOKUP = np.zeros((8, 16), np.float32)
IMAGES = np.stack([np.stack([galaxy(k), 2 * galaxy(k), 3 * galaxy(k)]) for k in range(N)])


@pytest.mark.parametrize(
    ("others", "noise"),
    [
        ([("ERR", FLAT), ("DQ", 0 * FLAT), *[("D2IMARR", LOOKUP)] * 2, *[("WCSDVARR", LOOKUP)] * 4], ("ERR", "sigma")),
        ([("ERR", FLAT), ("VAR_POISSON", FLAT), ("VAR_RNOISE", FLAT), ("WHT", FLAT)], ("ERR", "sigma")),
        ([("WHT", FLAT), ("CTX", FLAT)], ("WHT", "weight")),
        ([("CON", np.ones((2, SIZE, SIZE), np.int32)), ("", FLAT), ("", FLAT)], None),
        ([("MODEL", FLAT), ("RESIDUAL", FLAT), ("BKG", FLAT), ("EXPMAP", FLAT), ("THUMB", FLAT[:8, :8])], None),
    ],
)
def test_extensions_that_are_no_images_of_the_sky_are_not_bands(
    others: list[tuple[str, np.ndarray]], noise: tuple[str, str] | None, tmp_path: Path, capsys: Any
) -> None:
    table().write(tmp_path / "catalog.csv")
    for k, number in enumerate(IDS):
        planes = [(name, pixels, {}) for name, pixels in others]
        write(tmp_path / f"{number}.fits", ("SCI", galaxy(k), {"FILTER": "F606W"}), *planes)
    data = run(tmp_path, "{id}.fits")
    assert (data["layout"], data["extension"], data["bands"]) == ("files", "SCI", [{"name": "F606W"}])
    expected = None if noise is None else {"extension": noise[0], "kind": noise[1]}
    assert data.get("noise") == expected
    with ingest(tmp_path) as store:
        np.testing.assert_array_equal(store.images()[:, 0], IMAGES[:, 0])
    if others[-1][0] not in ("ERR", "WHT"):
        assert "not taken for bands: " in capsys.readouterr().out


def test_bands_beside_an_image_of_another_size_and_a_table_are_found(tmp_path: Path) -> None:
    table().write(tmp_path / "catalog.csv")
    rows = fits.BinTableHDU(Table({"a": [1.0, 2.0], "b": [3.0, 4.0]}), name="CAT")
    for k, number in enumerate(IDS):
        images = [fits.ImageHDU(IMAGES[k, j], name=name) for j, name in enumerate("GR")]
        small = fits.ImageHDU(FLAT[::2, ::2], name="OTHER")
        fits.HDUList([fits.PrimaryHDU(), small, *images, rows]).writeto(tmp_path / f"{number}.fits")
    data = run(tmp_path, "{id}.fits")
    assert data["bands"] == [{"name": "G"}, {"name": "R"}]
    with ingest(tmp_path) as store:
        np.testing.assert_array_equal(store.images(), IMAGES[:, :2])


def test_roles_of_extensions() -> None:
    roles = {"WCSDVARR": "auxiliary", "D2IMARR": "auxiliary", "MODEL_g": "auxiliary", "CTX": "auxiliary"}
    roles |= {"SCI": "image", "F606W": "image", "ERR": "sigma", "VAR_POISSON": "auxiliary", "VAR_g": "variance"}
    roles |= {"models/image": "image", "survey/model": "auxiliary"}
    assert {name: extension_role(name) for name in roles} == roles


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values


@pytest.mark.parametrize("names", [None, ["g", "r", "i"]])
def test_arrays_with_the_bands_last_are_drafted_with_their_bands(names: list[str] | None, tmp_path: Path) -> None:
    table().write(tmp_path / "catalog.csv")
    more = {"catalog": np.ones((N, 7)), "bulge": IMAGES[:, 0], "psf": np.ones((N, 3, 3, 3))}
    write_arrays(tmp_path / "all.h5", images=np.moveaxis(IMAGES, 1, -1), **more)
    if names:
        with h5py.File(tmp_path / "all.h5", "a") as file:
            file["bands"] = names
    data = run(tmp_path, "all.h5")
    assert (data["layout"], data["extension"], data["size"]) == ("arrays", "images", SIZE)
    assert data["bands"] == [{"name": name} for name in names or ("band1", "band2", "band3")]
    assert data["psf"] == {"extension": "psf"}
    assert "bands on the last axis" in (tmp_path / "survey.yaml").read_text()
    with ingest(tmp_path) as store:
        np.testing.assert_array_equal(store.images(), IMAGES)


def test_cubes_with_the_bands_last_are_drafted_with_their_bands(tmp_path: Path) -> None:
    table().write(tmp_path / "catalog.csv")
    for k, number in enumerate(IDS):
        fits.writeto(tmp_path / f"{number}.fits", np.moveaxis(IMAGES[k], 0, -1), fits.Header({"BANDS": "gri"}))
    data = run(tmp_path, "{id}.fits")
    assert (data["layout"], data["bands"]) == ("cube", [{"name": "g"}, {"name": "r"}, {"name": "i"}])
    with ingest(tmp_path) as store:
        np.testing.assert_array_equal(store.images(), IMAGES)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:-1], "'images' has 29 elements, the catalogue has 30 rows"),
        (np.concatenate([IMAGES, IMAGES]), "'images' has 60 elements"),
        (np.moveaxis(IMAGES, 0, 1), "'images' has 3 elements"),
        (np.moveaxis(IMAGES[:, 0], 0, -1), "'images' has 32 elements"),
        (np.moveaxis(IMAGES, 1, 2), "the shortest axis is in the middle"),
    ],
)
def test_arrays_that_do_not_fit_the_catalogue_are_refused(
    images: np.ndarray, message: str, tmp_path: Path, capsys: Any
) -> None:
    table().write(tmp_path / "catalog.csv")
    write_arrays(tmp_path / "all.h5", images=images)
    words = ["init", "--catalog", str(tmp_path / "catalog.csv"), "--images", str(tmp_path / "all.h5")]
    assert cli.main([*words, "--out", str(tmp_path / "a.yaml")]) == 2
    assert message in capsys.readouterr().err


def test_an_index_beyond_the_array_is_refused(tmp_path: Path, capsys: Any) -> None:
    table(index=np.arange(N) + 1).write(tmp_path / "catalog.csv")
    write_arrays(tmp_path / "all.h5", images=IMAGES)
    words = ["init", "--catalog", str(tmp_path / "catalog.csv"), "--images", str(tmp_path / "all.h5")]
    assert cli.main([*words, "--out", str(tmp_path / "a.yaml")]) == 2
    assert "'index' goes up to 30, array 'images' has elements 0 to 29" in capsys.readouterr().err
    table(index=np.arange(N)[::-1]).write(tmp_path / "catalog.csv", overwrite=True)
    assert run(tmp_path, "all.h5")["index_column"] == "index"
    with ingest(tmp_path) as store:
        np.testing.assert_array_equal(store.images(), IMAGES[::-1])


def test_names_of_bands_are_not_read_from_other_files(tmp_path: Path) -> None:
    write_arrays(tmp_path / "secret.h5", bands=np.array([b"g", b"r", b"i"]))
    write_arrays(tmp_path / "all.h5", images=IMAGES)
    with h5py.File(tmp_path / "all.h5", "a") as file:
        file["bands"] = h5py.ExternalLink("secret.h5", "bands")
    (info,) = read_image_info(tmp_path / "all.h5")
    assert info.bands == ()


RATIO = np.where(np.arange(N) == 3, -99, np.linspace(0.01, 0.9, N))
INDEX = np.linspace(0.6, 5.7, N)


@pytest.mark.parametrize(
    ("columns", "expected", "replace"),
    [
        (
            {"BT": RATIO, "n_sersic": INDEX, "anomaly_class": ["none", "merger", "none"] * (N // 3)},
            {"bt": "BT", "sersic_index": "n_sersic", "oddity": "anomaly_class"},
            {"oddity": {"none": ""}},
        ),
        (
            {"bulge_fraction": RATIO, "n": INDEX, "is_anomaly": np.arange(N) % 2},
            {"bt": "bulge_fraction", "sersic_index": "n", "oddity": "is_anomaly"},
            {"oddity": {"0": "", "1": "odd"}},
        ),
        ({"oddity": ["", "ring", "merger"] * (N // 3)}, {"oddity": "oddity"}, None),
        ({"BTmag": 15 + INDEX, "n": np.arange(N) % 7, "sersic_re": 40 + INDEX}, None, None),
    ],
)
def test_columns_that_measure_results_are_kept(
    columns: dict[str, Any], expected: dict[str, str] | None, replace: Any, tmp_path: Path
) -> None:
    table(**columns).write(tmp_path / "catalog.csv")
    for k, number in enumerate(IDS):
        write(tmp_path / f"{number}.fits", ("g", galaxy(k), {}), ("r", galaxy(k), {}))
    data = run(tmp_path, "{id}.fits")
    assert data.get("columns") == expected
    assert data.get("replace") == replace
    if replace:
        with ingest(tmp_path) as store:
            assert set(store.column("oddity")) == {"", "merger" if "none" in replace["oddity"] else "odd"}
