import numpy as np
import pytest

from astrodl.plots.robustness import Architecture, accuracy_against_snr, architectures, noise_robustness, set_sizes


def test_sets_are_counted_by_size_with_their_coverage_and_the_nominal_line(texts):
    sets = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1], [1, 1, 1]], bool)
    figure = set_sizes(sets, [0, 1, 1, 2, 0, -1], nominal=0.9)
    words = texts(figure)
    assert "5 galaxies" in words
    assert "nominal 90 %" in words
    assert "80.0 % hold the true class\nmean size 1.80" in words
    top, bottom = figure.axes
    assert [bar.get_height() for bar in bottom.patches] == [2, 2, 1]
    points = top.containers[0].lines[0]
    assert points.get_xdata().tolist() == [1, 2, 3]
    assert points.get_ydata().tolist() == [0.5, 1, 1]
    assert any(set(line.get_ydata()) == {0.9} for line in top.lines)


def test_accuracy_is_drawn_against_noise_with_its_errors(texts):
    accuracy = {"network": [0.9, 0.8, np.nan], "forest": [0.7, 0.6, 0.5]}
    figure = noise_robustness([1, 2, 4], accuracy, errors={"network": [0.01] * 3}, n_objects=50, chance=0.3)
    words = texts(figure)
    assert "50 galaxies" in words
    for word in ("network", "forest", "most frequent class", "accuracy"):
        assert word in words
    axes = figure.axes[0]
    network, forest = (container.lines[0] for container in axes.containers)
    assert network.get_xdata().tolist() == [1, 2]
    assert forest.get_ydata().tolist() == [0.7, 0.6, 0.5]
    bars = axes.containers[0].lines[2][0].get_segments()
    assert np.allclose(bars[0], [[1, 0.89], [1, 0.91]])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "4"]


def test_bins_of_snr_hold_as_many_galaxies_each(rng, texts):
    snr = np.concatenate([rng.lognormal(3, 1, 400), [np.nan, -1]])
    right = np.nan_to_num(snr) > np.nanmedian(snr)
    figure = accuracy_against_snr(snr, right, baselines={"forest": np.ones(402)}, n_bins=4)
    words = texts(figure)
    assert "400 galaxies" in words
    assert "forest" in words
    network, forest = (container.lines[0] for container in figure.axes[0].containers)
    assert network.get_ydata().mean() == right[:400].mean()
    assert network.get_ydata().tolist()[::3] == [0, 1]
    assert (forest.get_ydata() == 1).all()
    assert (np.diff(network.get_xdata()) > 0).all()


def test_names_of_networks_cover_neither_each_other_nor_circles(texts):
    rows = {f"network {k}": Architecture(0.8 + 0.004 * k, 0.002, 200 + 9 * k, 10 ** (5 + k % 3)) for k in range(6)}
    rows["lost"] = Architecture(np.nan, 0, 100, 1000)
    figure = architectures(rows)
    words = texts(figure)
    assert "lost" not in words
    assert "10 M parameters" in words
    axes = figure.axes[0]
    labels = [text for text in axes.texts if text.get_text()]
    boxes = [text.get_window_extent() for text in labels]
    assert [text.get_text() for text in labels] == [f"network {k}" for k in range(6)]
    assert not any(boxes[i].overlaps(boxes[j]) for i in range(6) for j in range(i))
    frame = axes.get_window_extent()
    assert all(frame.contains(*box.min) and frame.contains(*box.max) for box in boxes)
    centres = axes.transData.transform(axes.collections[1].get_offsets())
    assert not any(box.contains(*centre) for box in boxes for centre in centres)
    sizes = axes.collections[1].get_sizes()
    assert sizes[2] / sizes[0] == pytest.approx(10)  # the area goes with the root of the parameters


@pytest.mark.parametrize("n", [0, 1])
def test_none_or_one_object_is_drawn(n, texts):
    assert f"{n} galax" in texts(set_sizes(np.ones((n, 3), bool), np.zeros(n, int), nominal=0.9))
    assert f"{n} galax" in texts(accuracy_against_snr(np.full(n, 20.0), np.ones(n)))
    assert texts(noise_robustness([1, 2][: n + 1], {"network": [0.5, 0.4][: n + 1]} if n else {}))
    assert texts(architectures({"one": Architecture(0.9, 0.1, 100, 1000)} if n else {}))
