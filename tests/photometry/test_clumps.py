import numpy as np
import pytest

from astrodl.photometry.clumps import Clumps, find_peaks, fit_widths, measure_fluxes, true_clumps


def gaussians(y: list[float], x: list[float], flux: list[float], sigma: float, size: int = 40) -> np.ndarray:
    rows, columns = np.indices((size, size))
    image = np.zeros((size, size))
    for row, column, total in zip(y, x, flux, strict=True):
        square = (rows - row) ** 2 + (columns - column) ** 2
        image += total * np.exp(-0.5 * square / sigma**2) / (2 * np.pi * sigma**2)
    return image


def test_peaks_are_found_to_a_tenth_of_a_pixel() -> None:
    y, x = [10.3, 25.0, 30.6], [12.7, 20.4, 8.0]
    maps = np.stack([np.zeros((40, 40)), gaussians(y, x, [9, 6, 3], 1.5)])
    found = find_peaks(maps, 0.05)
    assert list(found.image) == [1, 1, 1]
    assert np.allclose(np.column_stack([found.y, found.x]), np.column_stack([y, x]), atol=0.1)


def test_close_peaks_are_one_and_equal_pixels_are_one_peak() -> None:
    maps = np.zeros((1, 12, 12))
    maps[0, 3, 3], maps[0, 3, 5], maps[0, 8, 8], maps[0, 8, 9] = 2, 1, 1, 1
    assert len(find_peaks(maps, 0.5, 1.0).x) == 3
    assert len(find_peaks(maps, 0.5, 2.0).x) == 2


def test_nan_and_the_border_are_no_trouble() -> None:
    maps = np.full((1, 8, 8), np.nan)
    assert len(find_peaks(maps, 0.0).x) == 0
    maps[0, 0, 0] = 1.0
    found = find_peaks(maps, 0.5)
    assert (found.y[0], found.x[0]) == (0, 0)
    assert len(find_peaks(np.zeros((0, 8, 8)), 0.5).x) == 0


def test_fluxes_of_neighbours_on_an_inclined_curved_background_are_exact() -> None:
    y, x, flux = [18.2, 21.0], [15.4, 18.3], [50.0, 20.0]
    rows, columns = np.indices((40, 40)) - 19.0
    smooth = 3 + 0.2 * rows - 0.1 * columns + 0.01 * (rows**2 + columns**2)
    images = np.stack([gaussians(y, x, flux, 1.2) + smooth, 2 * gaussians(y, x, flux, 1.6)])
    measured, error = measure_fluxes(images, y, x, [0.1, 0.1], [1.2, 1.6])
    assert np.allclose(measured[:, 0], flux, rtol=1e-6)
    assert np.allclose(measured[:, 1], 2 * np.array(flux), rtol=1e-6)
    assert (error > 0).all()


def test_errors_of_fluxes_are_those_of_the_noise() -> None:
    random, flux = np.random.default_rng(0), []
    for _ in range(300):
        image = gaussians([15.0], [15.0], [10.0], 1.2, 31) + 0.1 * random.standard_normal((31, 31))
        measured, error = measure_fluxes(image[None], [15.0], [15.0], [0.1], [1.2])
        flux.append(float(measured[0, 0]))
    assert np.mean(flux) == pytest.approx(10, abs=0.15)
    assert np.std(flux) == pytest.approx(float(error[0, 0]), rel=0.15)


def test_a_clump_without_data_has_no_flux() -> None:
    image = np.full((1, 20, 20), np.nan)
    image[0, :8] = 1.0
    flux, error = measure_fluxes(image, [5.0, 15.0], [5.0, 15.0], [0.1], [1.0])
    assert np.isfinite(flux[0, 0])
    assert np.isnan(flux[1, 0])
    assert np.isnan(error[1, 0])


def test_widths_are_those_of_the_clumps_in_each_band() -> None:
    random, images, positions = np.random.default_rng(1), [], []
    for number in range(20):
        y, x = random.uniform(10, 30, 2)
        planes = np.stack([gaussians([y], [x], [30.0], sigma) for sigma in (1.0, 1.8)])
        images.append(planes + 0.02 * random.standard_normal(planes.shape))
        positions.append((number, y, x))
    image, y, x = np.array(positions).T
    clumps = Clumps(image.astype(int), y, x, np.ones(20))
    assert fit_widths(images, clumps, np.ones(20)) == pytest.approx([1.0, 1.8], abs=0.06)
    few = clumps.select(np.arange(20) < 3)
    assert fit_widths(images, few, np.ones(3), default=1.3) == pytest.approx([1.3, 1.3])


def test_true_clumps_divide_the_light_and_have_the_signal_of_an_optimal_extraction() -> None:
    light = gaussians([10.0, 28.0], [10.0, 25.0], [40.0, 15.0], 1.3)
    mask = light > 1.0
    truth = true_clumps(light[None], mask[None], [0.5])
    order = np.argsort(-truth.flux)
    assert truth.flux[order] == pytest.approx([40, 15], rel=0.01)
    # the sum of the squares of a Gaussian of flux F is F^2 / (4 pi sigma^2)
    assert truth.snr[order] == pytest.approx(np.array([40, 15]) / np.sqrt(4 * np.pi * 1.3**2) / 0.5, rel=0.01)
    assert list(truth.is_detectable[order]) == [True, bool(mask[28, 25])]


def test_unknown_noise_gives_no_true_clumps() -> None:
    assert len(true_clumps(np.ones((1, 8, 8)), np.ones((1, 8, 8), bool), [np.nan]).flux) == 0
