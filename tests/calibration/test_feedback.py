"""The order learnt from labels: what labels teach, where, and that they do no harm."""

import numpy as np
import pytest

from astrodl.calibration.feedback import describe_objects, learn_ranking
from astrodl.metrics.outliers import average_precision


def planted(random: np.random.Generator, n_objects: int = 3000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw measurements with two unusual groups, of which the second has the higher score, and a score."""
    kind = np.repeat([0, 1, 2], [n_objects - 120, 60, 60])
    centre = np.array([[0.0] * 6, [4, 4, 0, 0, 0, 0], [0, 0, 4, 4, 0, 0]])
    measured = centre[kind] + random.standard_normal((n_objects, 6))
    score = random.exponential(size=n_objects) + np.array([0.0, 3.0, 4.0])[kind]
    return measured, score, kind


def ask(vectors: np.ndarray, score: np.ndarray, is_wanted: np.ndarray, n_labels: int) -> np.ndarray:
    """Label the first ten of the list as often as needed, and return the last score."""
    labelled: list[int] = []
    current = score
    while len(labelled) < n_labels:
        order = np.argsort(-current, kind="stable")
        labelled += [i for i in order.tolist() if i not in set(labelled)][:10]
        current = learn_ranking(score, vectors, labelled, is_wanted[labelled]).score
    return current


def test_thirty_labels_double_the_precision_and_ten_do_no_harm() -> None:
    for seed in range(3):
        measured, score, kind = planted(np.random.default_rng(seed))
        vectors = describe_objects([measured])
        for wanted in (kind == 1, kind == 2, kind > 0):
            before = average_precision(score, wanted)
            top = [
                wanted[np.argsort(-values, kind="stable")[:60]].mean()
                for values in (score, ask(vectors, score, wanted, 10), ask(vectors, score, wanted, 30))
            ]
            assert top[1] >= top[0] - 0.02
            assert top[2] >= min(2 * top[0], 0.85)
            assert average_precision(ask(vectors, score, wanted, 30), wanted) > before


def test_the_posterior_agrees_with_its_formula() -> None:
    random = np.random.default_rng(1)
    vectors, score = random.standard_normal((40, 3)), random.random(40)
    labelled, interest = np.array([3, 17, 30]), np.array([1.0, 0.0, 1.0])
    ranks = np.argsort(np.argsort(score)) + 1
    prior = (ranks / 41) ** 19

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(-((x[:, None] - y[None]) ** 2).sum(2) / (4 * 3))

    inside = kernel(vectors[labelled], vectors[labelled]) + 0.09 * np.eye(3)
    cross = kernel(vectors, vectors[labelled])
    mean = prior + cross @ np.linalg.solve(inside, interest - prior[labelled])
    variance = 1 - np.einsum("ij,ji->i", cross, np.linalg.solve(inside, cross.T))
    found = learn_ranking(score, vectors, labelled, interest)
    np.testing.assert_allclose(found.score, mean, atol=1e-10)
    np.testing.assert_allclose(found.error, np.sqrt(variance), atol=1e-10)


def test_far_from_all_labels_the_order_stays() -> None:
    random = np.random.default_rng(2)
    score, vectors = random.random(200), random.standard_normal((200, 4))
    vectors[:100] += 50
    found = learn_ranking(score, vectors, [150, 160], [1, 0])
    assert np.array_equal(np.argsort(found.score[:100]), np.argsort(score[:100]))
    np.testing.assert_allclose(found.error[:100], 1.0)
    assert found.error[150] < 0.4


def test_the_interest_before_labels_has_the_mean_that_is_expected() -> None:
    score = np.random.default_rng(3).random(5000)
    found = learn_ranking(score, np.arange(5000.0)[:, None], [], [])
    assert found.score.mean() == pytest.approx(0.05, abs=0.001)


def test_objects_without_a_score_stay_without_and_do_not_teach() -> None:
    score = np.array([0.1, np.nan, 0.3, 0.2])
    vectors = np.zeros((4, 2))
    found = learn_ranking(score, vectors, [1], [1])
    assert np.isnan(found.score[1])
    assert np.isnan(found.error[1])
    np.testing.assert_allclose(found.score[[0, 3, 2]], (np.array([1, 2, 3]) / 4) ** 19)


def test_the_order_of_objects_and_constant_or_missing_measurements_change_nothing() -> None:
    random = np.random.default_rng(4)
    measured, score, kind = planted(random, 500)
    labelled = np.argsort(-score)[:20]
    before = learn_ranking(score, describe_objects([measured]), labelled, kind[labelled] == 1).score
    more = np.column_stack([measured, np.full(500, 3.0), np.full(500, np.nan)])
    order = random.permutation(500)
    back = np.argsort(order)
    after = learn_ranking(score[order], describe_objects([more[order]]), back[labelled], kind[labelled] == 1).score
    np.testing.assert_allclose(after[back], before, atol=1e-8)


def test_vectors_have_unit_variance_and_at_most_sixteen_components_per_group() -> None:
    random = np.random.default_rng(5)
    wide, narrow = random.standard_normal((300, 40)) * 1e6, random.standard_normal((300, 2))
    wide[5, 3] = np.nan
    vectors = describe_objects([wide, narrow])
    assert vectors.shape == (300, 18)
    np.testing.assert_allclose(vectors.var(0), 1.0)
    assert np.isfinite(vectors).all()
