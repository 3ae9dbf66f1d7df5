"""Photometry and morphology of analytic profiles, against photutils and direct sums."""

from itertools import product

import numpy as np
import pytest

from astrodl.photometry import morphometry
from astrodl.photometry.features import (
    RADII_PIXELS,
    asinh_magnitude,
    catalogue_features,
    detect,
    feature_names,
    measure,
    photometric_features,
    structural_features,
)

SIZE = 64
NOISE = 0.01


def gaussian(
    sigma: float, flux: float = 1000.0, axis_ratio: float = 1.0, shift: tuple[float, float] = (0, 0)
) -> np.ndarray:
    y, x = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    y, x = y - shift[0], x - shift[1]
    image = np.exp(-(x**2 + (y / axis_ratio) ** 2) / (2 * sigma**2))
    return (flux * image / (2 * np.pi * sigma**2 * axis_ratio)).astype(np.float32)


def exponential(scale: float, flux: float = 1000.0) -> np.ndarray:
    fine = 5
    y, x = (np.indices((SIZE * fine, SIZE * fine)) - (SIZE * fine - 1) / 2) / fine
    image = np.exp(-np.hypot(x, y) / scale).reshape(SIZE, fine, SIZE, fine).mean(axis=(1, 3))
    return (flux * image / (2 * np.pi * scale**2)).astype(np.float32)


def features(image: np.ndarray, sigma: float = NOISE) -> dict[str, float]:
    """Measure one image of one or several bands."""
    images = image[None] if image.ndim == 3 else image[None, None]
    values, names = measure(images, sky_sigma=np.full(images.shape[:2], sigma), pixel_scale_arcsec=None)
    return dict(zip(names, values[0].tolist(), strict=True))


@pytest.mark.parametrize("sigma", [2.0, 3.0, 5.0])
def test_r50_contains_half_of_the_flux_of_a_gaussian(sigma: float) -> None:
    measured = features(gaussian(sigma))
    assert measured["r50_pixels"] == pytest.approx(np.sqrt(2 * np.log(2)) * sigma, rel=0.02)
    assert measured["rms_pixels"] == pytest.approx(sigma, rel=0.02)


def test_concentration_of_a_gaussian_and_an_exponential_disk_is_analytic() -> None:
    def radius(fraction: float) -> float:
        return np.sqrt(-2 * np.log(1 - fraction))

    assert features(gaussian(5))["concentration"] == pytest.approx(5 * np.log10(radius(0.8) / radius(0.2)), abs=0.06)
    # r20 = 0.824 and r80 = 2.994 scale lengths of an exponential disk.
    assert features(exponential(4), 1e-4)["concentration"] == pytest.approx(5 * np.log10(2.994 / 0.824), abs=0.06)


@pytest.mark.parametrize("radius", [3, 6, 12, 24])
def test_the_flux_in_an_aperture_is_analytic(radius: int) -> None:
    expected = 1000 * (1 - np.exp(-(radius**2) / (2 * 4.0**2)))
    assert features(gaussian(4))[f"flux_band0_ap{radius}"] == pytest.approx(expected, rel=0.01)


def test_apertures_agree_with_photutils() -> None:
    from photutils.aperture import CircularAperture, aperture_photometry

    image = gaussian(4, shift=(1.3, -0.6))
    middle = (SIZE - 1) / 2
    for radius in RADII_PIXELS:
        aperture = CircularAperture((middle - 0.6, middle + 1.3), radius)
        expected = aperture_photometry(image, aperture)["aperture_sum"][0]
        assert features(image)[f"flux_band0_ap{radius}"] == pytest.approx(expected, rel=0.01)


def test_ellipticity_is_one_minus_the_axis_ratio() -> None:
    assert features(gaussian(5, axis_ratio=0.5))["ellipticity"] == pytest.approx(0.5, abs=0.01)
    assert features(gaussian(5))["ellipticity"] == pytest.approx(0, abs=0.01)


def test_asymmetry_is_zero_with_point_symmetry_and_large_for_half_a_galaxy() -> None:
    image = gaussian(5, axis_ratio=0.6)
    assert abs(features(image)["asymmetry"]) < 0.02
    half = image.copy()
    half[:, : SIZE // 2] *= 0.2
    assert features(half)["asymmetry"] > 0.2


def test_noise_adds_no_asymmetry_or_smoothness_on_average() -> None:
    rng = np.random.default_rng(0)
    images = (gaussian(5)[None, None] + rng.normal(0, 0.3, (100, 1, SIZE, SIZE))).astype(np.float32)
    noisy, names = measure(images, sky_sigma=np.full((100, 1), 0.3), pixel_scale_arcsec=None)
    clean = features(gaussian(5))
    for name in ("asymmetry", "smoothness"):
        assert noisy[:, names.index(name)].mean() == pytest.approx(clean[name], abs=0.03), name


def test_clumps_raise_smoothness_and_gini() -> None:
    smooth = gaussian(6)
    clumpy = smooth.copy()
    clumpy[25:27, 25:27] += 30
    clumpy[40:42, 30:32] += 30
    assert features(clumpy)["smoothness"] > features(smooth)["smoothness"] + 0.05


def test_gini_of_equal_pixels_is_zero_and_of_one_bright_pixel_is_one() -> None:
    assert morphometry.gini(np.ones(100)) == pytest.approx(0)
    assert morphometry.gini(np.eye(1, 100)[0]) == pytest.approx(1)
    values = np.random.default_rng(0).exponential(size=50)
    pairs = np.abs(values[:, None] - values).sum() / (2 * values.mean() * 50 * 49)
    assert morphometry.gini(values) == pytest.approx(pairs)


def test_gini_and_m20_agree_with_a_direct_sum() -> None:
    rng = np.random.default_rng(3)
    image = (gaussian(5) + rng.normal(0, 0.2, (SIZE, SIZE))).astype(np.float32)
    measured = features(image, 0.2)
    detection = detect(image[None, None], np.full((1, 1), 0.2, np.float32))
    inside = detection.footprint[0]
    light = image[inside].astype(float)
    y, x = np.nonzero(inside)
    centre_y, centre_x = (float(c[0]) for c in detection.centre)
    moment = light * ((y - centre_y) ** 2 + (x - centre_x) ** 2)
    order = np.argsort(light)[::-1]
    brightest = order[np.cumsum(light[order]) < 0.2 * light.sum()]
    assert measured["m20"] == pytest.approx(np.log10(moment[brightest].sum() / moment.sum()), abs=1e-4)
    assert measured["gini"] == pytest.approx(morphometry.gini(np.abs(light)), abs=1e-6)


def test_of_equal_pixels_the_last_counts_first_in_m20() -> None:
    image = np.round(gaussian(5))
    image[20, 20:30] = 0
    detection = detect(image[None, None], np.full((1, 1), 0.2, np.float32))
    inside = detection.footprint[0]
    light, distance = image[inside], detection.distance[0][inside]
    order = np.argsort(light, kind="stable")[::-1]
    n_bright = (np.cumsum(light[order]) < 0.2 * light.sum()).sum()
    assert light[order[n_bright - 1]] == light[order[n_bright]], "the last bright pixel has no equal"
    moment = light * distance**2
    expected = np.log10(moment[order[:n_bright]].sum() / moment.sum())
    assert features(image, 0.2)["m20"] == pytest.approx(expected, rel=1e-5)


def test_asymmetry_agrees_with_a_loop_over_centres() -> None:
    image = crowded_scene()[0]
    image[34:36, 20:30] = np.nan
    image = image[:48, 12:]
    detection = detect(image[None, None], np.full((1, 1), 0.2, np.float32))
    centre_y, centre_x = (np.rint(2 * float(c[0])) for c in detection.centre)
    expected = np.inf
    for twice_y, twice_x in product(centre_y + np.arange(-1, 2), centre_x + np.arange(-1, 2)):
        excess = total = 0.0
        for y, x in np.argwhere(detection.footprint[0]):
            partner_y, partner_x = int(twice_y - y), int(twice_x - x)
            if 0 <= partner_y < image.shape[0] and 0 <= partner_x < image.shape[1]:
                partner = image[partner_y, partner_x]
                if np.isfinite(partner):
                    excess += abs(image[y, x] - partner) - 2 / np.sqrt(np.pi) * 0.2
                    total += abs(image[y, x])
        expected = min(expected, excess / total)
    assert features(image, 0.2)["asymmetry"] == pytest.approx(expected, rel=1e-5)


def test_asinh_magnitude_is_ordinary_for_bright_and_finite_for_negative_flux() -> None:
    assert asinh_magnitude(1e4, 1.0) == pytest.approx(23.9 - 2.5 * np.log10(1e4), abs=1e-4)
    assert np.isfinite(asinh_magnitude(-5.0, 1.0))
    # Zero flux has the magnitude of the softening, 1.02 sigma.
    assert asinh_magnitude(0.0, 1.0) == pytest.approx(23.9 - 2.5 * np.log10(np.sqrt(1.042)))
    flux = np.linspace(-5, 50, 100)
    assert (np.diff(asinh_magnitude(flux, 1.0)) < 0).all()


def test_the_colour_of_bands_in_a_fixed_ratio_is_that_ratio_in_magnitudes() -> None:
    bands = np.stack([gaussian(4), 2 * gaussian(4), 6 * gaussian(4)])
    values, names = measure(
        bands[None], sky_sigma=np.full((1, 3), NOISE), pixel_scale_arcsec=None, bands=["g", "r", "i"]
    )
    measured = dict(zip(names, values[0], strict=True))
    for aperture in ("ap6", "total"):
        assert measured[f"colour_g_r_{aperture}"] == pytest.approx(2.5 * np.log10(2), abs=1e-3)
        assert measured[f"colour_r_i_{aperture}"] == pytest.approx(2.5 * np.log10(3), abs=1e-3)


def crowded_scene() -> np.ndarray:
    """Draw two bands of a lopsided galaxy with a clump and a neighbour."""
    rng = np.random.default_rng(5)
    one = gaussian(4, axis_ratio=0.6, shift=(1.2, -0.7))
    one[20:22, 30:33] += 5
    one += gaussian(2, 300, shift=(24, 24))
    return np.stack([one, 1.5 * one]) + rng.normal(0, 0.2, (2, SIZE, SIZE)).astype(np.float32)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_features_are_invariant_under_rotation_and_reflection(turns: int, mirror: bool) -> None:
    image = crowded_scene()
    turned = np.rot90(image[..., ::-1] if mirror else image, turns, axes=(1, 2)).copy()
    first, second = features(image, 0.2), features(turned, 0.2)
    assert second == pytest.approx(first, rel=1e-3, abs=1e-3)


def test_features_are_invariant_under_shifts_by_whole_pixels() -> None:
    image = gaussian(4, axis_ratio=0.6)
    first, second = features(image), features(np.roll(image, (3, -2), axis=(0, 1)))
    for name in structural_features(first):
        assert second[name] == pytest.approx(first[name], rel=1e-2, abs=1e-2), name


def test_the_footprint_excludes_a_neighbour() -> None:
    alone, crowded = gaussian(3), gaussian(3) + gaussian(2, 3000, shift=(24, 24))
    assert features(crowded)["r50_pixels"] == pytest.approx(features(alone)["r50_pixels"], rel=0.02)


def test_scaling_flux_and_noise_scales_only_fluxes() -> None:
    image = crowded_scene()
    first, second = features(image, 0.2), features(image * np.float32(1e-12), 0.2e-12)
    for name, value in first.items():
        if name.startswith("magnitude"):
            value += 30
        expected = value * 1e-12 if name.startswith("flux") else value
        assert second[name] == pytest.approx(expected, rel=1e-3), name


def test_a_missing_band_makes_only_its_own_fluxes_and_colours_nan() -> None:
    image = crowded_scene()
    image[1] = np.nan
    measured = features(image, 0.2)
    alone = features(image[:1], 0.2)
    missing = {name for name, value in measured.items() if np.isnan(value)}
    assert missing == {name for name in measured if "band1" in name}
    for name in structural_features(measured):
        assert measured[name] == pytest.approx(alone[name], rel=1e-5), name


def test_fluxes_are_corrected_for_a_few_missing_pixels() -> None:
    image = gaussian(5)
    holed = image.copy()
    holed[::7, ::5] = np.nan
    for name in ("flux_band0_ap12", "r50_pixels"):
        assert features(holed)[name] == pytest.approx(features(image)[name], rel=0.05)


def test_an_aperture_without_most_of_its_pixels_is_nan() -> None:
    image = gaussian(5)
    image[:, 20:] = np.nan
    measured = features(image)
    assert np.isnan(measured["flux_band0_ap6"])


@pytest.mark.parametrize("image", [np.zeros((SIZE, SIZE)), np.full((SIZE, SIZE), np.nan), np.full((SIZE, SIZE), -5.0)])
def test_shapes_are_nan_without_a_detection(image: np.ndarray) -> None:
    measured = features(image.astype(np.float32))
    assert all(np.isnan(measured[name]) for name in structural_features(measured))
    assert np.isnan(measured["snr"])


def test_sky_sigma_is_measured_on_the_border_by_default() -> None:
    rng = np.random.default_rng(0)
    images = (gaussian(3)[None, None] + rng.normal(0, 0.3, (5, 2, SIZE, SIZE))).astype(np.float32)
    own, names = measure(images, pixel_scale_arcsec=None)
    expected, _ = measure(images, sky_sigma=np.full((5, 2), 0.3), pixel_scale_arcsec=None)
    np.testing.assert_allclose(own[:, names.index("snr")], expected[:, names.index("snr")], rtol=0.15)


def test_features_do_not_depend_on_other_objects() -> None:
    rng = np.random.default_rng(0)
    images = (gaussian(3)[None, None] + rng.normal(0, 0.3, (300, 2, SIZE, SIZE))).astype(np.float32)
    images[::3, 1] = np.nan
    images[1::5, :, 30:, 30:] = np.nan
    together, _ = measure(images, pixel_scale_arcsec=None)
    order = rng.permutation(300)[:20]
    apart = [measure(images[[row]], pixel_scale_arcsec=None)[0][0] for row in order]
    np.testing.assert_array_equal(apart, together[order])


def test_sizes_are_in_arcsec_with_a_pixel_scale() -> None:
    image = gaussian(4)[None, None]
    values, names = measure(image, sky_sigma=[[NOISE]], pixel_scale_arcsec=0.06)
    assert values[0, names.index("r50_arcsec")] == pytest.approx(features(gaussian(4))["r50_pixels"] * 0.06, rel=1e-5)


def test_the_smallest_cutout_is_measured() -> None:
    values, names = measure(gaussian(2)[None, None, 24:40, 24:40], sky_sigma=[[NOISE]], pixel_scale_arcsec=None)
    assert "flux_band0_ap6" in names
    assert "flux_band0_ap12" not in names
    assert np.isfinite(values).all()


def test_features_are_selected_by_name() -> None:
    _, names = measure(
        np.zeros((1, 2, SIZE, SIZE)), sky_sigma=np.ones((1, 2)), pixel_scale_arcsec=None, bands=["g", "r"]
    )
    assert {"colour_g_r_ap6", "colour_g_r_total"} < set(photometric_features(names))
    assert len(photometric_features(names)) == 12
    assert structural_features(names)[-2:] == ("gini", "m20")
    assert len(set(names)) == len(names)


def test_images_with_three_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 axes"):
        measure(np.zeros((1, SIZE, SIZE)), pixel_scale_arcsec=None)


def test_galactic_reddening_is_a_photometric_feature() -> None:
    names = ("flux_g_total", "magnitude_g_total", "colour_g_r_total", "gini", "ebv")
    assert photometric_features(names) == ("magnitude_g_total", "colour_g_r_total", "ebv")
    assert "ebv" not in structural_features(names)


def test_feature_names_agree_with_measure() -> None:
    images = np.random.default_rng(0).normal(size=(2, 2, 32, 32))
    for scale in (0.1, None):
        _, names = measure(images, pixel_scale_arcsec=scale, bands=("g", "r"))
        assert names == feature_names(("g", "r"), 32, scale)


def test_bands_of_any_gain_count_alike_where_nothing_is_calibrated() -> None:
    """A gain changes nothing but fluxes; equal bands have the signal to noise of one times the root of their number."""
    rng = np.random.default_rng(4)
    images = (gaussian(5)[None, None] + rng.normal(0, 0.3, (5, 3, SIZE, SIZE))).astype(np.float32)
    images[1, 2, :, :5] = np.nan
    sigma, gain = np.full((5, 3), 0.3, np.float32), np.array([1, 2**10, 2**-10], np.float32)

    def run(factor: np.ndarray, calibrated: bool) -> dict[str, np.ndarray]:
        scaled = images * factor[:, None, None]
        values, names = measure(
            scaled, sky_sigma=sigma * factor, pixel_scale_arcsec=None, bands=list("gri"), calibrated=calibrated
        )
        return dict(zip(names, values.T, strict=True))

    plain, scaled, same = run(np.ones(3, np.float32), False), run(gain, False), run(np.ones(3, np.float32), True)
    for name in plain:
        if not name.startswith(("flux", "magnitude", "colour")):
            np.testing.assert_array_equal(scaled[name], plain[name], err_msg=name)
            np.testing.assert_allclose(plain[name], same[name], rtol=1e-3, atol=1e-4, err_msg=name)
    assert not np.array_equal(run(gain, True)["snr"], same["snr"])


def test_catalogue_photometry_of_any_gain_counts_alike() -> None:
    flux, sigma = np.array([[3.0, 4.0, np.nan], [5.0, -1.0, 2.0]]), np.ones((2, 3))
    gain = np.array([1, 1e4, 1e-3])
    snr = catalogue_features(flux * gain, sigma * gain, flux, calibrated=False)[:, -1]
    np.testing.assert_allclose(snr, [7 / np.sqrt(2), 6 / np.sqrt(3)], rtol=1e-6)
    np.testing.assert_array_equal(snr, catalogue_features(flux, sigma, flux)[:, -1])
