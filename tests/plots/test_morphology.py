import numpy as np
from matplotlib.colors import to_hex

from astrodl.plots.morphology import (
    accuracy_against_snr,
    class_gallery,
    confusion_matrix,
    prediction_set_sizes,
    reliability_diagram,
    roc_curves,
)
from astrodl.plots.style import ODD

NAMES = ["elliptical", "spiral", "merger"]


def classified(rng, n=90, strength=2.0):
    truth = np.arange(n) % 3
    logits = rng.normal(size=(n, 3))
    logits[np.arange(n), truth] += strength
    probability = np.exp(logits)
    return probability / probability.sum(axis=1, keepdims=True), truth


def test_confusion_contains_fractions_of_the_true_class_and_counts(texts):
    figure = confusion_matrix([[8, 2, 0], [0, 10, 0], [0, 0, 0]], NAMES)
    words = texts(figure)
    assert "80 %\n8" in words
    assert "20 %\n2" in words
    assert "accuracy 90.0 %" in words
    assert np.allclose(figure.axes[0].images[0].get_array(), [[0.8, 0.2, 0], [0, 1, 0], [0, 0, 0]])


def test_confusion_draws_the_first_baseline_beside_the_network(draw):
    counts = np.eye(3, dtype=int)
    figure = draw(confusion_matrix(counts, NAMES, baselines={"forest": 2 * counts, "svm": counts}))
    assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes] == ["network", "forest"]


def test_a_calibrated_classifier_follows_the_diagonal(rng):
    confidence = rng.uniform(0.4, 1, 20000)
    top = reliability_diagram(confidence, rng.random(20000) < confidence).axes[0]
    line = top.containers[0].lines[0]
    assert np.allclose(line.get_xdata(), line.get_ydata(), atol=0.05)
    assert any(np.array_equal(line.get_xydata(), [[0, 0], [1, 1]]) for line in top.lines)


def test_an_overconfident_classifier_is_below_the_diagonal_before_calibration(rng):
    confidence = rng.uniform(0.42, 1, 20000)
    is_correct = rng.random(20000) < confidence
    figure = reliability_diagram(confidence, is_correct, before=(confidence**0.3, is_correct))
    after, before = (container.lines[0] for container in figure.axes[0].containers)
    assert np.allclose(after.get_xdata(), after.get_ydata(), atol=0.05)
    assert (before.get_xdata() > before.get_ydata()).all()
    assert after.get_color() != before.get_color()


def test_the_histogram_of_the_reliability_counts_all_objects(rng):
    confidence = rng.uniform(0.3, 1, 100)
    confidence[:3] = np.nan
    bottom = reliability_diagram(confidence, np.ones(100)).axes[1]
    assert bottom.patches[0].get_data().values.sum() == 97


def test_roc_of_a_perfect_classifier_is_a_corner(texts):
    truth = np.array([0, 1, 2, 0, 1, 2])
    figure = roc_curves(np.eye(3)[truth], truth, NAMES, auc={"spiral": 1.0})
    assert "spiral (AUC 1.000)" in texts(figure)
    curves = [line for line in figure.axes[0].lines if line.get_label() in ("elliptical", "merger")]
    assert [line.get_ydata()[1] for line in curves] == [1, 1]


def test_roc_leaves_out_a_class_without_objects_and_unknown_truth(rng):
    probability, truth = classified(rng)
    truth[truth == 2] = -1
    probability[0] = np.nan
    figure = roc_curves(probability, truth, NAMES, baselines={"forest": probability})
    labels = {line.get_label() for line in figure.axes[0].lines}
    assert "forest" in labels
    assert "merger" not in labels
    assert "59 galaxies" in figure.get_suptitle()


def test_the_gallery_frames_mistakes_and_orders_by_confidence(rng):
    probability, truth = classified(rng, 60, 1.0)
    n_wrong = int((probability.argmax(axis=1) != truth).sum())
    axes = class_gallery(rng.random((60, 8, 8, 3)), probability, truth, NAMES, n_columns=5).axes[0]
    titles = [text.get_text() for text in axes.texts]
    assert sum("true: " in title for title in titles) == len(axes.patches) >= min(n_wrong, 10)
    assert {to_hex(patch.get_edgecolor()).upper() for patch in axes.patches} == {ODD}
    confidence = [float(title.split("\n")[0].split()[-1]) for title in titles if "true: " in title][-10:]
    assert confidence == sorted(confidence, reverse=True)


def test_sets_are_counted_by_size_with_their_coverage_and_the_nominal_line():
    sets = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1], [1, 1, 1]], bool)
    top, bottom = prediction_set_sizes(sets, [0, 1, 1, 2, 0, -1], nominal=0.9).axes
    assert [bar.get_height() for bar in bottom.patches] == [2, 2, 1]
    points = top.containers[0].lines[0]
    assert points.get_xdata().tolist() == [1, 2, 3]
    assert points.get_ydata().tolist() == [0.5, 1, 1]
    assert any(set(line.get_ydata()) == {0.9} for line in top.lines)


def test_bins_of_snr_have_equal_counts(rng):
    snr = np.concatenate([rng.lognormal(3, 1, 400), [np.nan, -1]])
    is_correct = np.nan_to_num(snr) > np.nanmedian(snr)
    figure = accuracy_against_snr(snr, is_correct, baselines={"forest": np.ones(402)}, n_bins=4)
    network, forest = (container.lines[0] for container in figure.axes[0].containers)
    assert network.get_ydata().mean() == is_correct[:400].mean()
    assert network.get_ydata().tolist()[::3] == [0, 1]
    assert (forest.get_ydata() == 1).all()
    assert (np.diff(network.get_xdata()) > 0).all()
