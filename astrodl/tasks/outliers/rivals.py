"""Classical outlier scores on the same split."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from astrodl.baselines import outliers as baselines
from astrodl.baselines.variational import variational_autoencoder
from astrodl.data.batches import Cutouts
from astrodl.data.normalize import Normalization
from astrodl.store import Reader
from astrodl.tasks.inputs import fill_missing

__all__ = ["score_codes", "score_features", "score_images"]

_N_IMAGES = 4000
"""Training images to which methods on images are fitted, at most."""
_BLOCK = 256


def score_features(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Score objects with features `y` (n, F) with methods that are fitted to features `x` (m, F)."""
    return {
        "isolation_forest": baselines.isolation_forest(x, y),
        "knn": baselines.knn_distance(x, y),
        "knn_whitened": baselines.knn_distance(*baselines.whiten(x, y)),
        "one_class_svm": baselines.one_class_svm(x, y),
        "local_outlier_factor": baselines.local_outlier_factor(x, y),
    }


def score_images(
    read: Callable[[Reader, np.ndarray], Cutouts],
    normalization: Normalization,
    train: tuple[Reader, np.ndarray],
    test: tuple[Reader, np.ndarray],
) -> dict[str, np.ndarray]:
    """Score objects on principal components of the images: by the residual, and by the distance to neighbours."""
    first, second = (part.reshape(len(part), -1) for part in _read_images(read, normalization, train, test))
    codes, residual = baselines.principal_components(first, second)
    return {"pca_residual": residual, "pca_knn": baselines.knn_distance(*codes)}


def score_codes(
    read: Callable[[Reader, np.ndarray], Cutouts],
    normalization: Normalization,
    train: tuple[Reader, np.ndarray],
    test: tuple[Reader, np.ndarray],
    **options: Any,
) -> dict[str, np.ndarray]:
    """Score objects with a variational autoencoder: by the residual, and by the distance to neighbours of the codes."""
    codes, residual = variational_autoencoder(*_read_images(read, normalization, train, test), **options)
    return {"vae_residual": residual, "vae_knn": baselines.knn_distance(*codes)}


def _read_images(
    read: Callable[[Reader, np.ndarray], Cutouts],
    normalization: Normalization,
    train: tuple[Reader, np.ndarray],
    test: tuple[Reader, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Read scaled images of half the resolution, of at most `_N_IMAGES` training objects, (n, bands, y, x)."""
    (train_store, rows), parts = train, []
    for store, indices in ((train_store, rows[:: -(-len(rows) // _N_IMAGES)]), test):
        blocks = []
        for start in range(0, len(indices), _BLOCK):
            scaled = fill_missing(normalization.apply(read(store, indices[start : start + _BLOCK]).images))
            blocks.append(functional.avg_pool2d(torch.from_numpy(scaled), 2).numpy())
        parts.append(np.concatenate(blocks))
    return parts[0], parts[1]
