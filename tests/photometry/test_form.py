"""Size, concentration and colour of Gaussian and exponential galaxies."""

import numpy as np
import pytest

from astrodl.photometry.form import measure_form

SIDE = 64


def draw(profile: str, scale: float, colour: float, noise: float = 1e-3, n: int = 20) -> tuple[np.ndarray, np.ndarray]:
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    radius = np.hypot(axis, axis[:, None]) / scale
    image = np.exp(-(radius**2) / 2) if profile == "gaussian" else np.exp(-radius)
    images = np.stack([image, image * 10 ** (0.4 * colour)])[None].repeat(n, axis=0)
    return images + noise * np.random.default_rng(0).normal(size=images.shape), np.full((n, 2), noise)


def test_form_of_a_gaussian_is_its_closed_form() -> None:
    images, noise = draw("gaussian", 4.0, 0.5)
    form = measure_form(images, noise, ("g", "r"))
    assert list(form) == ["r50_pixels", "concentration", "colour_g_r"]
    assert np.median(form["r50_pixels"]) == pytest.approx(4 * np.sqrt(2 * np.log(2)), rel=0.02)
    expected = 5 * np.log10(np.sqrt(np.log(1 / 0.2) / np.log(1 / 0.8)))
    assert np.median(form["concentration"]) == pytest.approx(expected, rel=0.03)
    assert np.median(form["colour_g_r"]) == pytest.approx(0.5, abs=0.01)


def test_an_exponential_is_more_concentrated_and_sizes_have_the_pixel_scale() -> None:
    images, noise = draw("exponential", 4.0, 0.0)
    form = measure_form(images, noise, ("g", "r"), pixel_scale_arcsec=0.1)
    assert np.median(form["r50_arcsec"]) == pytest.approx(0.1 * 4 * 1.678, rel=0.03)
    assert np.median(form["concentration"]) > 2.5


def test_what_is_not_detected_is_nan() -> None:
    form = measure_form(np.zeros((2, 2, 32, 32)), np.ones((2, 2)), ("g", "r"))
    assert all(np.isnan(values).all() for values in form.values())
