import numpy as np
import pytest

from astrodl.plots.photoz.scatter import redshift_scatter, redshift_trends


def sample(rng, n=300):
    z = rng.uniform(0.1, 1.5, n)
    return z, z + 0.03 * (1 + z) * rng.normal(size=n)


def test_scatter_draws_each_pair_twice_and_the_lines(rng, texts):
    z, estimate = sample(rng)
    z[0] = np.nan
    figure = redshift_scatter(z, estimate)
    words = texts(figure)
    assert "299 galaxies" in words
    assert "ideal" in words
    assert r"$z_\mathrm{spec}$" in words
    top, bottom = figure.axes
    assert len(top.collections[0].get_offsets()) == len(bottom.collections[0].get_offsets()) == 299
    ideal = next(line for line in top.lines if line.get_label() == "ideal")
    assert np.array_equal(ideal.get_xdata(), ideal.get_ydata())
    assert sorted({abs(line.get_ydata()[0]) for line in bottom.lines}) == [0, 0.05, 0.15]


def test_outlier_lines_of_the_upper_panel_grow_with_redshift(rng):
    top = redshift_scatter(*sample(rng)).axes[0]
    upper = top.get_xlim()[1]
    heights = sorted(line.get_ydata()[1] - upper for line in top.lines)
    assert np.allclose(heights, np.array([-0.15, -0.05, 0, 0.05, 0.15]) * (1 + upper))


def test_printed_scatter_is_that_of_the_points(rng, texts):
    z, _ = sample(rng, 4000)
    words = texts(redshift_scatter(z, z + 0.03 * (1 + z) * rng.normal(size=len(z))))
    printed = float(words.split(r"\sigma_\mathrm{MAD}$ = ")[1][:6])
    assert printed == pytest.approx(0.03, rel=0.06)


def test_each_baseline_gets_a_column_of_its_own(rng, texts):
    z, estimate = sample(rng)
    figure = redshift_scatter(z, estimate, baselines={"forest": estimate, "kNN": estimate})
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["network", "forest", "kNN"]
    assert "forest" in texts(figure)


def test_trends_have_a_point_per_bin_and_name_their_axis(rng, texts):
    z, estimate = sample(rng, 400)
    figure = redshift_trends(
        z, estimate, against=20 + z, label="F775W (AB mag)", baselines={"forest": estimate + 0.1}, n_bins=5
    )
    words = texts(figure)
    assert "Bias and scatter against F775W (AB mag) · 400 galaxies" in words
    assert figure.axes[2].get_xlabel() == "F775W (AB mag)"
    for axes in figure.axes:
        assert [len(container.lines[0].get_xdata()) for container in axes.containers] == [5, 5]
    bias = [container.lines[0].get_ydata().mean() for container in figure.axes[0].containers]
    assert bias[1] > bias[0] + 0.03


@pytest.mark.parametrize("n", [0, 1, 3])
def test_few_objects_are_drawn(rng, n, texts):
    z, estimate = sample(rng, n)
    assert f"{n} galax" in texts(redshift_scatter(z, estimate, baselines={"kNN": estimate}))
    assert f"{n} galax" in texts(redshift_trends(z, estimate))


def test_estimates_that_are_all_missing_are_drawn(rng, texts):
    z, _ = sample(rng, 20)
    texts(redshift_scatter(z, np.full(20, np.nan)))
    texts(redshift_trends(z, np.full(20, np.nan)))


def test_equal_redshifts_are_drawn(texts):
    texts(redshift_trends(np.full(50, 0.5), np.full(50, 0.5)))
    texts(redshift_scatter(np.full(50, 0.5), np.full(50, 0.5)))
