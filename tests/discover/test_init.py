import os
import runpy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from PIL import Image

from astrodl import cli
from astrodl.pipeline.schema import load_config
from tests.discover.toy import IDS, N, ingest, run, table, write
from tests.ingestion.toy import SIZE, galaxy


class TestLayouts:
    def test_extensions_per_band_with_redshifts_and_classes(self, tmp_path: Path, capsys: Any) -> None:
        z, kind = np.linspace(0.1, 1, N), ["E", "S"] * (N // 2)
        table(z_spec=z, morphology=kind).write(tmp_path / "catalog.csv")
        for k, number in enumerate(IDS):
            bands = [(name, galaxy(k), {"MAGZERO": zero}) for name, zero in (("R", 26.0), ("G", 25.0))]
            write(tmp_path / "cut" / f"{number}.fits", *bands)
        data = run(tmp_path, "cut/{id}.fits")
        assert (data["layout"], data["path"], data["id_column"]) == ("extensions", "cut/{number}.fits", "number")
        assert [band["name"] for band in data["bands"]] == ["G", "R"]
        assert data["columns"] == {"z": "z_spec", "class": "morphology"}
        assert list(load_config(tmp_path / "survey.yaml").tasks.model_dump(exclude_none=True)) == [
            *("photoz", "morphology", "latent", "outliers")
        ]
        with ingest(tmp_path) as store:
            assert (len(store), store.unit, store.bands) == (N, "uJy", ("G", "R"))
            assert list(store.zero_points) == [25, 26]
            np.testing.assert_allclose(np.sort(store.column("z")), z)
        assert "{id} is column 'number'" in capsys.readouterr().out
        text = (tmp_path / "survey.yaml").read_text()
        assert "# G: 32 x 32, zero point 25" in text

    @pytest.mark.parametrize(
        "template", ["src{id}.fits", "src{number}.fits", "src{number:04d}.fits", "src{number:0>4}.fits"]
    )
    def test_leading_zeros_of_numbers_in_file_names_are_found(self, template: str, tmp_path: Path) -> None:
        table().write(tmp_path / "catalog.csv")
        for k, number in enumerate(IDS[:20]):
            write(tmp_path / f"src{number:04d}.fits", ("g", galaxy(k), {}), ("r", galaxy(k), {}))
        data = run(tmp_path, template)
        assert data["path"] == "src{number:0>4}.fits"
        assert data["max_bad_fraction"] > 1 / 3
        with ingest(tmp_path) as store:
            assert len(store) == 20

    @pytest.mark.parametrize("template", ["{number}_{band}.fits", "{number}_*.fits", "{id}_{band}.fits"])
    def test_files_per_band_with_weights_and_masks_beside_them(self, template: str, tmp_path: Path) -> None:
        table().write(tmp_path / "catalog.csv")
        bad = np.zeros((SIZE, SIZE), np.int32)
        bad[0, :3] = 4
        for k, number in enumerate(IDS):
            for band in "gr":
                write(tmp_path / f"{number}_{band}.fits", ("", galaxy(k), {"MAGZERO": 25.0}))
                write(tmp_path / f"{number}_{band}_wht.fits", ("", np.full((SIZE, SIZE), 4, np.float32), {}))
                write(tmp_path / f"{number}_{band}_mask.fits", ("", bad, {}))
        data = run(tmp_path, template)
        assert data["path"] == "{number}_{band}.fits"
        assert data["noise"] == {"path": "{number}_{band}_wht.fits", "kind": "weight"}
        assert data["masks"] == [{"path": "{number}_{band}_mask.fits"}]
        with ingest(tmp_path) as store:
            assert store.planes == ("variance", "mask")
            assert np.isnan(store.images()[:, :, 0, :3]).all()
            assert np.isfinite(store.images()[:, :, 1:]).all()

    def test_a_cube_whose_header_names_the_bands(self, tmp_path: Path) -> None:
        table().write(tmp_path / "catalog.csv")
        for k, number in enumerate(IDS):
            cube = np.stack([galaxy(k), 2 * galaxy(k), 3 * galaxy(k)])
            fits.writeto(tmp_path / f"{number}.fits", cube, fits.Header({"BANDS": "zrg", "BUNIT": "nanomaggy"}))
        data = run(tmp_path, "{id}.fits")
        assert data["layout"] == "cube"
        assert data["bands"] == [{"name": "g", "plane": 2}, {"name": "r", "plane": 1}, {"name": "z", "plane": 0}]
        with ingest(tmp_path) as store:
            flux = store.images().sum(axis=(0, 2, 3))
            np.testing.assert_allclose(flux / flux[2], [3, 2, 1], rtol=1e-4)
            assert list(store.zero_points) == [22.5] * 3

    def test_one_file_with_an_extension_per_object(self, tmp_path: Path) -> None:
        order = np.random.default_rng(0).permutation(N) + 1
        table(GAL_HDU=order, PSF_HDU=order, PIXEL_SCALE=np.full(N, 0.03)).write(tmp_path / "catalog.csv")
        sizes = 20 + 2 * (np.arange(N) % 10)
        write(tmp_path / "all.fits", *[("", (k + 1) * galaxy(k, sizes[k]), {}) for k in range(N)])
        write(tmp_path / "all_psf.fits", *[("", np.eye(5, dtype=np.float32), {}) for k in range(N)])
        data = run(tmp_path, "all.fits")
        assert (data["layout"], data["extension"]) == ("files", "{GAL_HDU}")
        assert data["psf"] == {"path": "all_psf.fits", "extension": "{PSF_HDU}"}
        assert data["pixel_scale_arcsec"] == 0.03
        with ingest(tmp_path) as store:
            middle = store.images()[:, 0, 12:20, 12:20].mean(axis=(1, 2))
            assert np.corrcoef(middle, order)[0, 1] > 0.99

    def test_mosaics_with_coordinates_weights_and_flags(self, tmp_path: Path) -> None:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (
            ["RA---TAN", "DEC--TAN"],
            [30, 5],
            [99, 99],
            [-5e-5, 5e-5],
        )
        pixels = np.random.default_rng(1).uniform(20, 180, (N, 2))
        ra, dec = wcs.all_pix2world(pixels, 0).T
        table(ra=ra, dec=dec).write(tmp_path / "catalog.csv")
        sky = np.random.default_rng(2).normal(0, 1, (200, 200)).astype(np.float32)
        for x, y in pixels:
            sky[round(y), round(x)] += 500
        for band in "ri":
            write(tmp_path / "sky" / f"field_ooi_{band}.fits", ("SCI", sky, wcs.to_header()))
            write(tmp_path / "sky" / f"field_oow_{band}.fits", ("WHT", np.ones_like(sky), wcs.to_header()))
            write(tmp_path / "sky" / f"field_ood_{band}.fits", ("DQ", np.zeros(sky.shape, np.int16), wcs.to_header()))
        data = run(tmp_path, "sky/field_ooi_{band}.fits")
        assert (data["layout"], data["path"]) == ("mosaic", "sky/field_ooi_{band}.fits")
        assert data["noise"] == {"path": "sky/field_oow_{band}.fits", "kind": "weight"}
        assert data["masks"] == [{"path": "sky/field_ood_{band}.fits"}]
        assert "x_column" not in data
        with ingest(tmp_path) as store:
            assert store.pixel_scale_arcsec == pytest.approx(0.18, rel=1e-3)
            assert (store.images()[:, :, 32, 32] > 400).all()

    def test_mosaics_without_coordinates_need_pixels(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(1).integers(20, 180, (N, 2))
        Table({"number": IDS, "X_IMAGE": pixels[:, 0] + 1.0, "Y_IMAGE": pixels[:, 1] + 1.0}).write(
            tmp_path / "catalog.csv"
        )
        sky = np.random.default_rng(2).normal(0, 1, (200, 200)).astype(np.float32)
        sky[pixels[:, 1], pixels[:, 0]] += 500
        write(tmp_path / "sky.fits", ("g", sky, {}), ("r", sky, {}))
        data = run(tmp_path, "sky.fits")
        assert (data["x_column"], data["pixel_origin"]) == ("X_IMAGE", 1)
        with ingest(tmp_path) as store:
            assert store.bands == ("G", "R")
            assert (store.images()[:, :, 32, 32] > 400).all()

    def test_pictures(self, tmp_path: Path) -> None:
        table(kind=["E", "S", "S"] * (N // 3)).write(tmp_path / "catalog.csv")
        for number in IDS:
            Image.fromarray(np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8)).save(
                tmp_path / f"{number}.png"
            )
        data = run(tmp_path, "{number}.png")
        assert data["layout"] == "rgb"
        assert data["bands"][0] == {"name": "blue", "plane": 2}
        with ingest(tmp_path) as store:
            assert len(store) == N

    def test_arrays_of_all_objects(self, tmp_path: Path) -> None:
        table().write(tmp_path / "catalog.csv")
        images = np.stack([np.stack([galaxy(k), 2 * galaxy(k)]) for k in range(N)])
        with h5py.File(tmp_path / "all.h5", "w") as file:
            file["images"], file["ivar"] = images, np.ones_like(images)
            file.attrs["bands"] = ["g", "r"]
        data = run(tmp_path, "all.h5")
        assert (data["layout"], data["extension"]) == ("arrays", "images")
        assert data["noise"] == {"extension": "ivar", "kind": "weight"}
        assert data["bands"] == [{"name": "g"}, {"name": "r"}]
        with ingest(tmp_path) as store:
            np.testing.assert_array_equal(store.images(), images)

    def test_noise_of_each_band_among_the_extensions(self, tmp_path: Path) -> None:
        table().write(tmp_path / "catalog.csv")
        for k, number in enumerate(IDS):
            planes = [(name, galaxy(k), {}) for name in ("SCI_G", "SCI_R")]
            planes += [(name, np.ones((SIZE, SIZE), np.float32), {}) for name in ("ERR_G", "ERR_R")]
            write(tmp_path / f"{number}.fits", *planes)
        data = run(tmp_path, "{id}.fits")
        assert data["noise"] == {"extension": "ERR_{band}", "kind": "sigma"}
        assert [band["name"] for band in data["bands"]] == ["G", "R"]
        assert [band["extension"] for band in data["bands"]] == ["SCI_G", "SCI_R"]
        with ingest(tmp_path) as store:
            assert (store.plane("variance") == 1).all()

    def test_bits_that_most_pixels_have_do_not_mask(self, tmp_path: Path) -> None:
        table().write(tmp_path / "catalog.csv")
        mask = np.full((SIZE, SIZE), 32, np.int32)
        mask[0] |= 2
        for k, number in enumerate(IDS):
            write(tmp_path / f"{number}.fits", ("IMAGE", galaxy(k), {"FILTER": "r"}), ("MASK", mask, {}))
        data = run(tmp_path, "{id}.fits")
        assert data["masks"] == [{"extension": "MASK", "bits": [1]}]
        with ingest(tmp_path) as store:
            assert np.isfinite(store.images()[:, :, 1:]).all()

    def test_numbers_as_classes_get_names_that_can_be_changed(self, tmp_path: Path) -> None:
        table(**{"class": np.arange(N) % 3}).write(tmp_path / "catalog.csv")
        for k, number in enumerate(IDS):
            write(tmp_path / f"{number}.fits", ("g", galaxy(k), {}), ("r", galaxy(k), {}))
        assert run(tmp_path, "{id}.fits")["replace"] == {"class": {"0": "0", "1": "1", "2": "2"}}
        with ingest(tmp_path) as store:
            assert set(store.column("class")) == {"0", "1", "2"}

    def test_a_single_band_is_named_by_the_template(self, tmp_path: Path) -> None:
        table().write(tmp_path / "catalog.csv")
        for k, number in enumerate(IDS):
            write(tmp_path / f"obj{number}g.fits", ("", galaxy(k), {}))
        data = run(tmp_path, "obj{id}*.fits")
        assert (data["path"], data["bands"]) == ("obj{number}{band}.fits", [{"name": "g"}])
        with ingest(tmp_path) as store:
            assert len(store) == N


class TestSearch:
    def test_finds_images_whose_names_contain_the_identifier(self, tmp_path: Path) -> None:
        table().write(tmp_path / "catalog.csv")
        for k, number in enumerate(IDS):
            for band in ("F606W", "F814W"):
                write(tmp_path / "cut" / f"gal{number:05d}-{band.lower()}_sci.fits", ("", galaxy(k), {"FILTER": band}))
        data = run(tmp_path)
        assert data["layout"] == "files"
        assert [band["name"] for band in data["bands"]] == ["F606W", "F814W"]
        assert data["bands"][0]["path"] == "cut/gal{number:0>5}-f606w_sci.fits"
        with ingest(tmp_path) as store:
            assert len(store) == N

    def test_finds_columns_with_the_names_of_files(self, tmp_path: Path) -> None:
        table(file_v=[f"a/{k}.fits" for k in range(N)], file_i=[f"b/{k}.fits" for k in range(N)]).write(
            tmp_path / "catalog.csv"
        )
        for k in range(N):
            for folder in "ab":
                write(tmp_path / folder / f"{k}.fits", ("", galaxy(k), {}))
        data = run(tmp_path)
        assert data["bands"] == [{"name": "v", "path": "{file_v}"}, {"name": "i", "path": "{file_i}"}]

    def test_says_that_nothing_was_found(self, tmp_path: Path, capsys: Any) -> None:
        table().write(tmp_path / "catalog.csv")
        assert cli.main(["init", "--catalog", str(tmp_path / "catalog.csv"), "--out", str(tmp_path / "a.yaml")]) == 2
        assert "give --images" in one_line(capsys)


def one_line(capsys: Any) -> str:
    error: str = capsys.readouterr().err
    assert error.startswith("astrodl: ")
    assert error.count("\n") == 1
    return error


class TestRefusals:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        table().write(tmp_path / "catalog.csv")
        for k, number in enumerate(IDS):
            write(tmp_path / "cut" / f"obj{number}.fits", ("g", galaxy(k), {}), ("r", galaxy(k), {}))
        return tmp_path

    @pytest.mark.parametrize(
        ("template", "message"),
        [
            ("cut/{number}.fits", "no row of the catalogue has a file"),
            ("cut/none{id}.fits", "no column has values that stand for {id}"),
            ("cut/obj{number}_{band}.fits", "no file in"),
            ("cut/obj{number.fits", "a field is not valid"),
            ("cut/obj{0[1]}.fits", "a field is not valid"),
            ("cut/obj{number!r}.fits", "a field is not valid"),
            ("cut/obj{number:5.1f}.fits", "a field is not valid"),
        ],
    )
    def test_a_template_that_gives_no_files_is_one_line(
        self, template: str, message: str, folder: Path, capsys: Any
    ) -> None:
        catalog, out = folder / "catalog.csv", folder / "a.yaml"
        status = cli.main(["init", "--catalog", str(catalog), "--images", str(folder / template), "--out", str(out)])
        assert status == 2
        assert message in one_line(capsys)
        assert not out.exists()

    def test_an_existing_configuration_is_kept(self, folder: Path, capsys: Any) -> None:
        out = folder / "a.yaml"
        out.write_text("mine")
        words = ["init", "--catalog", str(folder / "catalog.csv"), "--out", str(out)]
        assert cli.main(words) == 2
        assert "--force" in one_line(capsys)
        assert out.read_text() == "mine"
        assert cli.main([*words, "--force"]) == 0
        assert "surveys:" in out.read_text()

    def test_shared_images_without_positions_are_refused(self, folder: Path, capsys: Any) -> None:
        Table({"number": IDS}).write(folder / "catalog.csv", overwrite=True)
        words = ["init", "--catalog", str(folder / "catalog.csv"), "--images", str(folder / "cut" / "obj7.fits")]
        assert cli.main([*words, "--out", str(folder / "a.yaml")]) == 2
        assert "no column tells where each is" in one_line(capsys)

    def test_unreadable_files_are_named_and_the_others_used(self, folder: Path, capsys: Any) -> None:
        (folder / "cut" / "obj7.fits").write_bytes(b"<html>not found</html>")
        run(folder, "cut/obj{id}.fits")
        assert "obj7.fits: not a FITS file" in capsys.readouterr().out
        assert "# G, R: " in (folder / "survey.yaml").read_text()

    def test_all_files_unreadable_is_an_error(self, folder: Path, capsys: Any) -> None:
        for path in (folder / "cut").iterdir():
            path.write_bytes(b"")
        words = ["init", "--catalog", str(folder / "catalog.csv"), "--images", str(folder / "cut" / "obj{id}.fits")]
        assert cli.main([*words, "--out", str(folder / "a.yaml")]) == 2
        assert "the file is empty" in one_line(capsys)

    def test_a_catalogue_without_identifier_says_that_it_does_not_run(self, folder: Path, capsys: Any) -> None:
        Table({"number": IDS, "id": IDS // 14}).write(folder / "catalog.csv", overwrite=True)
        lines = (folder / "catalog.csv").read_text().splitlines()
        (folder / "catalog.csv").write_text("\n".join([*lines, lines[-1]]))
        run(folder, "cut/obj{number}.fits", check=False)
        said = capsys.readouterr().out
        assert "it does not run yet" in said
        assert "next:" not in said
        assert "it does not run yet" in (folder / "survey.yaml").read_text()


def test_relative_paths_stay_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tables").mkdir()
    table().write(tmp_path / "tables" / "catalog.csv")
    for k, number in enumerate(IDS):
        write(tmp_path / "cut" / f"{number}.fits", ("g", galaxy(k), {}), ("r", galaxy(k), {}))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init", "--catalog", "tables/catalog.csv", "--images", "cut/{id}.fits"]) == 0
    ((_, survey),) = yaml.safe_load(Path("survey.yaml").read_text())["surveys"].items()
    assert (survey["data"]["root"], survey["data"]["catalog"]) == ("cut", "tables/catalog.csv")
    assert cli.main(["ingest", "--settings", "survey.yaml", "--out", "store.h5", "--no-progress"]) == 0


def test_the_few_rows_with_files_in_a_long_catalogue_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astrodl.discover.survey._MOST_COUNTED", 2)
    table().write(tmp_path / "catalog.csv")
    for number in IDS[3:6]:
        write(tmp_path / f"{number}.fits", ("g", galaxy(number), {}), ("r", galaxy(number), {}))
    run(tmp_path, "{number}.fits")
    with ingest(tmp_path) as store:
        assert len(store) == 3


REAL = {
    "nine extensions": ("multiband_9", "sources.csv", "cutouts/src{id}.fits.gz", "extensions"),
    "mosaics": ("multiband_9", "sources.csv", "field/{band}.fits.fz", "mosaic"),
    "files per band": ("hst_egs_specz", "redshifts.csv", "cutouts/{id}.acs.{band}_6ac_.fits", "files"),
    "an extension per object": ("hst_cosmos_real", "catalog.fits", "galaxy_images.fits", "files"),
    "pictures": ("gz1_morphology", "labels.csv", "images/{id}.jpeg", "rgb"),
}


@pytest.mark.parametrize("kind", REAL)
def test_real_surveys_are_understood(kind: str, test_data: Path, tmp_path: Path) -> None:
    name, catalog, images, layout = REAL[kind]
    folder = test_data / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    out = tmp_path / "survey.yaml"
    words = ["init", "--catalog", str(folder / catalog), "--images", str(folder / images), "--out", str(out)]
    assert cli.main(words) == 0
    assert cli.main(["check", str(out)]) == 0
    data = yaml.safe_load(out.read_text())["surveys"][name]["data"]
    assert data["layout"] == layout
    if kind in ("files per band", "an extension per object", "nine extensions"):
        with ingest(tmp_path) as store:
            assert len(store) in (24, 60)


# Two to four seconds: 86 files.
def test_awkward_files_are_described_or_refused_in_one_line(test_data: Path, tmp_path: Path, capsys: Any) -> None:
    folder = test_data / "awkward_fits" / "files"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    (tmp_path / "catalog.csv").write_text("id,x,y\n1,3,3\n2,5,5\n")
    statuses = []
    for path in sorted(folder.iterdir()):
        words = ["init", "--catalog", str(tmp_path / "catalog.csv"), "--images", str(path)]
        statuses.append(cli.main([*words, "--out", str(tmp_path / f"{len(statuses)}.yaml")]))
        if statuses[-1] == 2:
            one_line(capsys)
        capsys.readouterr()
    assert set(statuses) == {0, 2}
    assert statuses.count(0) > len(os.listdir(folder)) / 2


def test_the_page_shows_the_output_of_init(test_data: Path) -> None:
    if not (test_data / "hst_egs_specz").is_dir():
        pytest.skip(f"no {test_data / 'hst_egs_specz'}")
    docs = Path(__file__).resolve().parents[2] / "docs"
    page = (docs / "first_contact.md").read_text("utf-8")
    blocks = runpy.run_path(str(docs / "first_contact.py"))["transcripts"](test_data)
    for name in ("init", "yaml"):
        assert blocks[name] in page, f"{name}: run `python docs/first_contact.py` and check the difference"
