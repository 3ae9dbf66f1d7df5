import numpy as np

from astrodl.plots.population import SizePanel, color_redshift, number_counts, size_magnitude

CLASSES = ("elliptical", "spiral")


def test_counts_follow_the_curves_they_were_drawn_from(rng, draw):
    grid = np.linspace(20.025, 23.975, 80)
    curve = np.full(len(grid), 1000.0)
    magnitude = rng.uniform(20, 24, 4000)
    classes = np.array(CLASSES)[(rng.random(4000) < 0.75).astype(int)]
    figure = number_counts(
        magnitude,
        classes,
        fits_cutout=magnitude > 22,
        area_deg2=1.0,
        grid=grid,
        expected={"elliptical": 0.25 * curve, "spiral": 0.75 * curve},
        band="F775W",
    )
    axes = draw(figure).axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "F775W (AB)"
    everything, fitting, elliptical, spiral = (container.lines[0].get_xydata() for container in axes.containers)
    for points, level in ((everything, 1000), (elliptical, 250), (spiral, 750)):
        np.testing.assert_allclose(points[:, 1], level, rtol=0.25)
    assert fitting[:, 0].min() > 22


def test_sizes_have_a_panel_per_class_with_medians_and_limits(rng, draw):
    magnitude = np.linspace(20, 24, 9)
    curves = {"z = 1": (magnitude, 0.1 * magnitude)}
    drawn = rng.uniform(20, 24, 50), 10 ** rng.normal(-0.5, 0.2, 50)
    panels = [SizePanel(title, *drawn, curves, 0.2) for title in ("early", "late")]
    figure = draw(size_magnitude(panels, band="i", limits_arcsec=(0.05, 0.8)))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["early", "late"]
    assert "arcsec" in figure.axes[0].get_ylabel()
    for axes in figure.axes:
        assert len(axes.collections[0].get_offsets()) == 50
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), np.stack(curves["z = 1"], axis=1))
        levels = [line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 2]
        assert levels == [0.05, 0.8]


def test_colours_have_a_panel_each_with_the_tracks_of_the_templates(rng, draw):
    z = rng.uniform(0, 1, 60)
    classes = np.array(CLASSES)[(rng.random(60) < 0.5).astype(int)]
    colors = {"g − r": z, "r − i": 0.5 * z}
    grid = np.linspace(0, 1, 5)
    tracks = {"CWW E": (grid, dict.fromkeys(colors, grid))}
    figure = draw(color_redshift(z, classes, colors, tracks))
    assert [axes.get_ylabel() for axes in figure.axes] == ["g − r (mag)", "r − i (mag)"]
    for axes in figure.axes:
        assert sum(len(points.get_offsets()) for points in axes.collections) == 60
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), grid)
