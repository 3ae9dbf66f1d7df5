import numpy as np

from astrodl.plots.population import SizePanel, color_redshift, number_counts, size_magnitude

CLASSES = ("elliptical", "spiral")


def test_counts_stand_on_the_curve_that_they_were_drawn_from(rng, texts):
    grid = np.linspace(20.025, 23.975, 80)
    curve = np.full(len(grid), 1000.0)
    magnitude = rng.uniform(20, 24, 4000)
    kind = np.array(CLASSES)[(rng.random(4000) < 0.75).astype(int)]
    figure = number_counts(
        magnitude,
        kind,
        fits=magnitude > 22,
        area_deg2=1.0,
        grid=grid,
        expected={"elliptical": 0.25 * curve, "spiral": 0.75 * curve},
        band="F775W",
    )
    words = texts(figure)
    assert "4,000 galaxies" in words
    assert "F775W (AB)" in words
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    drawn = {container.get_label(): container.lines[0].get_xydata() for container in axes.containers}
    for name, level in (("all", 1000), ("elliptical", 250), ("spiral", 750)):
        np.testing.assert_allclose(drawn[name][:, 1], level, rtol=0.25)
    # What does not fit is in no hollow point.
    assert drawn["that fit the stamp"][:, 0].min() > 22
    assert len(axes.lines) >= 3


def test_sizes_have_a_panel_per_kind_with_medians_and_limits(rng, texts):
    magnitude = np.linspace(20, 24, 9)
    curves = {"z = 1": (magnitude, 0.1 * magnitude)}
    drawn = rng.uniform(20, 24, 50), 10 ** rng.normal(-0.5, 0.2, 50)
    panels = [SizePanel(title, *drawn, curves, 0.2) for title in ("early", "late")]
    figure = size_magnitude(panels, band="i", limits_arcsec=(0.05, 0.8))
    words = texts(figure)
    assert "100 galaxies" in words
    assert all(word in words for word in ("early", "late", "z = 1", "half-light radius (arcsec)"))
    for axes in figure.axes:
        assert len(axes.collections[0].get_offsets()) == 50
        levels = [line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 2]
        assert levels == [0.05, 0.8]


def test_colors_have_a_panel_each_with_the_tracks_of_the_templates(rng, texts):
    z = rng.uniform(0, 1, 60)
    kind = np.array(CLASSES)[(rng.random(60) < 0.5).astype(int)]
    colors = {"g − r": z, "r − i": 0.5 * z}
    grid = np.linspace(0, 1, 5)
    tracks = {"CWW E": (grid, dict.fromkeys(colors, grid))}
    figure = color_redshift(z, kind, colors, tracks)
    words = texts(figure)
    assert all(word in words for word in ("60 galaxies", "g − r (mag)", "r − i (mag)", "CWW E", "spiral", "redshift"))
    for axes in figure.axes:
        assert sum(len(points.get_offsets()) for points in axes.collections) == 60
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), grid)
