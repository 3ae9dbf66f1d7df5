"""Objects of a store in colour, for the figures of all tasks."""

import json
from functools import lru_cache

import numpy as np

from astrodl.plots.images import balance_bands, blue_to_red, lupton_rgb, plain_rgb
from astrodl.store import Reader, open_store

N_BALANCE = 400


def colour(store: Reader, indices: np.ndarray) -> np.ndarray:
    """Draw objects in colour, with one white balance for all figures of a survey.

    Parameters
    ----------
    store : Reader
        The store; a survey of photographs (layout rgb) keeps its own colours.
    indices : (n,) array
        Objects to draw.

    Returns
    -------
    (n, y, x, 3) array
        Red, green, blue from 0 to 1.
    """
    order = blue_to_red(store.bands)
    images = store.images(indices)[:, order]
    if json.loads(store.settings).get("data", {}).get("layout") == "rgb":
        return plain_rgb(images)
    factors = np.array(_balance(str(store.path), store.fingerprint))
    return lupton_rgb(images, store.sky_sigma[indices][:, order], band_factors=factors)


@lru_cache(maxsize=4)
def _balance(path: str, fingerprint: str) -> tuple[float, ...]:
    with open_store(path) as store:
        chosen = np.linspace(0, store.n_objects - 1, min(N_BALANCE, store.n_objects)).astype(int)
        factors = balance_bands(store.images(chosen)[:, blue_to_red(store.bands)])
    return tuple(float(factor) for factor in factors)
