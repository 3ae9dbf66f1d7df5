import numpy as np
import pytest
from matplotlib.colors import to_hex

from astrodl.plots.morphology import class_gallery, confusion_matrix, reliability_diagram, roc_curves
from astrodl.plots.style import ODD

NAMES = ["elliptical", "spiral", "merger"]


def classified(rng, n=90, strength=2.0):
    truth = np.arange(n) % 3
    logits = rng.normal(size=(n, 3))
    logits[np.arange(n), truth] += strength
    probability = np.exp(logits)
    return probability / probability.sum(axis=1, keepdims=True), truth


def test_confusion_shows_fractions_of_the_true_class_and_counts(texts):
    figure = confusion_matrix([[8, 2, 0], [0, 10, 0], [0, 0, 0]], NAMES)
    words = texts(figure)
    assert "20 galaxies" in words
    assert "80 %\n8" in words
    assert "20 %\n2" in words
    assert "accuracy 90.0 %" in words
    assert "true class" in words
    assert "predicted class" in words
    assert np.allclose(figure.axes[0].images[0].get_array(), [[0.8, 0.2, 0], [0, 1, 0], [0, 0, 0]])


def test_a_class_without_objects_has_no_fraction(texts):
    assert texts(confusion_matrix(np.diag([3, 4, 0]), NAMES)).count("–") == 3


def test_an_empty_confusion_and_a_baseline_are_drawn(texts):
    assert "0 galaxies" in texts(confusion_matrix(np.zeros((3, 3), int), NAMES))
    assert "forest" in texts(confusion_matrix(np.eye(3, dtype=int), NAMES, baselines={"forest": np.eye(3)}))


def test_a_calibrated_classifier_follows_the_diagonal(rng, texts):
    confidence = rng.uniform(0.4, 1, 20000)
    figure = reliability_diagram(confidence, rng.random(20000) < confidence, ece=0.01)
    words = texts(figure)
    assert "20,000 galaxies" in words
    assert "ECE = 0.010" in words
    top = figure.axes[0]
    line = top.containers[0].lines[0]
    assert np.allclose(line.get_xdata(), line.get_ydata(), atol=0.05)
    assert any(
        np.array_equal(line.get_xdata(), [0, 1]) and np.array_equal(line.get_ydata(), [0, 1]) for line in top.lines
    )


def test_bins_of_the_reliability_add_up_to_all_objects(rng):
    confidence = rng.uniform(0.3, 1, 100)
    confidence[:3] = np.nan
    bottom = reliability_diagram(confidence, np.ones(100)).axes[1]
    assert bottom.patches[0].get_data().values.sum() == 97


def test_roc_of_a_perfect_classifier_is_a_corner_and_chance_is_drawn(texts):
    truth = np.array([0, 1, 2, 0, 1, 2])
    figure = roc_curves(np.eye(3)[truth], truth, NAMES, auc={"spiral": 1.0})
    words = texts(figure)
    assert "6 galaxies" in words
    assert "spiral (AUC 1.000)" in words
    assert "chance" in words
    curves = [line for line in figure.axes[0].lines if line.get_label() in ("elliptical", "merger")]
    assert [line.get_ydata()[1] for line in curves] == [1, 1]


def test_roc_leaves_out_a_class_without_objects_and_unknown_truth(rng, texts):
    probability, truth = classified(rng)
    truth[truth == 2] = -1
    probability[0] = np.nan
    figure = roc_curves(probability, truth, NAMES, baselines={"forest": probability})
    words = texts(figure).split("\n")
    assert "merger" not in words
    assert "forest" in words
    assert "59 galaxies" in figure.get_suptitle()


def test_gallery_frames_mistakes_and_orders_by_confidence(rng, texts):
    probability, truth = classified(rng, 60, 1.0)
    wrong = int((probability.argmax(axis=1) != truth).sum())
    figure = class_gallery(rng.random((60, 8, 8, 3)), probability, truth, NAMES, n_columns=5)
    words = texts(figure)
    assert "60 galaxies" in words
    assert "mistakes" in words
    assert words.count("true: ") >= min(wrong, 10)
    frames = {to_hex(patch.get_edgecolor()).upper() for patch in figure.axes[0].patches}
    assert frames == {ODD}
    assert len(figure.axes[0].patches) >= min(wrong, 10)


@pytest.mark.parametrize("n", [0, 1])
def test_none_or_one_object_is_drawn(rng, n, texts):
    probability, truth = classified(rng, n)
    assert f"{n} galax" in texts(class_gallery(np.ones((n, 8, 8, 3)), probability, truth, NAMES))
    assert f"{n} galax" in texts(roc_curves(probability, truth, NAMES))
    assert f"{n} galax" in texts(reliability_diagram(probability.max(axis=1, initial=0), np.ones(n)))


def test_what_was_stated_before_calibration_is_drawn_beside(rng, texts):
    confidence = rng.uniform(0.42, 1, 20000)
    right = rng.random(20000) < confidence
    figure = reliability_diagram(confidence, right, ece=0.01, before=(confidence**0.3, right), before_ece=0.2)
    words = texts(figure)
    assert "ECE = 0.010\nECE before calibration = 0.200" in words
    assert "before calibration" in words.split("\n")
    now, before = (container.lines[0] for container in figure.axes[0].containers)
    assert np.allclose(now.get_xdata(), now.get_ydata(), atol=0.05)
    assert (before.get_xdata() > before.get_ydata()).all()
    assert now.get_color() != before.get_color()
