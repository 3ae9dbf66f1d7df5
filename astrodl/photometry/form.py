"""Size, concentration and colours of galaxies, by which generated images are compared with real ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.photometry.features import measure

__all__ = ["measure_form"]


def measure_form(
    images: ArrayLike, sky_sigma: ArrayLike, bands: Sequence[str], *, pixel_scale_arcsec: float | None = None
) -> dict[str, NDArray[np.float32]]:
    """Measure size, concentration and colours in the footprint, all by `photometry.features.measure`.

    Parameters
    ----------
    images
        Linear, sky-subtracted fluxes with their noise, (n, bands, y, x), NaN where there is no data.
    sky_sigma
        Noise of a pixel, (n, bands); 0 or NaN for a band without data.
    bands
        Names of the bands, from blue to red.
    pixel_scale_arcsec
        Pixel scale of the size; without it the size is in pixels.

    Returns
    -------
    dict
        `r50_pixels` (or `r50_arcsec`), `concentration`, and `colour_{b}_{c}` of adjacent bands in magnitudes, (n,)
        each, NaN where nothing was detected.
    """
    features, names = measure(images, sky_sigma=sky_sigma, pixel_scale_arcsec=pixel_scale_arcsec, bands=bands)
    chosen = {name: name for name in names if name.startswith("r50_") or name == "concentration"}
    chosen |= {
        name.removesuffix("_total"): name for name in names if name.startswith("colour_") and name.endswith("_total")
    }
    return {short: features[:, names.index(name)] for short, name in chosen.items()}
