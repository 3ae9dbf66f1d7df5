import numpy as np
import pytest

from astrodl.plots.latent import latent_mosaic, latent_nodes, latent_plane, nearest_objects, reconstructions


def test_the_plane_has_a_panel_per_property_with_every_object(rng):
    latent = rng.normal(size=(60, 5))
    latent[0] = np.nan
    bt = rng.random(60)
    bt[1:4] = np.nan
    figure = latent_plane(latent, classes=["spiral", "merger", ""] * 20, bt=bt, sersic_index=4 * bt)
    panels = [axes for axes in figure.axes if axes.get_xlabel() == "map x"]
    assert len(panels) == 3
    for axes in panels:
        assert sum(len(points.get_offsets()) for points in axes.collections) == 59


@pytest.mark.parametrize("shape", [(0, 2), (1, 2), (5, 1), (5, 3)])
def test_planes_of_few_objects_or_other_dimensions_are_drawn(shape, draw):
    n = shape[0]
    draw(latent_plane(np.ones(shape)))
    draw(latent_plane(np.ones(shape), classes=[""] * n, bt=np.full(n, np.nan), sersic_index=np.ones(n)))


def test_nodes_span_the_central_96_percent(rng):
    x, y = latent_nodes(np.column_stack([rng.uniform(0, 1, 5000), rng.uniform(-10, 0, 5000)]), 7)
    assert np.allclose([x[0], x[-1]], [0.02, 0.98], atol=0.02)
    assert np.allclose([y[0], y[-1]], [-9.8, -0.2], atol=0.2)
    assert len(x) == len(y) == 7


def test_each_node_gets_the_nearest_object_and_no_object_is_used_twice():
    x = y = np.arange(3.0)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    found = nearest_objects(grid[::-1] + 0.1, x, y)
    assert np.array_equal(found.ravel(), np.arange(9)[::-1])
    single = nearest_objects([[0.2, 0.0], [np.nan, 0.0]], x, y)
    assert single[0, 0] == 0
    assert (single.ravel()[1:] == -1).all()


def test_a_mosaic_leaves_nodes_without_object_empty_and_y_increases_upwards(draw):
    tiles = np.ones((2, 3, 8, 8, 3))
    tiles[1, 2] = np.nan
    images = draw(latent_mosaic(tiles, [0, 1, 2], [-1.0, 5.0])).axes[0].images
    assert len(images) == 5
    assert images[0].get_extent()[2] > images[3].get_extent()[2]


def test_reconstructions_have_three_rows_and_a_colour_bar(rng):
    rgb = rng.random((12, 8, 8, 3))
    residual = rng.normal(size=(12, 8, 8))
    residual[0, 0] = np.nan
    axes = reconstructions(rgb, rgb, residual, titles=["t"] * 12).axes[0]
    assert len(axes.images) == 3 * 12 + 1
    assert {"input", "decoded", "residual", "−5", "5"} <= {text.get_text() for text in axes.texts}
