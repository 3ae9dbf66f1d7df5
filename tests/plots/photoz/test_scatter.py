import numpy as np
import pytest

from astrodl.plots.photoz.scatter import Z_PHOT, Z_SPEC, redshift_scatter, redshift_trends


def sample(rng, n=300):
    z = rng.uniform(0.1, 1.5, n)
    return z, z + 0.03 * (1 + z) * rng.normal(size=n)


def test_each_pair_is_in_both_panels_with_the_lines(rng):
    z, estimate = sample(rng)
    z[0] = np.nan
    top, bottom = redshift_scatter(z, estimate).axes
    assert (top.get_ylabel(), bottom.get_xlabel()) == (Z_PHOT, Z_SPEC)
    assert len(top.collections[0].get_offsets()) == len(bottom.collections[0].get_offsets()) == 299
    ideal = next(line for line in top.lines if line.get_label() == "ideal")
    assert np.array_equal(ideal.get_xdata(), ideal.get_ydata())
    assert sorted({abs(line.get_ydata()[0]) for line in bottom.lines}) == [0, 0.05, 0.15]


def test_outlier_limits_increase_with_redshift(rng):
    top = redshift_scatter(*sample(rng)).axes[0]
    upper = top.get_xlim()[1]
    heights = sorted(line.get_ydata()[1] - upper for line in top.lines)
    assert np.allclose(heights, np.array([-0.15, -0.05, 0, 0.05, 0.15]) * (1 + upper))


def test_the_printed_scatter_is_that_of_the_points(rng, texts):
    z, estimate = sample(rng, 4000)
    printed = float(texts(redshift_scatter(z, estimate)).split(r"\sigma_\mathrm{MAD}$ = ")[1][:6])
    assert printed == pytest.approx(0.03, rel=0.06)


def test_each_baseline_has_a_column(rng):
    z, estimate = sample(rng)
    figure = redshift_scatter(z, estimate, baselines={"forest": estimate, "kNN": estimate})
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["network", "forest", "kNN"]


def test_trends_have_a_point_per_bin_and_a_labelled_axis(rng):
    z, estimate = sample(rng, 400)
    figure = redshift_trends(
        z, estimate, against=20 + z, label="F775W (AB mag)", baselines={"forest": estimate + 0.1}, n_bins=5
    )
    assert figure.axes[2].get_xlabel() == "F775W (AB mag)"
    for axes in figure.axes:
        assert [len(container.lines[0].get_xdata()) for container in axes.containers] == [5, 5]
    bias = [container.lines[0].get_ydata().mean() for container in figure.axes[0].containers]
    assert bias[1] > bias[0] + 0.03
