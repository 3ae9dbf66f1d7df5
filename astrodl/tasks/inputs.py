"""Arrays that networks take: images with missing pixels filled, and standardised features."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from astrodl.data import normalize
from astrodl.data.batches import Batch, Cutouts
from astrodl.photometry.features import photometric_features, structural_features
from astrodl.store import Reader

__all__ = [
    "band_presence",
    "fill_missing",
    "fit_standardization",
    "fit_units",
    "network_input",
    "scale_free_features",
    "select_columns",
    "standardize",
]


def scale_free_features(names: Sequence[str]) -> tuple[str, ...]:
    """Select magnitudes, colours and structure; raw fluxes span too many decades for distances and networks."""
    return (*photometric_features(names), *structural_features(names))


def fill_missing(images: np.ndarray) -> np.ndarray:
    """Replace missing pixels of normalised images by zero, the sky level."""
    return np.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32, copy=False)


def band_presence(cutouts: Cutouts) -> np.ndarray:
    """Return which bands have data at all, or a flux where there are no images: (N, bands) float32 of 0 and 1."""
    n_bands, n_pixels = cutouts.images.shape[1:3]
    known = np.isfinite(cutouts.images).any((-2, -1)) if n_pixels else np.isfinite(cutouts.features[:, :n_bands])
    return known.astype(np.float32)


def network_input(batch: Batch) -> Tensor:
    """Return the maps that an image network takes: the bands, and their coverage where it varies."""
    return torch.cat([batch["image"], batch["coverage"]], 1) if "coverage" in batch else batch["image"]


def fit_units(store: Reader, train: np.ndarray) -> dict[str, Any]:
    """Fit `units`, the typical sky noise of each band; nothing where the store says that all bands have one unit.

    Bands can be added up in these units.
    """
    if store.unit == "uJy":
        return {}
    return {"units": normalize.fit(store.sky_sigma[train], store.bands, n_sigma=1.0).softening}


def select_columns(features: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Select columns of features; NaN for columns that a survey does not have (Galactic reddening, for example)."""
    selected = np.full((len(features), len(columns)), np.nan, np.float32)
    known = [number for number, column in enumerate(columns) if column < features.shape[1]]
    selected[:, known] = features[:, [columns[number] for number in known]]
    return selected


def standardize(features: np.ndarray, mean: Sequence[float], scale: Sequence[float]) -> np.ndarray:
    """Standardise features (N, F) and append one 0/1 column per feature that marks missing values: (N, 2 F).

    Missing values become the mean. Every feature has its own marker, so that the network does not depend on which
    features happen to be missing in the training split.
    """
    scaled = (features - np.asarray(mean, np.float32)) / np.asarray(scale, np.float32)
    known = np.isfinite(scaled)
    return np.concatenate([np.where(known, scaled, 0.0).clip(-5, 5), ~known], axis=1).astype(np.float32)


def fit_standardization(features: np.ndarray) -> dict[str, list[float]]:
    """Return robust location and scale of each feature: the median, and half of the 16th to 84th percentile range."""
    known = np.where(np.isfinite(features), features, np.nan)
    empty = ~np.isfinite(known).any(0)
    known[:, empty] = 0.0
    low, middle, high = np.nanpercentile(known, [16, 50, 84], axis=0)
    return {"mean": middle.tolist(), "scale": np.maximum((high - low) / 2, 1e-3).tolist()}
