import numpy as np
import pytest
from matplotlib.colors import to_rgb

from astrodl.plots.images import (
    balance_bands,
    channel_weights,
    contact_sheet,
    estimate_sky_sigma,
    lupton_rgb,
    order_screen_channels,
    plain_rgb,
    sheet_of_rows,
)
from astrodl.plots.style import NO_DATA, ODD


def galaxies(rng, n=4, bands=5, size=32, sigma=0.1, peak=20.0):
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    blob = peak * np.exp(-(x**2 + y**2) / 18)
    return blob * np.ones((n, bands, 1, 1)) + sigma * rng.normal(size=(n, bands, size, size))


@pytest.mark.parametrize("n_bands", [1, 2, 3, 4, 5, 9])
def test_channels_are_weighted_means_of_all_bands(n_bands):
    weights = channel_weights(n_bands)
    assert weights.shape == (3, n_bands)
    assert np.allclose(weights.sum(axis=1), 1)
    assert (weights.sum(axis=0) > 0).all()
    assert np.allclose(weights, weights[::-1, ::-1])


def test_three_bands_blue_to_red_are_the_three_channels():
    assert np.array_equal(channel_weights(3), np.eye(3)[::-1])


@pytest.mark.parametrize("n_bands", [1, 2, 3, 5])
def test_colours_are_between_zero_and_one_for_any_number_of_bands(rng, n_bands):
    rgb = lupton_rgb(galaxies(rng, bands=n_bands))
    assert rgb.shape == (4, 32, 32, 3)
    assert rgb.dtype == np.float32
    assert 0 <= rgb.min() <= rgb.max() <= 1


def test_the_sky_is_dark_grey_and_the_core_is_bright_and_coloured(rng):
    images = galaxies(rng, n=12, bands=3) * np.array([0.3, 1.0, 2.0])[:, None, None]
    rgb = lupton_rgb(images, np.tile([0.03, 0.1, 0.2], (12, 1)), band_factors=np.ones(3))
    sky, core = rgb[:, :4].reshape(-1, 3), rgb[:, 15:17, 15:17].reshape(-1, 3)
    assert sky.mean() < 0.15
    assert np.ptp(sky.mean(axis=0)) < 0.01
    assert (core[:, 0] > core[:, 1]).all()
    assert (core[:, 1] > core[:, 2]).all()
    assert core[:, 2].max() < 0.9
    assert core[:, 0].min() > 0.7


def test_colour_does_not_depend_on_brightness(rng):
    images = galaxies(rng, n=1, bands=3, sigma=0.0) * np.array([0.5, 1.0, 1.5])[:, None, None]
    images = np.concatenate([images, images / 4])
    rgb = lupton_rgb(images, np.full((2, 3), 0.01), band_factors=np.ones(3))[:, 12, 12]
    assert np.allclose(rgb[0] / rgb[0].max(), rgb[1] / rgb[1].max(), atol=0.12)


def test_missing_pixels_are_muted_and_a_missing_band_is_replaced(rng):
    images = galaxies(rng, bands=3)
    images[0, :, :8] = np.nan
    images[1, 0] = np.nan
    images[2] = np.nan
    rgb = lupton_rgb(images)
    assert np.allclose(rgb[0, :8], to_rgb(NO_DATA), atol=1e-6)
    assert np.allclose(rgb[2], to_rgb(NO_DATA), atol=1e-6)
    assert rgb[1, 16, 16].min() > 0.5


def test_the_unit_of_flux_does_not_matter(rng):
    images = galaxies(rng)
    assert np.allclose(lupton_rgb(images), lupton_rgb(1e-3 * images), atol=1e-5)


def test_a_faint_galaxy_is_brighter_with_its_own_stretch(rng):
    images = galaxies(rng)
    images[1:] *= 30
    own, common = lupton_rgb(images, per_image=True), lupton_rgb(images)
    assert own[0, 16, 16].mean() > common[0, 16, 16].mean() + 0.1


def test_noise_free_and_empty_images_are_finite():
    blob = galaxies(np.random.default_rng(0), n=1, bands=2, sigma=0.0)
    assert lupton_rgb(blob)[0, 16, 16].mean() > 0.5
    assert np.isfinite(lupton_rgb(np.zeros((1, 3, 8, 8)))).all()
    assert lupton_rgb(np.zeros((0, 3, 8, 8))).shape == (0, 8, 8, 3)


def test_images_of_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(n, bands, y, x\)"):
        lupton_rgb(np.zeros((3, 8, 8)))


def test_balanced_bands_make_the_typical_galaxy_nearly_white(rng):
    slope = np.array([0.2, 1.0, 5.0])
    factors = balance_bands(galaxies(rng, n=200, bands=3) * slope[:, None, None])
    # The exponent of 0.8 leaves a fifth of the slope.
    assert np.allclose(np.diff(np.log(factors * slope)), 0.2 * np.log(5), atol=0.05)
    assert np.allclose(balance_bands(galaxies(rng, n=3, bands=1)), 1)
    assert np.allclose(balance_bands(np.full((2, 3, 8, 8), np.nan)), 1)


def test_a_galaxy_does_not_bias_the_noise_estimate(rng):
    assert np.allclose(estimate_sky_sigma(galaxies(rng, sigma=0.1, size=64)), 0.1, rtol=0.15)


def test_plain_colours_are_the_pixel_values(rng):
    pixels = rng.integers(0, 256, (2, 3, 8, 8)).astype(float)
    assert np.allclose(plain_rgb(pixels, maximum=255)[..., 0], pixels[:, 2] / 255, atol=1e-6)
    assert np.allclose(plain_rgb(4 * pixels), plain_rgb(pixels), atol=1e-6)
    assert np.isfinite(plain_rgb(np.full((1, 3, 8, 8), np.nan))).all()


@pytest.mark.parametrize(
    ("bands", "order"),
    [(["red", "green", "blue"], [2, 1, 0]), ("BGR", [0, 1, 2]), ("gri", [0, 1, 2]), (["F606W", "F814W"], [0, 1])],
)
def test_only_screen_channels_are_ordered(bands, order):
    assert order_screen_channels(bands) == order


def test_a_sheet_contains_every_cutout_with_its_title_and_frame(rng):
    sheet = contact_sheet(rng.random((7, 8, 8, 3)), [f"t{i}" for i in range(7)], 4, "Seven", frames=[ODD] + [None] * 6)
    axes = sheet.axes[0]
    assert len(axes.images) == 7
    assert len(axes.patches) == 1
    assert {text.get_text() for text in axes.texts} == {"Seven", *(f"t{i}" for i in range(7))}
    assert all(image.origin == "lower" for image in axes.images)


def test_cutouts_of_a_sheet_are_inside_it_and_do_not_overlap(rng):
    sheet = contact_sheet(rng.random((12, 8, 8, 3)), n_columns=5, heading="x" * 200)
    width, height = sheet.get_size_inches()
    boxes = np.array([image.get_extent() for image in sheet.axes[0].images])
    assert boxes[:, :2].min() >= 0
    assert boxes[:, :2].max() <= width
    assert boxes[:, 2:].min() >= 0
    assert boxes[:, 2:].max() <= height
    corners = {(round(box[0], 3), round(box[3], 3)) for box in boxes}
    assert len(corners) == 12


def test_labelled_rows_may_be_short_or_empty(rng, texts):
    sheet = sheet_of_rows(rng.random((5, 8, 8, 3)), [[4, 0], []], ["short", "empty"], title=str, n_columns=3)
    assert len(sheet.axes[0].images) == 2
    assert {"short", "empty", "4", "0", "none"} <= set(texts(sheet).split("\n"))
