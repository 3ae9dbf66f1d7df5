"""Examples of every kind of input: the store contains what astropy reads, and the workflow runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astrodl.config import IngestSettings, parse
from astrodl.ingestion.ingest import ingest
from astrodl.store import BAND_FLAGS, FLAGS, Reader, check, open_store
from tests.workflow.run import ROOT, run_workflow, write_config

Compare = Callable[[Reader, Path], None]


def to_microjansky(counts: np.ndarray, zero_point: float) -> np.ndarray:
    return counts * 10 ** (-0.4 * (zero_point - 23.9))


def cut_centre(image: np.ndarray, size: int) -> np.ndarray:
    """Cut out `size` pixels; pixel n // 2 of the image becomes pixel size // 2."""
    top, left = (length // 2 - size // 2 for length in image.shape[-2:])
    return image[..., top : top + size, left : left + size]


def compare_kids_viking(store: Reader, folder: Path) -> None:
    with fits.open(folder / "multiband_9" / "cutouts" / "src0018.fits.gz") as file:
        native = np.stack(
            [to_microjansky(file[band].data.astype(float), file[band].header["MAGZERO"]) for band in store.bands]
        )
    (index,) = np.flatnonzero(store.object_id == "18")
    stored = store.images([index])[0] + store.background[index][:, None, None]
    np.testing.assert_allclose(stored, native, rtol=1e-4, atol=1e-4)
    assert (len(store), store.unit) == (24, "uJy")


def compare_field(store: Reader, folder: Path) -> None:
    rows = {str(row["source"]): row for row in Table.read(folder / "multiband_9" / "sources.csv")}
    index = 30
    x, y = (round(float(rows[store.object_id[index]][axis])) for axis in "xy")
    for position, (band, zero_point) in {2: ("r", 0.0), 8: ("Ks", 30.0)}.items():
        native = fits.getdata(folder / "multiband_9" / "field" / f"{band}.fits.fz", 1)[y - 32 : y + 32, x - 32 : x + 32]
        stored = store.images([index])[0, position] + store.background[index, position]
        np.testing.assert_allclose(stored, to_microjansky(native.astype(float), zero_point), rtol=1e-4, atol=1e-4)
    assert len(store) == len(rows)


def compare_cosmos(store: Reader, folder: Path) -> None:
    table = Table.read(folder / "hst_cosmos_real" / "catalog.fits")
    index = int(np.argmax(table["flux_radius"]))
    native = fits.getdata(folder / "hst_cosmos_real" / "galaxy_images.fits", int(table["GAL_HDU"][index]))
    assert min(native.shape) >= 64
    expected = to_microjansky(cut_centre(native, 64), 25.937)
    np.testing.assert_allclose(store.images([index])[0, 0], expected, rtol=1e-5, atol=1e-7)
    psf = fits.getdata(folder / "hst_cosmos_real" / "psf_images.fits", int(table["PSF_HDU"][index]))
    assert store.plane("psf", [index]).sum() == pytest.approx(psf.sum(), rel=0.02)
    difference = store.features(["magnitude_F814W_total"])[:, 0] - np.asarray(table["MAG"])
    assert abs(np.nanmedian(difference)) < 0.4  # cutouts of COSMOS galaxies miss their wings


def compare_legacy(store: Reader, folder: Path) -> None:
    cube = fits.getdata(folder / "legacy_survey" / "decals_dr5_grz_509.fits").astype(float)
    blocks = cube[:, :508, :508].reshape(3, 254, 2, 254, 2).sum((2, 4))
    np.testing.assert_allclose(store.images()[0], to_microjansky(cut_centre(blocks, 64), 22.5), rtol=1e-4)
    assert store.pixel_scale_arcsec == pytest.approx(0.524, rel=1e-3)


def compare_decam(store: Reader, folder: Path) -> None:
    name = "testcase9_c4d_141029_043420_oo{}_r_ls9.N26.fits"
    with fits.open(folder / "decam_ccd" / name.format("i")) as file:
        native, wcs = file[1].data, WCS(file[1].header)
    weight = fits.getdata(folder / "decam_ccd" / name.format("w"), 1)
    x, y = (int(np.rint(value)) for value in wcs.all_world2pix(store.column("ra")[0], store.column("dec")[0], 0))
    cut = np.s_[y - 16 : y + 16, x - 16 : x + 16]
    np.testing.assert_allclose(store.images([0])[0, 1] + store.background[0, 1], native[cut], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(store.plane("variance", [0])[0, 1], 1 / weight[cut], rtol=1e-5)
    # The galaxy has the same position in the three exposures, although their grids differ.
    peaks = [np.unravel_index(np.nanargmax(band), band.shape) for band in store.images([0])[0]]
    assert np.ptp(peaks, axis=0).max() <= 1
    assert (store.band_flags & BAND_FLAGS["reprojected"] > 0).all(0).tolist() == [True, False, True]
    assert (store.flags & FLAGS["masked_pixels"]).any()


def compare_gama(store: Reader, folder: Path) -> None:
    image, sigma = (
        fits.getdata(folder / "gama_r_segm" / "SDSS" / f"G266033{kind}.fits") for kind in ("fitim", "sigma")
    )
    (index,) = np.flatnonzero(store.object_id == "266033")
    np.testing.assert_allclose(store.images([index])[0, 0], to_microjansky(cut_centre(image, 64), 0.0), rtol=1e-5)
    np.testing.assert_allclose(
        store.plane("variance", [index])[0, 0], to_microjansky(cut_centre(sigma, 64), 0.0) ** 2, rtol=1e-4
    )
    assert store.plane("psf").shape == (6, 1, 25, 25)
    # The noise measured on the border agrees with the sigma maps.
    expected = np.sqrt(np.nanmedian(store.plane("variance"), axis=(1, 2, 3)))
    np.testing.assert_allclose(store.sky_sigma[:, 0], expected, rtol=0.25)


def compare_hsc(store: Reader, folder: Path) -> None:
    with np.load(folder / "hsc_hst_scarlet" / "hsc_cosmos_35.npz") as file:
        images, catalog, psf = file["images"], file["catalog"], file["psfs"]
    x, y = int(catalog["x"][1]), int(catalog["y"][1])
    expected = to_microjansky(images[:, y - 16 : y + 16, x - 16 : x + 16].astype(float), 27.0)
    stored, mask = store.images([1])[0], store.plane("mask", [1])[0] > 0
    np.testing.assert_allclose(stored[~mask], expected[~mask], rtol=1e-4, atol=1e-6)
    assert np.isnan(stored[mask]).all()
    np.testing.assert_allclose(store.plane("psf", [1])[0], psf, rtol=1e-5, atol=1e-12)


def compare_sdss(store: Reader, folder: Path) -> None:
    table = Table.read(folder / "photoz_catalogs" / "sdss_mgs_ugriz_train.csv")
    magnitude = store.features([f"magnitude_{band}_total" for band in store.bands])
    np.testing.assert_allclose(magnitude, np.stack([table[band] for band in store.bands], axis=1), rtol=1e-6)
    error = 1 / np.log(10) * 2.5 * store.sky_sigma[:, 2] / store.features(["flux_r_total"])[:, 0]
    np.testing.assert_allclose(error, table["er"], rtol=1e-3)
    assert (len(store), store.unit, store.has_images) == (5000, "uJy", False)


@dataclass
class Example:
    """A configuration, its survey of real data, and the comparison of the store with the data."""

    name: str
    folder: str
    survey: str
    compare: Compare

    @property
    def config(self) -> Path:
        return ROOT / "config" / "examples" / self.name


EXAMPLES = {
    "an extension per band": Example("kids_viking.yaml", "multiband_9", "kids-viking", compare_kids_viking),
    "a compressed mosaic": Example("kids_viking_field.yaml", "multiband_9", "kids-viking-field", compare_field),
    "an extension per object": Example("cosmos.yaml", "hst_cosmos_real", "cosmos", compare_cosmos),
    "a cube per object": Example("legacy_survey.yaml", "legacy_survey", "legacy", compare_legacy),
    "image, weight and mask on three grids": Example("decam.yaml", "decam_ccd", "decam", compare_decam),
    "image, sigma, mask and PSF": Example("gama.yaml", "gama_r_segm", "gama-sdss", compare_gama),
    "a table alone": Example("sdss_mgs.yaml", "photoz_catalogs", "sdss-mgs", compare_sdss),
    "arrays": Example("hsc_blend.yaml", "hsc_hst_scarlet", "hsc-blend", compare_hsc),
}


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest, test_data: Path, monkeypatch: pytest.MonkeyPatch) -> Example:
    example = EXAMPLES[request.param]
    if not (test_data / example.folder).is_dir():
        pytest.skip(f"no {test_data / example.folder}: set ASTRODL_TEST_DATA")
    monkeypatch.setenv("ASTRODL_TEST_DATA", str(test_data))
    monkeypatch.chdir(ROOT)  # the configurations name their catalogues relative to the project
    return example


def test_the_store_contains_what_astropy_reads(example: Example, test_data: Path, tmp_path: Path) -> None:
    section: dict[str, Any] = yaml.safe_load(example.config.read_text())["surveys"][example.survey]
    values = {"survey": example.survey, "data": section["data"], "split": section.get("split", {})}
    summary = ingest(parse(IngestSettings, values), tmp_path / "store.h5")
    assert summary["n_refused"] == 0
    assert check(tmp_path / "store.h5") == []
    with open_store(tmp_path / "store.h5") as store:
        example.compare(store, test_data)


@pytest.mark.slow
def test_the_workflow_runs_with_the_latent_task(example: Example, tmp_path: Path) -> None:
    values = yaml.safe_load(example.config.read_text())
    values["tasks"]["latent"] = {"train": {**values["tasks"]["latent"]["train"], "epochs": 2}}
    for section in values["surveys"].values():
        if "simulate" in section:
            section["simulate"]["n_objects"] = 60
    (tmp_path / "config").symlink_to(ROOT / "config")
    run_workflow(tmp_path, write_config(tmp_path / "run.yaml", **values))
    catalog = Table.read(tmp_path / "results" / example.survey / "catalog.fits")
    assert np.isfinite(catalog["latent_vector"]).all()
