"""Distances to reference objects: against scikit-learn, without the object itself, without clusters of outliers."""

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from astrodl.data.structure import fit_scaling
from astrodl.models.neighbours import Ellipsoid, NeighbourDistances, choose_ordinary, fit_components


def vectors(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))


def test_distances_are_those_of_scikit_learn() -> None:
    references, objects = vectors(700, 5), vectors(40, 5, seed=1)
    network = NeighbourDistances(0, [5])
    network.fill([references])
    search = NearestNeighbors(n_neighbors=30).fit(references)
    expected = search.kneighbors(objects)[0].mean(1)
    np.testing.assert_allclose(network([objects])[:, 0].exp(), expected, rtol=1e-4)
    of_others = NearestNeighbors(n_neighbors=30).fit(references).kneighbors()[0].mean(1)  # without the object itself
    np.testing.assert_allclose(network([references])[:, 0].exp(), of_others, rtol=1e-4)


def test_the_excess_is_how_much_farther_neighbours_are_than_from_one_another() -> None:
    references, objects = vectors(200, 3), 3 * vectors(20, 3, seed=1)
    network = NeighbourDistances(0, [3])
    network.fill([references])
    search = NearestNeighbors(n_neighbors=30).fit(references)
    own = np.log(search.kneighbors()[0].mean(1))
    distance, index = search.kneighbors(objects)
    expected = np.log(distance.mean(1)) - own[index].mean(1)
    np.testing.assert_allclose(network([objects])[:, 1], expected, rtol=1e-3, atol=1e-4)


def test_mahalanobis_distance_is_that_of_scikit_learn() -> None:
    references = vectors(500, 4) @ torch.diag(torch.tensor([1.0, 2.0, 5.0, 9.0]))
    network = Ellipsoid(4)
    network.fill(references)
    expected = 0.5 * np.log(EmpiricalCovariance().fit(references.numpy()).mahalanobis(references.numpy()))
    np.testing.assert_allclose(network(references)[:, 0], expected, atol=0.02)


def test_saved_references_are_read_back() -> None:
    network = NeighbourDistances(0, [5, 2])
    network.fill([vectors(50, 5), vectors(50, 2)])
    other = NeighbourDistances(50, [5, 2])
    other.load_state_dict(network.state_dict())
    objects = [vectors(8, 5, seed=2), vectors(8, 2, seed=2)]
    assert torch.equal(network(objects), other(objects))


def test_a_cluster_of_outliers_is_not_a_reference() -> None:
    ordinary, odd = vectors(1980, 3), vectors(20, 3, seed=1) / 20 + 7
    kept = choose_ordinary([torch.cat([ordinary, odd])])
    assert kept.max() < len(ordinary)
    assert len(kept) == pytest.approx(1900, abs=1)


def test_axes_are_those_of_scikit_learn_of_blocks_with_unit_variance() -> None:
    blocks = [3 * vectors(200, 4) + 5, vectors(200, 6, seed=1) / 9]
    numbers = torch.cat(blocks, 1)
    centre, scale = fit_scaling(numbers, [4, 6])
    axes = fit_components(numbers, centre, scale, 3)
    scaled = torch.cat([(block - block.mean(0)) / block.var(0, unbiased=False).sum().sqrt() for block in blocks], 1)
    expected = PCA(3).fit_transform(scaled.numpy())
    found = ((numbers - centre) @ axes.double()).numpy()
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-4)
    assert (fit_components(numbers[:2], centre, scale, 5)[:, 2:] == 0).all()
