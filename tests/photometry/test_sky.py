"""Sky level and noise on the border, and the pixel grids of cutouts."""

import numpy as np
import pytest

from astrodl.photometry.pixel_grid import fit_psf, fit_size, rebin
from astrodl.photometry.sky import block_sky, border_sky


def test_border_sky_recovers_level_and_noise_despite_sources() -> None:
    image = np.random.default_rng(0).normal(5.0, 2.0, (256, 256)).astype(np.float32)
    image[100:150, 100:150] += 1000
    image[:4, 20:60] += 100
    level, sigma = border_sky(image)
    assert level == pytest.approx(5.0, abs=0.1)
    assert sigma == pytest.approx(2.0, rel=0.05)
    assert block_sky(image[None, None]).tolist() == [[np.float32(sigma)]]


def test_border_sky_is_nan_without_data_or_scatter() -> None:
    assert np.isnan(border_sky(np.full((32, 32), np.nan, np.float32))).all()
    level, sigma = border_sky(np.ones((32, 32), np.float32))
    assert level == 1
    assert np.isnan(sigma)


def test_rebinning_conserves_flux_and_scales_up_for_missing_pixels() -> None:
    image = np.arange(36, dtype=np.float32).reshape(6, 6)
    np.testing.assert_array_equal(rebin(image, 2), image.reshape(3, 2, 3, 2).sum(axis=(1, 3)))
    image[:] = 1
    image[0, 0] = image[2, :2] = image[3, 0] = np.nan
    np.testing.assert_array_equal(rebin(image, 2), [[4, 4, 4], [np.nan, 4, 4], [4, 4, 4]])


@pytest.mark.parametrize("size", [4, 5, 8, 9])
@pytest.mark.parametrize("length", [6, 7])
def test_cropping_and_padding_keep_the_central_pixel(length: int, size: int) -> None:
    image = np.zeros((length, length), np.float32)
    image[length // 2, length // 2] = 1
    fitted = fit_size(image, size)
    assert fitted.shape == (size, size)
    assert fitted[size // 2, size // 2] == 1
    assert np.isnan(fitted).any() == (size > length)
    assert fit_psf(image, size).sum() == 1
