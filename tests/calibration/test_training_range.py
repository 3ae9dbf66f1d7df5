"""Comparison with the training objects: what is like them passes, what is not is flagged and described."""

from collections.abc import Callable

import numpy as np
import pytest

from astrodl.calibration.training_range import INPUT_FLAGS, TrainingRange, select_measurements

BANDS = ("g", "r")
NAMES = ("magnitude_g_ap6", "magnitude_r_ap6", "snr", "r50_arcsec")
SCALE = 0.2


def draw(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features and noise of galaxies of 18 to 21 mag with a red sequence, and sizes of 2 to 8 pixels."""
    rng = np.random.default_rng(seed)
    r = rng.uniform(18, 21, n)
    g = r + rng.normal(0.8, 0.1, n)
    snr = 100 * 10 ** (-0.4 * (r - 20)) * rng.lognormal(0, 0.05, n)
    size = SCALE * rng.lognormal(np.log(4), 0.35, n)
    return np.column_stack([g, r, snr, size]), 0.1 * rng.lognormal(0, 0.03, (n, 2))


def measured(features: np.ndarray, noise: np.ndarray) -> dict[str, np.ndarray]:
    return select_measurements(features, NAMES, noise, BANDS, SCALE)


@pytest.fixture(scope="module")
def training_range() -> TrainingRange:
    return TrainingRange.fit(measured(*draw(1000)))


def compare(training_range: TrainingRange, features: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, list[str]]:
    values = measured(features, noise)
    flags = training_range.flags(values, np.ones(len(features), bool))
    return flags, training_range.describe(values, flags)


@pytest.mark.parametrize("n", [1, 3, 20, 2000])
def test_like_objects_pass(n: int, training_range: TrainingRange) -> None:
    flags, lines = compare(training_range, *draw(n, seed=1))
    assert lines == []
    assert (flags > 0).mean() <= 0.02


def test_no_training_object_of_a_small_set_is_outside_its_own_range() -> None:
    values = measured(*draw(50))
    flags = TrainingRange.fit(values).flags(values, np.ones(50, bool))
    assert not flags.any()


def nanomaggies(features: np.ndarray, noise: np.ndarray) -> None:
    features[:, :2] += 1.4
    noise /= 3.63


def order(features: np.ndarray, noise: np.ndarray) -> None:
    features[:, [0, 1]] = features[:, [1, 0]]


def fainter(features: np.ndarray, noise: np.ndarray) -> None:
    features[:, :2] += 5.4
    features[:, 2] *= 10 ** (-0.4 * 5.4)


def rebinned(features: np.ndarray, noise: np.ndarray) -> None:
    features[:, 3] /= 1.5


def deeper(features: np.ndarray, noise: np.ndarray) -> None:
    noise /= 2
    features[:, 2] *= 2


@pytest.mark.parametrize(
    ("change", "kinds", "all_flagged"),
    [
        (nanomaggies, {"magnitudes", "noise"}, {"noise"}),
        (order, {"colours"}, {"colour"}),
        (fainter, {"magnitudes", "S/N"}, {"magnitude", "snr"}),
        (rebinned, {"half-light radii"}, set()),
        (deeper, {"noise"}, {"noise"}),
    ],
)
@pytest.mark.parametrize("n", [100, 2000])
def test_other_objects_are_described_and_flagged(
    change: Callable[[np.ndarray, np.ndarray], None],
    kinds: set[str],
    all_flagged: set[str],
    n: int,
    training_range: TrainingRange,
) -> None:
    features, noise = draw(n, seed=2)
    change(features, noise)
    flags, lines = compare(training_range, features, noise)
    for kind in kinds:
        assert any(line.startswith(kind) for line in lines), lines
    for kind in all_flagged:
        assert (flags & INPUT_FLAGS[kind] > 0).mean() > 0.95


def test_not_detected_is_unlike_detected_and_a_missing_band_has_its_own_flag(training_range: TrainingRange) -> None:
    features, noise = draw(3, seed=3)
    features[0, 2:] = np.nan
    features[1, 0] = noise[1, 0] = np.nan
    flags, _ = compare(training_range, features, noise)
    assert flags.tolist() == [INPUT_FLAGS["snr"] | INPUT_FLAGS["size"], INPUT_FLAGS["missing_band"], 0]


def test_an_object_without_data_has_that_flag_alone(training_range: TrainingRange) -> None:
    values = measured(*draw(2))
    assert training_range.flags(values, np.array([True, False])).tolist() == [0, INPUT_FLAGS["no_data"]]
