"""Objects of a store in the bands of a training, whose survey may be another one."""

from collections.abc import Callable, Sequence

import numpy as np

from astrodl.data.batches import BLOCK_SIZE, Cutouts
from astrodl.photometry.features import catalogue_features, feature_names, measure
from astrodl.store import Reader

__all__ = ["list_features", "read_in_bands", "shared_features"]


def read_in_bands(store: Reader, bands: tuple[str, ...], indices: np.ndarray, planes: Sequence[str] = ()) -> Cutouts:
    """Read objects in these bands and their order; features are measured again where those of the store differ."""
    if store.bands == bands:
        return Cutouts.from_store(store, indices, planes)
    columns = store.band_indices(bands)
    if not store.has_images:
        return _read_photometry(store, bands, indices)
    images, sky = store.images(indices)[:, columns], store.sky_sigma[indices][:, columns]
    scale, calibrated = store.pixel_scale_arcsec, store.unit == "uJy"
    features, _ = measure(images, sky_sigma=sky, pixel_scale_arcsec=scale, calibrated=calibrated)
    if "ebv" in store.feature_names:
        features = np.column_stack([features, store.features(["ebv"], indices)])
    optional = {name: store.plane(name, indices)[:, columns] for name in planes if name in store.planes}
    return Cutouts(images, sky, features, optional)


def _read_photometry(store: Reader, bands: Sequence[str], indices: np.ndarray) -> Cutouts:
    """Read objects of a survey without images in some of its bands."""
    sigma = store.sky_sigma[indices][:, store.band_indices(bands)]
    flux, magnitude = (
        store.features([f"{kind}_{band}_total" for band in bands], indices).astype(float)
        for kind in ("flux", "magnitude")
    )
    features = catalogue_features(flux, sigma.astype(float), magnitude, calibrated=store.unit == "uJy")
    if "ebv" in store.feature_names:
        features = np.column_stack([features, store.features(["ebv"], indices)])
    return Cutouts(np.empty((len(indices), len(bands), 0, 0), np.float32), sigma, features)


def list_features(store: Reader, bands: tuple[str, ...]) -> tuple[str, ...]:
    """List the features of a store in these bands, as `read_in_bands` returns them."""
    if store.bands == bands:
        return store.feature_names
    measured = feature_names(bands, store.size, store.pixel_scale_arcsec)
    return (*measured, "ebv") if "ebv" in store.feature_names else measured


def shared_features(
    select: Callable[[Sequence[str]], Sequence[str]],
    train_store: Reader,
    train: np.ndarray,
    test_store: Reader,
    test: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Read the same features of training and test objects, in the bands of the training store.

    Parameters
    ----------
    select : callable
        Selects from the names of all features.
    train_store, train : Reader, array
        Training objects.
    test_store, test : Reader, array
        Test objects.

    Returns
    -------
    train_features, test_features : (n, F) float32 arrays
        The selected features that both stores have.
    """
    bands = train_store.bands
    known = list_features(test_store, bands)
    names = [name for name in select(train_store.feature_names) if name in known]
    return train_store.features(names, train), _read_features(test_store, bands, names, test)


def _read_features(store: Reader, bands: tuple[str, ...], names: Sequence[str], indices: np.ndarray) -> np.ndarray:
    if store.bands == bands:
        return store.features(names, indices)
    known = list_features(store, bands)
    columns = [known.index(name) for name in names]
    blocks = (indices[start : start + BLOCK_SIZE] for start in range(0, len(indices), BLOCK_SIZE))
    return np.concatenate([read_in_bands(store, bands, block).features[:, columns] for block in blocks])
