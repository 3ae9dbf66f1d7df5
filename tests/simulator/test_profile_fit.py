"""The profile fit of the study of clumps, bulge and disk."""

import importlib.util
import sys

import numpy as np
import pytest
from astropy.io import fits

import astrodl
from astrodl.config import SimulateSettings
from astrodl.simulator.objects import Simulator
from tests.conftest import ROOT

specification = importlib.util.spec_from_file_location(
    "profile_fit", ROOT / "benchmarks" / "studies" / "profile_fit.py"
)
profile_fit = sys.modules["profile_fit"] = importlib.util.module_from_spec(specification)
specification.loader.exec_module(profile_fit)

RADIUS, INDEX, Q, ANGLE = 0.25, 2.0, 0.8, 0.4
TRUTH = np.array([0.01, -0.02, np.log(RADIUS), np.log(INDEX), Q, ANGLE, np.log(0.7), 0.5, ANGLE])


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(SimulateSettings(n_objects=1))


def galaxy(simulator: Simulator, bt: float, signal: float) -> profile_fit.Galaxy:
    """Draw a bulge and a disk without noise that is seen; the clumps have no light."""
    sigma = np.ones((5, 64, 64))
    parts = profile_fit._Model(simulator, sigma, sigma, list(range(5)), ("bulge", "disk")).draw(TRUTH).swapaxes(0, 1)
    parts = parts * np.array([bt, 1 - bt])[:, None, None] * signal
    return profile_fit.Galaxy(parts.sum(1), sigma, np.concatenate([parts, 0 * parts[:, :1]], axis=1))


@pytest.mark.parametrize("bands", [[2], [0, 1, 2, 3, 4]])
def test_bulge_and_disk_are_recovered_from_bright_images(simulator: Simulator, bands: list[int]) -> None:
    bright = galaxy(simulator, 0.4, 3e5)
    off = TRUTH + np.array([0.02, 0.02, 0.2, 0.1, -0.05, 0.1, -0.1, 0.05, -0.1])
    found, seconds = profile_fit.fit_galaxy(simulator, bright, off, 2, bands)
    assert found == pytest.approx(0.4, abs=0.03)
    assert seconds > 0


def test_one_profile_is_recovered(simulator: Simulator) -> None:
    bulge = galaxy(simulator, 1.0, 3e5)
    first = TRUTH + np.array([0, 0, 0, 0, 0, 0, -0.5, 0, 0])
    radius, index = profile_fit.fit_single(simulator, bulge, first, 2)
    assert radius == pytest.approx(RADIUS, rel=0.03)
    assert index == pytest.approx(INDEX, rel=0.05)


def test_known_templates_give_the_ratio_of_their_fluxes(simulator: Simulator) -> None:
    drawn = galaxy(simulator, 0.3, 1e4)
    inside = drawn.parts[2].sum((1, 2))
    assert profile_fit.known_templates(drawn, 2) == pytest.approx(inside[0] / inside.sum(), abs=1e-5)


def test_galaxies_are_drawn_again_as_the_simulation_wrote_them(tmp_path, simulator: Simulator) -> None:
    settings = SimulateSettings(n_objects=2, oddity_fraction=0.0)
    astrodl.simulate(settings, tmp_path, progress=False)
    _, (drawn,) = profile_fit.draw_galaxies(tmp_path, [1])
    with fits.open(tmp_path / "truth" / "SIM000001.fits") as file:
        for number, name in enumerate(("BULGE", "DISK", "CLUMP")):
            np.testing.assert_allclose(drawn.parts[2, number], file[name].data, atol=1e-5)
