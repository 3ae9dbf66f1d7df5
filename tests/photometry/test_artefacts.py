"""Artefacts: planted ones are flagged, galaxies are not."""

import numpy as np
import pytest

from astrodl.photometry.artefacts import ARTEFACTS, TRAIL, find_artefacts, measure_trail

SIGMA = np.full((1, 3), 0.5, np.float32)


def galaxy(flux: float = 200.0, axis_ratio: float = 0.7) -> np.ndarray:
    """Return a round galaxy in three bands with noise, (1, 3, 64, 64)."""
    y, x = np.mgrid[:64, :64] - 31.5
    light = flux * np.exp(-np.hypot(x, y / axis_ratio) / 3) / 50
    noise = np.random.default_rng(0).normal(0, 0.5, (1, 3, 64, 64))
    return (light + noise).astype(np.float32)


def line(peak: float, angle: float, offset: float) -> np.ndarray:
    y, x = np.mgrid[:64, :64] - 31.5
    across = x * np.cos(angle) + y * np.sin(angle) - offset
    return (peak * np.exp(-0.5 * (across / 1.2) ** 2)).astype(np.float32)


@pytest.mark.parametrize("flux", [0.0, 200.0, 5000.0])
@pytest.mark.parametrize("axis_ratio", [1.0, 0.2])
def test_a_galaxy_has_no_artefact(flux: float, axis_ratio: float) -> None:
    assert find_artefacts(galaxy(flux, axis_ratio), SIGMA).tolist() == [0]


@pytest.mark.parametrize(("angle", "offset"), [(0.0, 12.0), (0.6, -15.0), (2.0, 10.0)])
def test_a_line_in_one_band_is_a_trail_and_one_in_all_bands_is_not(angle: float, offset: float) -> None:
    images = galaxy()
    images[:, 1] += line(2.0, angle, offset)
    assert measure_trail(images, SIGMA)[0] > TRAIL
    assert find_artefacts(images, SIGMA).tolist() == [ARTEFACTS["trail"]]
    assert measure_trail(galaxy() + line(4.0, angle, offset), SIGMA)[0] < TRAIL


def test_missing_pixels_borders_and_flat_tops_are_flagged() -> None:
    holes, border, dead, flat = (galaxy() for _ in range(4))
    holes[:, 0, 20:40, 20:40] = np.nan
    border[:, 2, :2] = np.nan
    dead[:, 0, 5, 5] = np.nan
    flat[:, 1] = np.minimum(flat[:, 1], 2.0 * 3)
    flat[:, 1, 30:33, 30:33] = 6.0
    found = find_artefacts(np.concatenate([holes, border, dead, flat]), SIGMA.repeat(4, 0))
    assert found.tolist() == [ARTEFACTS["missing"], ARTEFACTS["edge"], 0, ARTEFACTS["saturation"]]


def test_a_band_without_any_data_and_a_single_band_are_no_artefacts() -> None:
    images, sigma = galaxy(), SIGMA.copy()
    images[:, 1], sigma[:, 1] = np.nan, np.nan
    assert find_artefacts(images, sigma).tolist() == [0]
    assert measure_trail(galaxy()[:, :1] + line(3.0, 0.6, 9.0), SIGMA[:, :1]).tolist() == [0]
