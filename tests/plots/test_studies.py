import numpy as np
import pytest

from astrodl.plots.studies import error_against_size, missing_band_degradation

SIZES = np.array([1000, 10_000, 100_000])


def test_curves_that_cross_are_marked_where_they_do(texts):
    network, flat = 0.1 * (SIZES / 1000) ** -0.5, np.full(3, 0.1 * 20**-0.5)
    figure = error_against_size(SIZES, network, ylabel="CRPS", baselines={"knn": flat})
    assert "knn (network below from 20,000 on)" in texts(figure)
    axes = figure.axes[0]
    ring = axes.lines[-1].get_xydata()[0]
    assert ring == pytest.approx([20_000, flat[0]])
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_ylabel()) == ("log", "log", "CRPS")


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ([0.2, 0.1, 0.1], "knn (network below at every size)"),
        ([0.01, 0.01, 0.01], "knn (network above at every size)"),
        ([0.2, 0.06, 0.01], "knn (network above from"),
        ([0.01, 0.9, 0.01], "knn (network above from"),
        ([np.nan, np.nan, np.nan], "knn"),
        ([np.nan, 0.05, 0.05], "knn (network below from 10,000 on)"),
        ([0.1, 0.05, 0.025], "knn"),
    ],
)
def test_what_the_legend_says_of_a_baseline(baseline, words, texts):
    figure = error_against_size(SIZES, [0.1, 0.05, 0.025], ylabel="CRPS", baselines={"knn": baseline})
    (line,) = [line for line in texts(figure).splitlines() if line.startswith("knn")]
    assert line.startswith(words)
    assert (line == "knn") == (words == "knn")


def test_sizes_are_sorted_and_ticked_and_runs_give_mean_and_spread(texts):
    runs = np.array([[0.02, 0.04], [0.1, np.nan], [0.05, 0.07]])
    figure = error_against_size([100_000, 1000, 10_000], runs, ylabel="x")
    texts(figure)
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1,000", "10,000", "100,000"]
    assert np.allclose(axes.containers[0].lines[0].get_xydata(), [[1000, 0.1], [10_000, 0.06], [100_000, 0.03]])
    bars = [np.ptp(segment[:, 1]) / 2 for segment in axes.containers[0].lines[2][0].get_segments()]
    assert np.allclose(bars, [0, 0.02 / np.sqrt(2), 0.02 / np.sqrt(2)])


def test_given_errors_take_the_place_of_the_spread_and_stay_on_the_axis(texts):
    figure = error_against_size(
        SIZES, [0.1, 0.05, 0.03], errors=[0.01, 0.005, 9.0], ylabel="x", baselines={"a": [0.2] * 3},
        baseline_errors={"a": [0.02] * 3},
    )  # fmt: skip
    texts(figure)
    ours, theirs = ([s[:, 1] for s in c.lines[2][0].get_segments()] for c in figure.axes[0].containers)
    assert ours[0] == pytest.approx([0.09, 0.11])
    assert ours[2].min() > 0
    assert theirs[1] == pytest.approx([0.18, 0.22])


def test_crowded_sizes_lose_labels_and_long_names_are_broken(texts):
    sizes = np.arange(1000, 3000, 100)
    name = "nearest neighbours in the features that a network of another survey has learnt"
    figure = error_against_size(
        sizes, 1 / sizes, ylabel="x", baselines={name: np.full(20, 5e-4)}, name="network with band dropout"
    )
    texts(figure)
    labels = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert len(labels) == 20
    assert 3 < sum(map(bool, labels)) < 12
    box = figure.legends[0].get_window_extent()
    assert box.x1 <= figure.bbox.x1


def test_one_size_or_no_value_is_drawn(texts):
    texts(error_against_size([1000], [0.1], ylabel="x", baselines={"knn": [0.2]}))
    assert "no data" in texts(error_against_size(SIZES, [np.nan] * 3, ylabel="x"))


ROWS = {
    "all bands": {"with": (0.02, 0.001), "without": (0.019, 0.001)},
    "without g": {"with": (0.025, 0.002), "without": (0.06, np.nan)},
    "only F160W": {"with": (0.05, 0.004)},
}


def test_every_scenario_has_a_dot_of_each_network_side_by_side(texts):
    figure = missing_band_degradation(ROWS)
    words = texts(figure)
    assert {"with", "without", "Missing bands"} <= set(words.splitlines())
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(ROWS)
    dots = [container.lines[0].get_xydata() for container in axes.containers]
    assert [len(points) for points in dots] == [3, 2]
    assert dots[0][:, 0] == pytest.approx([0.02, 0.025, 0.05])
    assert np.all(dots[0][:2, 1] != dots[1][:, 1])
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert axes.get_xlim()[0] == 0


def test_the_first_scenario_is_continued_as_a_line():
    (axes,) = missing_band_degradation(ROWS).axes
    dotted = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":" or line.is_dashed()]
    assert dotted == pytest.approx([0.02, 0.019])


def test_crps_has_a_panel_of_its_own_and_wide_ranges_are_logarithmic(texts):
    rows = {"all": {"with": (0.02, 0.001)}, "without all bands but one of the reddest": {"with": (0.9, 0.1)}}
    figure = missing_band_degradation(rows, crps=ROWS)
    texts(figure)
    left, right = figure.axes
    assert (left.get_xscale(), right.get_xscale()) == ("log", "linear")
    assert right.get_xlabel() == "CRPS"
    assert len(left.get_yticklabels()) == 5


def test_no_scenario_is_drawn(texts):
    assert "no data" in texts(missing_band_degradation({}))
    texts(missing_band_degradation({"all": {"with": (np.nan, np.nan)}}))
