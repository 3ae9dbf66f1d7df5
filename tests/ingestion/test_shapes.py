"""Shapes and axes: bands on either end of a cube, arrays that fit the catalogue, planes that go with the image."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits

from astrodl.errors import DataError
from astrodl.fits import UnreadableError
from astrodl.ingestion.axes import find_band_axis
from astrodl.ingestion.ingest import ingest
from astrodl.photometry.pixel_grid import fit_psf, rebin, rebinned_length
from astrodl.store import open_store
from tests.ingestion.test_kinds import make_store, write_arrays, write_table
from tests.ingestion.toy import N, catalog, galaxy, image_file, quarantine, settings

BANDS = [{"name": "g"}, {"name": "r"}]
IMAGES = np.stack([np.stack([galaxy(k), 2 * galaxy(k)]) for k in range(N)])


@pytest.mark.parametrize(
    ("shape", "n_bands", "axis"),
    [
        ((5, 32, 32), 5, 0),
        ((32, 32, 5), 5, 2),
        ((32, 32, 5), 2, 2),  # a part of the bands
        ((1, 32, 32), 1, 0),
        ((32, 32, 1), 1, 2),
        ((56, 32, 32), 56, 0),  # more bands than pixels on a side
        ((56, 32, 32), 5, 0),
        ((32, 32, 56), 56, 2),
        ((5, 40, 60), 5, 0),
        ((40, 60, 5), 5, 2),
        ((9, 16, 20), 5, 0),
        ((70, 64, 60), 70, 0),
        ((64, 60, 70), 70, 2),
        ((40, 32, 32), None, 0),
    ],
)
def test_the_axis_of_the_bands_is_recognised(shape: tuple[int, ...], n_bands: int | None, axis: int) -> None:
    assert find_band_axis(shape, n_bands) == axis


@pytest.mark.parametrize(
    ("shape", "n_bands", "message"),
    [
        ((32, 32, 5), 32, "look like 5 bands, the settings list 32"),
        ((5, 32, 32), 32, "look like 5 bands, the settings list 32"),
        ((32, 5, 32), 5, "in the middle"),
        ((40, 5, 60), 5, "in the middle"),
        ((32, 32, 32), 32, "do not tell"),
        ((32, 32, 56), 5, "do not tell"),
        ((70, 64, 60), 5, "do not tell"),
    ],
)
def test_axes_that_do_not_tell_where_the_bands_are_raise(shape: tuple[int, ...], n_bands: int, message: str) -> None:
    with pytest.raises(UnreadableError, match=message):
        find_band_axis(shape, n_bands)
    if "do not tell" in message:
        assert find_band_axis(shape, n_bands, default=2) == 2


@pytest.mark.parametrize("name", ["cutouts.h5", "cutouts.npz"])
def test_arrays_with_the_bands_last_give_the_store_of_arrays_with_the_bands_first(name: str, tmp_path: Path) -> None:
    mask = np.zeros(IMAGES.shape, np.int32)
    mask[:, 0, 3, 7] = (1 << 28) + 1
    psf = np.zeros((N, 2, 5, 5), np.float32)
    psf[:, 1, 2, 3] = 1
    planes = {"var": 9 + IMAGES**2, "mask": mask, "psfs": psf}
    more: dict[str, Any] = {"noise": {"extension": "var"}, "masks": [{"extension": "mask", "bits": [0]}]}
    more |= {"psf": {"extension": "psfs"}, "extension": "images", "layout": "arrays", "path": name}
    contents = []
    for source in (0, 1):
        root = tmp_path / str(source)
        root.mkdir()
        arrays = {key: np.moveaxis(values, 1, -1) if source else values for key, values in planes.items()}
        write_arrays(root / name, np.moveaxis(IMAGES, 1, -1) if source else IMAGES, **arrays)
        write_table(root)
        with open_store(make_store(root, root, **more)) as store:
            contents.append([store.images(), *(store.plane(plane) for plane in ("variance", "mask", "psf"))])
    for first, last in zip(*contents, strict=True):
        np.testing.assert_array_equal(first, last)
    image, _, is_masked, stored_psf = contents[1]
    expected = IMAGES.copy()
    expected[:, 0, 3, 7] = np.nan
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(is_masked, mask > 0)  # float32 would lose bit 0
    np.testing.assert_array_equal(stored_psf, psf)


def test_point_spread_functions_with_as_many_pixels_as_bands_lie_as_the_images_do(tmp_path: Path) -> None:
    psf = np.random.default_rng(0).uniform(0, 1, (N, 3, 3, 3)).astype(np.float32)
    images = np.concatenate([IMAGES, IMAGES[:, :1]], axis=1)
    write_table(tmp_path)
    bands = [*BANDS, {"name": "i"}]
    options: dict[str, Any] = {"layout": "arrays", "path": "c.h5", "extension": "images", "bands": bands}
    for axis in (1, -1):
        write_arrays(tmp_path / "c.h5", np.moveaxis(images, 1, axis), psfs=psf)
        with open_store(make_store(tmp_path, tmp_path, psf={"extension": "psfs"}, **options)) as store:
            np.testing.assert_array_equal(store.plane("psf"), np.moveaxis(psf, axis, 1))


def test_cubes_with_the_bands_last_are_recognised_in_fits(tmp_path: Path) -> None:
    write_table(tmp_path)
    for number, name in enumerate(catalog()["objid"]):
        fits.writeto(tmp_path / f"{name}.fits", np.moveaxis(IMAGES[number], 0, -1))
    with open_store(make_store(tmp_path, tmp_path, layout="cube", path="{objid}.fits")) as store:
        np.testing.assert_array_equal(store.images(), IMAGES)


@pytest.mark.parametrize(
    ("images", "bands", "message"),
    [
        (np.moveaxis(IMAGES, 1, 2), BANDS, "the shortest axis is in the middle"),
        (np.moveaxis(IMAGES, 1, -1), [{"name": f"b{k}"} for k in range(32)], "they look like 2 bands"),
        (IMAGES[:, 0], BANDS, "bands g and r would be the same image"),
        (IMAGES[:, :1], BANDS, "the image has 1 planes, plane 1"),
        (IMAGES[:, None], BANDS, "32 x 32 x 2 x 1 pixels, a two-dimensional image is needed"),
        (np.zeros((N, 32, 32, 32), np.float32), BANDS, "do not tell which axis"),
    ],
)
def test_arrays_of_other_shapes_are_refused(images: np.ndarray, bands: Any, message: str, tmp_path: Path) -> None:
    write_arrays(tmp_path / "cutouts.h5", images)
    write_table(tmp_path)
    for extension in (None, "images"):
        with pytest.raises(DataError, match=message):
            make_store(tmp_path, tmp_path, layout="arrays", path="cutouts.h5", bands=bands, extension=extension)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"images": IMAGES[:-1]}, {}, "'images' of c.h5 has 11 elements, the catalogue has 12 rows"),
        ({"images": np.concatenate([IMAGES, IMAGES])}, {}, "has 24 elements, the catalogue has 12 rows"),
        ({"images": np.moveaxis(IMAGES, 0, 1)}, {}, "has 2 elements, the catalogue has 12 rows"),
        ({"images": np.moveaxis(IMAGES, 0, -1)}, {}, "has 2 elements"),
        ({"images": IMAGES, "var": IMAGES[1:] ** 2}, {"noise": {"extension": "var"}}, "'var' of c.h5 has 11 elements"),
        ({"images": IMAGES, "p": IMAGES[0, :, :5, :5]}, {"psf": {"extension": "p"}}, "'p' of c.h5 has 2 elements"),
        (
            {"images": IMAGES, "bulge": IMAGES[:5, 0]},
            {"labels": {"path": "c.h5", "extensions": {"bulge": "bulge"}}},
            "'bulge' of c.h5 has 5 elements",
        ),
        ({"images": IMAGES}, {"index_column": "from_one"}, "12 lies beyond .* it seems to count from 1"),
        ({"images": IMAGES[3:]}, {"index_column": "from_zero"}, "11 lies beyond .* elements 0 to 8; correct"),
    ],
)
def test_arrays_that_do_not_fit_the_catalogue_are_refused(
    arrays: dict[str, np.ndarray], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_arrays(tmp_path / "c.h5", **arrays)
    write_table(tmp_path, from_one=np.arange(N) + 1, from_zero=np.arange(N))
    with pytest.raises(DataError, match=message):
        make_store(tmp_path, tmp_path, layout="arrays", path="c.h5", extension="images", **options)


def test_a_catalogue_of_a_part_of_an_array_needs_the_places(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(2 * N)[:N]
    write_arrays(tmp_path / "c.h5", np.concatenate([IMAGES, IMAGES + 1]))
    write_table(tmp_path, place=order)
    options: dict[str, Any] = {"layout": "arrays", "path": "c.h5", "index_column": "place"}
    with open_store(make_store(tmp_path, tmp_path, **options)) as store:
        np.testing.assert_array_equal(store.images(), np.concatenate([IMAGES, IMAGES + 1])[order])


def test_arrays_of_each_object_need_places_and_fits_of_each_object_may_go_with_arrays(tmp_path: Path) -> None:
    write_table(tmp_path)
    names = catalog()["objid"]
    for number, name in enumerate(names):
        np.savez(tmp_path / f"{name}.npz", IMAGES[[number]])
        fits.writeto(tmp_path / f"{name}_mask.fits", (IMAGES[number, 0] > 90).astype(np.int16))
    fits.writeto(tmp_path / "all.fits", IMAGES)
    with pytest.raises(DataError, match="an array that depends on the object"):
        make_store(tmp_path, tmp_path, layout="arrays", path="{objid}.npz")
    with pytest.raises(DataError, match=r"all.fits: a FITS file of all objects"):
        make_store(tmp_path, tmp_path, layout="arrays", path="all.fits")
    write_arrays(tmp_path / "all.h5", IMAGES)
    masks = [{"path": "{objid}_mask.fits"}]
    with open_store(make_store(tmp_path, tmp_path, layout="arrays", path="all.h5", masks=masks)) as store:
        np.testing.assert_array_equal(store.plane("mask")[:, 1], IMAGES[:, 0] > 90)


def test_the_main_array_is_found_among_tables_and_named_if_there_are_several(tmp_path: Path) -> None:
    write_table(tmp_path)
    write_arrays(tmp_path / "c.h5", IMAGES, catalog=np.zeros((N, 7)), bulge=IMAGES[:, 0], err=IMAGES)
    with open_store(make_store(tmp_path, tmp_path, layout="arrays", path="c.h5")) as store:
        np.testing.assert_array_equal(store.images(), IMAGES)
    np.savez(tmp_path / "d.npz", a=IMAGES, b=IMAGES)
    with pytest.raises(DataError, match=r"several arrays \(a, b\); name one as `extension`"):
        make_store(tmp_path, tmp_path, layout="arrays", path="d.npz")


@pytest.mark.parametrize("kind", ["external storage", "virtual dataset", "external link", "soft link", "linked group"])
def test_arrays_whose_data_are_elsewhere_are_refused(kind: str, tmp_path: Path) -> None:
    write_table(tmp_path)
    secret = tmp_path.parent / f"{tmp_path.name}_secret.h5"
    write_arrays(secret, IMAGES)
    (tmp_path.parent / f"{tmp_path.name}.raw").write_bytes(IMAGES.tobytes())
    with h5py.File(tmp_path / "c.h5", "w") as file:
        if kind == "external storage":
            where = [(str(tmp_path.parent / f"{tmp_path.name}.raw"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("images", IMAGES.shape, IMAGES.dtype, external=where)
        elif kind == "virtual dataset":
            layout = h5py.VirtualLayout(IMAGES.shape, IMAGES.dtype)
            layout[:] = h5py.VirtualSource(str(secret), "images", IMAGES.shape)
            file.create_virtual_dataset("images", layout)
        elif kind == "external link":
            file["images"] = h5py.ExternalLink(str(secret), "images")
        elif kind == "soft link":
            file["link"] = h5py.ExternalLink(str(secret), "/")
            file["images"] = h5py.SoftLink("/link/images")
        else:
            file["group"] = h5py.ExternalLink(str(secret), "/")
        file["bands"] = h5py.ExternalLink(str(secret), "bands")
    name = "group/images" if kind == "linked group" else "images"
    for extension in (name, None):
        with pytest.raises(DataError, match="whose data are elsewhere; copy them into the file"):
            make_store(tmp_path, tmp_path, layout="arrays", path="c.h5", extension=extension)


def test_labels_of_another_size_than_the_image_are_quarantined(survey: Path, tmp_path: Path) -> None:
    (survey / "labels").mkdir()
    for number, name in enumerate(catalog()["objid"]):
        size = {2: 40, 5: 31}.get(number, 32)
        fits.writeto(survey / "labels" / f"{name}.fits", galaxy(number, size), fits.Header({"MAGZERO": 23.9}))
    labels = {"path": "labels/{objid}.fits", "extensions": {"bulge": 0}}
    summary = ingest(settings(survey, labels=labels, size=16, rebin=2), tmp_path / "store.h5")
    assert summary["n_refused"] == 2
    lines = quarantine(tmp_path)
    assert list(lines["band"]) == ["bulge", "bulge"]
    assert lines["reason"][0].startswith("the label has 40 x 40 pixels, the image has 32 x 32")
    with open_store(tmp_path / "store.h5") as store:
        np.testing.assert_allclose(store.label("bulge", [0])[0], rebin(galaxy(0), 2), rtol=1e-6)


def test_bands_with_pixels_of_different_size_are_refused(survey: Path, tmp_path: Path) -> None:
    for number in range(N):
        with fits.open(image_file(survey, number), mode="update") as file:
            file["r"].header.update({"CDELT1": -0.2 / 3600, "CDELT2": 0.2 / 3600})
    with pytest.raises(DataError, match=r"differ in size \(g 0.1 arcsec, r 0.2 arcsec\)"):
        ingest(settings(survey), tmp_path / "store.h5")
    ingest(settings(survey, pixel_scale_arcsec=0.1), tmp_path / "store.h5")


def test_the_variance_of_a_block_is_scaled_as_its_sum_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(0, 3, (N, 1, 64, 64)).astype(np.float32)
    images[:, :, ::4, ::4] = np.nan  # one pixel of every fourth block
    images[:, :, :, 61:] = 0  # no data, too
    write_arrays(tmp_path / "c.h5", images, var=np.full_like(images, 9))
    write_table(tmp_path)
    options: dict[str, Any] = {"layout": "arrays", "path": "c.h5", "bands": [{"name": "g"}], "extension": "images"}
    noise = {"noise": {"extension": "var"}, "rebin": 2, "zero_is_missing": True}
    with open_store(make_store(tmp_path, tmp_path, **noise, **options)) as store:
        image, variance = store.images()[:, 0], store.plane("variance")[:, 0]
    np.testing.assert_allclose(variance[:, 1::2, :30], 9 * 4, rtol=1e-6)
    np.testing.assert_allclose(variance[:, ::2, :30:2], 9 * 3 * (4 / 3) ** 2, rtol=1e-5)
    np.testing.assert_allclose(variance[:, 1::2, 30], 9 * 2 * 2**2, rtol=1e-5)
    np.testing.assert_array_equal(np.isnan(variance), np.isnan(image))
    assert np.nanmean(image**2 / variance) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("length", [40, 41])
def test_a_point_spread_function_is_summed_about_its_centre(factor: int, length: int) -> None:
    y, x = np.indices((length, length)) - length // 2
    psf = np.exp(-(x**2 + y**2) / (2 * 3**2)).astype(np.float32)
    size = rebinned_length(length, factor)
    summed = fit_psf(psf, size, factor)
    assert summed.sum() == pytest.approx(psf.sum(), rel=1e-5)
    position = np.arange(size) - size // 2
    assert (summed.sum(axis=0) @ position) / summed.sum() == pytest.approx(0, abs=1e-2)
    box = (factor**2 - 1) / 12 + (0.25 if factor % 2 == 0 else 0)  # of the block; shared pixels add a quarter
    second = (summed.sum(axis=0) @ position**2) / summed.sum() * factor**2
    assert second == pytest.approx(9 + box, rel=0.01)
    if factor == 3 and length == 41:
        np.testing.assert_allclose(fit_psf(psf, 13, 3), rebin(psf, 3), rtol=1e-5)


def test_the_stored_point_spread_function_has_the_pixels_of_the_cutout(tmp_path: Path) -> None:
    psf = np.zeros((N, 2, 9, 9), np.float32)
    psf[:, :, 4, 4], psf[:, :, 4, 6] = 0.75, 0.25
    write_arrays(tmp_path / "c.h5", IMAGES, psfs=psf)
    write_table(tmp_path)
    options: dict[str, Any] = {"layout": "arrays", "path": "c.h5", "extension": "images", "psf": {"extension": "psfs"}}
    with open_store(make_store(tmp_path, tmp_path, rebin=3, size=16, **options)) as store:
        stored = store.plane("psf")
    assert stored.shape == (N, 2, 3, 3)
    np.testing.assert_allclose(stored[0, 0], [[0, 0, 0], [0, 0.75, 0.25], [0, 0, 0]], atol=1e-6)
