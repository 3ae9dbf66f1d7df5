import matplotlib
import numpy as np
import pytest
from PIL import Image

from astrodl.plots import style


@style.styled
def draw():
    figure = style.new_figure(3, heading="A figure")
    figure.subplots().plot([0, 1], [0, 1])
    return figure


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    style.save(draw(), tmp_path / "a.png")
    style.save(draw(), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_saved_png_holds_no_program_and_no_date(tmp_path):
    style.save(draw(), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert set(image.info) <= {"dpi"}
        assert image.size[0] == round(style.WIDTH_INCHES * style.DPI)


def test_a_failed_save_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = draw()
    figure.axes[0].set_xlabel("$\\notacommand$")
    with pytest.raises(ValueError, match="notacommand"):
        style.save(figure, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    draw()
    assert dict(matplotlib.rcParams) == before


def test_headings_count_one_object_in_the_singular():
    assert style.counted("Sizes", 1) == "Sizes · 1 galaxy"
    assert style.counted("Sizes", 1234) == "Sizes · 1,234 galaxies"
    assert style.counted("", 1, "true clumps") == "1 true clump"


def test_wilson_interval_matches_its_textbook_value():
    low, high = style.wilson_interval(8, 10, n_sigma=1.959964)
    assert np.allclose([low, high], [0.4901625, 0.9433178], atol=1e-6)


def test_wilson_interval_holds_the_fraction_and_knows_no_trials():
    hits, trials = np.array([0, 5, 10, 0]), np.array([10, 10, 10, 0])
    low, high = style.wilson_interval(hits, trials)
    assert np.isnan([low[3], high[3]]).all()
    fraction = hits[:3] / trials[:3]
    assert (low[:3] <= fraction).all()
    assert (fraction <= high[:3]).all()
    assert low[0] == 0
    assert high[2] == 1


def test_the_palette_has_no_colour_twice_and_keeps_blue_for_the_network():
    assert len(set(style.CYCLE)) == len(style.CYCLE)
    assert style.NETWORK not in style.baseline_colors("abcdef").values()


@style.styled
def with_legend_below(labels):
    figure = style.new_figure(4.0)
    axes = figure.subplots()
    style.legend_below(figure, [axes.plot([0, 1])[0] for _ in labels], labels)
    return figure


@pytest.mark.parametrize(
    ("labels", "n_columns"),
    [
        (["a", "b", "c"], 3),
        (["a", "a label of middling length", "b", "another of middling length"], 4),
        (["network with quite a long name " * 2, "another with as long a name " * 2, "word " * 60], 1),
        ([], None),
    ],
)
def test_a_legend_below_has_the_columns_that_fit(labels, n_columns, texts):
    figure = with_legend_below(labels)
    texts(figure)
    assert [legend._ncols for legend in figure.legends] == ([n_columns] if labels else [])
    assert all(legend.get_window_extent().x1 <= figure.bbox.x1 for legend in figure.legends)


def test_small_numbers_between_decades_have_no_powers_of_ten():
    figure = style.new_figure(4.0)
    axes = figure.subplots()
    axes.plot([0.02, 0.06], [0.02, 0.06])
    axes.set_yscale("log")
    style.plain_logarithm(axes.yaxis)
    figure.draw_without_rendering()
    shown = [tick.get_text() for tick in axes.get_yticklabels(which="both") if tick.get_text()]
    assert "0.03" in shown
    assert not [text for text in shown if "e" in text]
