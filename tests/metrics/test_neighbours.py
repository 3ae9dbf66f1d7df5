"""Nearest neighbours in blocks: against scikit-learn and SciPy, ties, missing vectors."""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from astrodl.metrics.neighbours import METRICS, DistanceMetric, Moments, Scaling, nearest

IDENTITY = Scaling(np.ones(2))


def blocks_of(vectors: np.ndarray, size: int = 37) -> Iterator[np.ndarray]:
    return (vectors[start : start + size] for start in range(0, len(vectors), size))


def fit(vectors: np.ndarray, metric: DistanceMetric = "standardized") -> Moments:
    moments = Moments(vectors.shape[1], metric)
    for block in blocks_of(vectors):
        moments.add(block)
    return moments


def draw(n: int = 300, d: int = 5) -> np.ndarray:
    """Draw correlated vectors of unequal scales, far from the origin."""
    random = np.random.default_rng(3)
    mixed = random.standard_normal((n, d)) @ (np.eye(d) + 0.3 * random.standard_normal((d, d)))
    return mixed * np.geomspace(0.1, 100, d) + 1e3


@pytest.mark.parametrize("size", [1, 37, 1000])
def test_neighbours_in_blocks_are_those_of_scikit_learn(size: int) -> None:
    vectors = draw()
    scaled = (vectors - vectors.mean(0)) / vectors.std(0)
    distance, row = NearestNeighbors(n_neighbors=11, algorithm="brute").fit(scaled).kneighbors(scaled[:6])
    rows, distances = nearest(blocks_of(vectors, size), vectors[:6], 10, fit(vectors).scaling(), exclude=np.arange(6))
    np.testing.assert_array_equal(rows, row[:, 1:])
    np.testing.assert_allclose(distances, distance[:, 1:], rtol=1e-6)


def test_whitened_distances_are_those_of_mahalanobis() -> None:
    vectors = draw()
    inverse = np.linalg.inv(np.cov(vectors.T, bias=True))
    expected = cdist(vectors[:3], vectors, "mahalanobis", VI=inverse)
    scaling = fit(vectors, "whitened").scaling()
    np.testing.assert_allclose(cdist(scaling(vectors[:3]), scaling(vectors)), expected, rtol=1e-5, atol=1e-6)


def test_euclidean_distances_are_those_of_the_vectors_as_they_are() -> None:
    rows, distances = nearest(blocks_of(draw()), draw()[:1], 1, fit(draw(), "euclidean").scaling(), exclude=[0])
    expected = cdist(draw()[:1], draw())[0]
    expected[0] = np.inf
    assert rows[0, 0] == expected.argmin()
    assert distances[0, 0] == pytest.approx(expected.min())


@pytest.mark.parametrize("metric", METRICS)
def test_a_constant_dimension_and_a_copy_change_no_order(metric: DistanceMetric) -> None:
    vectors = draw()
    constant = np.column_stack([vectors, np.full(len(vectors), 0.1)])
    rows, _ = nearest(blocks_of(vectors), vectors[:4], 8, fit(vectors, metric).scaling())
    others, _ = nearest(blocks_of(constant), constant[:4], 8, fit(constant, metric).scaling())
    np.testing.assert_array_equal(rows, others)


def test_whitening_counts_correlated_dimensions_once() -> None:
    random = np.random.default_rng(0)
    once = random.standard_normal((500, 2))
    copied = np.column_stack([once, once[:, :1], once[:, :1]])
    rows, distances = nearest(blocks_of(once), once[:5], 9, fit(once, "whitened").scaling())
    others, same = nearest(blocks_of(copied), copied[:5], 9, fit(copied, "whitened").scaling())
    np.testing.assert_array_equal(rows, others)
    np.testing.assert_allclose(distances, same, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_of_equal_distances_the_first_row_comes_first(size: int) -> None:
    ring = np.tile([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [0.0, 3.0]], (8, 1))
    rows, distances = nearest(blocks_of(ring, size), [[0.0, 0.0]], 7, IDENTITY)
    assert rows.tolist() == [[0, 1, 2, 4, 5, 6, 8]]
    assert (distances == 1).all()


def test_vectors_with_a_missing_value_are_no_neighbours_and_do_not_count() -> None:
    vectors = draw()
    holed = vectors.copy()
    holed[[5, 90], 2] = np.nan
    holed[7, 0] = np.inf
    moments = fit(holed)
    assert (moments.n_used, moments.n_left_out) == (297, 3)
    kept = np.delete(vectors, [5, 7, 90], axis=0)
    np.testing.assert_allclose(moments.scaling().matrix, 1 / kept.std(0), rtol=1e-6)
    rows, _ = nearest(blocks_of(holed), holed[:1], 299, moments.scaling(), exclude=[0])
    assert rows.shape == (1, 296)
    assert not {0, 5, 7, 90} & set(rows[0])


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of standardized, whitened, euclidean"):
        Moments(2, "manhattan")  # type: ignore[arg-type]
