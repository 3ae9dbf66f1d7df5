"""Real files, among them a collection of awkward ones: read as astropy reads them, or refused with a clear reason."""

import csv
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from astrodl.fits import FitsFile, UnreadableError, header, open_fits, pixel_scale_arcsec, read_bytes
from tests.conftest import ROOT

DATA = Path(os.environ.get("ASTRODL_TEST_DATA", ROOT.parent / "shared" / "data"))
CORPUS = DATA / "awkward_fits"
COMPARED_BYTES = 600_000
SUFFIXES = (".fits", ".fit", ".fz", ".gz", ".bz2", ".z")
TECHNICAL = ("Traceback", "Error", "None", "ndarray", "NoneType", "0x")


def manifest() -> list[dict[str, str]]:
    """Read the list of awkward files; empty if there are no test data."""
    if not (CORPUS / "manifest.csv").is_file():
        return []
    with open(CORPUS / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


ROWS = manifest()
needs_data = pytest.mark.skipif(not ROWS, reason=f"no real data in {CORPUS}: set ASTRODL_TEST_DATA")


def images(path: Path) -> list[np.ndarray]:
    """Read all images of a file."""
    file = open_fits(read_bytes(path))
    return [file.pixels(hdu) for hdu in file.hdus if hdu.is_image]


def images_by_astropy(path: Path) -> list[np.ndarray]:
    """Read all images with astropy, as float32 with NaN for values that are not finite."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        with fits.open(path) as file:
            read = [np.array(hdu.data, np.float32) for hdu in file if hdu.is_image and hdu.data is not None]
    return [np.where(np.isfinite(image), image, np.float32(np.nan)) for image in read]


def assert_same_bits(images: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Compare bit for bit, except for leading axes of length one and the payload of NaN."""
    assert len(images) == len(expected)
    for image, other in zip(images, expected, strict=True):
        assert image.dtype == np.float32
        assert image.size == other.size
        nan = np.float32(np.nan)
        one, two = (np.where(np.isnan(values), nan, values).ravel() for values in (image, other))
        assert one.astype(np.float32).tobytes() == two.astype(np.float32).tobytes()


@needs_data
@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_an_awkward_file_is_read_as_by_astropy_or_refused_with_a_clear_reason(row: dict[str, str]) -> None:
    path = CORPUS / "files" / row["name"]
    readable = row["opens"] == "True" and "DATA-ERR" not in row["notes"]
    if readable:
        read = images(path)
        if int(row["bytes"]) < COMPARED_BYTES and "ood_v1" not in row["name"]:  # 264 MB when decompressed
            assert_same_bits(read, images_by_astropy(path))
        return
    with pytest.raises(UnreadableError) as refused:
        images(path)
    reason = str(refused.value)
    assert len(reason.split()) >= 4
    assert not any(word in reason for word in TECHNICAL), reason


@needs_data
def test_other_real_files_are_read_as_by_astropy() -> None:
    paths = [path for path in sorted(DATA.rglob("*")) if path.suffix in SUFFIXES and CORPUS not in path.parents]
    sample = [path for path in paths if path.stat().st_size < COMPARED_BYTES and "csv" not in path.name][::3]
    assert len(sample) > 20
    for path in sample:
        assert_same_bits(images(path), images_by_astropy(path))


@needs_data
def test_a_cached_layout_equals_the_parsed_layout_for_all_real_files() -> None:
    header._known_layouts.clear()
    n_cached = 0
    for path in sorted(path for path in DATA.rglob("*") if path.suffix in SUFFIXES):
        try:
            data = read_bytes(path)
            layout, _ = header.parse_layout(data)
        except UnreadableError:
            continue
        cached = len(data) in header._known_layouts
        assert header.find_layout(data).hdus == layout.hdus, path.name
        n_cached += cached and header._known_layouts[len(data)].layout.hdus == layout.hdus
    assert n_cached > 50  # the files of a survey have the same length


def test_the_files_of_a_simulated_survey_share_one_layout(tmp_path: Path) -> None:
    from astrodl.simulator.fits_writer import Image, write_cutout

    rng = np.random.default_rng(1)
    layouts = []
    for number in range(3):
        planes = [
            Image(name, rng.normal(size=(9, 9)).astype(np.float32), {"CRVAL1": (number / 7, "")}) for name in "gr"
        ]
        write_cutout(tmp_path / "a.fits", {"OBJECT": (f"S{number}", "")}, planes)
        data = read_bytes(tmp_path / "a.fits")
        assert_same_bits(images(tmp_path / "a.fits"), images_by_astropy(tmp_path / "a.fits"))
        layouts.append(header.find_layout(data))
        assert layouts[-1].hdus == header.parse_layout(data)[0].hdus
        assert FitsFile(data, layouts[-1]).find("r").header["CRVAL1"] == pytest.approx(number / 7)
    assert layouts[0] is layouts[1] is layouts[2]


@needs_data
def test_pixel_scales_of_real_files_equal_those_of_astropy() -> None:
    n_scales = 0
    for path in sorted(path for path in DATA.rglob("*") if path.suffix in SUFFIXES and "csv" not in path.name)[::2]:
        try:
            hdus = open_fits(read_bytes(path)).hdus
        except UnreadableError:
            continue
        for hdu in [hdu for hdu in hdus if hdu.is_image][:2]:
            expected = astropy_scale(hdu.header)
            if expected is not None:
                assert pixel_scale_arcsec(hdu) == pytest.approx(expected, rel=1e-9), path.name
                n_scales += 1
    assert n_scales > 20


def astropy_scale(header: fits.Header) -> float | None:
    """Return the pixel scale according to wcslib, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wcs = WCS(header, naxis=2)
        except (ValueError, KeyError):
            return None
        return 3600 * float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) if wcs.has_celestial else None
