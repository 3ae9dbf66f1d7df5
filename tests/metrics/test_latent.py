import numpy as np
import pytest
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from astrodl.metrics import latent
from astrodl.metrics.classification import accuracy, balanced_accuracy


def clouds(n: int, seed: int, distance: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw three classes in three dimensions of very different scale."""
    random = np.random.default_rng(seed)
    label = random.choice(3, n, p=[0.6, 0.3, 0.1])
    return (random.normal(size=(n, 3)) + distance * np.eye(3)[label]) * [1, 100, 0.01], label


def test_classes_far_apart_are_all_recognised_and_mixed_ones_by_chance() -> None:
    for n, distance, k, expected in ((300, 50, 15, 1.0), (2000, 0, 51, 1 / 3)):
        (train, label), (test, truth) = clouds(n, 0, distance), clouds(n, 1, distance)
        predicted = latent.knn_predict(train, label, test, k)
        assert balanced_accuracy(predicted, truth) == pytest.approx(expected, abs=0.05 if distance == 0 else 1e-12)


def test_predicted_classes_agree_with_scikit_learn() -> None:
    (train, label), (test, _) = clouds(500, 0), clouds(300, 1)
    scaler = StandardScaler().fit(train)
    for k in (4, 15):
        expected = KNeighborsClassifier(k).fit(scaler.transform(train), label).predict(scaler.transform(test))
        assert np.array_equal(latent.knn_predict(train, label, test, k), expected)


def test_classes_may_be_text() -> None:
    (train, label), (test, _) = clouds(500, 0), clouds(300, 1)
    names = np.array(["elliptical", "merger", "spiral"])
    assert np.array_equal(latent.knn_predict(train, names[label], test), names[latent.knn_predict(train, label, test)])


@pytest.mark.parametrize("scale", [[1e-3, 1, 1e3], [2, 2, 2]])
def test_units_of_the_latent_dimensions_do_not_matter(scale: list) -> None:
    (train, label), (test, _) = clouds(400, 0), clouds(200, 1)
    scaled = [x * np.array(scale) + 5 for x in (train, test)]
    assert accuracy(latent.knn_predict(scaled[0], label, scaled[1]), latent.knn_predict(train, label, test)) > 0.99
    assert latent.spearman(latent.project(scaled[0], train[:, 0], scaled[1]), test[:, 0]) == pytest.approx(1)


def test_fewer_training_objects_than_neighbours_all_vote() -> None:
    predicted = latent.knn_predict(np.eye(3), ["a", "b", "b"], np.zeros((2, 3)), k=15)
    assert list(predicted) == ["b", "b"]
    assert list(latent.knn_predict(np.ones((1, 2)), [7], np.zeros((2, 2)))) == [7, 7]


def test_a_constant_dimension_is_ignored() -> None:
    (train, label), (test, _) = clouds(300, 0), clouds(200, 1)
    wider = np.c_[train, np.full(300, 4.0)], np.c_[test, np.linspace(0, 1e9, 200)]
    assert np.array_equal(latent.knn_predict(wider[0], label, wider[1]), latent.knn_predict(train, label, test))


def test_a_direction_is_found_with_either_sign() -> None:
    random = np.random.default_rng(0)
    train, test = random.normal(size=(2, 400, 5))
    direction = np.array([1.0, -2.0, 0.0, 0.5, 0.0])
    for sign in (1, -1):
        projected = latent.project(train, sign * np.exp(train @ direction / 5), test)
        assert latent.spearman(projected, test @ direction) > 0.98
    assert latent.spearman(latent.project(train, random.normal(size=400), test), random.normal(size=400)) < 0.15


def test_spearman_with_ties_is_the_correlation_of_mean_ranks() -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 9, 200), -random.integers(0, 9, 200) - 0.0
    y[x > 5] -= 4
    expected = np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1]
    assert latent.spearman(x, y) == pytest.approx(abs(expected), abs=1e-12)


def test_objects_of_unknown_property_are_left_out() -> None:
    train, test = np.random.default_rng(0).normal(size=(2, 60, 2))
    y_train, y_test = train[:, 0].copy(), test[:, 0] ** 3
    y_train[:10], y_test[-5:] = np.nan, np.nan
    assert latent.spearman(latent.project(train, y_train, test), y_test) == pytest.approx(1)


def test_correlation_with_a_constant_is_nan() -> None:
    assert np.isnan(latent.spearman([1, 2, 3], [1, 1, 1]))
    assert np.isnan(latent.spearman([1, np.nan, 3], [1, 2, np.nan]))
    assert np.isnan(latent.spearman([], []))
    assert latent.spearman([1, 2, np.nan], [2, 1, 0]) == pytest.approx(1)


def test_active_units_are_those_that_vary() -> None:
    codes = np.random.default_rng(0).normal(size=(500, 6)) * [1, 0.5, 0.2, 0.05, 0.01, 0]
    assert latent.active_units(codes + 3) == 3


def test_chi2_of_sky_noise_is_one() -> None:
    random = np.random.default_rng(0)
    sigma = random.uniform(0.1, 10, (50, 3))
    images = random.normal(size=(50, 3, 16, 16)) * sigma[:, :, None, None]
    assert latent.chi2(images + 5, np.full_like(images, 5), sigma).mean() == pytest.approx(1, abs=0.02)


def test_chi2_leaves_out_missing_pixels_and_bands() -> None:
    images, sigma = np.full((3, 2, 4, 4), 2.0), np.ones((3, 2))
    images[0, 0, :2] = np.nan
    sigma[1, 0], sigma[2] = np.nan, 0
    result = latent.chi2(images, np.zeros_like(images), sigma)
    assert list(result[:2]) == [4, 4]
    assert np.isnan(result[2])


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [(np.ones((2, 3)), np.ones((2, 4)), "same L"), (np.ones((2, 3)), np.full((2, 3), np.nan), "not finite")],
)
def test_invalid_latents_raise(train, test, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latent.knn_predict(train, [0, 1], test)


def test_a_property_without_finite_values_raises() -> None:
    with pytest.raises(ValueError, match="no finite value"):
        latent.project(np.ones((2, 3)), [np.nan, np.nan], np.ones((2, 3)))
