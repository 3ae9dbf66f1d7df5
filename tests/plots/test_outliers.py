import numpy as np
import pytest

from astrodl.plots.outliers import detection_curves, ranked_sheet, recall_by_kind, score_histogram, score_trend


def scored(rng, n=200):
    kinds = np.where(np.arange(n) % 20 == 0, "ring", np.where(np.arange(n) % 20 == 1, "trail", ""))
    return rng.normal(size=n) + 3.0 * (kinds == "ring") + 6.0 * (kinds == "trail"), kinds


def test_the_histogram_counts_ordinary_objects_on_a_logarithmic_axis_and_orders_the_kinds(rng):
    score, kinds = scored(rng)
    score[2] = np.nan
    top, bottom = score_histogram(score, kinds).axes
    assert top.get_yscale() == "log"
    assert [label.get_text() for label in bottom.get_yticklabels()] == ["ring", "trail"]
    assert sum(bar.get_height() for bar in top.containers[0]) == 179


def test_a_perfect_score_has_precision_one_and_a_random_ranking_the_fraction_of_oddities(rng):
    is_odd = np.arange(100) < 10
    left, right = detection_curves(is_odd + 0.01 * rng.random(100), is_odd).axes
    assert right.lines[0].get_ydata()[0] == pytest.approx(0.1)
    recall, precision = right.lines[1].get_data()
    assert (precision[:10] == 1).all()
    assert recall[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert left.lines[1].get_ydata()[-1] == 1


def test_missing_scores_are_left_out_of_the_detection_curves(rng):
    score, kinds = scored(rng)
    padded, is_odd = np.append(score, [np.nan, np.nan]), np.append(kinds != "", [True, False])
    curves = [line.get_xydata() for axes in detection_curves(score, kinds != "").axes for line in axes.lines]
    same = [line.get_xydata() for axes in detection_curves(padded, is_odd).axes for line in axes.lines]
    assert all(map(np.array_equal, curves, same))


def test_recall_bars_are_the_fraction_found_of_each_kind():
    kinds = np.array(["ring"] * 2 + ["trail"] * 2 + [""] * 96)
    score = np.r_[10, 11, 0, 12, np.full(96, 1.0)]
    axes = recall_by_kind(score, kinds, fraction=0.03, baselines={"forest": -score}).axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    bars = [container for container in axes.containers if hasattr(container, "patches")]
    heights = [bar.get_height() for bar in bars[0].patches]
    assert dict(zip(labels, heights, strict=True)) == {"all\n(4)": 0.75, "ring\n(2)": 1.0, "trail\n(2)": 0.5}


def test_the_sheet_is_in_order_and_frames_known_oddities(rng, texts):
    score, kinds = np.array([1.0, 3.0, np.nan, 2.0]), ["", "ring", "trail", ""]
    figure = ranked_sheet(rng.random((4, 8, 8, 3)), score, kinds, n_top=30, n_total=1000)
    assert [line for line in texts(figure).split("\n") if ": " in line] == ["1: 3", "2: 2", "3: 1"]
    assert len(figure.axes[0].patches) == 1


def test_the_trend_draws_all_objects_and_a_flat_line(rng):
    score, kinds = scored(rng)
    figure = score_trend(score, rng.uniform(18, 24, 200), label="F775W (AB mag)", oddity=kinds, rank_correlation=-0.1)
    axes = figure.axes[0]
    assert axes.get_xlabel() == "F775W (AB mag)"
    assert [len(points.get_offsets()) for points in axes.collections[:2]] == [180, 20]
    assert any(np.ptp(line.get_ydata()) == 0 for line in axes.lines)


@pytest.mark.parametrize("kind", ["", "ring"])
def test_objects_of_a_single_kind_are_drawn(kind, draw):
    score, kinds = np.arange(5.0), [kind] * 5
    draw(score_histogram(score, kinds))
    draw(recall_by_kind(score, kinds))
    draw(score_trend(score, score, oddity=kinds))
    draw(detection_curves(score, np.array(kinds) != ""))
