import numpy as np
import pytest
from sklearn import metrics as sk

from astrodl.metrics import classification
from astrodl.metrics.bootstrap import bootstrap


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of four classes, somewhat right, and labels."""
    random = np.random.default_rng(0)
    label = random.choice(4, 500, p=[0.5, 0.3, 0.15, 0.05])
    logits = random.normal(size=(500, 4)) + 1.5 * np.eye(4)[label]
    probability = np.exp(logits)
    return probability / probability.sum(axis=1, keepdims=True), label


def test_a_perfect_classifier_is_perfect() -> None:
    label = np.array([0, 1, 2, 1])
    probability = np.eye(3)[label]
    for metric in (classification.accuracy, classification.balanced_accuracy, classification.macro_f1):
        assert metric(label, label) == 1
    assert classification.auc(probability, label) == 1
    assert classification.brier(probability, label) == 0
    assert classification.ece(probability, label) == 0


def test_a_constant_prediction_has_chance_balanced_accuracy() -> None:
    label = np.repeat([0, 1, 2], [90, 5, 5])
    assert classification.accuracy(np.zeros(100, int), label) == 0.9
    assert classification.balanced_accuracy(np.zeros(100, int), label) == pytest.approx(1 / 3)


def test_brier_of_equal_probabilities_is_one_minus_one_over_the_classes() -> None:
    assert classification.brier(np.full((10, 5), 0.2), np.arange(10) % 5) == pytest.approx(0.8)


def test_metrics_of_classes_agree_with_scikit_learn(case) -> None:
    predicted, label = case[0].argmax(axis=1), case[1]
    assert classification.accuracy(predicted, label) == pytest.approx(sk.accuracy_score(label, predicted))
    assert classification.balanced_accuracy(predicted, label) == pytest.approx(
        sk.balanced_accuracy_score(label, predicted)
    )
    assert classification.macro_f1(predicted, label) == pytest.approx(sk.f1_score(label, predicted, average="macro"))
    assert np.array_equal(classification.confusion(predicted, label), sk.confusion_matrix(label, predicted))


def test_metrics_of_probabilities_agree_with_scikit_learn(case) -> None:
    probability, label = case
    assert classification.auc(probability, label) == pytest.approx(
        sk.roc_auc_score(label, probability, multi_class="ovr", average="macro")
    )
    assert classification.brier(probability, label) == pytest.approx(
        np.mean([sk.brier_score_loss(label == k, probability[:, k]) for k in range(4)]) * 4
    )


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("seed", range(20))
def test_metrics_agree_with_scikit_learn_for_few_objects_with_ties_and_missing_classes(seed: int) -> None:
    random = np.random.default_rng(seed)
    label, predicted = random.integers(0, 5, (2, 8))
    pairs = [
        (classification.accuracy, sk.accuracy_score),
        (classification.balanced_accuracy, sk.balanced_accuracy_score),
        (classification.macro_f1, lambda truth, chosen: sk.f1_score(truth, chosen, average="macro")),
    ]
    for metric, reference in pairs:
        assert metric(predicted, label) == pytest.approx(reference(label, predicted), abs=1e-12)
    present, code = np.unique(label, return_inverse=True)
    probability = random.multinomial(5, np.full(len(present), 1 / len(present)), 8) / 5
    assert classification.auc(probability, code) == pytest.approx(
        np.mean([sk.roc_auc_score(code == k, probability[:, k]) for k in range(len(present))]), abs=1e-12
    )


def test_ece_of_a_calibrated_classifier_is_small_and_of_an_overconfident_one_is_not() -> None:
    random = np.random.default_rng(0)
    right = random.uniform(0.5, 1, 20000)
    label = (random.uniform(size=20000) > right).astype(int)
    assert classification.ece(np.stack([right, 1 - right], axis=1), label) < 0.01
    sharp = right**3 / (right**3 + (1 - right) ** 3)
    assert classification.ece(np.stack([sharp, 1 - sharp], axis=1), label) > 0.1


def test_ece_is_its_definition_bin_by_bin(case) -> None:
    probability, label = case
    top, right = probability.max(axis=1), probability.argmax(axis=1) == label
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (top > low) & (top <= low + 0.1)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - top[inside].mean())
    assert classification.ece(probability, label, bins=10) == pytest.approx(expected, abs=1e-12)


def test_reliability_counts_every_object_once_and_empty_bins_are_nan(case) -> None:
    diagram = classification.reliability(*case, bins=20)
    assert diagram.n_objects.sum() == 500
    assert np.isnan(diagram.accuracy[diagram.n_objects == 0]).all()
    inside = diagram.n_objects > 0
    confidence, low, high = diagram.confidence[inside], diagram.edges[:-1][inside], diagram.edges[1:][inside]
    assert ((confidence >= low) & (confidence <= high)).all()


def test_renaming_the_classes_changes_nothing(case) -> None:
    probability, label = case
    renamed = np.array([2, 0, 3, 1])
    permuted = np.empty_like(probability)
    permuted[:, renamed] = probability
    for metric in (classification.auc, classification.brier, classification.ece):
        assert metric(permuted, renamed[label]) == pytest.approx(metric(probability, label))
    for metric in (classification.balanced_accuracy, classification.macro_f1):
        assert metric(permuted.argmax(axis=1), renamed[label]) == pytest.approx(
            metric(probability.argmax(axis=1), label)
        )


def test_the_bootstrap_is_finite_when_a_class_is_missing_from_some_draws() -> None:
    label = np.r_[np.zeros(30, int), np.ones(30, int), 2]
    probability = np.random.default_rng(0).dirichlet(np.ones(3), 61)
    assert np.isfinite(bootstrap(classification.auc, probability, label, n_draws=50)).all()
    assert np.isfinite(bootstrap(classification.balanced_accuracy, probability.argmax(1), label, n_draws=50)).all()


def test_auc_of_a_single_class_is_nan() -> None:
    assert np.isnan(classification.auc(np.full((4, 2), 0.5), np.zeros(4, int)))


@pytest.mark.parametrize(
    ("predicted", "label", "message"),
    [
        (np.full((3, 2), 0.5), np.zeros(3, int), "give the arg-max"),
        (np.zeros(0, int), np.zeros(0, int), r"must be \(N,\)"),
        (np.zeros(3, int), np.zeros(4, int), "shape"),
        (np.zeros(3), np.zeros(3, int), "integers"),
        (np.array([0, -1]), np.zeros(2, int), "integers from 0"),
    ],
)
def test_invalid_classes_raise(predicted, label, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classification.accuracy(predicted, label)


@pytest.mark.parametrize(
    ("probability", "label", "message"),
    [
        (np.full((2, 2), np.nan), [0, 1], "not finite"),
        (np.full((2, 2), 0.5), [0, 2], "class 2"),
        (np.full(2, 0.5), [0, 1], r"\(N, C\)"),
    ],
)
def test_invalid_probabilities_raise(probability, label, message: str) -> None:
    for metric in (classification.auc, classification.brier, classification.ece):
        with pytest.raises(ValueError, match=message):
            metric(probability, label)


def test_a_class_above_the_stated_number_raises() -> None:
    with pytest.raises(ValueError, match="n_classes is 2"):
        classification.confusion([0, 1], [0, 2], n_classes=2)


def test_coverage_and_size_of_sets() -> None:
    sets = np.array([[True, False, False], [True, True, False], [False, True, True], [True, True, True]])
    assert classification.set_size(sets) == 2
    assert classification.set_coverage(sets, [0, 2, 2, 1]) == 0.75
    assert classification.set_coverage(np.eye(3, dtype=bool)[[0, 1]], [0, 1]) == 1


@pytest.mark.parametrize(
    ("sets", "label", "message"),
    [
        (np.ones((2, 3)), [0, 1], "of bool"),
        (np.ones(3, bool), [0, 1, 2], r"\(N, C\)"),
        (np.ones((0, 3), bool), np.zeros(0, int), r"\(N, C\)"),
        (np.ones((2, 3), bool), [0, 3], "class 3"),
    ],
)
def test_invalid_sets_raise(sets, label, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classification.set_coverage(sets, label)
