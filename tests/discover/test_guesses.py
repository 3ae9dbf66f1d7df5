"""Tests of the guesses: roles of columns, contents of files, order of filters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Column, Table

from astrodl.discover.catalogue import read_catalogue
from astrodl.discover.draft import Draft
from astrodl.discover.images import mask_bits, measure_extent, read_image_info
from astrodl.discover.layout import choose_cutout
from astrodl.discover.names import blue_to_red, object_words, role_of, wavelength_nm
from tests.discover.toy import write


class TestColumns:
    def roles(self, tmp_path: Path, **columns: Any) -> dict[str, str]:
        Table(columns).write(tmp_path / "t.csv", overwrite=True)
        return read_catalogue(tmp_path / "t.csv").roles

    def test_a_magnitude_named_z_is_no_redshift(self, tmp_path: Path) -> None:
        roles = self.roles(tmp_path, id=[1, 2, 3], g=[20.0, 21, 22], z=[18.0, 19, 20])
        assert "z" not in roles

    def test_spectroscopic_redshifts_win_over_a_plain_z(self, tmp_path: Path) -> None:
        roles = self.roles(tmp_path, id=[1, 2, 3], z=[0.1, 0.2, 0.3], z_spec=[0.1, 0.2, -99], zphot=[0.2, 0.2, 0.1])
        assert (roles["z"], roles["z_phot"]) == ("z_spec", "zphot")

    def test_a_repeated_column_is_no_identifier(self, tmp_path: Path) -> None:
        assert self.roles(tmp_path, object_id=[1, 1, 2], other=["a", "b", "c"])["id"] == "other"

    def test_positions_come_in_pairs_and_within_their_range(self, tmp_path: Path) -> None:
        roles = self.roles(tmp_path, ALPHA_J2000=[1.0, 2], DELTA_J2000=[3.0, 4], RA=[1.0, 2])
        assert (roles["ra"], roles["dec"]) == ("RA", "DELTA_J2000")
        assert "ra" not in self.roles(tmp_path, ra=[1.0, 2], dec=[3.0, 400])
        assert "x" not in self.roles(tmp_path, x=[1.0, 2])

    def test_reddening_is_known_by_its_usual_names(self, tmp_path: Path) -> None:
        for name in ("EBV", "E(B-V)", "ebv", "E_BV", "mw_ebv"):
            assert self.roles(tmp_path, id=[1, 2], **{name: [0.01, 0.2]}).get("ebv") == name

    def test_placeholders_units_and_text_do_not_hide_a_column(self, tmp_path: Path) -> None:
        row = np.arange(12)
        columns = {
            "id": row,
            "RA": Column(np.where(row == 1, -9999, row * 1.0), unit="hourangle"),
            "DEC": np.where(row == 1, -9999, row * 1.0),
            "z_spec": np.where(row == 2, 9999.0, 0.1 + row / 20),
            "zphot": np.where(row == 3, "N/A", "0.25"),
            "ebv": np.where(row == 4, 1e20, 0.05),
        }
        columns["zphot"][5] = "0.3"
        Table(columns).write(tmp_path / "t.ecsv")
        catalogue = read_catalogue(tmp_path / "t.ecsv")
        expected = {"id": "id", "ra": "RA", "dec": "DEC", "z": "z_spec", "z_phot": "zphot", "ebv": "ebv"}
        assert catalogue.roles == expected
        assert catalogue.describe("ra") == "0 to 165 in 11 of 12 rows"
        assert catalogue.describe("z") == "0.1 to 0.65 in 11 of 12 rows"
        assert np.flatnonzero(np.isnan(catalogue.numbers("ebv"))).tolist() == [4]

    def test_a_velocity_without_unit_is_no_redshift(self, tmp_path: Path) -> None:
        assert "z" not in self.roles(tmp_path, id=[1, 2, 3], z_spec=[3000.0, 12000, 8000])

    def test_leading_zeros_of_an_identifier_stay(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("id,z\n007,0.1\n008,0.2\n")
        assert read_catalogue(tmp_path / "t.csv").text("id") == ["007", "008"]


class TestImages:
    def test_names_tell_planes_from_images(self) -> None:
        roles = {
            "G265911fitim.fits": "image",
            "mskim": "mask",
            "sigma": "sigma",
            "psfim": "psf",
            "segim": "segmentation",
        }
        roles |= {"IVAR": "weight", "weighted_mean": "image", "VAR_g": "variance", "testcase_ood_z.fits": "mask"}
        assert {name: role_of(name) for name in roles} == roles

    def test_names_of_one_object_agree_without_the_words_for_planes(self) -> None:
        assert object_words("G265911fitim.fits") == object_words("G265911sigma.fits") == ["g", "265911", "fits"]
        assert object_words("G265911fitim.fits") != object_words("G265912sigma.fits")

    def test_the_extent_of_an_object_is_its_size_above_the_noise(self) -> None:
        y, x = np.indices((64, 64)) - 31.5
        disk = np.where(np.hypot(x, y) < 12, 50.0, 0) + np.random.default_rng(0).normal(0, 1, (64, 64))
        assert measure_extent(disk.astype(np.float32), 0.0, 1.0) == pytest.approx(24, abs=8)
        assert measure_extent(np.zeros((64, 64), np.float32), 0.0, 1.0) == 0

    def test_bits_are_counted_only_in_whole_numbers(self) -> None:
        assert mask_bits(np.array([0, 5, 4, 0], np.float32)) == ((0, 0.25), (2, 0.5))
        assert mask_bits(np.array([0.5, 1], np.float32)) == ()

    def test_a_large_file_is_described_without_being_read_whole(self, tmp_path: Path, monkeypatch: Any) -> None:
        write(tmp_path / "sky.fits", ("SCI", np.ones((600, 800), np.float32), {"MAGZERO": 27.0, "FILTER": "r"}))
        whole = read_image_info(tmp_path / "sky.fits")[0]
        monkeypatch.setattr("astrodl.discover.images.LARGE_BYTES", 1000)
        monkeypatch.setattr("astrodl.discover.images.read_bytes", pytest.fail)
        large = read_image_info(tmp_path / "sky.fits")[0]
        assert (large.shape, large.zero_point, large.bands) == (whole.shape, whole.zero_point, whole.bands)

    def test_large_images_are_summed_until_the_object_fits(self, tmp_path: Path) -> None:
        y, x = np.indices((256, 256)) - 127.5
        for radius, expected in ((20, (64, 1)), (60, (64, 3))):
            disk = np.where(np.hypot(x, y) < radius, 50.0, 0) + np.random.default_rng(0).normal(0, 1, (256, 256))
            write(tmp_path / "a.fits", ("", disk.astype(np.float32), {}))
            assert choose_cutout(read_image_info(tmp_path / "a.fits"))[:2] == expected


class TestFilters:
    def test_known_names_are_in_order_of_wavelength(self) -> None:
        names = ["F160W", "F606W", "F435W", "F850LP", "F105W"]
        assert [names[k] for k in blue_to_red(names)] == ["F435W", "F606W", "F850LP", "F105W", "F160W"]
        names = ["Ks", "HSC_g", "z", "u", "Y"]
        assert [names[k] for k in blue_to_red(names)] == ["u", "HSC_g", "z", "Y", "Ks"]

    def test_unknown_or_equal_names_stay_as_they_are(self) -> None:
        assert blue_to_red(["r", "band1", "g"]) == [0, 1, 2]
        assert blue_to_red(["sdss_r", "hsc_r", "g"]) == [0, 1, 2]
        assert wavelength_nm("band1") is None


def test_a_draft_is_yaml_with_its_comments() -> None:
    draft = Draft("toy", tasks=["latent"])
    draft.set("path", "{id}.fits")
    draft.set(
        "bands", [{"name": "g"}, {"name": "r", "plane": 2}], "a reason " + "that is long " * 12, "? which filters"
    )
    draft.set("zero_is_missing", True, "short")
    text = draft.text(["Heading"])
    assert yaml.safe_load(text) == {"surveys": {"toy": {"data": draft.data}}, "tasks": {"latent": {}}}
    assert "# ? which filters" in text
    assert "true  # short" in text
    assert draft.questions == ["bands: which filters"]
    assert max(map(len, text.splitlines())) <= 110


def test_scattered_zeros_are_not_missing_pixels(tmp_path: Path) -> None:
    image = np.random.default_rng(0).poisson(1.0, (64, 64)).astype(np.float32)
    fits.writeto(tmp_path / "counts.fits", image)
    image[:, :16] = 0
    fits.writeto(tmp_path / "edge.fits", image)
    shares = [read_image_info(tmp_path / name)[0].zero_share for name in ("counts.fits", "edge.fits")]
    assert shares[0] < 0.01
    assert shares[1] == pytest.approx(0.25, abs=0.02)
