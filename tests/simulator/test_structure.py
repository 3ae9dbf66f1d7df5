"""Structure of simulated galaxies against its inputs: arms, bars, clumps, mergers, shells, emission lines."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from astrodl.config import SimulateSettings
from astrodl.simulator.bands import BANDS
from astrodl.simulator.fourier import Grid
from astrodl.simulator.galaxies import paint_galaxy
from astrodl.simulator.galaxies.encounters import project_shells, shell_snapshots
from astrodl.simulator.galaxies.mergers import MIN_RADIUS_PIXELS
from astrodl.simulator.galaxies.oddities import COMPACT_KPC, draw_lensed_source, line_boost
from astrodl.simulator.galaxies.spirals import bar_fraction, draw_pitch_angle
from astrodl.simulator.objects import Simulator
from astrodl.simulator.scene import CLUMP_SLOPE, FAINTEST_CLUMP, Canvas, Scene
from astrodl.simulator.structure import (
    Arms,
    Frame,
    draw_arms,
    draw_dust_clouds,
    draw_dust_disk,
    draw_flocculent_arms,
    draw_sheared_noise,
)

FACE_ON = Frame(0.0, 0.0, 1.0, 0.0)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(SimulateSettings(seed=4))


def paint(simulator: Simulator, class_name: str, number: int, **changes: Any) -> Scene:
    """Paint a galaxy of a class with some of its properties changed."""
    rng = np.random.default_rng([number, 31])
    return paint_galaxy(simulator.canvas, rng, replace(simulator.population.draw(rng, class_name), **changes))


def one_arm(pitch: float) -> Arms:
    """Make one arm that begins at 0.2 arcsec at azimuth 1."""
    return Arms(np.array([pitch]), np.array([1.0]), np.ones(1), np.array([0.2]), np.array([9.0]), 0.3)


@pytest.mark.parametrize("pitch", [0.25, 0.5, -0.4])
def test_an_arm_follows_its_logarithmic_spiral(pitch: float) -> None:
    grid = Grid(128, 0.06)
    smooth = np.zeros((grid.samples, grid.samples), np.float32)
    light, _ = draw_arms(grid, FACE_ON, 50.0, one_arm(pitch), smooth, smooth)
    radius, azimuth = FACE_ON.polar(grid)
    for r in (0.5, 1.0, 2.0):
        on_circle = np.abs(radius - r) < 0.03
        brightest = light[on_circle].argmax()
        peak = azimuth[on_circle][brightest]
        expected = np.log(radius[on_circle][brightest] / 0.2) / np.tan(pitch) + 1.0
        assert abs((peak - expected + np.pi) % (2 * np.pi) - np.pi) < 0.1


@pytest.mark.parametrize("pitch", [0.4, -0.4])
def test_dust_lies_on_the_inner_edge_of_a_trailing_arm(pitch: float) -> None:
    grid = Grid(128, 0.06)
    smooth = np.zeros((grid.samples, grid.samples), np.float32)
    light, dust = draw_arms(grid, FACE_ON, 50.0, one_arm(pitch), smooth, smooth)
    radius, azimuth = FACE_ON.polar(grid)
    # The arm crosses this direction once between 0.5 and 1.5 arcsec; on the way out the dust comes first.
    middle = np.log(1.0 / 0.2) / np.tan(pitch) + 1.0
    sector = (np.cos(azimuth - middle) > 0.999) & (radius > 0.6) & (radius < 1.6)
    assert radius[sector][dust[sector].argmax()] < 0.97 * radius[sector][light[sector].argmax()]
    assert dust.min() >= 0
    assert dust.max() <= 1


def test_flocculent_arms_have_no_preferred_azimuth() -> None:
    grid, rng = Grid(128, 0.06), np.random.default_rng(2)
    light, dust = draw_flocculent_arms(grid, FACE_ON, 0.8, 0.4, 0.2, 0.3, 0.9, draw_sheared_noise(rng))
    radius, azimuth = FACE_ON.polar(grid)
    ring = (radius > 0.8) & (radius < 1.6)
    # The first two harmonics of a grand design hold most of its contrast; here they hold little.
    harmonics = [np.abs(np.sum(light[ring] * np.exp(1j * m * azimuth[ring]))) / light[ring].sum() for m in (1, 2)]
    assert max(harmonics) < 0.25
    assert light[ring].std() / light[ring].mean() > 0.5
    assert 0 <= dust.min() < dust.max() <= 1


def test_dust_covers_between_zero_and_one() -> None:
    grid, rng = Grid(64, 0.06), np.random.default_rng(3)
    for cover in (
        draw_dust_disk(grid, Frame(0.0, 0.0, 0.3, 0.5), 0.3),
        draw_dust_clouds(grid, FACE_ON, 0.5, grid.noise_field(rng, 40, 0.8)),
    ):
        assert cover.min() >= 0
        assert 0.3 < cover.max() <= 1


def test_noise_of_slope_one_has_equal_power_per_octave() -> None:
    grid, rng = Grid(128, 0.06), np.random.default_rng(4)
    power = np.mean([np.abs(np.fft.rfft2(grid.noise_field(rng, 160, 1.0))) ** 2 for _ in range(8)], axis=0)
    wave = np.hypot(np.fft.fftfreq(grid.samples, 1 / grid.samples)[:, None], np.arange(power.shape[1]))
    octaves = [power[(wave >= low) & (wave < 2 * low)].sum() for low in (4, 8, 16, 32)]
    np.testing.assert_allclose(octaves, np.mean(octaves), rtol=0.25)


def test_bars_become_rarer_and_arms_looser_with_redshift() -> None:
    assert bar_fraction(0.1) == pytest.approx(0.65)
    assert bar_fraction(1.2) == pytest.approx(0.2)
    assert bar_fraction(0.52) == pytest.approx(0.425)
    rng = np.random.default_rng(5)
    near, far = (np.degrees([draw_pitch_angle(rng, z) for _ in range(400)]) for z in (0.0, 1.0))
    assert np.median(near) == pytest.approx(16, abs=1)
    assert np.median(far) == pytest.approx(22, abs=1)
    assert min(near.min(), far.min()) >= 8
    assert max(near.max(), far.max()) <= 38


def test_clump_luminosities_follow_their_power_law(simulator: Simulator) -> None:
    canvas: Canvas = simulator.canvas
    weight = np.ones((canvas.grid.samples,) * 2, np.float32)
    shares: list[float] = []
    for number in range(40):
        scene = paint(simulator, "elliptical", number)
        before = scene.flux(canvas.truth_band)
        # So few that the cap on their sum never acts.
        canvas.add_clumps(np.random.default_rng([number, 6]), scene, weight, 9, brightest=0.04)
        shares += list(scene.clumps[:, 2 + canvas.truth_band] / before)
    values = np.array(shares)
    assert values.min() >= FAINTEST_CLUMP * 0.999
    assert values.max() <= 0.04 * 1.001
    power = CLUMP_SLOPE + 1
    median = (0.5 * (FAINTEST_CLUMP**power + 0.04**power)) ** (1 / power)
    assert np.median(values) == pytest.approx(median, rel=0.1)


def test_clumps_emit_the_observed_fraction_of_ultraviolet_light(simulator: Simulator) -> None:
    # Guo et al. 2015: 15 to 60 % of star-forming galaxies (by mass) at 0.5 < z < 1 have a clump with 8 % of the light.
    for class_name in ("spiral", "irregular"):
        clumpy = []
        for number in range(60):
            scene = paint(simulator, class_name, number, z=0.8)
            share = scene.clumps[:, 2] / scene.flux(0) if scene.n_clumps else np.zeros(1)
            clumpy.append(bool((share > 0.08).any()))
        assert 0.1 < np.mean(clumpy) < 0.6


def test_nuclei_of_a_merger_are_resolved_or_its_tails_are_long(simulator: Simulator) -> None:
    pixel, n_resolved = simulator.settings.pixel_scale_arcsec, 0
    for number in range(40):
        scene = paint(simulator, "merger", number, radius=0.1)
        assert scene.galaxy.radius == pytest.approx(MIN_RADIUS_PIXELS * pixel)
        nuclei = [layer.image for layer in scene.layers if layer.part == "bulge" and layer.flux[0] > 0][:2]
        first, second = (np.array(simulator.canvas.grid.centre_of(image)) for image in nuclei)
        n_resolved += bool(np.hypot(*(first - second)) > 3.9 * pixel)
    assert n_resolved > 36


def test_shells_are_fans_on_both_sides_and_reproducible() -> None:
    first = shell_snapshots()[3].copy()
    for stars in shell_snapshots():
        direction = stars / np.linalg.norm(stars, axis=1, keepdims=True)
        axis = np.linalg.svd(direction, full_matrices=False)[2][0]
        cosine = direction @ axis
        # Stars on random orbits would have a mean of 0.5.
        assert np.abs(cosine).mean() > 0.6
        assert 0.1 < (cosine > 0).mean() < 0.9
    shell_snapshots.cache_clear()
    np.testing.assert_array_equal(shell_snapshots()[3], first)
    assert project_shells(np.random.default_rng(0)).shape == (len(first), 2)


def test_emission_lines_brighten_their_bands() -> None:
    # [O III] at z = 0.5 falls near 7,500 Angstrom, H alpha near 9,850, [O II] near 5,600.
    boost = {name: line_boost(BANDS[name], 0.5, 800.0) for name in ("F435W", "F606W", "F775W", "F160W")}
    assert boost["F775W"] > 0.5
    assert boost["F775W"] > 3 * boost["F606W"] > 0
    assert boost["F435W"] == boost["F160W"] == 0
    assert line_boost(BANDS["F775W"], 0.5, 1600.0) == pytest.approx(2 * boost["F775W"])


def test_emission_line_compacts_have_observed_sizes(simulator: Simulator) -> None:
    scenes = [simulator.oddities.paint(np.random.default_rng([i, 7]), "emission_line_compact") for i in range(60)]
    kpc = [scene.galaxy.radius / scene.galaxy.arcsec_per_kpc for scene in scenes]
    assert np.median(kpc) == pytest.approx(COMPACT_KPC, rel=0.25)
    assert max(scene.galaxy.radius for scene in scenes) <= 2.5 * simulator.settings.pixel_scale_arcsec


def test_a_lensed_source_is_brightest_near_its_centre() -> None:
    axis = np.linspace(-1, 1, 201, dtype=np.float32)
    light = draw_lensed_source(np.random.default_rng(8), axis[None, :], axis[:, None], 0.05)
    assert np.hypot(*np.subtract(np.unravel_index(light.argmax(), light.shape), 100)) < 30
    assert light[0].max() < 1e-3 * light.max()


def test_a_quasar_is_at_the_centre_of_the_bulge(simulator: Simulator) -> None:
    for number in range(8):
        scene = simulator.oddities.paint(np.random.default_rng([number, 9]), "quasar_host")
        point = next(layer for layer in scene.layers if not layer.part)
        bulge = scene.layers[[layer.part for layer in scene.layers].index("bulge")]
        place = simulator.canvas.grid.centre_of
        np.testing.assert_allclose(place(point.image), place(bulge.image), atol=1e-3)


def test_the_centre_of_an_image_is_its_position() -> None:
    grid = Grid(64, 0.06)
    assert grid.centre_of(grid.sersic(4.0, 0.3, 0.5, 0.4, 0.7, -1.1)) == pytest.approx((0.7, -1.1), abs=1e-3)
