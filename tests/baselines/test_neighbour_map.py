"""UMAP as a rival: objects that were not fitted land in their cluster, and a missing package is said."""

import sys

import numpy as np
import pytest

from astrodl.baselines.neighbour_map import umap_map
from astrodl.errors import ConfigError
from astrodl.metrics.latent import knn_predict


def clusters(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    label = random.integers(0, 3, n)
    return random.normal(size=(n, 6)) + 8 * np.eye(3, 6)[label], label


@pytest.mark.slow
def test_clusters_are_found_again_in_the_map() -> None:
    pytest.importorskip("umap")
    (train, of_train), (test, truth) = clusters(200, 0), clusters(80, 1)
    test[0, 0] = np.nan
    made = umap_map(train, test)
    assert made.train_latent.shape == (200, 2)
    assert (knn_predict(made.train_latent, of_train, made.other_latent)[1:] == truth[1:]).mean() > 0.95
    again = umap_map(train, test)
    assert np.array_equal(made.other_latent, again.other_latent)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ConfigError, match=r"astrodl-survey\[umap\]"):
        umap_map(np.eye(20), np.eye(20))


def test_too_few_objects_raise() -> None:
    with pytest.raises(ValueError, match="10 training objects; more than n_neighbors = 15"):
        umap_map(np.eye(10), np.eye(10))
