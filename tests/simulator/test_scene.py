"""Properties of scenes: clumps, orientation, owners of light, winding."""

from dataclasses import replace

import numpy as np
import pytest

from astrodl.config import SimulateSettings
from astrodl.simulator.galaxies import paint_galaxy
from astrodl.simulator.neighbours import add_chance_neighbours
from astrodl.simulator.objects import Simulator
from astrodl.simulator.population import CLASSES
from astrodl.simulator.scene import Scene


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(SimulateSettings(seed=4))


def scenes(simulator: Simulator, class_name: str, n: int = 8) -> list[Scene]:
    """Paint galaxies of a class at magnitude 22."""
    scenes = []
    for number in range(n):
        rng = np.random.default_rng([number, 21])
        scene = paint_galaxy(simulator.canvas, rng, replace(simulator.population.draw(rng, class_name), radius=0.5))
        scene.scale_to_magnitude(22.0, simulator.truth_band)
        scenes.append(scene)
    return scenes


@pytest.mark.parametrize("class_name", CLASSES)
def test_clumps_hold_the_flux_of_the_clump_layer_in_every_band(simulator: Simulator, class_name: str) -> None:
    for scene in scenes(simulator, class_name):
        layers = [layer.total for layer in scene.layers if layer.part == "clump"]
        assert scene.n_clumps == len(scene.clumps)
        assert (scene.n_clumps > 0) == bool(layers)
        if layers:
            assert scene.clumps.shape[1] == 2 + len(simulator.canvas.flux_table.bands)
            np.testing.assert_allclose(scene.clumps[:, 2:].sum(axis=0), np.sum(layers, axis=0), rtol=1e-5)


def test_the_clump_map_peaks_at_a_clump(simulator: Simulator) -> None:
    n_clumpy = 0
    for scene in scenes(simulator, "irregular"):
        if scene.n_clumps == 0:
            continue
        _, maps = simulator.render(scene)
        x, y = scene.clumps[:, :2].T / simulator.settings.pixel_scale_arcsec + 31.5
        row, column = np.unravel_index(maps[2].argmax(), maps[2].shape)
        assert np.min(np.hypot(x - column, y - row)) < 2.0
        n_clumpy += 1
    assert n_clumpy > 4


@pytest.mark.parametrize("class_name", ["elliptical", "lenticular", "spiral"])
def test_second_moments_agree_with_the_position_angle(simulator: Simulator, class_name: str) -> None:
    n_elongated = 0
    for scene in scenes(simulator, class_name, 16):
        assert 0 < scene.axis_ratio <= 1
        assert 0 <= scene.position_angle < 180
        if scene.axis_ratio > 0.75:
            continue
        _, maps = simulator.render(scene)
        smooth = np.maximum(maps[0] + maps[1], 0)
        y, x = np.indices(smooth.shape) - 31.5
        moment = [np.sum(smooth * value) for value in (x * x, y * y, x * y)]
        angle = np.degrees(0.5 * np.arctan2(2 * moment[2], moment[0] - moment[1])) - 90
        assert abs((angle - scene.position_angle + 90) % 180 - 90) < 15
        n_elongated += 1
    assert n_elongated > 2


def test_each_neighbour_and_lensed_source_has_its_own_owner(simulator: Simulator) -> None:
    n_neighbours = 0
    for number in range(40):
        rng = np.random.default_rng([number, 22])
        scene = simulator.oddities.paint(rng, "lensed_arc")
        add_chance_neighbours(rng, scene, simulator.canvas, simulator.population)
        owners = [layer.owner for layer in scene.layers]
        others = [owner for owner in owners if owner]
        assert others == list(range(1, len(others) + 1))
        assert all(layer.part == "" for layer in scene.layers if layer.owner)
        n_neighbours += len(others) - 1
    assert n_neighbours > 5


def test_a_quasar_and_stripped_gas_belong_to_the_galaxy(simulator: Simulator) -> None:
    for oddity in ("quasar_host", "jellyfish", "ring", "emission_line_compact"):
        scene = simulator.oddities.paint(np.random.default_rng(5), oddity)
        assert {layer.owner for layer in scene.layers} == {0}


def test_arms_wind_in_the_stated_direction(simulator: Simulator) -> None:
    agreement = []
    for scene in scenes(simulator, "spiral", 80):
        if scene.axis_ratio < 0.55:
            continue
        image = simulator.render(scene)[0][simulator.truth_band]
        y, x = np.indices(image.shape) - 31.5
        angle = np.radians(scene.position_angle + 90)
        u, v = x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / scene.axis_ratio
        pixels = np.hypot(u, v)
        ring = (pixels > 3) & (pixels < 20)
        light, azimuth, logarithm = (image * pixels)[ring], np.arctan2(v, u)[ring], np.log(pixels[ring])

        # Two arms whose azimuth decreases (rate > 0) or increases (rate < 0) with the logarithm of the radius.
        power = {rate: abs(np.sum(light * np.exp(-1j * (2 * azimuth + rate * logarithm)))) for rate in range(-12, 13)}
        grows = max(power[-rate] for rate in range(2, 13)) > max(power[rate] for rate in range(2, 13))
        agreement.append(grows == (scene.winding == "anticlockwise"))
    # Some flocculent arms, bars and clumps are misleading; chance agreement in 8 of 10 has a probability of 1e-4.
    assert len(agreement) > 30
    assert np.mean(agreement) > 0.8


@pytest.mark.parametrize("class_name", ["elliptical", "irregular", "merger"])
def test_only_spirals_have_a_winding(simulator: Simulator, class_name: str) -> None:
    assert {scene.winding for scene in scenes(simulator, class_name, 2)} == {""}
