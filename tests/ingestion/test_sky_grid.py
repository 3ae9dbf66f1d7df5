"""Objects are where astropy says, in any frame, order of axes and distortion."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS, DistortionLookupTable, Sip
from astropy.wcs.utils import skycoord_to_pixel

from astrodl.errors import DataError
from astrodl.fits import UnreadableError
from astrodl.ingestion.ingest import ingest
from astrodl.ingestion.sky_grid import read_sky_grid
from astrodl.store import BAND_FLAGS, open_store
from tests.ingestion.test_mosaic import mosaic_settings
from tests.ingestion.toy import quarantine

SHAPE = (150, 210)
PIXELS = np.array([[60.0, 50.0], [120.3, 99.6], [30.2, 110.4]])
"""Column and row of the objects."""
SIZE = 32


def make_wcs(axes: tuple[str, str] = ("RA---TAN", "DEC--TAN"), **cards: Any) -> WCS:
    header = fits.Header({"CTYPE1": axes[0], "CTYPE2": axes[1], "CRPIX1": 105.5, "CRPIX2": 75.5, **cards})
    latitude_first = axes[0][:3] in ("DEC", "GLA")
    header["CRVAL1"], header["CRVAL2"] = (2.0, 150.0) if latitude_first else (150.0, 2.0)
    header.update({"CD1_1": -5e-5, "CD1_2": 1e-5, "CD2_1": 2e-5, "CD2_2": 6e-5})
    return WCS(header)


def draw(noise: float = 0.1) -> np.ndarray:
    """Draw a star at each of `PIXELS`."""
    y, x = np.indices(SHAPE)
    image = np.random.default_rng(3).normal(0, noise, SHAPE)
    for column, row in PIXELS:
        image += 100 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 8)
    return image.astype(np.float32)


def write_catalog(root: Path, wcs: WCS) -> SkyCoord:
    sky = wcs.pixel_to_world(*PIXELS.T).icrs
    Table({"objid": ["a", "b", "c"], "ra": sky.ra.deg, "dec": sky.dec.deg}).write(root / "catalog.fits", overwrite=True)
    return sky


def with_tables(kind: str) -> WCS:
    """Return a WCS with lookup tables that move positions by up to eight pixels."""
    wcs = make_wcs()
    y, x = np.indices((16, 22))
    for axis in (1, 2):
        values = (6 * np.sin(x / 5 + axis) + 2 * np.cos(y / 4)).astype(np.float32)
        setattr(wcs, f"{kind}{axis}", DistortionLookupTable(values, (1.0, 1.0), (1.0, 1.0), (10.0, 10.0)))
    return wcs


def with_sip(size: float = 4.0) -> WCS:
    wcs = make_wcs(("RA---TAN-SIP", "DEC--TAN-SIP"))
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    a[2, 0], a[1, 1], b[0, 2], b[1, 1] = size / 1e4, size / 2e4, -size / 1e4, size / 2e4
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def write(path: Path, image: np.ndarray, wcs: WCS, compressed: bool = False) -> None:
    hdus = wcs.to_fits(relax=True)
    header = hdus[0].header
    image_hdu: Any = fits.ImageHDU(image, header, name="SCI")
    if compressed:
        image_hdu = fits.CompImageHDU(image, header, name="SCI", compression_type="GZIP_2", quantize_level=0.0)
    fits.HDUList([fits.PrimaryHDU(), image_hdu, *hdus[1:]]).writeto(path)


WORLDS = {
    "FK4": make_wcs(RADESYS="FK4", EQUINOX=1950.0),
    "FK5 of another equinox": make_wcs(RADESYS="FK5", EQUINOX=1975.0),
    "FK5 by EQUINOX": make_wcs(EQUINOX=2000.0),
    "FK4 by EPOCH": make_wcs(EPOCH=1950.0),
    "galactic": make_wcs(("GLON-TAN", "GLAT-TAN")),
    "latitude first": make_wcs(("DEC--TAN", "RA---TAN")),
    "galactic, latitude first": make_wcs(("GLAT-CAR", "GLON-CAR")),
    "lookup tables": with_tables("cpdis"),
    "lookup tables of the detector": with_tables("det2im"),
    "SIP": with_sip(),
}


@pytest.mark.parametrize("wcs", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_cutouts_are_centred_where_astropy_says(wcs: WCS, compressed: bool, tmp_path: Path) -> None:
    image = draw()
    write(tmp_path / "g.fits", image, wcs, compressed)
    write_catalog(tmp_path, wcs)
    ingest(mosaic_settings(tmp_path, extension="SCI"), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        assert len(store) == len(PIXELS)
        for index, (column, row) in enumerate(np.rint(PIXELS).astype(int)):
            expected = image[row - 16 : row + 16, column - 16 : column + 16]
            np.testing.assert_array_equal(store.images([index])[0, 0], expected)


@pytest.mark.parametrize("name", WORLDS)
def test_pixels_equal_those_of_astropy(name: str) -> None:
    wcs = WORLDS[name]
    hdus = wcs.to_fits(relax=True)
    grid = read_sky_grid(hdus[0].header, hdus)
    assert grid is not None
    sky = wcs.pixel_to_world(*PIXELS.T).icrs
    np.testing.assert_allclose(grid.to_pixel(sky.ra.deg, sky.dec.deg), wcs.world_to_pixel(sky), atol=1e-5)
    np.testing.assert_allclose(grid.to_pixel(sky.ra.deg, sky.dec.deg), PIXELS.T, atol=1e-3)
    np.testing.assert_allclose(grid.to_pixel(*grid.to_sky(*PIXELS.T), grid.frame), PIXELS.T, atol=1e-3)
    box = grid.shifted(20, -30)
    np.testing.assert_allclose(box.world_to_pixel(sky), (PIXELS + np.array([30, -20])).T, atol=1e-3)


@pytest.mark.parametrize("name", ["FK4", "latitude first", "galactic", "lookup tables"])
def test_bands_of_other_frames_are_brought_to_one_grid(name: str, tmp_path: Path) -> None:
    """Each object has the same centroid in both bands."""
    reference = make_wcs()
    sky = write_catalog(tmp_path, reference)
    write(tmp_path / "g.fits", draw(0), reference)
    other = WORLDS[name].deepcopy()
    if name != "lookup tables":
        centre = sky[0].transform_to(WORLDS[name].pixel_to_world(0, 0).frame)
        values = [centre.spherical.lon.deg, centre.spherical.lat.deg]
        other.wcs.crval = values[::-1] if name == "latitude first" else values
    y, x = np.indices(SHAPE)
    columns, rows = other.world_to_pixel(sky)
    image = sum(np.exp(-((x - column) ** 2 + (y - row) ** 2) / 8) for column, row in zip(columns, rows, strict=True))
    write(tmp_path / "r.fits", np.asarray(image, np.float32), other)
    ingest(mosaic_settings(tmp_path, extension="SCI", bands=[{"name": "g"}, {"name": "r"}]), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        inside = np.flatnonzero(np.isin(store.band_flags[:, 1], [0, BAND_FLAGS["reprojected"]]))
        assert 0 in inside
        images = store.images(inside).astype(np.float64)
        row, column = np.indices((SIZE, SIZE))
        for axis in (row, column):
            centroid = (images * axis).sum((2, 3)) / images.sum((2, 3))
            np.testing.assert_allclose(centroid[:, 1], centroid[:, 0], atol=0.05)


FRAME = ("RADESYS", "RADECSYS", "EQUINOX", "EPOCH")
FK4, FK5 = {"RADESYS": "FK4", "EQUINOX": 1950.0}, {"RADESYS": "FK5", "EQUINOX": 1975.0}


def split_header(own: dict[str, Any], primary: dict[str, Any], *, solution_in: int = 1, n_images: int = 1) -> Any:
    """Return a file with a solution in the primary header or the extensions, and cards of the frame in either."""
    solution = make_wcs().to_header()
    for key in FRAME:
        solution.remove(key, ignore_missing=True)
    images = [fits.ImageHDU(draw(), name="SCI", ver=number + 1) for number in range(n_images)]
    hdus = fits.HDUList([fits.PrimaryHDU(), *images])
    for hdu in hdus[:1] if solution_in == 0 else hdus[1:]:
        hdu.header.update(solution)
    hdus[0].header.update(primary)
    hdus[1].header.update(own)
    return hdus


@pytest.mark.parametrize(
    ("own", "primary", "frame"),
    [
        ({}, FK4, FK4),
        ({}, {"EQUINOX": 1950.0}, {"EQUINOX": 1950.0}),
        ({}, {"RADECSYS": "FK5", "EQUINOX": 1975}, FK5),
        ({}, {"EPOCH": 1950.0}, {"EQUINOX": 1950.0}),
        ({}, {"EPOCH": 1998.3}, {}),
        ({"RADESYS": "FK5"}, FK5, FK5),
        ({"EQUINOX": 1975.0}, FK5, FK5),
        ({"INHERIT": True}, FK4, FK4),
        ({"INHERIT": False}, FK4, {}),
        (FK5, FK4, FK5),
        ({"RADESYS": "ICRS"}, FK4, {"RADESYS": "ICRS"}),
    ],
)
def test_an_extension_inherits_the_frame_of_the_primary_header(
    own: dict[str, Any], primary: dict[str, Any], frame: dict[str, Any]
) -> None:
    hdus = split_header(own, primary)
    sky = SkyCoord(150.0 + np.array([0.0, 0.6]), 2.0 + np.array([0.0, -0.3]), unit="deg")
    completed = fits.Header({**split_header({}, {})[1].header, **frame})
    grid = read_sky_grid(hdus[1].header, hdus)
    assert grid is not None
    np.testing.assert_allclose(
        grid.to_pixel(sky.ra.deg, sky.dec.deg), skycoord_to_pixel(sky, WCS(completed)), atol=1e-5
    )


@pytest.mark.parametrize(
    ("own", "primary"), [({"RADESYS": "FK5"}, FK4), ({"EQUINOX": 2000.0}, FK4), ({"RADESYS": "FK4"}, FK5)]
)
def test_a_frame_of_two_contradicting_headers_is_refused(own: dict[str, Any], primary: dict[str, Any]) -> None:
    hdus = split_header(own, primary)
    with pytest.raises(UnreadableError, match="which frame is meant cannot be told; write RADESYS and EQUINOX"):
        read_sky_grid(hdus[1].header, hdus)


@pytest.mark.parametrize(
    ("own", "n_images", "found"),
    [({}, 1, True), ({}, 2, False), ({"INHERIT": True}, 2, True), ({"INHERIT": False}, 1, False)],
)
def test_a_solution_in_the_primary_header_counts_for_the_only_image(
    own: dict[str, Any], n_images: int, found: bool
) -> None:
    hdus = split_header(own, FK5, solution_in=0, n_images=n_images)
    grid = read_sky_grid(hdus[1].header, hdus)
    assert (grid is not None) == found
    if grid is not None:
        sky = SkyCoord(150.01, 2.01, unit="deg")
        expected = skycoord_to_pixel(sky, make_wcs(**FK5))
        np.testing.assert_allclose(np.ravel(grid.to_pixel(sky.ra.deg, sky.dec.deg)), expected, atol=1e-5)


@pytest.mark.parametrize("missing", ["table", "frame"])
def test_coordinates_that_cannot_be_used_are_refused_with_the_reason(missing: str, tmp_path: Path) -> None:
    wcs = WORLDS["lookup tables"]
    write_catalog(tmp_path, wcs)
    header = wcs.to_fits()[0].header
    if missing == "frame":
        header = make_wcs(RADESYS="GAPPT").to_header()
    fits.PrimaryHDU(draw(), header).writeto(tmp_path / "g.fits")
    with pytest.raises(DataError, match="WCSDVARR" if missing == "table" else "frame .* not known"):
        ingest(mosaic_settings(tmp_path), tmp_path / "store.h5")


def test_a_distortion_without_solution_is_refused_and_a_far_object_is_outside(tmp_path: Path) -> None:
    wcs = with_sip(80.0)
    write(tmp_path / "g.fits", draw(), wcs)
    sky = wcs.wcs_pix2world([[105.0, 75.0], [150.0, 40.0], [-80.0, 140.0], [9000.0, 75.0]], 0)
    Table({"objid": list("abcd"), "ra": sky[:, 0], "dec": sky[:, 1]}).write(tmp_path / "catalog.fits")
    ingest(mosaic_settings(tmp_path, extension="SCI", max_bad_fraction=0.9), tmp_path / "store.h5")
    reasons = {row["object_id"]: row["reason"] for row in quarantine(tmp_path)}
    assert "distortion of the image has no solution" in reasons["c"]
    assert "outside" in reasons["d"]
    assert not {"a"} & set(reasons)


@pytest.mark.parametrize(("extension", "factor"), [("SCI,2", 2), ("sci, 1", 1), ("SCI", 1), ("4", 2)])
def test_extensions_of_one_name_are_told_apart_by_their_version(extension: str, factor: int, tmp_path: Path) -> None:
    header = make_wcs().to_header()
    images = [fits.ImageHDU(k * draw(), header, name="SCI", ver=k) for k in (1, 2)]
    errors = [fits.ImageHDU(0 * draw(), name="ERR", ver=k) for k in (1, 2)]
    lookup = fits.ImageHDU(np.ones((5, 5)), name="WCSDVARR")
    fits.HDUList([fits.PrimaryHDU(), images[0], errors[0], lookup, images[1], errors[1]]).writeto(tmp_path / "g.fits")
    write_catalog(tmp_path, make_wcs())
    ingest(mosaic_settings(tmp_path, extension=extension), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        np.testing.assert_array_equal(store.images([0])[0, 0], factor * draw()[34:66, 44:76])


def test_a_missing_version_is_told_with_the_images_that_exist(tmp_path: Path) -> None:
    header = make_wcs().to_header()
    images = [fits.ImageHDU(draw(), header, name="SCI", ver=k) for k in (1, 2)]
    fits.HDUList([fits.PrimaryHDU(), *images, fits.ImageHDU(np.ones((5, 5)), name="D2IMARR")]).writeto(
        tmp_path / "g.fits"
    )
    write_catalog(tmp_path, make_wcs())
    with pytest.raises(DataError, match=r"'SCI,3' is in none of the 3 .*\(they have SCI,1, SCI,2\)"):
        ingest(mosaic_settings(tmp_path, extension="SCI,3"), tmp_path / "store.h5")


def test_the_reason_is_not_the_extension_if_the_objects_lie_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "g.fits", draw(), make_wcs())
    Table({"objid": ["a", "b"], "ra": [20.0, 30.0], "dec": [-40.0, 60.0]}).write(tmp_path / "catalog.fits")
    with pytest.raises(DataError, match=r"outside|no place"):
        ingest(mosaic_settings(tmp_path, extension="SCI"), tmp_path / "store.h5")


def test_images_of_different_shapes_without_coordinates_are_not_compared(tmp_path: Path) -> None:
    fits.PrimaryHDU(draw()).writeto(tmp_path / "g.fits")
    fits.PrimaryHDU(draw()[:, 5:]).writeto(tmp_path / "r.fits")
    Table({"objid": ["a"], "x": [60.0], "y": [50.0]}).write(tmp_path / "catalog.fits")
    values = mosaic_settings(tmp_path, x_column="x", y_column="y", bands=[{"name": "g"}, {"name": "r"}])
    with pytest.raises(DataError, match="205 x 150 pixels, the reference band 210 x 150"):
        ingest(values, tmp_path / "store.h5")


@pytest.mark.parametrize(("key", "value"), [("CRVAL1", "NaN"), ("CRPIX2", "10.5"), ("CD1_1", True), ("EQUINOX", "now")])
def test_cards_of_a_solution_that_are_not_numbers_are_refused(key: str, value: Any) -> None:
    """wcslib reads 0, or another default, in their place."""
    hdu = fits.PrimaryHDU(np.zeros((4, 4)), make_wcs().to_header())
    hdu.header[key] = value
    with pytest.raises(UnreadableError, match=f"{key} is .*, not a number"):
        read_sky_grid(hdu.header, fits.HDUList([hdu]))


@pytest.mark.parametrize(("text", "frame"), [("B1950", "fk4"), ("J2000", "fk5"), ("1975.0", "fk4")])
def test_an_equinox_may_be_text(text: str, frame: str) -> None:
    hdu = fits.PrimaryHDU(np.zeros((4, 4)), make_wcs().to_header())
    del hdu.header["RADESYS"]
    hdu.header["EQUINOX"] = text
    grid = read_sky_grid(hdu.header, fits.HDUList([hdu]))
    assert grid is not None
    assert grid.frame.name == frame
