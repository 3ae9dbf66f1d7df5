import csv
import gzip
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astrodl.survey.fits import (
    FitsFile,
    MissingExtensionError,
    UnreadableError,
    open_fits,
    pixel_scale_arcsec,
    read_bytes,
    to_microjansky,
    zero_point,
)

TYPES = ["u1", "i2", "i4", "i8", "u2", "u4", "f4", "f8"]


def written(*hdus: fits.ImageHDU) -> bytes:
    buffer = io.BytesIO()
    fits.HDUList([*hdus]).writeto(buffer)
    return buffer.getvalue()


def primary(values: np.ndarray, **cards: object) -> bytes:
    hdu = fits.PrimaryHDU(values)
    hdu.header.update(cards)
    return written(hdu)


def only(data: bytes) -> np.ndarray:
    file = open_fits(data)
    return file.pixels(file.hdus[0])


@pytest.mark.parametrize("kind", TYPES)
def test_every_pixel_type_is_read_as_astropy_reads_it(kind: str) -> None:
    values = np.random.default_rng(0).integers(0, 200, (5, 7)).astype(kind)
    np.testing.assert_array_equal(only(primary(values)), values.astype(np.float32))


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=9)))
@settings(max_examples=30, deadline=None)
def test_what_astropy_writes_is_read_back(values: np.ndarray) -> None:
    image = only(primary(values))
    expected = np.where(np.isfinite(values), values, np.nan)
    while expected.ndim > 2 and expected.shape[0] == 1:
        expected = expected[0]
    np.testing.assert_array_equal(image, expected)


def test_blank_and_infinite_pixels_are_nan() -> None:
    values = np.arange(6, dtype=np.int16).reshape(2, 3)
    image = only(primary(values, BLANK=4))
    assert np.isnan(image[1, 1])
    assert np.isnan(image).sum() == 1
    assert np.isnan(only(primary(np.array([[1.0, np.inf], [-np.inf, 1e300]])))).sum() == 3


def test_scaled_integers_are_unscaled() -> None:
    hdu = fits.PrimaryHDU(np.arange(6, dtype=np.int16).reshape(2, 3))
    data = written(hdu)
    data = data.replace(
        b"END" + b" " * 77, b"BSCALE  = 0.5".ljust(80) + b"BZERO   = 1.0D1".ljust(80) + b"END".ljust(80), 1
    )
    data = data[:2880] + data[2880 + 160 :]
    np.testing.assert_allclose(only(data), np.arange(6).reshape(2, 3) * 0.5 + 10)


def test_a_tile_compressed_image_is_unpacked() -> None:
    values = np.arange(64 * 64, dtype=np.int32).reshape(64, 64)
    data = written(fits.PrimaryHDU(), fits.CompImageHDU(values, name="g", compression_type="RICE_1"))
    file = open_fits(data)
    np.testing.assert_array_equal(file.pixels(file.find("g")), values)


def bands() -> FitsFile:
    images = [
        fits.ImageHDU(np.full((4, 4), k, np.float32), name=name) for k, name in enumerate(["U", "KS", "SCI", "SCI"])
    ]
    images[3].ver = 2
    return open_fits(written(fits.PrimaryHDU(), *images))


@pytest.mark.parametrize(("extension", "value"), [("u", 0), ("Ks", 1), (2, 1), ("sci", 2), ("SCI,2", 3)])
def test_extensions_are_found_by_name_version_and_number(extension: str | int, value: int) -> None:
    file = bands()
    assert (file.pixels(file.find(extension)) == value).all()


def test_a_missing_extension_lists_the_others() -> None:
    with pytest.raises(MissingExtensionError, match=r"no extension 'z' \(images in the file: U, KS, SCI, SCI\)"):
        bands().find("z")
    with pytest.raises(UnreadableError, match="holds no image"):
        bands().find("PRIMARY")


def test_the_first_image_of_the_right_dimension_is_chosen() -> None:
    cube = fits.ImageHDU(np.zeros((3, 4, 4), np.float32), name="CUBE")
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(3))])
    file = open_fits(written(fits.PrimaryHDU(), table, cube, fits.ImageHDU(np.zeros((4, 4), np.float32), name="FLAT")))
    assert file.first_image(2).name == "FLAT"
    assert file.first_image(3).name == "CUBE"


def test_a_header_that_promises_more_than_the_file_holds_is_refused_before_reading() -> None:
    data = primary(np.zeros((10, 10), np.float32)).replace(
        b"NAXIS1  =                   10", b"NAXIS1  =           4000000000"
    )
    with pytest.raises(UnreadableError, match="cut short: extension 'PRIMARY' should hold 4000000000 x 10 pixels"):
        only(data)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused_whole(fraction: float) -> None:
    data = written(fits.PrimaryHDU(), *[fits.ImageHDU(np.zeros((50, 50), np.float32), name=name) for name in "gri"])
    file = open_fits(data[: int(len(data) * fraction)])
    with pytest.raises(UnreadableError, match="cut short"):
        file.pixels(file.find("i"))


def complaint(data: bytes) -> str:
    """Read all there is to read; gives the reason where the file is refused."""
    try:
        file = open_fits(data)
        for hdu in file.hdus:
            if hdu.is_image:
                file.pixels(hdu)
                pixel_scale_arcsec(hdu)
            zero_point(hdu, file.hdus[0])
    except UnreadableError as error:
        return str(error)
    return ""


@given(st.binary(max_size=6000), st.integers(0, 5760), st.booleans())
@settings(max_examples=150, deadline=None)
def test_no_bytes_bring_it_down(noise: bytes, position: int, keep: bool) -> None:
    data = primary(np.zeros((20, 20), np.float32))
    data = data[:position] + noise + data[position + len(noise) :] if keep else noise
    assert "\n" not in complaint(data)


def test_compressed_files_are_told_by_their_content(tmp_path: Path) -> None:
    data = primary(np.ones((4, 4), np.float32))
    path = tmp_path / "a.fits"
    path.write_bytes(gzip.compress(data))
    assert read_bytes(path) == data
    path.write_bytes(gzip.compress(data)[:-50])
    with pytest.raises(UnreadableError, match="cut short or damaged"):
        read_bytes(path)


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.fits.gz"
    path.write_bytes(gzip.compress(bytes(1_000_000)))
    monkeypatch.setattr("astrodl.survey.fits_bytes.MAX_BYTES", 500_000)
    with pytest.raises(UnreadableError, match="unpacks to more"):
        read_bytes(path)


def test_missing_empty_and_strange_files_have_their_own_words(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="does not exist"):
        read_bytes(tmp_path / "absent.fits")
    with pytest.raises(UnreadableError, match="not a file"):
        read_bytes(tmp_path)
    (tmp_path / "empty.fits").touch()
    with pytest.raises(UnreadableError, match="empty"):
        read_bytes(tmp_path / "empty.fits")
    with pytest.raises(UnreadableError, match="not a FITS file"):
        open_fits(b"<html>404</html>")


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"MAGZERO": 0.0}, 0.0),
        ({"MAGZPT": 25.5}, 25.5),
        ({"ZP": 27}, 27.0),
        ({"BUNIT": "uJy"}, 23.9),
        ({"BUNIT": "nanomaggies"}, 22.5),
        ({"BUNIT": "Jy/beam"}, None),
        ({"MAGZERO": "unknown"}, None),
        ({}, None),
    ],
)
def test_zero_points_are_found_where_surveys_put_them(cards: dict[str, object], expected: float | None) -> None:
    file = open_fits(primary(np.zeros((4, 4), np.float32), **cards))
    assert zero_point(file.hdus[0], file.hdus[0]) == expected


def test_the_zero_point_of_acs_f814w_is_that_of_its_handbook() -> None:
    # ACS/WFC F814W, 2006-07: PHOTFLAM 7.033e-20, PHOTPLAM 8045.5 -> AB 25.95.
    cards = {"PHOTFLAM": 7.033186e-20, "PHOTPLAM": 8045.49, "BUNIT": "ELECTRONS/S"}
    file = open_fits(primary(np.zeros((4, 4), np.float32), **cards))
    assert zero_point(file.hdus[0], file.hdus[0]) == pytest.approx(25.946, abs=0.005)


def test_an_ab_magnitude_of_23_9_is_one_microjansky() -> None:
    assert to_microjansky(23.9) == pytest.approx(1.0)
    assert 10 ** (-0.4 * 20.0) * to_microjansky(0.0) == pytest.approx(36.3, rel=0.01)


def test_the_pixel_scale_comes_from_the_wcs() -> None:
    angle = np.radians(30)
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 5.0, "CRPIX1": 2.0, "CRPIX2": 2.0}
    scale = 0.06 / 3600
    cards |= {"CD1_1": -scale * np.cos(angle), "CD1_2": scale * np.sin(angle)}
    cards |= {"CD2_1": scale * np.sin(angle), "CD2_2": scale * np.cos(angle)}
    assert pixel_scale_arcsec(open_fits(primary(np.zeros((4, 4)), **cards)).hdus[0]) == pytest.approx(0.06)
    assert pixel_scale_arcsec(open_fits(primary(np.zeros((4, 4)))).hdus[0]) is None


def verdict(path: Path) -> list[np.ndarray] | None:
    try:
        file = open_fits(read_bytes(path))
        return [file.pixels(hdu) for hdu in file.hdus if hdu.is_image]
    except UnreadableError:
        return None


def test_awkward_files_all_have_astropys_verdict(test_data: Path) -> None:
    folder = test_data / "awkward_fits"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    with open(folder / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        images = verdict(folder / "files" / row["name"])
        assert (images is not None) == (row["opens"] == "True" and "DATA-ERR" not in row["notes"]), row["name"]
        if images is not None and int(row["bytes"]) < 200_000:
            compare_with_astropy(folder / "files" / row["name"], images)


def compare_with_astropy(path: Path, images: list[np.ndarray]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path) as file:
            expected = [np.array(hdu.data, np.float32) for hdu in file if hdu.is_image and hdu.data is not None]
    assert len(images) == len(expected), path.name
    for image, other in zip(images, expected, strict=True):
        np.testing.assert_array_equal(image, np.where(np.isfinite(other), other, np.nan).reshape(image.shape))
