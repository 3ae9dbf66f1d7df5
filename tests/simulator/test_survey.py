"""Files of the simulated survey."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astrodl.atomic import _sweep, replacing
from astrodl.config import SimulateSettings
from astrodl.errors import ConfigError, DataError
from astrodl.simulator import survey as module
from astrodl.simulator.objects import FIELD_CENTRE, LABELS
from astrodl.simulator.population import CLASSES
from astrodl.simulator.survey import data_settings, simulate

SETTINGS = SimulateSettings(n_objects=54, size=32, bands=("F606W", "F775W"), oddity_fraction=0.3, seed=7)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("survey")
    assert simulate(SETTINGS, out, progress=False) == out / "catalog.fits"
    return out


def content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_the_folder_contains_only_the_documented_files(survey: Path) -> None:
    names = {f"SIM{number:06d}.fits" for number in range(SETTINGS.n_objects)}
    assert {path.name for path in survey.iterdir()} == {
        "catalog.fits",
        "clumps.fits",
        "images",
        "simulate.json",
        "truth",
    }
    assert {path.name for path in (survey / "images").iterdir()} == names
    assert {path.name for path in (survey / "truth").iterdir()} == names


def test_astropy_opens_cutouts_without_warnings(survey: Path) -> None:
    for folder, names in (
        ("images", ["F606W", "F775W", "PSF_F606W", "PSF_F775W"]),
        ("truth", ["BULGE", "DISK", "CLUMP", "SEGMENTATION"]),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with fits.open(survey / folder / "SIM000003.fits") as hdus:
                hdus.verify("exception")
                assert [hdu.name for hdu in hdus[1:]] == names
                types = {name: ">i2" if name == "SEGMENTATION" else ">f4" for name in names}
                assert all(hdu.data.dtype == np.dtype(types[hdu.name]) for hdu in hdus[1:])


def test_headers_contain_unit_zero_point_and_position(survey: Path) -> None:
    row = Table.read(survey / "catalog.fits")[3]
    with fits.open(survey / "images" / "SIM000003.fits") as hdus:
        header = hdus["F775W"].header
        assert header["BUNIT"] == "electron/s"
        assert header["MAGZERO"] == pytest.approx(25.67, abs=0.01)
        wcs = WCS(header)
        ra, dec = wcs.pixel_to_world_values(15.5, 15.5)
        assert (float(ra), float(dec)) == pytest.approx((row["ra"], row["dec"]), abs=1e-8)
        east, north = wcs.pixel_to_world_values(14.5, 16.5)
        assert east > ra
        assert north > dec
        assert np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600 == pytest.approx(0.06)
        psf = hdus["PSF_F775W"].data
        assert psf.shape == (25, 25)
        assert psf.sum() == pytest.approx(1.0, abs=1e-5)
        assert np.unravel_index(psf.argmax(), psf.shape) == (12, 12)


def test_the_catalogue_contains_the_truth_with_units_and_descriptions(survey: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = Table.read(survey / "catalog.fits")
    assert table.colnames[0] == "object_id"
    assert set(table["class"]) <= set(CLASSES)
    assert table["radius_arcsec"].unit == "arcsec"
    assert all(column.description for column in table.itercols())
    assert table.meta["TRUBAND"] == "F775W"
    assert np.all((table["bt"] >= 0) & (table["bt"] <= 1))
    assert np.all(np.abs(table["ra"] - FIELD_CENTRE[0]) < 1.01)
    assert np.all(np.abs(table["dec"] - FIELD_CENTRE[1]) < 1.0)
    # astropy reads empty text as masked.
    assert 0.1 < np.mean(table["oddity"].filled("") != "") < 0.55


def test_truth_maps_agree_with_the_magnitude(survey: Path) -> None:
    for row in Table.read(survey / "catalog.fits"):
        with fits.open(survey / "truth" / f"{row['object_id']}.fits") as hdus:
            counts = sum(hdus[label.upper()].data.sum() for label in LABELS)
            magnitude = hdus["BULGE"].header["MAGZERO"] - 2.5 * np.log10(counts)
        # Large galaxies extend beyond this small cutout.
        assert -0.05 < magnitude - row["magnitude"] < 1.0


def test_files_do_not_depend_on_the_number_of_workers(survey: Path, tmp_path: Path) -> None:
    simulate(SETTINGS, tmp_path, workers=2, progress=False)
    assert content(tmp_path) == content(survey)


def test_two_processes_that_simulate_into_one_folder_take_turns(survey: Path, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from astrodl.config import SimulateSettings\n"
        "from astrodl.simulator.survey import simulate\n"
        "simulate(SimulateSettings.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]), progress=False)\n"
    )
    words = [sys.executable, "-c", code, SETTINGS.model_dump_json(), str(tmp_path)]
    running = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    messages = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sorted(messages) == ["", f"{tmp_path}: another process simulates here; waiting for it\n"]
    assert content(tmp_path) == content(survey)


def test_files_of_a_killed_run_are_swept(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    few = SETTINGS.model_copy(update={"n_objects": 2})
    (tmp_path / "images").mkdir()
    with replacing(tmp_path / "images" / "SIM000001.fits") as mine:
        mine.touch()
    (tmp_path / "images" / mine.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-")).touch()
    _sweep.cache_clear()
    simulate(few, tmp_path, progress=False)
    assert {path.name for path in (tmp_path / "images").iterdir()} == {"SIM000000.fits", "SIM000001.fits"}


def test_a_worker_that_dies_is_an_error_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_write_block", _die)
    with pytest.raises(DataError, match="finished blocks are kept; use fewer workers"):
        simulate(SETTINGS, tmp_path, workers=2, progress=False)


def _die(*arguments: object) -> int:
    os._exit(9)


def test_an_interrupted_run_resumes_to_the_same_files(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 20)
    made: list[int] = []
    write = module.Simulator.write

    def record(simulator: module.Simulator, number: int, out: Path) -> dict[str, object]:
        made.append(number)
        return write(simulator, number, out)

    def fail(simulator: module.Simulator, number: int, out: Path) -> dict[str, object]:
        if number == 47:
            raise KeyboardInterrupt
        return record(simulator, number, out)

    monkeypatch.setattr(module.Simulator, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        simulate(SETTINGS, tmp_path, progress=False)
    assert not (tmp_path / "catalog.fits").exists()
    made.clear()
    monkeypatch.setattr(module.Simulator, "write", record)
    simulate(SETTINGS, tmp_path, progress=False)
    assert made == list(range(40, 54))
    assert content(tmp_path) == content(survey)
    made.clear()
    simulate(SETTINGS, tmp_path, progress=False)
    assert made == []
    assert not (tmp_path / "blocks").exists()


def test_a_missing_file_is_written_again(survey: Path, tmp_path: Path) -> None:
    few = SETTINGS.model_copy(update={"n_objects": 3})
    simulate(few, tmp_path, progress=False)
    before = content(tmp_path)
    (tmp_path / "truth" / "SIM000001.fits").unlink()
    simulate(few, tmp_path, progress=False)
    assert content(tmp_path) == before
    assert before["images/SIM000001.fits"] == content(survey)["images/SIM000001.fits"]


def test_other_settings_start_again(tmp_path: Path) -> None:
    few = SETTINGS.model_copy(update={"n_objects": 3})
    simulate(few, tmp_path, progress=False)
    before = content(tmp_path)
    simulate(few.model_copy(update={"seed": 8, "n_objects": 2}), tmp_path, progress=False)
    after = content(tmp_path)
    assert "images/SIM000002.fits" not in after
    assert after["images/SIM000001.fits"] != before["images/SIM000001.fits"]


def test_ground_based_bands_with_another_pixel_scale(tmp_path: Path) -> None:
    settings = SimulateSettings(
        n_objects=2, size=24, pixel_scale_arcsec=0.2, bands=("LSST_u", "LSST_r", "LSST_y"), magnitude_limit=23.0
    )
    simulate(settings, tmp_path, progress=False)
    with fits.open(tmp_path / "images" / "SIM000000.fits") as hdus:
        assert [hdu.name for hdu in hdus[1:4]] == ["LSST_u", "LSST_r", "LSST_y"]
        assert all(np.isfinite(hdu.data).all() for hdu in hdus[1:])
    assert data_settings(settings, tmp_path).bands[1].name == "LSST_r"


def test_a_survey_without_oddities_has_an_empty_oddity_column(tmp_path: Path) -> None:
    simulate(SETTINGS.model_copy(update={"n_objects": 2, "oddity_fraction": 0.0}), tmp_path, progress=False)
    assert list(fits.getdata(tmp_path / "catalog.fits")["oddity"]) == ["", ""]


def test_the_progress_bar_counts_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulate(SETTINGS.model_copy(update={"n_objects": 2}), tmp_path, progress=True)
    assert "2/2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": ("F606W", "F999W")}, "simulate.bands: band 'F999W' is not known"),
        ({"truth_band": "F160W"}, "simulate.truth_band: band 'F160W' is not among the survey's bands"),
    ],
)
def test_invalid_bands_are_refused_before_files_are_written(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(SETTINGS.model_copy(update=change), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
