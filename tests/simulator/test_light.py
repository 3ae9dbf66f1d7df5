"""Light of simulated galaxies against closed forms and GalSim."""

from dataclasses import replace

import galsim
import numpy as np
import pytest

from astrodl.config import SimulateSettings
from astrodl.simulator.bands import BANDS
from astrodl.simulator.fourier import Grid, Layer, sersic_transform
from astrodl.simulator.galaxies import paint_galaxy
from astrodl.simulator.galaxies.encounters import encounter_snapshots
from astrodl.simulator.galaxies.oddities import ODDITIES, deflect
from astrodl.simulator.objects import Simulator
from astrodl.simulator.population import CLASSES, MAX_Z, MIN_Z, comoving_distance
from astrodl.simulator.profiles import equivalent_index, half_light_radius
from astrodl.simulator.templates import FluxTable, Spectrum, calzetti

HST = ("F435W", "F606W", "F775W", "F850LP", "F160W")


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(SimulateSettings(seed=4))


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("F606W", 26.49),
        ("F775W", 25.66),
        ("F814W", 25.95),
        ("F105W", 26.269),
        ("F125W", 26.230),
        ("F160W", 25.946),
    ],
)
def test_zero_points_agree_with_published_values(name: str, published: float) -> None:
    assert BANDS[name].zero_point == pytest.approx(published, abs=0.03)


@pytest.mark.parametrize("name", BANDS)
def test_the_width_of_the_point_spread_function_of_every_band(name: str) -> None:
    band = BANDS[name]
    width = band.psf().drawImage(nx=201, ny=201, scale=band.psf_fwhm_arcsec / 15, method="no_pixel").calculateFWHM()
    assert width == pytest.approx(band.psf_fwhm_arcsec, rel=0.12)
    assert band.sky_sigma(0.06) == pytest.approx(0.5 * band.sky_sigma(0.12))


def test_a_mixture_lies_between_its_templates_and_dust_reddens_it() -> None:
    table = FluxTable([BANDS[name] for name in HST])

    def color(spectrum: Spectrum) -> float:
        flux = table.flux(spectrum, 0.6)
        return float(-2.5 * np.log10(flux[0] / flux[2]))

    assert color(Spectrum(2.0)) < color(Spectrum(1.4)) < color(Spectrum(1.0))
    assert color(Spectrum(2.0, 0.3)) > color(Spectrum(2.0)) > color(Spectrum(2.0, 0.0, 0.3))
    # A_B - A_V = E(B-V), by definition of the attenuation curve (B and V at 4400 and 5500 Angstrom).
    assert np.diff(calzetti(np.array([5500.0, 4400.0]))) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("n", [0.5, 1.0, 2.3, 4.0, 6.0])
def test_sersic_transform_agrees_with_galsim(n: float) -> None:
    log_k, amplitude = sersic_transform(n)
    k = np.geomspace(0.05, 60, 40)
    profile = galsim.Sersic(n, half_light_radius=1.0)
    expected = [profile.kValue(value, 0.0).real for value in k]
    np.testing.assert_allclose(np.interp(np.log(k), log_k, amplitude), expected, atol=3e-4)


@pytest.mark.parametrize("n", [0.7, 1.0, 4.0])
def test_half_of_the_light_of_a_sersic_profile_is_within_its_half_light_radius(n: float) -> None:
    grid = Grid(128, 0.06)
    fine = grid.to_map(grid.sersic(n, 0.5, 1.0, 0.0))
    inside = np.hypot(grid.x, grid.y) < 0.5
    assert fine[inside].sum() == pytest.approx(0.5, abs=0.01)


def test_images_agree_with_galsim(simulator: Simulator) -> None:
    grid, camera = simulator.canvas.grid, simulator.camera
    layer = Layer("bulge", grid.sersic(2.5, 0.3, 0.6, 0.7, 0.1, -0.2), np.ones(5))
    images = camera.render([layer], [(band, None) for band in range(5)])
    shape = galsim.Sersic(2.5, half_light_radius=0.3 * np.sqrt(0.6)).shear(q=0.6, beta=0.7 * galsim.radians)
    for image, band in zip(images, simulator.bands, strict=True):
        scene = galsim.Convolve(shape.shift(0.1, -0.2), band.psf())
        expected = scene.drawImage(nx=64, ny=64, scale=0.06).array
        np.testing.assert_allclose(image, expected, atol=2e-3 * expected.max())


def test_an_exponential_is_a_sersic_profile_of_index_one() -> None:
    grid = Grid(32, 0.06)
    difference = grid.exponential(0.2, 0.5, 0.3) - grid.sersic(1.0, 0.2 * 1.67835, 0.5, 0.3)
    assert np.abs(difference).max() < 1e-3


@pytest.mark.parametrize("class_name", CLASSES)
def test_flux_agrees_with_magnitude_and_maps_add_up_to_the_galaxy(simulator: Simulator, class_name: str) -> None:
    for number in range(4):
        rng = np.random.default_rng([number, 17])
        galaxy = replace(simulator.population.draw(rng, class_name), magnitude=22.0, radius=0.25)
        scene = paint_galaxy(simulator.canvas, rng, galaxy)
        scene.scale_to_magnitude(22.0, simulator.truth_band)
        images, maps = simulator.render(scene)
        image = images[simulator.truth_band]
        magnitude = simulator.zero_points[simulator.truth_band] - 2.5 * np.log10(image.sum())
        assert magnitude == pytest.approx(22.0, abs=0.12)
        np.testing.assert_allclose(maps.sum(axis=0), image, atol=1e-5 * image.max())
        assert maps.min() > -1e-3 * image.max()
        truth = simulator.truth(scene)
        assert truth["magnitude"] == pytest.approx(22.0, abs=1e-6)
        assert maps[0].sum() / maps.sum() == pytest.approx(truth["bt"], abs=0.05)
        assert (truth["n_clumps"] > 0) == (maps[2].sum() > 0)


def test_dust_reddens_and_leaves_no_negative_light(simulator: Simulator) -> None:
    # The last entry is the rest-frame B band.
    assert np.all(np.diff(simulator.canvas.flux_table.attenuation(1.0, 0.4)[:-1]) > 0)
    n_dusty = 0
    for number in range(40):
        rng = np.random.default_rng([number, 18])
        scene = paint_galaxy(simulator.canvas, rng, simulator.population.draw(rng, "spiral"))
        _, maps = simulator.render(scene)
        assert maps.min() > -1e-3 * maps.max()
        n_dusty += any(layer.flux[0] < 0 for layer in scene.layers)
    assert n_dusty > 15


def test_noise_has_the_variance_of_sky_and_photons(simulator: Simulator) -> None:
    rng = np.random.default_rng(0)
    level = 0.5
    flat = np.full((5, 64, 64), level, np.float32)
    flat[:, :32] = 0
    observed = simulator.observe(rng, flat)
    sky, source = observed[:, :32].std(axis=(1, 2)), observed[:, 32:].std(axis=(1, 2))
    np.testing.assert_allclose(sky, simulator.sky_sigma, rtol=0.06)
    np.testing.assert_allclose(source, np.sqrt(simulator.sky_sigma**2 + level / simulator.noise.exposure), rtol=0.06)


def test_faint_galaxies_have_a_low_signal_to_noise_ratio(simulator: Simulator) -> None:
    ratios = []
    for number in range(30):
        rng = np.random.default_rng([number, 19])
        galaxy = replace(simulator.population.draw(rng), magnitude=24.0)
        scene = paint_galaxy(simulator.canvas, rng, galaxy)
        scene.scale_to_magnitude(24.0, simulator.truth_band)
        images, _ = simulator.render(scene)
        aperture = images[:, 24:40, 24:40].sum(axis=(1, 2))
        ratios.append(aperture / (16 * simulator.sky_sigma))
    assert 8 < np.median(ratios, axis=0)[simulator.truth_band] < 30


def test_distances_agree_with_astropy() -> None:
    from astropy.cosmology import FlatLambdaCDM

    z = np.array([MIN_Z, 0.5, MAX_Z])
    expected = FlatLambdaCDM(H0=70, Om0=0.3).comoving_distance(z).value
    np.testing.assert_allclose(comoving_distance(z), expected, rtol=1e-4)


def test_the_population_resembles_a_magnitude_limited_survey(simulator: Simulator) -> None:
    rng = np.random.default_rng(1)
    galaxies = [simulator.population.draw(rng) for _ in range(1500)]
    magnitude, z, radius = (np.array([getattr(g, name) for g in galaxies]) for name in ("magnitude", "z", "radius"))
    counts, _ = np.histogram(magnitude, [20, 21, 22, 23, 24])
    assert np.all(np.diff(counts) > 0)
    assert magnitude.max() <= 24
    assert MIN_Z <= z.min() < z.max() <= MAX_Z
    assert np.corrcoef(z, magnitude)[0, 1] > 0.2
    assert np.corrcoef(magnitude, radius)[0, 1] < -0.2
    assert {g.morphology for g in galaxies} == set(CLASSES)


def test_the_equivalent_index_of_a_pure_component_is_its_sersic_index() -> None:
    assert equivalent_index(1.0, 3.0, 1.0) == pytest.approx(3.0, rel=0.02)
    assert equivalent_index(0.0, 3.0, 0.3) == pytest.approx(1.0, rel=0.02)
    assert half_light_radius(0.0, 3.0, 0.3) == pytest.approx(1.0, rel=0.01)
    assert half_light_radius(1.0, 3.0, 0.3) == pytest.approx(0.3, rel=0.01)


def test_a_round_lens_maps_its_einstein_ring_onto_a_point() -> None:
    grid = Grid(64, 0.06)
    beta_x, beta_y = deflect(grid, 1.0, 1.0, 0.0)
    on_ring = np.abs(np.hypot(grid.x, grid.y) - 1.0) < 0.02
    assert np.hypot(beta_x, beta_y)[on_ring].max() < 0.03


def test_encounters_form_tails_and_are_reproducible() -> None:
    snapshots = encounter_snapshots()
    reach = [np.percentile(np.linalg.norm(s.particles, axis=1), 98) for s in snapshots]
    assert np.median(reach) > 1.5
    assert all(np.isfinite(s.particles).all() for s in snapshots)
    encounter_snapshots.cache_clear()
    np.testing.assert_array_equal(encounter_snapshots()[5].particles, snapshots[5].particles)


@pytest.mark.parametrize("oddity", ODDITIES)
def test_every_oddity_is_finite_and_visible(simulator: Simulator, oddity: str) -> None:
    for number in range(6):
        rng = np.random.default_rng([number, 20])
        scene = simulator.oddities.paint(rng, oddity)
        images, maps = simulator.render(scene)
        assert np.isfinite(images).all()
        truth = simulator.truth(scene)
        assert truth["class"] in CLASSES
        assert np.isfinite([truth[name] for name in ("z", "bt", "sersic_index", "radius_arcsec", "magnitude")]).all()
        excess = images[simulator.truth_band] - maps.sum(axis=0)
        extra = any(layer.part == "" for layer in scene.layers)
        assert extra == (oddity in ("lensed_arc", "quasar_host", "jellyfish", "satellite_trail"))
        if oddity == "satellite_trail":
            lit = [band for band in range(5) if any(layer.flux[band] > 0 for layer in scene.layers if not layer.part)]
            assert len(lit) == 1
        elif extra:
            assert excess.max() > simulator.sky_sigma[simulator.truth_band]
