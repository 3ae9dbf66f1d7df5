import numpy as np
import pytest

from astrodl.baselines.morphology import forest


def test_classes_far_apart_are_told_apart_and_probabilities_sum_to_one() -> None:
    random = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], 40)
    x = random.normal(size=(120, 4)) + 6 * np.eye(4)[label]
    x[::7, 3] = np.nan
    probability = forest(x[::2], label[::2], x[1::2], n_trees=30)
    assert np.mean(probability.argmax(axis=1) == label[1::2]) > 0.95
    assert probability.sum(axis=1) == pytest.approx(np.ones(60))


def test_columns_are_class_numbers_even_where_a_class_has_no_training_object() -> None:
    probability = forest(np.arange(10.0)[:, None], np.repeat([0, 3], 5), [[0.0], [9.0]], n_classes=5, n_trees=10)
    assert probability.shape == (2, 5)
    assert (probability[:, [1, 2, 4]] == 0).all()
    assert list(probability.argmax(axis=1)) == [0, 3]


def test_the_seed_decides_the_forest() -> None:
    x, label = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    same = [forest(x, label, x, n_trees=5, seed=1) for _ in range(2)]
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], forest(x, label, x, n_trees=5, seed=2))


@pytest.mark.parametrize("label", [np.zeros(3, int), np.zeros(4), np.array([0, 1, -1, 0]), np.array(["a"] * 4)])
def test_what_are_no_classes_is_refused(label: np.ndarray) -> None:
    with pytest.raises(ValueError, match="train_class"):
        forest(np.ones((4, 2)), label, np.ones((1, 2)))
