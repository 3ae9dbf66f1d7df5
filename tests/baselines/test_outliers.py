import numpy as np
import pytest

from astrodl.baselines.outliers import (
    isolation_forest,
    knn_distance,
    local_outlier_factor,
    one_class_svm,
    principal_components,
    whiten,
)
from astrodl.baselines.variational import variational_autoencoder

SCORES = [lambda a, b: isolation_forest(a, b, n_trees=50), knn_distance, one_class_svm, local_outlier_factor]


@pytest.mark.parametrize("score", SCORES, ids=["forest", "knn", "svm", "lof"])
def test_objects_far_from_the_training_objects_score_highest(score) -> None:
    random = np.random.default_rng(0)
    train, test = random.normal(size=(300, 5)), random.normal(size=(60, 5))
    test[:6] += 8 * np.sign(test[:6])
    train[::9, 1], test[10, 2] = np.nan, np.inf
    assert set(np.argsort(-score(train, test))[:6]) == set(range(6))


def test_knn_distance_is_the_mean_distance_to_the_nearest() -> None:
    train = np.array([[-1.0], [1.0]])
    assert knn_distance(train, [[3.0], [0.0]], k=1) == pytest.approx([2, 1])
    assert knn_distance(train, [[3.0]], k=10) == pytest.approx([3])


def test_units_of_the_features_do_not_matter() -> None:
    train, test = np.random.default_rng(0).normal(size=(2, 50, 3))
    scale = np.array([1e-3, 1, 1e3])
    assert knn_distance(train * scale, test * scale) == pytest.approx(knn_distance(train, test))


def test_the_isolation_forest_depends_on_the_seed() -> None:
    train, test = np.random.default_rng(0).normal(size=(2, 50, 3))
    first, same, other = (isolation_forest(train, test, seed, n_trees=5) for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_whitened_features_are_uncorrelated_with_unit_variance() -> None:
    x = np.random.default_rng(0).normal(size=(500, 3)) @ np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 5.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(np.cov(whiten(x, x[:3], ridge=0.0)[0].T), np.eye(3), atol=0.01)


def test_principal_components_leave_what_the_training_images_do_not_have() -> None:
    random = np.random.default_rng(0)
    templates = random.normal(size=(3, 40))
    train, test = (random.normal(size=(n, 3)) @ templates for n in (100, 5))
    test[2, 7] += 2
    codes, residual = principal_components(train, test, 3)
    assert codes[0].shape == (100, 3)
    assert np.argmax(residual) == 2
    assert np.delete(residual, 2).max() < 1e-4 < 0.1 < residual[2] <= 2 / np.sqrt(40)


def test_a_variational_autoencoder_redraws_what_it_was_trained_on_and_leaves_what_it_never_saw() -> None:
    random = np.random.default_rng(0)
    axis = np.arange(16) - 7.5
    width = random.uniform(1.5, 4, size=340)[:, None, None]
    images = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * width**2))[:, None] * random.uniform(1, 2, (340, 1, 1, 1))
    train, test = images[:300], images[300:]
    test = np.concatenate([test, np.where(np.abs(axis) > 6, 2.0, test[:10])])
    options = {"widths": (8, 16), "noise": 0.1}
    (codes, others), residual = variational_autoencoder(train, test, 4, n_updates=80, **options)
    assert codes.shape == (300, 4)
    assert others.shape == (50, 4)
    assert residual[40:].min() > residual[:40].max()
    first, again = (variational_autoencoder(train, test, 4, n_updates=3, **options)[1] for _ in range(2))
    assert np.array_equal(first, again)
