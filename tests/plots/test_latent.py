import numpy as np
import pytest

from astrodl.plots.latent import latent_mosaic, latent_nodes, latent_plane, nearest_objects, reconstructions


def test_the_plane_has_a_panel_per_property_and_every_object_in_each(rng, texts):
    latent = rng.normal(size=(60, 5))
    latent[0] = np.nan
    bt = rng.random(60)
    bt[1:4] = np.nan
    figure = latent_plane(latent, classes=["spiral", "merger", ""] * 20, bt=bt, sersic_index=4 * bt)
    words = texts(figure)
    assert "59 galaxies" in words
    assert "B/T" in words
    assert "spiral" in words.split("\n")
    panels = [axes for axes in figure.axes if axes.get_xlabel() == "latent 1"]
    assert len(panels) == 3
    for axes in panels:
        assert sum(len(points.get_offsets()) for points in axes.collections) == 59


@pytest.mark.parametrize("shape", [(0, 2), (1, 2), (5, 1), (5, 3)])
def test_planes_of_few_objects_or_other_dimensions_are_drawn(shape, texts):
    latent = np.ones(shape)
    texts(latent_plane(latent))
    texts(latent_plane(latent, classes=[""] * shape[0], bt=np.full(shape[0], np.nan), sersic_index=np.ones(shape[0])))


def test_nodes_span_the_middle_of_the_cloud(rng):
    x, y = latent_nodes(np.column_stack([rng.uniform(0, 1, 5000), rng.uniform(-10, 0, 5000)]), 7)
    assert np.allclose([x[0], x[-1]], [0.02, 0.98], atol=0.02)
    assert np.allclose([y[0], y[-1]], [-9.8, -0.2], atol=0.2)
    assert len(x) == len(y) == 7


def test_each_node_finds_its_own_object_and_no_object_serves_twice():
    x = y = np.arange(3.0)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    found = nearest_objects(grid[::-1] + 0.1, x, y)
    assert np.array_equal(found.ravel(), np.arange(9)[::-1])
    lonely = nearest_objects([[0.2, 0.0], [np.nan, 0.0]], x, y)
    assert lonely[0, 0] == 0
    assert (lonely.ravel()[1:] == -1).all()


def test_a_mosaic_leaves_nodes_without_object_empty_and_y_grows_upwards(texts):
    tiles = np.ones((2, 3, 8, 8, 3))
    tiles[1, 2] = np.nan
    figure = latent_mosaic(tiles, [0, 1, 2], [-1.0, 5.0], heading="Decoded")
    assert "latent 2" in texts(figure)
    images = figure.axes[0].images
    assert len(images) == 5
    assert images[0].get_extent()[2] > images[3].get_extent()[2]


def test_reconstructions_show_three_lines(rng, texts):
    rgb = rng.random((12, 8, 8, 3))
    residual = rng.normal(size=(12, 8, 8))
    residual[0, 0] = np.nan
    figure = reconstructions(rgb, rgb, residual, titles=["t"] * 12, n_total=500)
    words = texts(figure)
    assert "12 of 500 galaxies" in words
    assert {"input", "decoded", "residual", "−5", "5"} <= set(words.split("\n"))
    assert len(figure.axes[0].images) == 3 * 12 + 1


def test_no_reconstruction_is_drawn(texts):
    texts(reconstructions(np.ones((0, 8, 8, 3)), np.ones((0, 8, 8, 3)), np.ones((0, 8, 8))))
