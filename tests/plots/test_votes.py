import numpy as np
import pytest

from astrodl.plots.votes import fraction_errors, fraction_scatter


def test_each_answer_has_a_panel_with_the_rms_of_its_known_pairs(rng, texts):
    observed = rng.random((200, 2))
    predicted = observed + np.array([0.1, -0.02])
    observed[:50, 1] = np.nan
    figure = fraction_scatter(predicted, observed, ["smooth", "disk"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["smooth", "disk"]
    assert [line for line in texts(figure).split("\n") if "RMS" in line] == ["RMS 0.100", "RMS 0.020"]


def test_errors_of_the_predicted_size_lie_on_the_diagonal(rng):
    sigma = rng.uniform(0.02, 0.2, (20_000, 3))
    observed = rng.random(sigma.shape)
    axes = fraction_errors(observed + sigma * rng.normal(size=sigma.shape), observed, sigma).axes[0]
    stated, measured = axes.containers[0].lines[0].get_data()
    assert measured == pytest.approx(stated, rel=0.05)
