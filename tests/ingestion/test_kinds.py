"""All kinds of input: one file for all objects, arrays, noise, masks, point-spread functions."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astrodl.errors import DataError
from astrodl.ingestion.ingest import ingest
from astrodl.store import BAND_FLAGS, FLAGS, check, open_store
from tests.ingestion.toy import N, catalog, galaxy, quarantine, settings


def write_table(root: Path, **columns: Any) -> None:
    table = catalog()
    for name, values in columns.items():
        table[name] = values
    table.write(root / "table.fits", overwrite=True)


def make_store(root: Path, tmp_path: Path, **data: Any) -> Path:
    store = tmp_path / "store.h5"
    ingest(settings(root, **{"catalog": "table.fits", **data}), store)
    assert check(store) == []
    return store


def write_plane(root: Path, number: int, band: str, name: str, data: np.ndarray) -> None:
    folder = root / "planes"
    folder.mkdir(exist_ok=True)
    fits.PrimaryHDU(data).writeto(folder / f"{catalog()['objid'][number]}_{band}_{name}.fits", overwrite=True)


def write_planes(root: Path) -> dict[str, Any]:
    """Write image, weight and mask of every object and band; return the settings."""
    write_table(root)
    for number in range(N):
        for band in "gr":
            write_plane(root, number, band, "sci", galaxy(number))
            write_plane(root, number, band, "wht", np.full((32, 32), 0.25, np.float32))
            write_plane(root, number, band, "msk", np.zeros((32, 32), np.int32))
    return {"layout": "files", "path": "planes/{objid}_{band}_sci.fits"}


def test_one_file_with_an_extension_per_object_of_any_size(tmp_path: Path) -> None:
    sizes = [20 + 2 * k for k in range(N)]
    order = np.random.default_rng(1).permutation(N)
    write_table(tmp_path, HDU=order, PSF=order + 1)
    images = [fits.ImageHDU(galaxy(k, sizes[k])) for k in range(N)]
    fits.HDUList([fits.PrimaryHDU(images[0].data), *images[1:]]).writeto(tmp_path / "images.fits")
    psf = [fits.ImageHDU(np.full((5, 5), k, np.float32)) for k in range(N)]
    fits.HDUList([fits.PrimaryHDU(), *psf]).writeto(tmp_path / "psf.fits")
    bands = [{"name": "g", "extension": "{HDU}"}]
    more = {"psf": {"path": "psf.fits", "extension": "{PSF}", "size": 7}}
    with open_store(make_store(tmp_path, tmp_path, layout="files", path="images.fits", bands=bands, **more)) as store:
        for row in (0, 5, 11):
            size, image = sizes[order[row]], store.images([row])[0, 0]
            inside = image[np.ix_(np.isfinite(image).any(1), np.isfinite(image).any(0))]
            expected = galaxy(order[row], size)
            start = max(size // 2 - 16, 0)
            np.testing.assert_array_equal(inside, expected[start : start + 32, start : start + 32])
            assert bool(store.flags[row] & FLAGS["padded"]) == (size < 32)
            psf_image = store.plane("psf", [row])[0, 0]
            assert psf_image.shape == (7, 7)
            np.testing.assert_array_equal(psf_image[1:6, 1:6], order[row])
            assert psf_image[0].max() == 0


@pytest.mark.parametrize("kind", ["variance", "sigma", "weight"])
def test_noise_planes_are_converted_to_variance_in_the_unit_of_the_image(kind: str, tmp_path: Path) -> None:
    options = write_planes(tmp_path)
    value = {"variance": 4.0, "sigma": 2.0, "weight": 0.25}[kind]
    for number in range(N):
        for band in "gr":
            write_plane(tmp_path, number, band, "wht", np.full((32, 32), value, np.float32))
    bands = [{"name": "g", "zero_point": 22.65}, {"name": "r", "zero_point": 23.9}]
    noise = {"replace": ["_sci", "_wht"], "kind": kind}
    with open_store(make_store(tmp_path, tmp_path, bands=bands, noise=noise, rebin=2, size=16, **options)) as store:
        variance = store.plane("variance")
        factor = 10 ** (-0.4 * (22.65 - 23.9))
        np.testing.assert_allclose(variance[:, 0], 4 * 4 * factor**2, rtol=1e-5)
        np.testing.assert_allclose(variance[:, 1], 4 * 4, rtol=1e-6)


def test_unobserved_undetected_and_masked_bands_have_different_flags(tmp_path: Path) -> None:
    options = write_planes(tmp_path)
    noise_only = np.random.default_rng(5).normal(0, 1, (32, 32)).astype(np.float32)
    mask = np.zeros((32, 32), np.int32)
    mask[10:12, 4:9] = 2
    unweighted = np.full((32, 32), 0.25, np.float32)
    unweighted[20] = 0
    name = catalog()["objid"]
    (tmp_path / "planes" / f"{name[1]}_r_sci.fits").unlink()
    write_plane(tmp_path, 2, "r", "sci", noise_only)
    write_plane(tmp_path, 3, "r", "msk", mask)
    write_plane(tmp_path, 4, "r", "wht", unweighted)
    more = {"noise": {"replace": ["_sci", "_wht"], "kind": "weight"}, "masks": [{"replace": ["_sci", "_msk"]}]}
    with open_store(make_store(tmp_path, tmp_path, **more, **options)) as store:
        expected = ["", "not_observed", "not_detected", "masked_pixels", "masked_pixels"]
        assert list(store.band_flags[:5, 1]) == [BAND_FLAGS.get(flag, 0) for flag in expected]
        assert (store.band_flags[:5, 0] == 0).all()
        object_flags = ["", "missing_band", "band_not_detected", "masked_pixels", "masked_pixels"]
        assert list(store.flags[:5]) == [FLAGS.get(flag, 0) for flag in object_flags]
        images, masks = store.images(), store.plane("mask")
        assert np.isnan(images[1, 1]).all()
        assert np.isfinite(images[2]).all()
        np.testing.assert_array_equal(np.isnan(images[3, 1]), mask > 0)
        np.testing.assert_array_equal(masks[3, 1], mask > 0)
        np.testing.assert_array_equal(np.flatnonzero(masks[4, 1].any(1)), [20])
        assert not masks[:3].any()


@pytest.mark.parametrize(
    ("choice", "masked"), [({}, [1, 2, 3, 4]), ({"bits": [0, 28]}, [1, 3, 4]), ({"values": [2]}, [2])]
)
def test_masks_select_by_bit_or_by_value(choice: dict[str, Any], masked: list[int], tmp_path: Path) -> None:
    options = write_planes(tmp_path)
    mask = np.zeros((32, 32), np.int32)
    # float32 would lose the lowest bit of the last value
    mask[0, 1:5] = [1, 2, 3, (1 << 28) + 2]
    write_plane(tmp_path, 0, "g", "msk", mask)
    masks = [{"replace": ["_sci", "_msk"], **choice}]
    with open_store(make_store(tmp_path, tmp_path, masks=masks, **options)) as store:
        assert list(np.flatnonzero(store.plane("mask")[0, 0, 0])) == masked
        assert store.plane("mask")[0, 0, 1:].sum() == 0


def test_an_object_with_a_missing_or_wrong_sized_mask_is_quarantined(tmp_path: Path) -> None:
    options = write_planes(tmp_path)
    (tmp_path / "planes" / f"{catalog()['objid'][2]}_g_msk.fits").unlink()
    write_plane(tmp_path, 3, "r", "msk", np.zeros((31, 32), np.int32))
    make_store(tmp_path, tmp_path, masks=[{"replace": ["_sci", "_msk"]}], **options)
    lines = quarantine(tmp_path)
    assert [line["reason"].split(":")[0] for line in lines] == ["mask plane", "mask plane"]
    assert "does not exist" in lines["reason"][0]
    assert "31" in lines["reason"][1]


def write_arrays(path: Path, images: np.ndarray, **more: np.ndarray) -> None:
    if path.suffix == ".npz":
        np.savez(path, images=images, **more)
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("images", data=images, chunks=(2, *images.shape[1:]), compression="gzip")
            for name, values in more.items():
                file[name] = values


@pytest.mark.parametrize("name", ["cutouts.h5", "cutouts.npz"])
def test_images_are_read_from_arrays_of_all_objects(name: str, tmp_path: Path) -> None:
    images = np.stack([np.stack([galaxy(k), 2 * galaxy(k)]) for k in range(N)])
    images[3, 0, 5, 6] = np.inf
    write_arrays(tmp_path / name, images, var=np.full_like(images, 9), psfs=np.ones((N, 2, 5, 5)))
    index = np.random.default_rng(2).permutation(N)
    write_table(tmp_path, place=index)
    more = {"noise": {"extension": "var"}, "psf": {"extension": "psfs"}, "index_column": "place"}
    path = make_store(tmp_path, tmp_path, layout="arrays", path=name, extension="images", **more)
    with open_store(path) as store:
        expected = np.where(np.isfinite(images), images, np.nan)[index]
        np.testing.assert_array_equal(store.images(), expected)
        assert store.plane("psf").shape == (N, 2, 5, 5)
        np.testing.assert_array_equal(np.isnan(store.plane("variance")), np.isnan(expected))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"images": np.array([{"a": 1}] * N, dtype=object)}, "none of the bands is in the file"),
        (b"PK\x03\x04 and no more", "not a readable NPZ file"),
        (b"\x89HDF\r\n\x1a\n broken", "not a readable HDF5 file"),
    ],
)
def test_pickles_and_damaged_arrays_are_refused(content: Any, match: str, tmp_path: Path) -> None:
    path = tmp_path / "cutouts.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    write_table(tmp_path)
    with pytest.raises(DataError, match=match):
        make_store(tmp_path, tmp_path, layout="arrays", path=path.name, extension="images")


def test_an_array_with_a_terabyte_per_object_is_refused_without_allocation(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "cutouts.h5", "w") as file:  # never written, so the file is small
        file.create_dataset("images", (N, 2, 1 << 18, 1 << 18), "f8", chunks=(1, 1, 64, 64), compression="gzip")
    write_table(tmp_path)
    with pytest.raises(DataError, match=r"1\.1e\+03 GB at once"):
        make_store(tmp_path, tmp_path, layout="arrays", path="cutouts.h5", extension="images")


def test_a_constant_background_is_subtracted_in_counts_and_stored(survey: Path, tmp_path: Path) -> None:
    bands = [{"name": "g", "background": 7.0}, {"name": "r"}]
    ingest(settings(survey), tmp_path / "a.h5")
    ingest(settings(survey, bands=bands), tmp_path / "b.h5")
    factor = 10 ** (-0.4 * (25 - 23.9))
    with open_store(tmp_path / "a.h5") as plain, open_store(tmp_path / "b.h5") as other:
        np.testing.assert_allclose(plain.images()[:, 0] - other.images()[:, 0], 7 * factor, atol=1e-4)
        np.testing.assert_allclose(other.background, [[7 * factor, 0]] * N, rtol=1e-6)
        np.testing.assert_array_equal(plain.images()[:, 1], other.images()[:, 1])


def test_galactic_reddening_becomes_a_column_and_a_feature(survey: Path, tmp_path: Path) -> None:
    table = Table.read(survey / "catalog.fits")
    table["EBV"] = np.linspace(0, 0.3, N)
    table["EBV"][3] = np.nan
    table.write(survey / "table.fits")
    ingest(settings(survey, catalog="table.fits", ebv_column="EBV"), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        assert store.feature_names[-1] == "ebv"
        np.testing.assert_allclose(store.features(["ebv"])[:, 0], np.asarray(table["EBV"]), rtol=1e-6)
        np.testing.assert_allclose(store.column("ebv"), np.asarray(table["EBV"]))


def test_the_catalogue_may_be_in_another_folder(survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (survey / "catalog.fits").rename(tmp_path / "elsewhere.fits")
    monkeypatch.chdir(tmp_path)
    ingest(settings(survey, catalog="elsewhere.fits"), tmp_path / "a.h5")
    ingest(settings(survey, catalog=str(tmp_path / "elsewhere.fits")), tmp_path / "b.h5")
    with open_store(tmp_path / "a.h5") as first, open_store(tmp_path / "b.h5") as second:
        np.testing.assert_array_equal(first.images(), second.images())
