"""Depth, photon noise, correlated noise, variance planes, votes, and the configuration of instruments."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from pydantic import ValidationError

from astrodl.config import InstrumentSettings, SimulateSettings, parse
from astrodl.errors import ConfigError
from astrodl.simulator.bands import BANDS, RUBIN_AREA_CM2
from astrodl.simulator.camera import Camera
from astrodl.simulator.fourier import Grid, Layer
from astrodl.simulator.instruments import SURVEYS, survey_bands
from astrodl.simulator.noise import Noise, drizzle_correlation
from astrodl.simulator.objects import Simulator
from astrodl.simulator.population import CLASSES
from astrodl.simulator.survey import data_settings, simulate
from astrodl.simulator.votes import CONCENTRATION, confusion_probability, draw_votes, expected_votes


@pytest.mark.parametrize(("name", "depth"), [("F435W", 27.3), ("F606W", 27.5), ("F775W", 27.1), ("F160W", 26.6)])
def test_fluxes_in_sky_apertures_scatter_by_a_fifth_of_the_limiting_flux(name: str, depth: float) -> None:
    band = SURVEYS["candels"][name]
    noise = Noise([band], 256, 0.06, correlated=False)
    blank = np.zeros((1, 256, 256), np.float32)
    sky = noise.add(np.random.default_rng(0), blank, noise.variance(blank))[0]
    axis = np.arange(11) - 5.0
    aperture = np.hypot(*np.meshgrid(axis, axis)) < 0.2 / 0.06
    sums = [sky[y : y + 11, x : x + 11][aperture].sum() for y in range(0, 245, 11) for x in range(0, 245, 11)]
    measured = band.zero_point - 2.5 * np.log10(5 * np.std(sums))
    # The number of pixels in a circle of radius 3.3 pixels differs from its area by 3 %.
    assert measured == pytest.approx(depth, abs=0.1)


@pytest.mark.parametrize("name", SURVEYS["lsst"])
def test_a_point_source_at_the_depth_of_lsst_is_a_detection_of_five_sigma(name: str) -> None:
    band = SURVEYS["lsst"][name]
    grid = Grid(64, 0.2)
    camera = Camera(grid, [band])
    point = Layer("", grid.point_source(0.0, 0.0), np.ones(1))
    profile = camera.render([point], [(0, None)])[0]
    flux = 10 ** (0.4 * (band.zero_point - band.depth))
    # Matched filter: S/N = flux sqrt(sum P^2) / sigma; Kolmogorov wings and pixels lower that of a Gaussian.
    signal_to_noise = flux * np.sqrt(np.sum(profile**2)) / band.sky_sigma(0.2)
    assert 4.2 < signal_to_noise < 5.1


def test_sky_noise_is_proportional_to_the_pixel_scale() -> None:
    for band in (*SURVEYS["candels"].values(), *SURVEYS["lsst"].values(), BANDS["F814W"]):
        assert band.sky_sigma(0.12) == pytest.approx(2 * band.sky_sigma(0.06))


@pytest.mark.parametrize("drop", [0.5, 0.8, 1.0, 1.7])
def test_drizzled_noise_of_large_areas_agrees_with_casertano_et_al(drop: float) -> None:
    lags = np.arange(-6, 7).astype(float)
    expected = drop / (1 - 1 / (3 * drop)) if drop >= 1 else 1 / (1 - drop / 3)
    # In two dimensions the ratio of the noises is the sum along one axis.
    assert drizzle_correlation(drop, lags).sum() == pytest.approx(expected, rel=1e-3)
    assert drizzle_correlation(drop, np.zeros(1))[0] == pytest.approx(1.0)


def test_correlated_noise_keeps_the_variance_and_correlates_neighbours() -> None:
    bands = [SURVEYS["candels"]["F775W"], SURVEYS["candels"]["F160W"]]
    noise = Noise(bands, 504, 0.06, correlated=True)
    blank = np.zeros((2, 504, 504), np.float32)
    sky = noise.add(np.random.default_rng(1), blank, noise.variance(blank))
    np.testing.assert_allclose(sky.std(axis=(1, 2)), noise.sky_sigma, rtol=0.01)
    for image, band in zip(sky, bands, strict=True):
        drop = 0.8 * band.native_pixel_arcsec / 0.06
        expected = drizzle_correlation(drop, np.array([1.0, 2.0, 5.0]))
        measured = [np.mean(image[:, :-lag] * image[:, lag:]) / image.var() for lag in (1, 2, 5)]
        np.testing.assert_allclose(measured, expected, atol=0.015)
        opposite = np.mean(image[:, 0] * image[:, -1]) / image.var()
        assert abs(opposite) < 0.15


def test_correlated_noise_changes_only_the_noise() -> None:
    settings = SimulateSettings(size=32, bands=("F606W", "F160W"), seed=3)
    plain = Simulator(settings).make(4)
    drizzled = Simulator(settings.model_copy(update={"correlated_noise": True})).make(4)
    np.testing.assert_array_equal(plain.maps, drizzled.maps)
    np.testing.assert_array_equal(plain.variance, drizzled.variance)
    assert not np.array_equal(plain.images, drizzled.images)


def test_variance_planes_are_written_and_declared_for_ingestion(tmp_path: Path) -> None:
    settings = SimulateSettings(n_objects=1, size=32, bands=("F606W", "F160W"), variance=True)
    simulate(settings, tmp_path, progress=False)
    with fits.open(tmp_path / "images" / "SIM000000.fits") as hdus:
        names = [hdu.name for hdu in hdus[1:]]
        assert names == ["F606W", "F160W", "VAR_F606W", "VAR_F160W", "PSF_F606W", "PSF_F160W"]
        sky = Simulator(settings).sky_sigma[0] ** 2
        assert hdus["VAR_F606W"].data.min() == pytest.approx(sky, rel=0.05)
        assert hdus["VAR_F606W"].data.max() > sky
    noise = data_settings(settings, tmp_path).noise
    assert noise is not None
    assert (noise.extension, noise.kind) == ("VAR_{band}", "variance")
    assert data_settings(settings.model_copy(update={"variance": False}), tmp_path).noise is None


def test_votes_follow_the_dirichlet_multinomial() -> None:
    rng = np.random.default_rng(2)
    mean = expected_votes("spiral", -1.0, 3.0)
    counts = np.array([draw_votes(rng, 40, mean) for _ in range(6000)])
    assert np.all(counts.sum(axis=1) == 40)
    np.testing.assert_allclose(counts.mean(axis=0), 40 * mean, atol=0.25)
    spread = (40 + CONCENTRATION) / (1 + CONCENTRATION)
    np.testing.assert_allclose(counts.var(axis=0), 40 * mean * (1 - mean) * spread, rtol=0.12)


@pytest.mark.parametrize("class_name", CLASSES)
def test_votes_are_less_certain_for_faint_and_small_galaxies(class_name: str) -> None:
    bright, faint, small = (expected_votes(class_name, *case) for case in ((-3.0, 6.0), (0.0, 6.0), (-3.0, 0.5)))
    number = CLASSES.index(class_name)
    assert bright[number] > 0.9
    assert bright[number] > faint[number]
    assert bright[number] > small[number]
    assert faint.sum() == pytest.approx(1.0)
    assert bright.argmax() == number
    assert 0 < confusion_probability(-5.0, 10.0) < confusion_probability(1.0, 0.1) < 1


def test_votes_are_in_the_catalogue_and_do_not_change_images() -> None:
    settings = SimulateSettings(size=32, bands=("F606W",), seed=5)
    silent, voting = Simulator(settings).make(0), Simulator(settings.model_copy(update={"votes": 30})).make(0)
    np.testing.assert_array_equal(silent.images, voting.images)
    assert sum(voting.row[f"votes_{name}"] for name in CLASSES) == 30
    assert not any(name.startswith("votes") for name in silent.row)


def test_the_name_of_a_survey_sets_the_defaults() -> None:
    lsst = parse(SimulateSettings, {"survey": "lsst"})
    assert (lsst.bands, lsst.pixel_scale_arcsec) == (("u", "g", "r", "i", "z", "y"), 0.2)
    changed = parse(SimulateSettings, {"survey": "lsst", "bands": ["g", "F814W"], "pixel_scale_arcsec": 0.1})
    assert (changed.bands, changed.pixel_scale_arcsec) == (("g", "F814W"), 0.1)
    assert [band.psf_kind for band in survey_bands(changed)] == ["kolmogorov", "hst"]
    assert SimulateSettings() == SimulateSettings(survey="candels")


def test_a_known_band_can_be_changed_in_the_configuration() -> None:
    settings = SimulateSettings(
        bands=("F606W", "F775W"), instruments={"F606W": {"depth": 26.0, "psf": "moffat", "fwhm_arcsec": 0.7}}
    )
    changed, unchanged = survey_bands(settings)
    assert unchanged == SURVEYS["candels"]["F775W"]
    assert (changed.depth, changed.aperture_arcsec, changed.psf_fwhm_arcsec) == (26.0, None, 0.7)
    assert changed.zero_point == SURVEYS["candels"]["F606W"].zero_point
    assert changed.psf().calculateFWHM() == pytest.approx(0.7, rel=0.01)
    by_sky = SimulateSettings(bands=("F606W",), instruments={"F606W": {"sky": 40.0, "exposure_s": 100.0}})
    assert survey_bands(by_sky)[0].sky_sigma(0.1) == pytest.approx(np.sqrt(40.0 / 100.0) * 0.1)


def test_a_new_band_is_read_from_a_table(tmp_path: Path) -> None:
    table = tmp_path / "broad.txt"
    wave = np.linspace(5000, 7000, 50)
    np.savetxt(table, np.stack([wave, 0.4 * (np.abs(wave - 6000) < 800)], axis=1), header="Angstrom throughput")
    described = {"throughput": str(table), "wave_type": "Angstrom", "zero_point": 25.0, "psf": "gaussian"}
    settings = SimulateSettings(
        n_objects=1, size=16, bands=("broad",), instruments={"broad": {**described, "fwhm_arcsec": 0.3, "depth": 26.0}}
    )
    band = survey_bands(settings)[0]
    assert band.wavelength == pytest.approx(6000, rel=0.01)
    simulate(settings, tmp_path / "out", progress=False)
    with fits.open(tmp_path / "out" / "images" / "SIM000000.fits") as hdus:
        assert hdus["broad"].header["MAGZERO"] == 25.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bands": ["q"]}, r"band 'q' is not known \(accepted: F435W, .*LSST_y\); correct the name or describe"),
        ({"instruments": {"F814W": {"depth": 27.0}}}, "'F814W' is not among simulate.bands"),
        ({"bands": ["q"], "instruments": {"q": {"depth": 27.0}}}, "give throughput, wave_type, zero_point, psf, fwhm"),
        (
            {"bands": ["F606W"], "instruments": {"F606W": {"throughput": "/nowhere.txt", "wave_type": "nm"}}},
            "throughput '/nowhere.txt': neither a table of GalSim nor a text file",
        ),
    ],
)
def test_invalid_instruments_are_refused(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(parse(SimulateSettings, settings), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_depth_and_sky_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="not both"):
        InstrumentSettings(depth=27.0, sky=1.0)


def test_rubin_bands_have_their_own_collecting_area() -> None:
    assert BANDS["LSST_r"].area_cm2 == RUBIN_AREA_CM2
    assert BANDS["LSST_r"].zero_point == pytest.approx(28.1, abs=0.1)
