import numpy as np
import pytest

from astrodl.plots.outliers import detection_curves, ranked_sheet, recall_by_kind, score_against, score_histogram


def scored(rng, n=200):
    kinds = np.where(np.arange(n) % 20 == 0, "ring", np.where(np.arange(n) % 20 == 1, "trail", ""))
    return rng.normal(size=n) + 3.0 * (kinds == "ring") + 6.0 * (kinds == "trail"), kinds


def test_histogram_counts_ordinary_objects_and_oddities_on_a_logarithmic_axis(rng, texts):
    score, kinds = scored(rng)
    score[2] = np.nan
    figure = score_histogram(score, kinds)
    words = texts(figure)
    assert "199 galaxies, 20 known oddities" in words
    assert "ordinary (179)" in words
    assert "outlier score" in words
    top, bottom = figure.axes
    assert top.get_yscale() == "log"
    assert [label.get_text() for label in bottom.get_yticklabels()] == ["ring", "trail"]
    assert sum(bar.get_height() for bar in top.containers[0]) == 179


def test_a_perfect_score_has_precision_one_and_the_random_line_is_the_fraction_of_oddities(rng, texts):
    is_odd = np.arange(100) < 10
    figure = detection_curves(
        is_odd + 0.01 * rng.random(100), is_odd, baselines={"forest": rng.random(100)},
        auc={"network": 1.0}, average_precision={"network": 1.0},
    )  # fmt: skip
    words = texts(figure)
    assert "100 galaxies, 10 odd" in words
    assert "network: AUC 1.000, AP 1.000" in words
    right = figure.axes[1]
    assert right.lines[0].get_ydata()[0] == pytest.approx(0.1)
    assert (right.lines[1].get_ydata()[:10] == 1).all()


def test_recall_bars_are_the_share_found_of_each_kind(rng, texts):
    kinds = np.array(["ring"] * 2 + ["trail"] * 2 + [""] * 96)
    score = np.r_[10, 11, 0, 12, np.full(96, 1.0)]
    figure = recall_by_kind(score, kinds, fraction=0.03, baselines={"forest": -score})
    assert "top 3 % · 100 galaxies, 4 odd" in texts(figure)
    axes = figure.axes[0]
    assert axes.get_ylabel() == "recall"
    labels = [label.get_text() for label in axes.get_xticklabels()]
    bars = [container for container in axes.containers if hasattr(container, "patches")]
    heights = [bar.get_height() for bar in bars[0].patches]
    assert dict(zip(labels, heights, strict=True)) == {"all\n(4)": 0.75, "ring\n(2)": 1.0, "trail\n(2)": 0.5}


def test_the_sheet_is_in_order_and_frames_known_oddities(rng, texts):
    score, kinds = np.array([1.0, 3.0, np.nan, 2.0]), ["", "ring", "trail", ""]
    figure = ranked_sheet(rng.random((4, 8, 8, 3)), score, kinds, n_top=30, n_total=1000)
    words = texts(figure)
    assert "3 of 1,000 galaxies, 1 known oddities framed" in words
    assert [line for line in words.split("\n") if ": " in line] == ["1: 3", "2: 2", "3: 1"]
    assert len(figure.axes[0].patches) == 1


def test_score_against_magnitude_draws_all_and_the_flat_line(rng, texts):
    score, kinds = scored(rng)
    figure = score_against(score, rng.uniform(18, 24, 200), label="F775W (AB mag)", oddity=kinds, rank_correlation=-0.1)
    words = texts(figure)
    assert "200 galaxies" in words
    assert "−0.10" in words
    axes = figure.axes[0]
    assert axes.get_xlabel() == "F775W (AB mag)"
    assert [len(points.get_offsets()) for points in axes.collections[:2]] == [180, 20]
    assert any(line.get_label() == "no trend" for line in axes.lines)


@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("kind", ["", "ring"])
def test_few_objects_of_one_sort_are_drawn(n, kind, texts):
    score, kinds = np.arange(float(n)), [kind] * n
    texts(score_histogram(score, kinds))
    texts(detection_curves(score, np.array(kinds, dtype=str) != ""))
    texts(recall_by_kind(score, kinds))
    texts(ranked_sheet(np.ones((n, 8, 8, 3)), score, kinds))
    texts(score_against(score, score, oddity=kinds, logarithmic=True))


def test_scores_that_are_all_missing_are_drawn(texts):
    score, kinds = np.full(4, np.nan), ["ring", "", "", ""]
    texts(score_histogram(score, kinds))
    texts(detection_curves(score, np.array(kinds) != ""))
    texts(recall_by_kind(score, kinds))
    texts(ranked_sheet(np.ones((4, 8, 8, 3)), score, kinds))
    texts(score_against(score, score, oddity=kinds))
