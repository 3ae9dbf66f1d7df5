import numpy as np
import pytest

from astrodl.baselines.features import impute, standardise


def test_missing_features_take_the_training_median() -> None:
    train, test = impute([[1.0, 5], [3, np.nan], [9, 7], [np.inf, 9]], [[np.nan, -np.inf]])
    assert train.tolist() == [[1, 5], [3, 7], [9, 7], [3, 9]]
    assert test.tolist() == [[3, 7]]


def test_training_features_do_not_depend_on_the_test_objects() -> None:
    train = np.random.default_rng(0).normal(size=(20, 3))
    assert np.array_equal(standardise(train, train[:2])[0], standardise(train, 100 * train)[0])


def test_a_feature_never_measured_becomes_zero() -> None:
    train, test = impute(np.full((2, 1), np.nan), [[4.0]])
    assert train.tolist() == [[0], [0]]
    assert test.tolist() == [[4]]


def test_standardised_training_features_have_mean_zero_and_sigma_one() -> None:
    train = np.random.default_rng(0).normal(3, 7, size=(100, 4))
    train[:, 3] = 5
    scaled = standardise(train)[0]
    assert scaled.mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-12)
    assert scaled.std(axis=0) == pytest.approx([1, 1, 1, 0])


def test_the_input_does_not_change() -> None:
    train = np.array([[np.inf, 1.0], [2.0, 1.0]])
    impute(train)
    assert np.isinf(train[0, 0])


@pytest.mark.parametrize("arrays", [(np.ones((2, 3)), np.ones((2, 4))), (np.ones((0, 3)),), (np.ones(3),)])
def test_features_that_do_not_fit_together_raise(arrays: tuple) -> None:
    with pytest.raises(ValueError, match=r"must be \(N, F\)"):
        impute(*arrays)
