import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from astrodl.errors import DataError
from astrodl.ingestion.ingest import ingest
from astrodl.store import FLAGS, SPLITS, check, open_store
from tests.ingestion.toy import SIZE, N, catalog, galaxy, image_file, quarantine, settings, write_object


def test_calibrated_pixels_columns_and_identifiers_reach_the_store(survey: Path, tmp_path: Path) -> None:
    columns = {"z": "z_spec", "class": "kind", "visits": "n_visits"}
    options = {"columns": columns, "replace": {"class": {"S": "spiral"}}, "ra_column": "ra", "dec_column": "dec"}
    summary = ingest(settings(survey, **options), tmp_path / "store.h5")
    assert check(tmp_path / "store.h5") == []
    with open_store(tmp_path / "store.h5") as store:
        assert (store.unit, store.survey, store.bands) == ("uJy", "toy", ("g", "r"))
        assert store.pixel_scale_arcsec == pytest.approx(0.1)
        np.testing.assert_allclose(store.zero_points, [25, 26])
        factor = 10 ** (-0.4 * (25 - 23.9))
        np.testing.assert_allclose(store.images([3])[0, 0], galaxy(3) * factor, rtol=1e-5)
        np.testing.assert_allclose(store.sky_sigma[:, 0], factor, rtol=0.25)
        assert store.object_id[0] == "587722981733826738"
        assert list(store.column("class", [0, 1])) == ["E", "spiral"]
        assert np.isnan(store.column("z")[1])
        assert np.isnan(store.column("visits")[2])
        np.testing.assert_allclose(store.column("ra"), catalog()["ra"])
        assert "concentration" in store.feature_names
        assert "r50_arcsec" in store.feature_names
        assert summary["split"] == {name: int((store.split == k).sum()) for k, name in enumerate(SPLITS)}
    assert summary["n_objects"] == N
    assert json.loads((tmp_path / "ingest.json").read_text()) == summary
    assert len(quarantine(tmp_path)) == 0


@pytest.mark.parametrize("name", ["catalog.ecsv", "catalog.csv", "catalog.vot", "catalog.csv.gz"])
def test_every_catalogue_format_gives_the_same_objects(name: str, survey: Path, tmp_path: Path) -> None:
    table = Table.read(survey / "catalog.fits")
    if name.endswith("gz"):
        text = io.StringIO()
        table.write(text, format="ascii.csv")
        (survey / name).write_bytes(gzip.compress(text.getvalue().encode()))
    else:
        table.write(survey / name, format="votable" if name.endswith("vot") else None)
    options = {"columns": {"z": "z_spec", "class": "kind"}}
    ingest(settings(survey, **options), tmp_path / "a.h5")
    ingest(settings(survey, catalog=name, **options), tmp_path / "b.h5")
    with open_store(tmp_path / "a.h5") as first, open_store(tmp_path / "b.h5") as second:
        np.testing.assert_array_equal(first.object_id, second.object_id)
        np.testing.assert_array_equal(first.column("class"), second.column("class"))
        np.testing.assert_allclose(first.column("z"), second.column("z"))


def test_identifiers_in_text_tables_keep_leading_zeros(tmp_path: Path) -> None:
    (tmp_path / "catalog.csv").write_text("name\n" + "".join(f"00{k}\n" for k in range(6)))
    for number in range(6):
        write_object(tmp_path / "images" / f"00{number}.fits", number)
    options = {"catalog": "catalog.csv", "id_column": "name", "path": "images/{name}.fits"}
    ingest(settings(tmp_path, **options, split={"test": 0, "validation": 0}), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        assert list(store.object_id) == [f"00{k}" for k in range(6)]


def test_one_file_per_object_and_band(survey: Path, tmp_path: Path) -> None:
    for number, name in enumerate(catalog()["objid"]):
        for band in "gr":
            fits.PrimaryHDU(galaxy(number) + (band == "r")).writeto(survey / f"{name}_{band}.fits")
    options = {"layout": "files", "path": "{objid}_{band}.fits"}
    ingest(settings(survey, **options), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        np.testing.assert_array_equal(store.images([4])[0], np.stack([galaxy(4), galaxy(4) + 1]))
        assert store.unit == "relative"
        assert store.pixel_scale_arcsec is None


def test_one_cube_per_object(survey: Path, tmp_path: Path) -> None:
    for number, name in enumerate(catalog()["objid"]):
        cube = np.stack([galaxy(number) + plane for plane in range(4)])
        fits.PrimaryHDU(cube[np.newaxis]).writeto(survey / f"{name}.fits")
    bands = [{"name": "r", "plane": 3, "zero_point": 23.9}, {"name": "g", "plane": 1, "zero_point": 23.9}]
    ingest(settings(survey, layout="cube", path="{objid}.fits", bands=bands), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        np.testing.assert_allclose(store.images([4])[0], np.stack([galaxy(4) + 3, galaxy(4) + 1]), rtol=1e-6)
        assert store.unit == "uJy"


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_rgb_images_have_their_bottom_row_first(suffix: str, survey: Path, tmp_path: Path) -> None:
    for name in catalog()["objid"]:
        pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
        pixels[: SIZE // 2] = (200, 100, 50)  # the upper half of the displayed image
        Image.fromarray(pixels).save(survey / f"{name}.{suffix}")
    bands = [{"name": name} for name in ("red", "green", "blue")]
    ingest(settings(survey, layout="rgb", path=f"{{objid}}.{suffix}", bands=bands), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        image = store.images([0])[0]
        np.testing.assert_allclose(image[:, -1, 5], [200, 100, 50], atol=3)
        np.testing.assert_allclose(image[:, 0, 5], 0, atol=3)


@pytest.mark.parametrize(("size", "flag"), [(51, 0), (40, 0), (25, FLAGS["padded"]), (20, FLAGS["padded"])])
def test_crop_and_pad_preserve_the_central_pixel(size: int, flag: int, survey: Path, tmp_path: Path) -> None:
    for number, name in enumerate(catalog()["objid"]):
        image = np.zeros((size, size), np.float32) + np.random.default_rng(number).normal(size=(size, size)) * 0.01
        image[size // 2, size // 2] = 1000
        fits.PrimaryHDU(image.astype(np.float32)).writeto(survey / f"{name}.fits")
    ingest(settings(survey, layout="files", path="{objid}.fits", bands=[{"name": "g"}]), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        image = store.images([0])[0, 0]
        assert np.unravel_index(np.nanargmax(image), image.shape) == (SIZE // 2, SIZE // 2)
        assert np.isfinite(image).sum() == min(size, SIZE) ** 2
        assert (store.flags & FLAGS["padded"] == flag).all()


def test_rebinning_conserves_flux_and_doubles_the_pixel_scale(survey: Path, tmp_path: Path) -> None:
    ingest(settings(survey, rebin=2, size=16), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        factor = 10 ** (-0.4 * (25 - 23.9))
        assert store.images([2])[0, 0].sum() == pytest.approx(galaxy(2).sum() * factor, rel=1e-4)
        assert store.pixel_scale_arcsec == pytest.approx(0.2)


def test_the_border_background_is_subtracted_and_stored(survey: Path, tmp_path: Path) -> None:
    for number, name in enumerate(catalog()["objid"]):
        fits.PrimaryHDU(galaxy(number) + 500).writeto(survey / f"{name}.fits")
    options = {"layout": "files", "path": "{objid}.fits", "bands": [{"name": "g"}], "background": "border"}
    ingest(settings(survey, **options), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        np.testing.assert_allclose(store.background, 500, atol=0.5)
        np.testing.assert_allclose(store.images([0])[0, 0] + store.background[0], galaxy(0) + 500, rtol=1e-5)


def test_missing_pixels_stay_nan_and_are_flagged(survey: Path, tmp_path: Path) -> None:
    with fits.open(image_file(survey, 3), mode="update") as file:
        file["g"].data[:, :5] = np.nan
        file["r"].data[:3] = 0
    ingest(settings(survey, zero_is_missing=True), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        assert store.flags[3] == FLAGS["partial_coverage"]
        assert store.flags[4] == 0
        image = store.images([3])[0]
        assert np.isnan(image[0, :, :5]).all()
        assert np.isnan(image[1, :3]).all()


def test_labels_have_the_unit_of_the_images(survey: Path, tmp_path: Path) -> None:
    names = catalog()["objid"]
    for number, name in enumerate(names[:-1]):
        hdu = fits.ImageHDU(galaxy(number), name="BULGE")
        hdu.header["MAGZERO"] = 25.0
        (survey / "truth").mkdir(exist_ok=True)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(survey / "truth" / f"{name}.fits")
    labels = {"path": "truth/{objid}.fits", "extensions": {"bulge": "BULGE"}}
    summary = ingest(settings(survey, labels=labels), tmp_path / "store.h5")
    assert summary["labelled"] == {"bulge": N - 1}
    with open_store(tmp_path / "store.h5") as store:
        np.testing.assert_allclose(store.label("bulge", [2])[0], store.images([2])[0, 0], rtol=1e-5)
        assert np.isnan(store.label("bulge", [N - 1])).all()
    labels = {"path": "truth/{objid}.fits", "extensions": {"bulge": "BULDGE"}}
    with pytest.raises(DataError, match="label 'bulge' is in none of the files"):
        ingest(settings(survey, labels=labels), tmp_path / "other.h5")
    assert not (tmp_path / "other.h5").exists()


def test_moving_the_data_does_not_change_the_store(survey: Path, tmp_path: Path) -> None:
    ingest(settings(survey), tmp_path / "a.h5")
    survey.rename(tmp_path / "elsewhere")
    ingest(settings(tmp_path / "elsewhere"), tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_the_progress_bar_goes_to_the_standard_error(
    survey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest(settings(survey), tmp_path / "store.h5", progress=True)
    shown = capsys.readouterr()
    assert "12/12" in shown.err
    assert shown.out == ""
