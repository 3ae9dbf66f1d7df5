import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astrodl.config import IngestSettings
from astrodl.errors import ConfigError, DataError, StoreError
from astrodl.ingestion.ingest import ingest
from astrodl.store import FLAGS, check, open_store
from tests.ingestion.toy import N, catalog, image_file, quarantine, settings, write_object


def damage(kind: str, survey: Path) -> None:
    """Make the file of the fourth object unusable."""
    path = image_file(survey, 3)
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "web page":
        path.write_text("<html>404 Not Found</html>")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "directory":
        path.unlink()
        path.mkdir()
    elif kind == "dangling link":
        path.unlink()
        path.symlink_to("nowhere.fits")
    elif kind == "link out":
        path.unlink()
        path.symlink_to("/etc/hostname")
    else:
        damage_content(kind, path)


def damage_content(kind: str, path: Path) -> None:
    with fits.open(path, mode="update") as file:
        if kind == "all nan":
            file["g"].data[:] = np.nan
            file["r"].data[:] = np.inf
        elif kind == "one-dimensional":
            file["g"].data = np.zeros(50, np.float32)
        elif kind == "other size":
            file["r"].data = np.zeros((5, 9), np.float32)
        elif kind == "no zero point":
            del file["r"].header["MAGZERO"]
        elif kind == "no band":
            del file["g"], file["r"]


REASONS = {
    "missing": "does not exist",
    "truncated": "cut short",
    "web page": "not a FITS file",
    "empty": "is empty",
    "directory": "not a file",
    "dangling link": "does not exist",
    "link out": "leads out of data.root",
    "all nan": "NaN, infinite or masked",
    "one-dimensional": "two-dimensional image is needed",
    "other size": "9 x 5 pixels, band g has 32 x 32",
    "no zero point": "no zero point in the header",
    "no band": "none of the bands is in the file",
}


@pytest.mark.parametrize("kind", sorted(REASONS))
def test_an_unusable_object_is_quarantined_and_the_others_are_ingested(kind: str, survey: Path, tmp_path: Path) -> None:
    damage(kind, survey)
    summary = ingest(settings(survey), tmp_path / "store.h5")
    assert (summary["n_objects"], summary["n_refused"]) == (N - 1, 1)
    (line,) = quarantine(tmp_path)
    assert str(line["object_id"]) == str(catalog()["objid"][3])
    assert REASONS[kind] in line["reason"]
    assert line["file"].startswith("images/")
    with open_store(tmp_path / "store.h5") as store:
        assert len(store) == N - 1
        assert line["object_id"] not in store.object_id
    assert check(tmp_path / "store.h5") == []


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../../secret", "nul\0"])
def test_a_path_that_leaves_the_root_is_quarantined(name: str, survey: Path, tmp_path: Path) -> None:
    write_object(tmp_path / "secret.fits", 0)
    table = Table.read(survey / "catalog.fits")
    table["file"] = [f"images/{objid}" for objid in table["objid"]]
    table["file"] = table["file"].astype(object)
    table["file"][2] = name
    table["file"] = table["file"].astype(str)
    table.write(survey / "catalog.ecsv")
    summary = ingest(settings(survey, catalog="catalog.ecsv", path="{file}.fits"), tmp_path / "store.h5")
    assert summary["n_refused"] == 1
    expected = ("leads out of data.root", "does not exist")
    assert any(text in quarantine(tmp_path)["reason"][0] for text in expected)


def test_a_missing_band_keeps_the_object_with_a_flag(survey: Path, tmp_path: Path) -> None:
    write_object(image_file(survey, 3), 3, bands="r")
    summary = ingest(settings(survey), tmp_path / "store.h5", strict=True)
    assert summary["n_refused"] == 0
    assert summary["flags"]["missing_band"] == 1
    with open_store(tmp_path / "store.h5") as store:
        assert store.flags[3] & FLAGS["missing_band"]
        image = store.images([3])[0]
        assert np.isnan(image[0]).all()
        assert np.isfinite(image[1]).all()
        assert np.isnan(store.features(["colour_g_r_ap6"], [3]))


def expect_error(folder: Path, values: IngestSettings, match: str, **options: Any) -> None:
    """Check for an error of one line, and no store."""
    before = set(os.listdir(folder))
    with pytest.raises(DataError, match=match) as caught:
        ingest(values, folder / "store.h5", **options)
    assert "\n" not in str(caught.value)
    assert set(os.listdir(folder)) - before <= {"quarantine.ecsv"}


def test_too_many_unusable_objects_are_refused(survey: Path, tmp_path: Path) -> None:
    for number in range(4):
        image_file(survey, number).write_bytes(b"broken")
    expect_error(
        tmp_path,
        settings(survey, max_bad_fraction=0.2),
        r"4 of 12 objects cannot be used, at most 20% may \(4 times: not",
    )
    assert len(quarantine(tmp_path)) == 4


def test_strict_refuses_a_single_unusable_object(survey: Path, tmp_path: Path) -> None:
    image_file(survey, 1).write_bytes(b"broken")
    expect_error(tmp_path, settings(survey), r"1 of 12 objects cannot be used, none with --strict may", strict=True)


def test_if_no_object_can_be_read_the_first_reason_is_shown(survey: Path, tmp_path: Path) -> None:
    expect_error(
        tmp_path, settings(survey, path="pictures/{objid}.fits"), r"none of the 12 objects .* the file does not exist"
    )


def test_a_wrong_extension_name_lists_the_existing_ones(survey: Path, tmp_path: Path) -> None:
    bands = [{"name": "g"}, {"name": "r", "extension": "SCI_R"}]
    expect_error(
        tmp_path, settings(survey, bands=bands), r"band 'r': extension 'SCI_R' is in none .* \(they have G, R\)"
    )
    bands = [{"name": "F606W"}, {"name": "F814W"}]
    expect_error(
        tmp_path, settings(survey, bands=bands), r"band 'F606W': extension 'F606W' is in none .* \(they have G, R\)"
    )


def test_a_band_without_any_file_is_named(survey: Path, tmp_path: Path) -> None:
    bands = [{"name": "g"}, {"name": "r", "path": "other/{objid}.fits"}]
    expect_error(tmp_path, settings(survey, bands=bands), r"band 'r': none of the 12 objects has a usable image")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"catalog": "absent.fits"}, "no such catalogue"),
        ({"catalog": "catalog.doc"}, "unknown table format; accepted suffixes are .csv, "),
        ({"id_column": "name"}, r"column 'name' \(data.id_column\) is not in the catalogue \(has objid, ra, dec"),
        ({"columns": {"z": "zphot"}}, r"column 'zphot' \(data.columns.z\) is not in the catalogue"),
        ({"path": "images/{nowhere}.fits"}, r"column 'nowhere' \(data.path\)"),
        ({"ra_column": "kind", "dec_column": "dec"}, "column 'kind' holds text"),
        ({"id_column": "kind", "path": "x"}, r"'kind' is not unique: E, S"),
        ({"id_column": "dec", "path": "x"}, "fractional"),
    ],
)
def test_a_wrong_setting_gives_an_error_of_one_line(
    change: dict[str, Any], match: str, survey: Path, tmp_path: Path
) -> None:
    expect_error(tmp_path, settings(survey, **change), match)


def test_a_missing_folder_or_variable_gives_an_error_of_one_line(survey: Path, tmp_path: Path) -> None:
    expect_error(tmp_path, settings(survey / "absent"), "no such folder")
    with pytest.raises(ConfigError, match="ASTRODL_NOT_SET is not set"):
        ingest(settings(Path("$ASTRODL_NOT_SET")), tmp_path / "store.h5")


def test_an_empty_or_damaged_catalogue_gives_an_error_of_one_line(survey: Path, tmp_path: Path) -> None:
    catalog()[:0].write(survey / "none.fits")
    expect_error(tmp_path, settings(survey, catalog="none.fits"), "the catalogue is empty")
    (survey / "bad.fits").write_bytes((survey / "catalog.fits").read_bytes()[:3000])
    expect_error(tmp_path, settings(survey, catalog="bad.fits"), "not readable as fits")
    (survey / "bad.ecsv").write_text("hello\n")
    expect_error(tmp_path, settings(survey, catalog="bad.ecsv"), "not readable as ascii.ecsv")


def test_a_failed_ingestion_keeps_the_previous_store(survey: Path, tmp_path: Path) -> None:
    ingest(settings(survey), tmp_path / "store.h5")
    content = (tmp_path / "store.h5").read_bytes()
    image_file(survey, 1).write_bytes(b"broken")
    with pytest.raises(DataError):
        ingest(settings(survey), tmp_path / "store.h5", strict=True)
    assert (tmp_path / "store.h5").read_bytes() == content


def test_a_wrong_extension_of_a_band_file_lists_the_existing_ones(survey: Path, tmp_path: Path) -> None:
    bands = [{"name": "g", "extension": "G"}, {"name": "r", "extension": "SCI"}]
    expect_error(
        tmp_path, settings(survey, layout="files", bands=bands), r"extension 'SCI' is in none .* \(they have G, R\)"
    )


@pytest.mark.parametrize("name", ["catalog.fits", "quarantine.ecsv"])
def test_a_catalogue_is_not_replaced_by_an_output(name: str, survey: Path) -> None:
    table = Table.read(survey / "catalog.fits")
    (survey / "catalog.fits").unlink()
    table.write(survey / name)
    content = (survey / name).read_bytes()
    store = survey / (name if name == "catalog.fits" else "store.h5")
    with pytest.raises(DataError, match=f"{name}: is the catalogue and would be replaced; give the store another fold"):
        ingest(settings(survey, catalog=name), store)
    assert (survey / name).read_bytes() == content


def test_images_are_not_replaced_by_the_store(survey: Path) -> None:
    for path in (image_file(survey, 0), survey / "images.h5"):
        if not path.exists():
            with h5py.File(path, "w") as file:
                file["image"] = np.zeros((12, 2, 32, 32))
        content = path.read_bytes()
        with pytest.raises(StoreError, match="exists and is not a store; give another path, or remove it"):
            ingest(settings(survey), path)
        assert path.read_bytes() == content
