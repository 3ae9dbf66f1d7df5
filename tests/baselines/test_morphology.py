from functools import partial

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from astrodl.baselines.morphology import _couple, forest, mlp, svm

METHODS = [partial(forest, n_trees=30), svm, partial(mlp, n_networks=1, widths=(32,), epochs=1, min_updates=300)]
every_method = pytest.mark.parametrize("classify", METHODS, ids=["forest", "svm", "mlp"])


@every_method
def test_separated_classes_are_recognised_and_probabilities_sum_to_one(classify) -> None:
    random = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], 40)
    x = random.normal(size=(120, 4)) + 6 * np.eye(4)[label]
    x[::7, 3] = np.nan
    probability = classify(x[::2], label[::2], x[1::2])
    assert np.mean(probability.argmax(axis=1) == label[1::2]) > 0.95
    assert probability.sum(axis=1) == pytest.approx(np.ones(60))


@every_method
def test_columns_are_class_numbers_even_where_a_class_has_no_training_object(classify) -> None:
    probability = classify(np.arange(10.0)[:, None], np.repeat([0, 3], 5), [[0.0], [9.0]], n_classes=5)
    assert probability.shape == (2, 5)
    assert (probability[:, [1, 2, 4]] < 0.05).all()
    assert list(probability.argmax(axis=1)) == [0, 3]


@every_method
def test_classes_may_have_one_or_two_training_objects(classify) -> None:
    x = np.random.default_rng(0).normal(size=(13, 3))
    label = np.array([0] * 10 + [1, 2, 2])
    probability = classify(x, label, x[:4])
    assert probability.sum(axis=1) == pytest.approx(np.ones(4))
    assert (classify(x, np.zeros(13, int), x[:4]) == 1).all()


@every_method
def test_a_curved_boundary_and_its_probabilities_are_learned(classify) -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(900, 2))
    truth = 1 / (1 + np.exp(4 * (np.hypot(*x.T) - 1.2)))
    label = (random.random(900) < truth).astype(int)
    probability = classify(x[:600], label[:600], x[600:])[:, 1]
    assert np.mean((probability > 0.5) == (truth[600:] > 0.5)) > 0.88
    assert np.mean((probability - truth[600:]) ** 2) < 0.04


def test_the_forest_depends_on_the_seed() -> None:
    x, label = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    same = [forest(x, label, x, n_trees=5, seed=1) for _ in range(2)]
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], forest(x, label, x, n_trees=5, seed=2))


@every_method
@pytest.mark.parametrize("label", [np.zeros(3, int), np.zeros(4), np.array([0, 1, -1, 0]), np.array(["a"] * 4)])
def test_invalid_classes_raise(classify, label: np.ndarray) -> None:
    with pytest.raises(ValueError, match="train_class"):
        classify(np.ones((4, 2)), label, np.ones((1, 2)))


def test_coupling_recovers_the_probabilities_of_the_classes() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(4), 30)
    pairs = p[:, :, None] / (p[:, :, None] + p[:, None, :]) * (1 - np.eye(4))
    assert _couple(pairs) == pytest.approx(p)
    assert _couple(np.array([[[0, 0.3], [0.7, 0]]])) == pytest.approx(np.array([[0.3, 0.7]]))


@pytest.mark.filterwarnings("ignore:The `probability` parameter")
def test_probabilities_agree_with_libsvm() -> None:
    random = np.random.default_rng(2)
    label = np.arange(400) % 4
    x = random.normal(size=(400, 3)) + 1.5 * np.eye(4)[label][:, :3]
    coupled = svm(x[:300], label[:300], x[300:])
    expected = SVC(C=10, gamma=0.1, probability=True, random_state=0).fit(x[:300], label[:300]).predict_proba(x[300:])
    assert np.corrcoef(coupled.ravel(), expected.ravel())[0, 1] > 0.95


def test_networks_are_averaged_and_do_not_change_the_generator_of_torch() -> None:
    x, label = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    state = torch.random.get_rng_state()
    one, two, both = (
        mlp(x, label, x, widths=(8,), epochs=1, min_updates=20, n_networks=n, seed=seed)
        for n, seed in ((1, 0), (1, 1), (2, 0))
    )
    assert torch.equal(state, torch.random.get_rng_state())
    assert both == pytest.approx((one + two) / 2)
