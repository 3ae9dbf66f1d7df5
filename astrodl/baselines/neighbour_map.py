"""UMAP, the usual two-dimensional map of features or of vectors, as a rival of a learned map."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.baselines.features import impute, standardise
from astrodl.errors import ConfigError

__all__ = ["NeighbourMap", "umap_map"]


class NeighbourMap(NamedTuple):
    """Positions in a map."""

    train_latent: NDArray[np.float32]
    """Of the training objects, (n_train, n)."""
    other_latent: NDArray[np.float32]
    """Of the other objects, (n_other, n)."""


def umap_map(
    train_x: ArrayLike,
    other_x: ArrayLike,
    n_components: int = 2,
    *,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    scale: bool = True,
    seed: int = 0,
) -> NeighbourMap:
    """Map objects to a few dimensions in which neighbours stay neighbours (McInnes, Healy & Melville 2018).

    The map is fitted to the training objects, and the others are put into it (arXiv:1802.03426). It needs the package
    `umap-learn`.

    Parameters
    ----------
    train_x, other_x
        Features or vectors, (n_train, F) and (n_other, F); what is not finite becomes the training median.
    n_components
        Number of dimensions of the map.
    n_neighbors, min_dist
        Neighbours that count as near, and the least distance in the map; those of the package by default.
    scale
        Standardise each feature by the training objects; False for principal components, whose variances matter.
    seed
        Seed of the layout; one thread, so that it always gives the same map.

    Raises
    ------
    ConfigError
        The package is not installed.
    ValueError
        Not more training objects than neighbours.
    """
    train, other = (standardise if scale else impute)(train_x, other_x)
    if len(train) <= n_neighbors:
        raise ValueError(f"umap_map: {len(train)} training objects; more than n_neighbors = {n_neighbors} are needed")
    try:
        from umap import UMAP
    except ImportError as error:
        raise ConfigError(
            "UMAP needs the package umap-learn; install it with: pip install astrodl-survey[umap]"
        ) from error
    model = UMAP(
        n_components=n_components, n_neighbors=n_neighbors, min_dist=min_dist, random_state=seed, n_jobs=1
    ).fit(train)
    return NeighbourMap(np.asarray(model.embedding_, np.float32), np.asarray(model.transform(other), np.float32))
