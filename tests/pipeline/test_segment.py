"""Segmentation of images of any size, in tiles."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy.special import logit

import astrodl
from astrodl import cli
from astrodl.errors import ConfigError, DataError, StoreError
from astrodl.pipeline.mosaic import FitsMosaic, tile_image
from astrodl.store import open_store
from astrodl.tasks.model import Model, load_model
from tests.damage import damage
from tests.small_store import BANDS, SIZE


@pytest.fixture(scope="module")
def model(trained_model: Callable[[str], Path], mosaic: np.ndarray) -> Model:
    loaded = load_model(trained_model("segmentation") / "model.safetensors", device="cpu")
    # three epochs do not teach where clumps are: some peaks
    centre = astrodl.segment(loaded, mosaic)["centre"]
    loaded.task.context.constants["centre_threshold"] = float(np.quantile(centre, 0.999))
    return loaded


@pytest.fixture(scope="module")
def mosaic(store: Path) -> np.ndarray:
    """A field of 8 by 5 stamps, cut to a size that is no multiple of anything."""
    with open_store(store) as reader:
        images = reader.images(np.arange(1, 41))
    rows = images.reshape(8, 5, len(BANDS), SIZE, SIZE).transpose(2, 0, 3, 1, 4)
    return np.ascontiguousarray(rows.reshape(len(BANDS), 8 * SIZE, 5 * SIZE)[:, :251, :157])


def test_the_weights_of_the_tiles_sum_to_one_and_vanish_at_their_borders() -> None:
    total = np.zeros((320, 208))
    for tile in tile_image(320, 208, 128, 32, 16):
        total[tile.rows, tile.columns] += tile.weight
        if tile.rows.start:
            assert not tile.weight[:32].any()
        if tile.columns.stop < 208:
            assert not tile.weight[:, -32:].any()
        assert tile.rows.start % 16 == tile.columns.start % 16 == 0
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert len(list(tile_image(64, 64, 128, 32, 16))) == 1
    with pytest.raises(DataError, match="must be more than 96"):
        list(tile_image(320, 320, 80, 32, 16))


def test_tiles_give_what_the_whole_image_gives(model: Model, mosaic: np.ndarray) -> None:
    whole = astrodl.segment(model, mosaic)
    tiled = astrodl.segment(model, mosaic, tile=96)
    for name in ("clump", "centre", "fraction"):
        np.testing.assert_allclose(tiled[name], whole[name], atol=1e-5)
    assert whole["clump"].std() > 0.001
    np.testing.assert_allclose(whole["fraction"].sum(1), 1, atol=1e-5)


def test_a_stamp_is_segmented_as_it_is_predicted(model: Model, store: Path) -> None:
    with open_store(store) as reader:
        images = reader.images([3])
        sky = reader.sky_sigma[[3]]
    predicted = model.predict(images, sky_sigma=sky)
    maps = astrodl.segment(model, images[0])
    np.testing.assert_allclose(maps["clump"], predicted["clump"][0], atol=1e-5)
    # a stamp has a ratio, to which the logits of the bulge are shifted
    shift = logit(predicted["bulge_fraction"][0].astype(float)) - logit(maps["fraction"][0, 0].astype(float))
    np.testing.assert_allclose(shift, shift[0, 0], atol=1e-3)


def write_bands(folder: Path, mosaic: np.ndarray) -> list[Path]:
    """Write a file per band in nanomaggies, with a WCS."""
    header = fits.Header({"BUNIT": "nanomaggy", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 78.0})
    header.update({"CRPIX2": 125.0, "CRVAL1": 150.0, "CRVAL2": 2.0, "CDELT1": -3e-5, "CDELT2": 3e-5, "OBSERVER": "x"})
    paths = []
    for band, plane in zip(BANDS, mosaic, strict=True):
        paths.append(folder / f"{band}.fits")
        fits.writeto(paths[-1], (plane / 3.630780547701013).astype(np.float32), header)
    return paths


def test_files_are_segmented_with_flux_conserved_and_the_wcs_kept(
    model: Model, mosaic: np.ndarray, tmp_path: Path
) -> None:
    mosaic = mosaic.copy()
    mosaic[:, 100:110, 20:30] = np.nan
    paths = write_bands(tmp_path, mosaic)
    out = astrodl.segment(model, paths, tmp_path / "out.fits", tile=96, progress=False)
    maps = astrodl.segment(model, mosaic)
    band = model.task.reference_band
    with fits.open(out) as file:
        assert [hdu.name for hdu in file[1:]] == [
            "CLUMP", "CENTRE", *(f"{part}_{band}".upper() for part in ("BULGE", "DISK", "CLUMP")), "CLUMPS",
        ]  # fmt: skip
        np.testing.assert_allclose(file["CLUMP"].data, maps["clump"], atol=2e-5)
        total = sum(file[f"{part}_{band}"].data.astype(float) for part in ("BULGE", "DISK", "CLUMP"))
        observed = mosaic[BANDS.index(band)]
        np.testing.assert_allclose(total, observed, rtol=1e-5, atol=1e-5 * np.nanmax(observed))
        assert file[f"BULGE_{band}"].header["BUNIT"] == "uJy"
        assert "OBSERVER" not in file["CLUMP"].header
        skies = [
            WCS(header).pixel_to_world_values(10, 20) for header in (file["CLUMP"].header, fits.getheader(paths[0]))
        ]
        np.testing.assert_allclose(*skies)
        file.verify("exception")
        for name in ("CLUMP", "CENTRE"):  # where there is no data, nothing is known
            np.testing.assert_array_equal(np.isnan(file[name].data), np.isnan(mosaic).all(0))
    np.testing.assert_array_equal(np.isnan(maps["fraction"]).all((0, 1)), np.isnan(mosaic).all(0))
    table = Table.read(out, hdu="CLUMPS")
    assert len(table)
    world = WCS(fits.getheader(paths[0])).pixel_to_world_values(table["x"], table["y"])
    np.testing.assert_allclose(world[0], table["ra"], atol=1e-9)
    assert table["flux_g"].unit == "uJy"


def test_extensions_and_cubes_are_read_alike(model: Model, mosaic: np.ndarray, tmp_path: Path) -> None:
    planes = [fits.ImageHDU(plane, name=band) for band, plane in zip(BANDS, mosaic, strict=True)]
    for hdu in planes:
        hdu.header["BUNIT"] = "uJy"
    fits.HDUList([fits.PrimaryHDU(), *planes[::-1]]).writeto(tmp_path / "extensions.fits")
    fits.writeto(tmp_path / "cube.fits", mosaic, fits.Header({"BUNIT": "uJy"}))
    first, second = (
        astrodl.segment(model, tmp_path / f"{kind}.fits", tmp_path / f"{kind}-out.fits", progress=False)
        for kind in ("extensions", "cube")
    )
    np.testing.assert_array_equal(fits.getdata(first, "CLUMP"), fits.getdata(second, "CLUMP"))
    tables = [fits.getdata(path, "CLUMPS") for path in (first, second)]
    for name in tables[0].names:
        np.testing.assert_array_equal(tables[0][name], tables[1][name])


def test_a_quantity_is_converted(model: Model, mosaic: np.ndarray) -> None:
    expected = astrodl.segment(model, mosaic)
    converted = astrodl.segment(model, (mosaic.astype(float) * u.uJy).to(u.Jy))
    for name, array in expected.items():
        np.testing.assert_allclose(converted[name], array, atol=1e-5)


def test_what_does_not_fit_is_refused(
    model: Model, mosaic: np.ndarray, trained_model: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"this network takes \(3, y, x\)"):
        astrodl.segment(model, mosaic[:2])
    with pytest.raises(DataError, match=r"unit = m: .* takes microjansky per pixel"):
        astrodl.segment(model, mosaic * u.m)
    with pytest.raises(DataError, match="psf: this network was trained without"):
        astrodl.segment(model, mosaic, psf=np.ones((3, 5, 5)))
    with pytest.raises(ConfigError, match="multiple of 4"):
        astrodl.segment(model, mosaic, tile=97)
    with pytest.raises(StoreError, match="not a model of segmentation"):
        astrodl.segment(trained_model("photoz") / "model.safetensors", mosaic)
    with pytest.raises(ConfigError, match="out"):
        astrodl.segment(model, tmp_path / "a.fits")
    fits.writeto(tmp_path / "raw.fits", mosaic)
    with pytest.raises(DataError, match="no zero point"):
        astrodl.segment(model, tmp_path / "raw.fits", tmp_path / "out.fits")
    fits.writeto(tmp_path / "plane.fits", mosaic[0], fits.Header({"BUNIT": "uJy"}))
    with pytest.raises(DataError, match="cube of 3 planes"):
        astrodl.segment(model, tmp_path / "plane.fits", tmp_path / "out.fits")
    assert not (tmp_path / "out.fits").exists()


def test_the_verb_writes_what_the_function_writes(
    model: Model, trained_model: Callable[[str], Path], mosaic: np.ndarray, tmp_path: Path
) -> None:
    paths = [str(path) for path in write_bands(tmp_path, mosaic)]
    file = trained_model("segmentation") / "model.safetensors"
    assert cli.main(["segment", str(file), *paths, "--out", str(tmp_path / "verb.fits"), "--device", "cpu"]) == 0
    astrodl.segment(load_model(file, device="cpu"), paths, tmp_path / "function.fits", progress=False)
    assert (tmp_path / "verb.fits").read_bytes() == (tmp_path / "function.fits").read_bytes()


def test_damaged_images_are_refused_in_one_line(mosaic: np.ndarray, tmp_path: Path) -> None:
    paths, lines = write_bands(tmp_path, mosaic), list[str]()
    for content in damage(paths[1].read_bytes(), 60):
        paths[1].write_bytes(content)
        try:
            with FitsMosaic(paths, BANDS, "uJy") as opened:
                opened.read(slice(0, 9), slice(0, 9))
                opened.read(slice(-9, None), slice(0, 9))
        except DataError as error:
            lines.append(str(error))
    assert len(lines) > 20
    assert all(str(paths[1]) in line and "\n" not in line for line in lines)
