import numpy as np
import pytest

from astrodl.plots.training import learning_curves


def run(n=6, offset=0.0):
    return [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "learning_rate": 1e-3 * (n - epoch),
            "train": {"loss": 2.0 / (epoch + 1) + offset, "kl": 0.1 * epoch},
            "validation": {"loss": (epoch - 3) ** 2 + 1.0 + offset, "recall": 0.5} if epoch % 2 else None,
            "images_per_second": 100.0,
            "seconds": 1.0,
        }
        for epoch in range(n)
    ]


def panel(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def test_every_term_has_a_panel_the_loss_first(texts):
    figure = learning_curves(run(), "photoz")
    assert "photoz · 1 run of 6 epochs" in texts(figure)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles[0] == "loss"
    assert set(titles[1:3]) == {"kl", "recall"}
    assert all(axes.get_xlabel() == "epoch" for axes in figure.axes if axes.get_visible())


def test_the_best_epoch_is_marked():
    marker = [line for line in panel(learning_curves(run()), "loss").lines if line.get_marker() == "o"]
    assert [line.get_xdata().item() for line in marker] == [3]


def test_epochs_without_validation_leave_no_gap():
    solid = next(line for line in panel(learning_curves(run()), "loss").lines if line.get_linestyle() == "-")
    assert list(solid.get_xdata()) == [1, 3, 5]


def test_runs_have_different_colours_and_names(texts):
    figure = learning_curves([run(), run(offset=1)], "x", names=["fold 0", "fold 1"])
    assert {"fold 0", "fold 1", "training", "validation"} <= set(texts(figure).split("\n"))
    assert len({line.get_color() for line in panel(figure, "loss").lines}) == 2


def test_the_legend_contains_the_diagnosis(texts):
    assert "overfit: " in texts(learning_curves(run(30)))
    two_runs = texts(learning_curves([run(20), run(20, 1.0)], names=["fold 0", "fold 1"]))
    assert "overfit: fold 0, fold 1" in two_runs


def test_a_loss_that_decreases_by_decades_has_a_logarithmic_scale():
    steep = [{"epoch": i, "train": {"loss": 10.0**-i}, "validation": None} for i in range(5)]
    assert panel(learning_curves(steep), "loss").get_yscale() == "log"


@pytest.mark.parametrize("history", [[], [[]], run(1), [{"epoch": 0, "train": {"loss": np.nan}, "validation": None}]])
def test_short_and_broken_histories_are_drawn(history, draw):
    draw(learning_curves(history))
