import numpy as np
import pytest

from astrodl.baselines import segmentation
from astrodl.baselines.segmentation import UnsharpMask


def clumpy(n: int, seed: int, sky: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw smooth disks with three clumps each on sky noise; give images, sky sigmas and clump masks."""
    random = np.random.default_rng(seed)
    y, x = np.indices((48, 48)) - 23.5
    images, masks = np.empty((n, 48, 48)), np.zeros((n, 48, 48), dtype=bool)
    for k in range(n):
        images[k] = 5 * np.exp(-np.hypot(y, x) / 8)
        for angle in random.uniform(0, 2 * np.pi) + np.array([0, 2, 4]):
            distance = np.hypot(y - 12 * np.sin(angle), x - 12 * np.cos(angle))
            images[k] += 2 * np.exp(-0.5 * (distance / 1.5) ** 2)
            masks[k] |= distance < 2.2
    return images + sky * random.normal(size=images.shape), np.full(n, sky), masks


def pooled_dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_fitted_mask_finds_clumps_in_new_images() -> None:
    settings = segmentation.fit_unsharp_mask(*clumpy(20, 0))
    images, sky, truth = clumpy(20, 1)
    assert pooled_dice(segmentation.unsharp_mask(images, sky, settings), truth) > 0.8


def test_the_fitted_settings_are_the_best_of_the_grid() -> None:
    images, sky, truth = clumpy(5, 0)
    best = segmentation.fit_unsharp_mask(images, sky, truth)
    dice = [
        pooled_dice(segmentation.unsharp_mask(images, sky, UnsharpMask(coarse, float(contrast))), truth)
        for coarse in segmentation._COARSE_PIXELS
        for contrast in segmentation._CONTRASTS[::5]
    ]
    assert pooled_dice(segmentation.unsharp_mask(images, sky, best), truth) >= max(dice)


def test_sky_noise_and_smooth_disks_have_no_clumps() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(size=(20, 48, 48))
    assert segmentation.unsharp_mask(noise, np.ones(20)).mean() < 0.003
    y, x = np.indices((48, 48)) - 23.5
    disk = 5 * np.exp(-np.hypot(y, x) / 8)
    assert not segmentation.unsharp_mask(disk[None], [0.05]).any()


def test_noise_of_the_excess_is_predicted() -> None:
    noise = np.random.default_rng(0).normal(size=(4, 200, 200))
    excess = segmentation._blur(noise, segmentation._FINE_PIXELS) - segmentation._blur(noise, 4)
    assert excess.std() == pytest.approx(segmentation._noise_factor(4), rel=0.02)


def test_units_of_the_flux_do_not_matter() -> None:
    images, sky, _ = clumpy(3, 0)
    assert np.array_equal(segmentation.unsharp_mask(1e3 * images, 1e3 * sky), segmentation.unsharp_mask(images, sky))


@pytest.mark.parametrize("turns", [1, 2])
def test_the_mask_rotates_with_the_image(turns: int) -> None:
    images, sky, _ = clumpy(3, 0)
    turned = segmentation.unsharp_mask(np.rot90(images, turns, axes=(1, 2)), sky)
    assert np.array_equal(turned, np.rot90(segmentation.unsharp_mask(images, sky), turns, axes=(1, 2)))


def test_pixels_without_data_and_the_centre_are_not_in_the_mask() -> None:
    images, sky, _ = clumpy(2, 0)
    images[:, :24] = np.nan
    mask = segmentation.unsharp_mask(images, sky, UnsharpMask(contrast=0.0))
    assert not mask[:, :24].any()
    assert not mask[:, 23:25, 23:25].any()
    assert mask[:, 24:].any()


def test_images_and_skies_of_different_lengths_raise() -> None:
    with pytest.raises(ValueError, match="sky_sigma"):
        segmentation.unsharp_mask(np.ones((2, 8, 8)), [1.0])


def test_constant_bt_is_the_mean_of_the_finite_training_values() -> None:
    assert segmentation.constant_bt([0.2, 0.4, np.nan], 3) == pytest.approx([0.3, 0.3, 0.3])


def test_forest_bt_follows_a_feature() -> None:
    x = np.random.default_rng(0).uniform(size=(300, 3))
    predicted = segmentation.forest_bt(x[:200], x[:200, 1], x[200:], n_trees=50)
    assert np.sqrt(np.mean((predicted - x[200:, 1]) ** 2)) < 0.1


def test_radial_fraction_recovers_a_radial_profile() -> None:
    y, x = np.indices((20, 20)) - 9.5
    truth = np.exp(-np.hypot(y, x).astype(int) / 4)
    weight = np.random.default_rng(0).uniform(size=(5, 20, 20))
    fraction = np.repeat(truth[None], 5, axis=0)
    fraction[0, 3, 4], weight[1, 5, 6] = np.nan, np.nan
    assert segmentation.radial_fraction(fraction, weight) == pytest.approx(truth)


def test_radial_fraction_without_light_at_a_radius_is_the_overall_mean() -> None:
    fraction, weight = np.zeros((1, 8, 8)), np.zeros((1, 8, 8))
    fraction[0, 3:5, 3:5], weight[0, 3:5, 3:5] = 0.7, 2.0
    assert segmentation.radial_fraction(fraction, weight) == pytest.approx(np.full((8, 8), 0.7))
    assert segmentation.radial_fraction(fraction, 0 * weight) == pytest.approx(np.zeros((8, 8)))


def test_the_central_source_is_told_from_its_neighbour() -> None:
    y, x = np.indices((64, 64))
    random = np.random.default_rng(0)
    sources = [20 * np.exp(-0.5 * np.hypot(y - 32, x - centre) ** 2 / 3.0**2) for centre in (32, 44)]
    images = sum(sources) + 0.1 * random.normal(size=(2, 64, 64))
    images[1] = 0.1 * random.normal(size=(64, 64))
    sky = np.full(2, 0.1)
    truth = np.stack([(sources[0] > sources[1]) & (sources[0] > 0.1), np.zeros((64, 64), bool)])
    found = segmentation.central_segment(images, sky)
    assert pooled_dice(found[:1], truth[:1]) > 0.9
    assert not found[0, 32, 44]
    assert found[1].sum() < 60
    assert segmentation.fit_central_segment(images[:1], sky[:1], found[:1]) == 1.5
