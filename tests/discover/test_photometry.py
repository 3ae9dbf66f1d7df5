"""Photometry that `init` finds in catalogues without images."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.table import Table

import astrodl
from astrodl.discover.catalogue import read_catalogue
from astrodl.discover.photometry import find_photometry
from astrodl.errors import DataError

N = 30


def find(tmp_path: Path, *names: str) -> list[dict[str, str]]:
    """Write a table with these columns and return the bands that are found."""
    random = np.random.default_rng(0)
    table = Table({"id": np.arange(N), "z_spec": random.uniform(0, 1, N)})
    for name in names:
        table[name] = random.uniform(18, 22, N)
    table.write(tmp_path / "catalog.csv", overwrite=True)
    photometry = find_photometry(read_catalogue(tmp_path / "catalog.csv"))
    return [] if photometry is None else photometry.bands


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["u", "g", "eu", "eg", "u_g", "eu_g"], {"name": "u", "magnitude": "u", "error": "eu"}),
        (["MAG_AUTO_G", "MAG_AUTO_R", "MAGERR_AUTO_G", "MAGERR_AUTO_R"],
         {"name": "G", "magnitude": "MAG_AUTO_G", "error": "MAGERR_AUTO_G"}),
        (["modelMag_g", "modelMagErr_g", "psfMag_g", "modelMag_r", "modelMagErr_r", "psfMag_r", "extinction_g",
          "extinction_r"],
         {"name": "g", "magnitude": "modelMag_g", "error": "modelMagErr_g", "extinction": "extinction_g"}),
        (["gmag", "e_gmag", "rmag", "e_rmag"], {"name": "g", "magnitude": "gmag", "error": "e_gmag"}),
        (["g_cmodel_flux", "g_cmodel_fluxerr", "r_cmodel_flux", "r_cmodel_fluxerr"],
         {"name": "g", "flux": "g_cmodel_flux", "error": "g_cmodel_fluxerr"}),
        (["flux_g", "flux_ivar_g", "flux_r", "flux_ivar_r"], {"name": "g", "flux": "flux_g", "error": "flux_ivar_g"}),
        (["f_F606W", "e_F606W", "f_F160W", "e_F160W"], {"name": "F606W", "flux": "f_F606W", "error": "e_F606W"}),
        (["Jmag", "Hmag", "Ksmag"], {"name": "J", "magnitude": "Jmag"}),
    ],
)  # fmt: skip
def test_names_of_surveys_are_known(names: list[str], first: dict[str, str], tmp_path: Path) -> None:
    assert find(tmp_path, *names)[0] == first


def test_numbers_as_text_are_photometry(tmp_path: Path) -> None:
    texts = [f"{20 + k / 100:.2f}" if k % 7 else "N/A" for k in range(N)]
    Table({"id": np.arange(N), "mag_g": texts, "name_r": [f"n{k}" for k in range(N)]}).write(tmp_path / "catalog.csv")
    photometry = find_photometry(read_catalogue(tmp_path / "catalog.csv"))
    assert photometry is not None
    assert photometry.bands == [{"name": "g", "magnitude": "mag_g"}]


def test_init_drafts_a_survey_without_images_that_runs(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = Table({f"mag_{band}": random.uniform(18, 22, N) for band in "gri"} | {"z_spec": random.uniform(0, 1, N)})
    table.write(tmp_path / "galaxies.csv")
    text = astrodl.init(tmp_path / "galaxies.csv", [], tmp_path / "galaxies.yaml")
    assert "and no images" in text
    values = yaml.safe_load((tmp_path / "galaxies.yaml").read_text())
    data = values["surveys"]["galaxies"]["data"]
    assert (data["layout"], data["id_column"], data["columns"]) == ("table", None, {"z": "z_spec"})
    assert list(values["tasks"]) == ["photoz", "latent", "outliers"]
    assert astrodl.check(tmp_path / "galaxies.yaml") == []
    del table["mag_i"]  # one colour has no map of two dimensions
    table.write(tmp_path / "galaxies.csv", overwrite=True)
    astrodl.init(tmp_path / "galaxies.csv", [], tmp_path / "galaxies.yaml", force=True)
    assert list(yaml.safe_load((tmp_path / "galaxies.yaml").read_text())["tasks"]) == ["photoz", "outliers"]


def test_a_table_without_images_and_photometry_is_refused(tmp_path: Path) -> None:
    Table({"id": np.arange(N), "name": [f"n{k}" for k in range(N)]}).write(tmp_path / "names.csv")
    with pytest.raises(DataError, match="no columns are named like magnitudes or fluxes"):
        astrodl.init(tmp_path / "names.csv", [], tmp_path / "names.yaml")
