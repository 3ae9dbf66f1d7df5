import numpy as np
import pytest

from astrodl.baselines.outliers import isolation_forest, knn_distance

SCORES = [lambda a, b: isolation_forest(a, b, n_trees=50), knn_distance]


@pytest.mark.parametrize("score", SCORES, ids=["isolation_forest", "knn_distance"])
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
