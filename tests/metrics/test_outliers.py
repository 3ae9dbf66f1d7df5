import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from astrodl.metrics import outliers


def draw_scores(n: int = 400, digits: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Scores of normal objects and of oddities one sigma above, rounded to make ties."""
    random = np.random.default_rng(0)
    odd = random.uniform(size=n) < 0.1
    return np.round(random.normal(size=n) + odd, digits), odd


def test_auc_of_two_gaussians_is_its_closed_form() -> None:
    score, odd = draw_scores(40000)
    assert outliers.auc(score, odd) == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.01)


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_auc_and_average_precision_agree_with_scikit_learn_with_and_without_ties(digits: int) -> None:
    score, odd = draw_scores(digits=digits)
    assert outliers.auc(score, odd) == pytest.approx(sk.roc_auc_score(odd, score), abs=1e-12)
    assert outliers.average_precision(score, odd) == pytest.approx(sk.average_precision_score(odd, score), abs=1e-12)


def test_a_perfect_score_is_perfect_and_its_negative_is_worst() -> None:
    odd = np.arange(100) >= 95
    assert outliers.auc(np.arange(100), odd) == 1
    assert outliers.auc(-np.arange(100), odd) == 0
    assert outliers.average_precision(np.arange(100), odd) == 1
    assert outliers.recall_top(np.arange(100), odd, 0.05) == 1
    assert outliers.recall_top(np.arange(100), odd, 0.01) == pytest.approx(1 / 5)
    assert outliers.recall_top(-np.arange(100), odd, 0.05) == 0


def test_a_constant_score_has_chance_level_metrics() -> None:
    odd = np.arange(200) < 20
    assert outliers.auc(np.zeros(200), odd) == 0.5
    assert outliers.average_precision(np.zeros(200), odd) == pytest.approx(0.1)
    assert outliers.recall_top(np.zeros(200), odd, 0.05) == pytest.approx(0.05)


def test_recall_top_is_a_count_in_the_sorted_list() -> None:
    score, odd = draw_scores()
    top = np.argsort(-score)[:20]
    assert outliers.recall_top(score, odd, 0.05) == pytest.approx(odd[top].sum() / odd.sum())


def test_recall_top_is_the_mean_over_the_orders_of_ties() -> None:
    score, odd = draw_scores(n=100, digits=0)
    random = np.random.default_rng(0)
    recalls = []
    for _ in range(3000):
        order = random.permutation(100)
        top = order[np.argsort(-score[order], kind="stable")[:10]]
        recalls.append(odd[top].sum() / odd.sum())
    assert outliers.recall_top(score, odd, 0.1) == pytest.approx(np.mean(recalls), abs=0.01)


def test_the_top_contains_at_least_one_object() -> None:
    assert outliers.recall_top([1, 2, 3], [False, False, True], 0.01) == 1


@pytest.mark.parametrize("metric", [outliers.auc, outliers.average_precision])
def test_an_increasing_function_of_the_score_has_the_same_metrics(metric) -> None:
    score, odd = draw_scores()
    order = np.random.default_rng(2).permutation(400)
    assert metric(np.exp(3 * score[order]), odd[order]) == pytest.approx(metric(score, odd), abs=1e-12)


def test_metrics_without_oddities_are_nan() -> None:
    none = np.zeros(3, bool)
    assert np.isnan(outliers.auc([1, 2, 3], none))
    assert np.isnan(outliers.auc([1, 2, 3], ~none))
    assert np.isnan(outliers.average_precision([1, 2, 3], none))
    assert np.isnan(outliers.recall_top([1, 2, 3], none, 0.5))


@pytest.mark.parametrize(
    ("score", "truth", "message"),
    [([1, np.nan], [0, 1], "1 scores are not finite"), ([1, 2], [1], "shape"), ([], [], "N > 0")],
)
def test_invalid_scores_raise(score: list, truth: list, message: str) -> None:
    for metric in (outliers.auc, outliers.average_precision, lambda s, t: outliers.recall_top(s, t, 0.1)):
        with pytest.raises(ValueError, match=message):
            metric(score, truth)


@pytest.mark.parametrize("fraction", [0, 1.1, -1])
def test_a_fraction_outside_0_to_1_raises(fraction: float) -> None:
    with pytest.raises(ValueError, match="at most 1"):
        outliers.recall_top([1, 2], [0, 1], fraction)
