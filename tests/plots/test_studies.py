"""Figures of the studies in benchmarks/."""

import importlib.util
import sys

import numpy as np
import pytest

from tests.conftest import ROOT

specification = importlib.util.spec_from_file_location("figures", ROOT / "benchmarks" / "studies" / "figures.py")
figures = sys.modules["figures"] = importlib.util.module_from_spec(specification)
specification.loader.exec_module(figures)

SIZES = np.array([1000, 10_000, 100_000])


def against_size(network, **others):
    values = {"network": network, **others}
    return figures.error_against_size(SIZES, values, {name: np.full(3, 0.001) for name in values}, ylabel="CRPS")


def test_the_crossing_of_two_curves_is_marked(texts):
    flat = np.full(3, 0.1 * 20**-0.5)
    figure = against_size(0.1 * (SIZES / 1000) ** -0.5, knn=flat)
    assert "knn (network below from 20,000 on)" in texts(figure)
    axes = figure.axes[0]
    assert axes.lines[-1].get_xydata()[0] == pytest.approx([20_000, flat[0]])
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_ylabel()) == ("log", "log", "CRPS")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1,000", "10,000", "100,000"]


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
def test_the_legend_compares_each_baseline_with_the_network(baseline, words, texts):
    (line,) = [line for line in texts(against_size([0.1, 0.05, 0.025], knn=baseline)).splitlines() if "knn" in line]
    assert line.startswith(words)
    assert (line == "knn") == (words == "knn")


def test_an_error_bar_never_reaches_zero_on_a_logarithmic_axis():
    errors = {"network": [0.01, 0.005, 9.0]}
    figure = figures.error_against_size(SIZES, {"network": [0.1, 0.05, 0.03]}, errors, ylabel="x")
    bars = [segment[:, 1] for segment in figure.axes[0].containers[0].lines[2][0].get_segments()]
    assert bars[0] == pytest.approx([0.09, 0.11])
    assert bars[2].min() > 0


def test_learning_curves_show_mean_and_spread_over_the_epochs_that_all_runs_have(texts):
    runs = [[3.0, 2.0, 1.0], [5.0, 4.0]]
    figure = figures.compare_curves({"loss": {"adam": runs, "sgd": runs}}, heading="Choices")
    assert {"Choices", "adam", "sgd", "epoch", "loss"} <= set(texts(figure).splitlines())
    axes = figure.axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[1, 4], [2, 3]]
    assert axes.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(4 + np.sqrt(2))


ROWS = {
    "all bands": {"with": (0.02, 0.001), "without": (0.019, 0.001)},
    "without g": {"with": (0.025, 0.002), "without": (0.06, np.nan)},
    "only F160W": {"with": (0.05, 0.004)},
}


def test_each_network_has_a_dot_in_each_scenario_and_a_line_at_the_first(texts):
    figure = figures.missing_bands(ROWS)
    assert {"with", "without", "Missing bands"} <= set(texts(figure).splitlines())
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(ROWS)
    dots = [container.lines[0].get_xydata() for container in axes.containers]
    assert [len(points) for points in dots] == [3, 2]
    assert dots[0][:, 0] == pytest.approx([0.02, 0.025, 0.05])
    assert np.all(dots[0][:2, 1] != dots[1][:, 1])
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert [line.get_xdata()[0] for line in axes.lines if line.is_dashed()] == pytest.approx([0.02, 0.019])


@pytest.mark.parametrize(("worst", "scale"), [(0.05, "linear"), (0.9, "log")])
def test_a_wide_range_of_errors_is_logarithmic(worst, scale):
    figure = figures.missing_bands({"all": {"with": (0.02, 0.001)}, "without g": {"with": (worst, 0.01)}})
    assert figure.axes[0].get_xscale() == scale


def test_accuracy_is_drawn_against_noise_with_its_errors(texts):
    accuracy = {"network": [0.9, 0.8, 0.6], "forest": [0.7, 0.6, 0.5]}
    errors = dict.fromkeys(accuracy, [0.01] * 3)
    figure = figures.accuracy_against_noise([1, 2, 4], accuracy, errors, n_objects=50)
    words = texts(figure)
    assert all(word in words for word in ("50 galaxies", "network", "forest", "accuracy"))
    axes = figure.axes[0]
    assert axes.containers[1].lines[0].get_ydata().tolist() == [0.7, 0.6, 0.5]
    assert np.allclose(axes.containers[0].lines[2][0].get_segments()[0], [[1, 0.89], [1, 0.91]])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "4"]


def test_names_of_networks_cover_neither_each_other_nor_circles(texts):
    rows = {f"network {k}": figures.Speed(0.8 + 0.004 * k, 0.002, 200 + 9 * k, 10 ** (5 + k % 3)) for k in range(6)}
    figure = figures.accuracy_against_speed(rows, heading="Speed")
    assert "10 M parameters" in texts(figure)
    axes = figure.axes[0]
    labels = [text for text in axes.texts if text.get_text()]
    boxes = [text.get_window_extent() for text in labels]
    assert [text.get_text() for text in labels] == list(rows)
    assert not any(boxes[i].overlaps(boxes[j]) for i in range(6) for j in range(i))
    frame = axes.get_window_extent()
    assert all(frame.contains(*box.min) and frame.contains(*box.max) for box in boxes)
    centers = axes.transData.transform(axes.collections[1].get_offsets())
    assert not any(box.contains(*center) for box in boxes for center in centers)
    sizes = axes.collections[1].get_sizes()
    assert sizes[2] / sizes[0] == pytest.approx(10)  # the area grows with the root of the number of parameters


def test_free_response_has_a_line_per_run_and_the_goal(texts):
    run = np.array([1.0, 0.8]), np.array([0.1, 0.5])
    figure = figures.free_response_curves({"network": [run, run], "unsharp": [run]}, goal=0.7)
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0.1, 1.0], [0.5, 0.8]])
    assert len(axes.lines) == 5
    assert axes.lines[-1].get_xdata()[0] == 0.7
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["network", "unsharp"]
    assert "completeness of bright clumps" in texts(figure)


def test_sheet_of_clumps_shows_the_galaxies_with_most_of_them():
    images = np.random.default_rng(0).normal(size=(3, 3, 16, 16)) + 5
    published = [np.zeros((0, 3)), np.array([[3.0, 4.0, 0.1]]), np.array([[5.0, 6.0, 0.1], [7.0, 8.0, 0.1]])]
    predicted = {"clump_y": np.full((3, 1), 2.0), "clump_x": np.full((3, 1), 9.0)}
    figure = figures.clump_sheet(images, published, predicted, ["a", "b", "c"], n=2)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["c", "b"]
    circles, crosses = figure.axes[1].lines
    np.testing.assert_array_equal(circles.get_xydata(), [[4, 3]])
    np.testing.assert_array_equal(crosses.get_xydata(), [[9, 2]])


def test_sheet_of_segments_draws_three_outlines_of_each_galaxy():
    mask = np.hypot(*(np.indices((16, 16)) - 8)) < 5
    figure = figures.segment_sheet([("a", np.zeros((16, 16)), mask, mask, ~mask)] * 2)
    assert [axes.get_title() for axes in figure.axes] == ["a", "a"]
    assert len(figure.axes[0].collections) == 3
