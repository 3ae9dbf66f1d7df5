"""Every file of the awkward corpus, and every other real one, gets a verdict; what astropy reads is read the same."""

import csv
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from astrodl.fits import header
from astrodl.fits.file import FitsFile, UnreadableError, open_fits, pixel_scale_arcsec, read_bytes
from tests.conftest import ROOT

DATA = Path(os.environ.get("ASTRODL_TEST_DATA", ROOT.parent / "shared" / "data"))
CORPUS = DATA / "awkward_fits"
COMPARED_BYTES = 600_000
SUFFIXES = (".fits", ".fit", ".fz", ".gz", ".bz2", ".z")
TECHNICAL = ("Traceback", "Error", "None", "ndarray", "NoneType", "0x")


def manifest() -> list[dict[str, str]]:
    """Read the list of awkward files; empty where the data are absent."""
    if not (CORPUS / "manifest.csv").is_file():
        return []
    with open(CORPUS / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


ROWS = manifest()
absent = pytest.mark.skipif(not ROWS, reason=f"no real data in {CORPUS}: set ASTRODL_TEST_DATA")


def images(path: Path) -> list[np.ndarray]:
    """Read all images of a file."""
    file = open_fits(read_bytes(path))
    return [file.pixels(hdu) for hdu in file.hdus if hdu.is_image]


def astropys(path: Path) -> list[np.ndarray]:
    """Read all images as astropy does, as float32 with NaN for what is not finite."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        with fits.open(path) as file:
            read = [np.array(hdu.data, np.float32) for hdu in file if hdu.is_image and hdu.data is not None]
    return [np.where(np.isfinite(image), image, np.float32(np.nan)) for image in read]


def assert_same_bits(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    """Compare bit for bit; axes of one pixel in front do not count, nor does which NaN it is."""
    assert len(ours) == len(theirs)
    for image, other in zip(ours, theirs, strict=True):
        assert image.dtype == np.float32
        assert image.size == other.size
        nan = np.float32(np.nan)
        one, two = (np.where(np.isnan(values), nan, values).ravel() for values in (image, other))
        assert one.astype(np.float32).tobytes() == two.astype(np.float32).tobytes()


@absent
@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_an_awkward_file_is_read_as_astropy_reads_it_or_refused_in_words(row: dict[str, str]) -> None:
    path = CORPUS / "files" / row["name"]
    readable = row["opens"] == "True" and "DATA-ERR" not in row["notes"]
    if readable:
        ours = images(path)
        if int(row["bytes"]) < COMPARED_BYTES and "ood_v1" not in row["name"]:  # 264 MB once unpacked
            assert_same_bits(ours, astropys(path))
        return
    with pytest.raises(UnreadableError) as refused:
        images(path)
    reason = str(refused.value)
    assert len(reason.split()) >= 4
    assert not any(word in reason for word in TECHNICAL), reason


@absent
def test_other_real_files_are_read_as_astropy_reads_them() -> None:
    paths = [path for path in sorted(DATA.rglob("*")) if path.suffix in SUFFIXES and CORPUS not in path.parents]
    some = [path for path in paths if path.stat().st_size < COMPARED_BYTES and "csv" not in path.name][::3]
    assert len(some) > 20
    for path in some:
        assert_same_bits(images(path), astropys(path))


@absent
def test_a_recognised_layout_is_the_parsed_one_for_all_real_files() -> None:
    header._known.clear()
    recognised = 0
    for path in sorted(path for path in DATA.rglob("*") if path.suffix in SUFFIXES):
        try:
            data = read_bytes(path)
            layout, _ = header.parse(data)
        except UnreadableError:
            continue
        known = len(data) in header._known
        assert header.find_units(data).units == layout.units, path.name
        recognised += known and header._known[len(data)].layout.units == layout.units
    assert recognised > 50  # the files of a survey are of one length


def test_the_files_of_a_simulated_survey_share_one_layout(tmp_path: Path) -> None:
    from astrodl.simulator.write import Image, write_cutout

    rng = np.random.default_rng(1)
    layouts = []
    for number in range(3):
        planes = [
            Image(name, rng.normal(size=(9, 9)).astype(np.float32), {"CRVAL1": (number / 7, "")}) for name in "gr"
        ]
        write_cutout(tmp_path / "a.fits", {"OBJECT": (f"S{number}", "")}, planes)
        data = read_bytes(tmp_path / "a.fits")
        assert_same_bits(images(tmp_path / "a.fits"), astropys(tmp_path / "a.fits"))
        layouts.append(header.find_units(data))
        assert layouts[-1].units == header.parse(data)[0].units
        assert FitsFile(data, layouts[-1]).find("r").header["CRVAL1"] == pytest.approx(number / 7)
    assert layouts[0] is layouts[1] is layouts[2]


@absent
def test_pixel_scales_of_real_files_are_those_of_astropy() -> None:
    scales = 0
    for path in sorted(path for path in DATA.rglob("*") if path.suffix in SUFFIXES and "csv" not in path.name)[::2]:
        try:
            hdus = open_fits(read_bytes(path)).hdus
        except UnreadableError:
            continue
        for hdu in [hdu for hdu in hdus if hdu.is_image][:2]:
            expected = astropys_scale(hdu.header)
            if expected is not None:
                assert pixel_scale_arcsec(hdu) == pytest.approx(expected, rel=1e-9), path.name
                scales += 1
    assert scales > 20


def astropys_scale(header: fits.Header) -> float | None:
    """Give the pixel scale that wcslib finds, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wcs = WCS(header, naxis=2)
        except (ValueError, KeyError):
            return None
        return 3600 * float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) if wcs.has_celestial else None
