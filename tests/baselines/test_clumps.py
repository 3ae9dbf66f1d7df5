import numpy as np
import pytest

from astrodl.baselines.clumps import FINDERS, FinderSettings, find_clumps, tune_finder
from astrodl.metrics.clumps import match_positions
from astrodl.photometry.clumps import Clumps


def clumpy(n: int, seed: int, sky: float = 0.05) -> tuple[np.ndarray, np.ndarray, Clumps]:
    """Draw inclined smooth disks with three clumps each on sky noise."""
    random = np.random.default_rng(seed)
    y, x = np.indices((48, 48)) - 23.5
    images, positions = np.empty((n, 48, 48)), []
    for k in range(n):
        images[k] = 5 * np.exp(-np.hypot(y / 0.7, x) / 8)
        for angle in random.uniform(0, 2 * np.pi) + np.array([0, 2, 4]):
            row, column = 12 * np.sin(angle), 12 * np.cos(angle)
            images[k] += 2 * np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / 1.5**2)
            positions.append((k, row + 23.5, column + 23.5))
    image, rows, columns = np.array(positions).T
    noisy = images + sky * random.standard_normal(images.shape)
    return noisy, np.full(n, sky), Clumps(image.astype(int), rows, columns, np.ones(len(rows)))


@pytest.mark.parametrize("finder", FINDERS)
def test_a_tuned_finder_finds_clumps_in_new_images(finder: str) -> None:
    images, sky, truth = clumpy(10, 0)
    settings = tune_finder(finder, images, sky, truth, np.ones(len(truth.x), bool))
    images, sky, truth = clumpy(10, 1)
    found = find_clumps(images, sky, settings)
    of_truth, of_found = match_positions(
        truth.image, np.column_stack([truth.y, truth.x]), found.image, np.column_stack([found.y, found.x]), 2.0
    )
    assert np.mean(of_truth >= 0) > 0.9
    assert np.mean(of_found >= 0) > 0.9


@pytest.mark.parametrize("finder", FINDERS)
def test_units_do_not_matter_and_pixels_without_data_have_no_clumps(finder: str) -> None:
    images, sky, truth = clumpy(3, 2)
    settings = tune_finder(finder, images, sky, truth, np.ones(len(truth.x), bool))
    plain, scaled = find_clumps(images, sky, settings), find_clumps(1e3 * images, 1e3 * sky, settings)
    np.testing.assert_allclose(plain.x, scaled.x)
    images[:, 24:] = np.nan
    assert (find_clumps(images, sky, settings).y < 24.5).all()


def test_without_true_clumps_nothing_is_found() -> None:
    images, sky, truth = clumpy(2, 0)
    settings = tune_finder("dog", images, sky, truth.select(np.zeros(len(truth.x), bool)), [])
    assert isinstance(settings, FinderSettings)
    with pytest.raises(ValueError, match="sky_sigma"):
        find_clumps(images, sky[:1], settings)
