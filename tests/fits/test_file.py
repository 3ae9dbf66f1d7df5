import io
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astrodl.fits import (
    FitsFile,
    MissingExtensionError,
    UnreadableError,
    open_fits,
    pixel_scale_arcsec,
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


def read_first(data: bytes) -> np.ndarray:
    file = open_fits(data)
    return file.pixels(file.hdus[0])


@pytest.mark.parametrize("dtype", TYPES)
def test_every_pixel_type_is_converted_to_float32(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 200, (5, 7)).astype(dtype)
    np.testing.assert_array_equal(read_first(primary(values)), values.astype(np.float32))


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=9)))
@settings(max_examples=30, deadline=None)
def test_images_written_by_astropy_are_read_back(values: np.ndarray) -> None:
    image = read_first(primary(values))
    expected = np.where(np.isfinite(values), values, np.nan)
    while expected.ndim > 2 and expected.shape[0] == 1:
        expected = expected[0]
    np.testing.assert_array_equal(image, expected)


def test_blank_and_infinite_pixels_are_nan() -> None:
    values = np.arange(6, dtype=np.int16).reshape(2, 3)
    image = read_first(primary(values, BLANK=4))
    assert np.isnan(image[1, 1])
    assert np.isnan(image).sum() == 1
    assert np.isnan(read_first(primary(np.array([[1.0, np.inf], [-np.inf, 1e300]])))).sum() == 3


def test_scaled_integers_are_unscaled() -> None:
    hdu = fits.PrimaryHDU(np.arange(6, dtype=np.int16).reshape(2, 3))
    data = written(hdu)
    data = data.replace(
        b"END" + b" " * 77, b"BSCALE  = 0.5".ljust(80) + b"BZERO   = 1.0D1".ljust(80) + b"END".ljust(80), 1
    )
    data = data[:2880] + data[2880 + 160 :]
    np.testing.assert_allclose(read_first(data), np.arange(6).reshape(2, 3) * 0.5 + 10)


def test_a_tile_compressed_image_is_decompressed() -> None:
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


def test_extensions_are_found_beside_tables_and_lookup_tables_of_the_wcs() -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])], name="SCI")
    lookups = [
        fits.ImageHDU(np.full((4, 4), k, np.float32), name=name) for k, name in ((7, "WCSDVARR"), (8, "D2IMARR"))
    ]
    images = [fits.ImageHDU(np.full((4, 4), k, np.float32), name=name) for k, name in ((1, "SCI"), (2, ""))]
    file = open_fits(written(fits.PrimaryHDU(), table, *lookups, *images))
    assert file.images == ["SCI", "5"]
    assert file.first_image(2).name == "SCI"
    assert (file.pixels(file.find("SCI")) == 1).all()
    assert (file.pixels(file.find("5")) == 2).all()  # the number as `images` lists it
    assert (file.pixels(file.find("WCSDVARR")) == 7).all()
    for extension in ("", ",1", "6", -1, "SCI,2"):
        with pytest.raises(MissingExtensionError):
            file.find(extension)


def test_a_missing_extension_lists_the_others() -> None:
    with pytest.raises(MissingExtensionError, match=r"no extension 'z' \(images in the file: U, KS, SCI,1, SCI,2\)"):
        bands().find("z")
    with pytest.raises(UnreadableError, match="holds no image"):
        bands().find("PRIMARY")


def test_the_first_image_of_the_right_dimension_is_chosen() -> None:
    cube = fits.ImageHDU(np.zeros((3, 4, 4), np.float32), name="CUBE")
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(3))])
    file = open_fits(written(fits.PrimaryHDU(), table, cube, fits.ImageHDU(np.zeros((4, 4), np.float32), name="FLAT")))
    assert file.first_image(2).name == "FLAT"
    assert file.first_image(3).name == "CUBE"


def test_a_header_with_a_larger_image_than_the_file_is_refused() -> None:
    data = primary(np.zeros((10, 10), np.float32)).replace(
        b"NAXIS1  =                   10", b"NAXIS1  =           4000000000"
    )
    with pytest.raises(UnreadableError, match="cut short: extension 'PRIMARY' should hold 4000000000 x 10 pixels"):
        read_first(data)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_an_image_beyond_the_end_of_a_truncated_file_is_refused(fraction: float) -> None:
    data = written(fits.PrimaryHDU(), *[fits.ImageHDU(np.zeros((50, 50), np.float32), name=name) for name in "gri"])
    file = open_fits(data[: int(len(data) * fraction)])
    with pytest.raises(UnreadableError, match="cut short"):
        file.pixels(file.find("i"))


def refusal(data: bytes) -> str:
    """Read the whole file; return the reason if it is refused."""
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
def test_arbitrary_bytes_raise_no_other_error(noise: bytes, position: int, keep: bool) -> None:
    data = primary(np.zeros((20, 20), np.float32))
    data = data[:position] + noise + data[position + len(noise) :] if keep else noise
    assert "\n" not in refusal(data)


def test_a_file_that_is_not_fits_is_described() -> None:
    for data, words in (
        (b"<html>404</html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "it is a pointer of Git LFS"),
        (b"../elsewhere.fits", r"starts with b'\.\./elsewhere.fi"),
    ):
        with pytest.raises(UnreadableError, match=f"not a FITS file .{words}"):
            open_fits(data)


def test_an_image_is_read_into_a_given_array() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    stack = np.zeros((2, 3, 4), np.float32)
    file = open_fits(primary(values))
    assert file.pixels(file.primary, out=stack[1]) is not None
    np.testing.assert_array_equal(stack, [np.zeros((3, 4)), values])
    with pytest.raises(UnreadableError, match="the image has 4 x 3 pixels, others have 3 x 4"):
        file.pixels(file.primary, out=np.zeros((4, 3), np.float32))


@pytest.mark.parametrize("dtype", TYPES)
def test_masks_keep_all_bits(dtype: str) -> None:
    largest = np.iinfo(dtype).max if dtype[0] in "ui" else 3
    values = np.array([[0, 1], [largest, largest - 1]], dtype)
    file = open_fits(primary(values))
    read = file.values(file.primary)
    assert read.dtype.kind == np.dtype(dtype).kind
    np.testing.assert_array_equal(read, values)


def test_compressed_masks_keep_all_bits() -> None:
    values = np.full((16, 16), 2**31 - 1, np.int32)
    file = open_fits(written(fits.PrimaryHDU(), fits.CompImageHDU(values, compression_type="GZIP_1")))
    np.testing.assert_array_equal(file.values(file.hdus[1]), values)


def test_with_a_gcount_of_zero_no_pixels_are_read_beyond_the_file() -> None:
    image = fits.ImageHDU(np.zeros((50, 50), np.float32))
    data = written(fits.PrimaryHDU(), image).replace(
        b"GCOUNT  =                    1", b"GCOUNT  =                    0"
    )
    with pytest.raises(UnreadableError, match="cut short"):
        open_fits(data[: 3 * 2880]).pixels(open_fits(data[: 3 * 2880]).hdus[1])


@pytest.mark.parametrize("axis", ["1" * 60, "9223372036854775807", "1099511627776"])
def test_a_header_that_declares_terabytes_is_refused_without_allocation(axis: str) -> None:
    data = primary(np.zeros((10, 10), np.float32)).replace(b"NAXIS1  =                   10 ", _card(axis), 1)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableError, match=r"cut short|more data than any disk can hold"):
            read_first(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def _card(axis: str) -> bytes:
    return f"NAXIS1  = {axis:>20} ".encode()


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"MAGZERO": 0.0}, 0.0),
        ({"MAGZPT": 25.5}, 25.5),
        ({"ZP": 27}, 27.0),
        ({"BUNIT": "uJy"}, 23.9),
        ({"BUNIT": "nanomaggies"}, 22.5),
        ({"MAGZP": 30.0}, 30.0),
        ({"MAG_ZP": 28.5}, 28.5),
        ({"ZEROPNT": 25}, 25.0),
        ({"MAGZERO": 26.0, "BUNIT": "uJy"}, 26.0),
        ({"FLUXMAG0": 1e10}, 25.0),
        ({"BUNIT": "nanomaggy"}, 22.5),
        ({"BUNIT": "nmgy/pixel"}, 22.5),
        ({"BUNIT": "maggies"}, 0.0),
        ({"BUNIT": "nJy pix-1"}, 31.4),
        ({"BUNIT": "Jy pixel**-1"}, 8.9),
        ({"BUNIT": "PJy"}, None),
        ({"BUNIT": "nJy"}, 31.4),
        ({"BUNIT": "NJY"}, 31.4),
        ({"BUNIT": "10*nJy"}, 28.9),
        ({"BUNIT": "10 nJy"}, 28.9),
        ({"BUNIT": "1e-6 Jy"}, 23.9),
        ({"BUNIT": "mJy"}, 16.4),
        ({"BUNIT": "MJy"}, -6.1),
        ({"BUNIT": "MJY"}, None),
        ({"BUNIT": "MJy/sr", "PIXAR_SR": 2.1e-14}, 8.9 - 2.5 * np.log10(2.1e-8)),
        ({"BUNIT": "MJy/sr"}, None),
        ({"BUNIT": "Jy/beam"}, None),
        ({"BUNIT": "electron/s"}, None),
        ({"BUNIT": "0*nJy"}, None),
        ({"MAGZERO": ""}, None),
        ({"MJD-OBS": 5.0}, None),
        ({"BUNIT": "erg/s/cm2/Hz"}, -48.6),
        ({"BUNIT": "erg s-1 cm-2 Hz-1"}, -48.6),
        ({"BUNIT": "ERGS/CM**2/S/HZ"}, -48.6),
        ({"BUNIT": "1e-29 erg/(s cm2 Hz)"}, 23.9),
        ({"BUNIT": "W m-2 Hz-1"}, -56.1),
        ({"BUNIT": "1e-17 erg/s/cm2/Angstrom", "PHOTPLAM": 5000.0}, 42.5 - 5 * np.log10(5000) - 2.408),
        ({"BUNIT": "ergs/cm2/s/A"}, None),
        ({"BUNIT": "erg/s/cm2/Hz/arcsec2"}, None),
        ({"BUNIT": "nanomaggies", "PHOTFLAM": 7e-20, "PHOTPLAM": 8000.0}, 22.5),
        ({"PHOTFLAM": 7e-20}, None),
    ],
)
def test_zero_points_are_found_in_the_usual_keywords(cards: dict[str, object], expected: float | None) -> None:
    file = open_fits(primary(np.zeros((4, 4), np.float32), **cards))
    assert zero_point(file.hdus[0], file.hdus[0]) == (None if expected is None else pytest.approx(expected))


def test_the_zero_point_of_acs_f814w_agrees_with_the_handbook() -> None:
    # ACS/WFC F814W, 2006-07: PHOTFLAM 7.033e-20, PHOTPLAM 8045.5 -> AB 25.95.
    cards = {"PHOTFLAM": 7.033186e-20, "PHOTPLAM": 8045.49, "BUNIT": "ELECTRONS/S"}
    file = open_fits(primary(np.zeros((4, 4), np.float32), **cards))
    assert zero_point(file.hdus[0], file.hdus[0]) == pytest.approx(25.946, abs=0.005)


COUNTS = ["ELECTRONS", "electron", "e-", "e", "COUNTS", "count", "ct", "cts", "DN", "ADU", "photons", "electron/pixel"]
RATES = ["ELECTRONS/S", "electron / s", "e-/s", "e/sec", "electron s-1", "electron s^-1", "ct s**-1", "counts/second"]
RATES += ["electrons per second", "cps", "DN/s", "adu/s", "e-/s/pix", "electron/(s pix)", "electron s^(-1)", ""]


@pytest.mark.parametrize("unit", [*COUNTS, *RATES])
def test_counts_of_hst_are_divided_by_the_exposure_time_of_the_primary_header(unit: str) -> None:
    """As in flc and drz files: PHOTFLAM and BUNIT are in the extension, EXPTIME is in the primary header."""
    photometry = {"PHOTFLAM": 7.033186e-20, "PHOTPLAM": 8045.49, "BUNIT": unit, "INHERIT": True}
    image = fits.ImageHDU(np.zeros((4, 4), np.float32), fits.Header(photometry), name="SCI")
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(header=fits.Header({"EXPTIME": 1000.0})), image]).writeto(buffer)
    file = open_fits(buffer.getvalue())
    expected = 25.946 + (7.5 if unit in COUNTS else 0)
    assert zero_point(file.find("SCI"), file.primary) == pytest.approx(expected, abs=0.005)


def test_cards_are_not_inherited_against_the_header() -> None:
    own, primary_cards = {"MAGZERO": 25.0, "INHERIT": False}, {"MAGZERO": 20.0, "EXPTIME": 10.0}
    hdu, first = SimpleNamespace(cards=own), SimpleNamespace(cards=primary_cards)
    assert zero_point(hdu, first) == 25.0
    del own["MAGZERO"]
    assert zero_point(hdu, first) is None
    assert zero_point(SimpleNamespace(cards={}), first) == 20.0


HST = {"PHOTFLAM": 7e-20, "PHOTPLAM": 8000.0}


@pytest.mark.parametrize(
    ("cards", "match"),
    [
        ({"MAGZERO": -99.0}, "MAGZERO is -99.0, accepted are AB magnitudes from -60 to 45"),
        ({"MAGZERO": 99.0}, "MAGZERO is 99.0"),
        ({"ZP": -999}, "ZP is -999"),
        ({"MAGZPT": 9999.0}, "MAGZPT is 9999.0"),
        ({"MAGZERO": True}, "MAGZERO is True"),
        ({"MAGZERO": "N/A"}, "MAGZERO is 'N/A'"),
        ({"MAGZERO": "25.5"}, "MAGZERO is '25.5'"),
        ({"FLUXMAG0": -1.0}, "FLUXMAG0 is -1.0"),
        ({"FLUXMAG0": 0.0, "BUNIT": "uJy"}, "FLUXMAG0 is 0.0"),
        ({**HST, "PHOTFLAM": 0.0}, "PHOTFLAM is 0.0"),
        ({**HST, "BUNIT": "ELECTRONS"}, "EXPTIME is missing"),
        ({**HST, "BUNIT": "ELECTRONS", "EXPTIME": 0.0}, "EXPTIME is 0.0"),
        ({**HST, "PHOTPLAM": 0.8}, "PHOTPLAM is 0.8, accepted are wavelengths in Angstrom, 100 or more"),
        ({**HST, "PHOTFLAM": 1e-40}, "PHOTFLAM is 78"),
        ({"FLUXMAG0": 1e-30}, "FLUXMAG0 is -75"),
        ({"BUNIT": "1e-40 Jy"}, "BUNIT is 108"),
        ({"BUNIT": "MJy/sr", "PIXAR_SR": 0.0}, "PIXAR_SR is 0.0"),
        *(({"BUNIT": unit, "MAGZERO": 25.0}, "pixels must be linear") for unit in ("mag", "ABmag/arcsec2", "dex")),
        ({**HST, "BUNIT": "UNKNOWN"}, "BUNIT is 'UNKNOWN', with PHOTFLAM counts or counts per second are accepted"),
    ],
)
def test_implausible_zero_points_are_refused(cards: dict[str, object], match: str) -> None:
    file = open_fits(primary(np.zeros((4, 4), np.float32), **cards))
    with pytest.raises(UnreadableError, match=match):
        zero_point(file.hdus[0], file.hdus[0])


def test_an_ab_magnitude_of_23_9_is_one_microjansky() -> None:
    assert to_microjansky(23.9) == pytest.approx(1.0)
    assert 10 ** (-0.4 * 20.0) * to_microjansky(0.0) == pytest.approx(36.3, rel=0.01)


def test_the_pixel_scale_is_read_from_the_wcs() -> None:
    angle = np.radians(30)
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 5.0, "CRPIX1": 2.0, "CRPIX2": 2.0}
    scale = 0.06 / 3600
    cards |= {"CD1_1": -scale * np.cos(angle), "CD1_2": scale * np.sin(angle)}
    cards |= {"CD2_1": scale * np.sin(angle), "CD2_2": scale * np.cos(angle)}
    assert pixel_scale_arcsec(open_fits(primary(np.zeros((4, 4)), **cards)).hdus[0]) == pytest.approx(0.06)
    assert pixel_scale_arcsec(open_fits(primary(np.zeros((4, 4)))).hdus[0]) is None


@pytest.mark.parametrize(
    "cards",
    [
        {"CDELT1": -2e-5, "CDELT2": 3e-5},
        {"CDELT1": -2e-5, "CDELT2": 3e-5, "CROTA2": 25.0},
        {"CDELT1": -2e-5, "CDELT2": 3e-5, "PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8},
        {"CD1_1": 1e-5, "CD2_1": 4e-6, "CD2_2": 2e-5},
        {"CUNIT1": "arcsec", "CUNIT2": "arcsec", "CDELT1": -0.2, "CDELT2": 0.2},
    ],
)
def test_the_pixel_scale_equals_that_of_astropy(cards: dict[str, object]) -> None:
    cards = {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": 10.0, "CRVAL2": 5.0, **cards}
    hdu = open_fits(primary(np.zeros((4, 4)), **cards)).hdus[0]
    expected = 3600 * np.sqrt(np.prod(proj_plane_pixel_scales(WCS(hdu.header))))
    assert pixel_scale_arcsec(hdu) == pytest.approx(expected, rel=1e-12)


def test_a_header_that_makes_wcslib_hang_has_a_pixel_scale() -> None:
    """A second NAXIS of thousands: wcslib uses the last and fills matrices of that size."""
    hdu = open_fits(primary(np.zeros((4, 4)), CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CDELT1=-1e-4, CDELT2=1e-4)).hdus[0]
    header = hdu.header
    header.append(("NAXIS", 32768))
    assert pixel_scale_arcsec(SimpleNamespace(header=header)) == pytest.approx(0.36)
