"""Colour images of the objects of a store."""

import json
from functools import lru_cache

import numpy as np

from astrodl.plots.images import balance_bands, lupton_rgb, order_screen_channels, plain_rgb
from astrodl.store import Reader, open_store

__all__ = ["colour", "survey_factors"]

N_BALANCE = 400


def colour(store: Reader, indices: np.ndarray) -> np.ndarray:
    """Return colour images, with one white balance for all figures of a survey.

    Parameters
    ----------
    store : Reader
        The store; a survey in colour pictures (layout rgb) keeps its own colours.
    indices : (n,) array
        Objects to draw.

    Returns
    -------
    (n, y, x, 3) array
        Red, green, blue from 0 to 1.
    """
    order = order_screen_channels(store.bands)
    images = store.images(indices)[:, order]
    if json.loads(store.settings).get("data", {}).get("layout") == "rgb":
        return plain_rgb(images)
    return lupton_rgb(images, store.sky_sigma[indices][:, order], band_factors=survey_factors(store))


def survey_factors(store: Reader) -> np.ndarray:
    """Return the factor per band of the white balance of a survey, in the order of the channels."""
    return np.array(_balance(str(store.path), store.fingerprint))


@lru_cache(maxsize=4)
def _balance(path: str, fingerprint: str) -> tuple[float, ...]:
    with open_store(path) as store:
        chosen = np.linspace(0, store.n_objects - 1, min(N_BALANCE, store.n_objects)).astype(int)
        factors = balance_bands(store.images(chosen)[:, order_screen_channels(store.bands)])
    return tuple(float(factor) for factor in factors)
