import numpy as np

from astrodl.plots.structure import PLANES, structure_planes


def features(rng, n, shift=0.0):
    names = sorted({name for pair in PLANES for name in pair})
    return {name: rng.normal(shift, 1.0, n) for name in names}


def test_each_plane_contains_both_groups_the_first_on_top(rng):
    figure = structure_planes({"real": features(rng, 9), "simulated": features(rng, 40)})
    assert len(figure.axes) == len(PLANES)
    for axes, (x, y) in zip(figure.axes, PLANES, strict=True):
        real, simulated = axes.collections[:2]
        assert (len(real.get_offsets()), len(simulated.get_offsets())) == (9, 40)
        assert real.get_zorder() > simulated.get_zorder()
        assert x[:3] in axes.get_xlabel().lower()
        assert y[:4] in axes.get_ylabel().lower()


def test_m20_decreases_to_the_right_and_the_heading_counts_real_galaxies(rng):
    figure = structure_planes({"real": features(rng, 9), "simulated": features(rng, 40)})
    assert "9 real galaxies" in figure.get_suptitle()
    low, high = figure.axes[0].get_xlim()
    assert low > high


def test_missing_features_are_left_out(rng):
    real = features(rng, 9)
    real["gini"][:4] = np.nan
    figure = structure_planes({"real": real, "simulated": features(rng, 40)})
    assert len(figure.axes[0].collections[0].get_offsets()) == 5
    assert len(figure.axes[1].collections[0].get_offsets()) == 9
