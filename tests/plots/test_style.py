import matplotlib
import numpy as np
import pytest
from PIL import Image

from astrodl.plots import style


@style.apply_style
def draw():
    figure = style.new_figure(3, heading="A figure")
    figure.subplots().plot([0, 1], [0, 1])
    return figure


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    style.save(draw(), tmp_path / "a.png")
    style.save(draw(), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_saved_png_contains_no_program_and_no_date(tmp_path):
    style.save(draw(), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert set(image.info) <= {"dpi"}
        assert image.size[0] == round(style.WIDTH_INCHES * style.DPI)


def test_a_failed_save_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = draw()
    figure.axes[0].set_xlabel("$\\notacommand$")
    with pytest.raises(ValueError, match="notacommand"):
        style.save(figure, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_drawing_does_not_change_the_settings_of_matplotlib():
    before = dict(matplotlib.rcParams)
    draw()
    assert dict(matplotlib.rcParams) == before


def test_headings_count_one_object_in_the_singular():
    assert style.add_count("Sizes", 1) == "Sizes · 1 galaxy"
    assert style.add_count("Sizes", 1234) == "Sizes · 1,234 galaxies"
    assert style.add_count("", 1, "true clumps") == "1 true clump"
    assert style.add_count("Examples", 1, n_total=1234) == "Examples · 1 of 1,234 galaxies"


def test_wilson_interval_matches_its_textbook_value():
    low, high = style.wilson_interval(8, 10, n_sigma=1.959964)
    assert np.allclose([low, high], [0.4901625, 0.9433178], atol=1e-6)


def test_wilson_interval_contains_the_fraction_and_is_missing_without_trials():
    hits, trials = np.array([0, 5, 10, 0]), np.array([10, 10, 10, 0])
    low, high = style.wilson_interval(hits, trials)
    assert np.isnan([low[3], high[3]]).all()
    fraction = hits[:3] / trials[:3]
    assert (low[:3] <= fraction).all()
    assert (fraction <= high[:3]).all()
    assert low[0] == 0
    assert high[2] == 1


def test_colours_of_methods_differ_and_blue_is_the_network():
    methods = style.list_methods(0, dict.fromkeys("abcdef", 1))
    assert [(name, value) for name, value, _ in methods] == [("network", 0), *((name, 1) for name in "abcdef")]
    colors = [color for *_, color in methods]
    assert colors[0] == style.NETWORK
    assert len(set(colors)) == 7


@style.apply_style
def with_legend_below(labels):
    figure = style.new_figure(4.0)
    axes = figure.subplots()
    style.add_legend_below(figure, [axes.plot([0, 1])[0] for _ in labels], labels)
    return figure


@pytest.mark.parametrize(
    ("labels", "n_columns"),
    [
        (["a", "b", "c"], 3),
        (["a", "a label of medium length", "b", "another of medium length"], 4),
        (["network with a rather long name " * 2, "another with a long name " * 2, "word " * 60], 1),
        ([], None),
    ],
)
def test_a_legend_below_has_the_columns_that_fit(labels, n_columns, draw):
    figure = draw(with_legend_below(labels))
    assert [legend._ncols for legend in figure.legends] == ([n_columns] if labels else [])
    assert all(legend.get_window_extent().x1 <= figure.bbox.x1 for legend in figure.legends)


def test_labels_between_decades_have_no_powers_of_ten():
    figure = style.new_figure(4.0)
    axes = figure.subplots()
    axes.plot([0.02, 0.06], [0.02, 0.06])
    axes.set_yscale("log")
    style.label_log_axis(axes.yaxis)
    figure.draw_without_rendering()
    shown = [tick.get_text() for tick in axes.get_yticklabels(which="both") if tick.get_text()]
    assert "0.03" in shown
    assert not [text for text in shown if "e" in text]
