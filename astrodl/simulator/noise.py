"""Noise of a simulated image: sky and camera, the photons of the sources, and the correlation that drizzling brings."""

from collections.abc import Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from astrodl.simulator.bands import Band
from astrodl.simulator.fourier import Floats

PIXFRAC = 0.8
"""Side of a drop over that of a detector pixel, as in the CANDELS mosaics (Koekemoer et al. 2011)."""
_MARGIN = 8


class Noise:
    """Adds noise to the images of all bands.

    Parameters
    ----------
    bands
        The bands.
    size
        Side of the images in pixels.
    pixel_scale_arcsec
        Pixel scale.
    correlated
        Correlate neighbouring pixels as drizzling many dithered exposures does; the variance of a pixel stays.
    """

    def __init__(self, bands: Sequence[Band], size: int, pixel_scale_arcsec: float, *, correlated: bool) -> None:
        self.sky_sigma = np.array([band.sky_sigma(pixel_scale_arcsec) for band in bands])
        self.exposure = np.array([band.exposure_s for band in bands])
        # The noise of opposite edges would be alike; a margin that is cut off keeps them apart.
        self.side = size + _MARGIN
        self.shaping: Floats | None = None
        if correlated:
            drops = [PIXFRAC * (band.native_pixel_arcsec / pixel_scale_arcsec or 1.0) for band in bands]
            self.shaping = np.stack([_shaping(drop, self.side) for drop in drops])

    def variance(self, images: Floats) -> Floats:
        """Give the variance of each pixel of noise-free images (bands, y, x), in (electron / s)^2."""
        photons = np.maximum(images, 0) / self.exposure[:, None, None]
        return (self.sky_sigma[:, None, None] ** 2 + photons).astype(np.float32)

    def add(self, rng: np.random.Generator, images: Floats, variance: Floats) -> Floats:
        """Add noise of the given variance to images."""
        return images + self._unit(rng, images.shape) * np.sqrt(variance)

    def _unit(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Draw noise of unit variance."""
        if self.shaping is None:
            return rng.standard_normal(shape, dtype=np.float32)
        white = rng.standard_normal((shape[0], self.side, self.side), dtype=np.float32)
        shaped = scipy.fft.rfft2(white, workers=1) * self.shaping
        return scipy.fft.irfft2(shaped, s=(self.side, self.side), workers=1)[:, : shape[1], : shape[2]]


def drizzle_correlation(drop: float, lag: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the correlation of pixels along an axis after drizzling many exposures dithered at random.

    A detector pixel gives its noise to the output pixels in proportion to the overlap with its drop, which is a
    trapezium as a function of their distance (Fruchter & Hook 2002, section 4); the correlation is that of the
    trapezium with itself. Its sum over all lags is r^2 / (r - 1 / 3) for r >= 1, whence the ratio r / (1 - 1 / 3r) of
    the noise of large areas to that of pixels (Casertano et al. 2000, appendix A).

    Parameters
    ----------
    drop
        Side of the drop in output pixels, r.
    lag
        Distances in output pixels.
    """
    step = 0.002
    reach = (drop + 1) / 2
    place = np.arange(-reach, reach + step, step)
    overlap = np.clip(reach - np.abs(place), 0, min(drop, 1.0))
    shifted = [np.interp(place - value, place, overlap, left=0, right=0) for value in np.abs(lag)]
    return np.array([np.sum(overlap * other) for other in shifted]) / np.sum(overlap**2)


def _shaping(drop: float, side: int) -> Floats:
    """Give the factor in Fourier space that correlates white noise and leaves its variance: (side, side // 2 + 1)."""
    lag = np.minimum(np.arange(side), side - np.arange(side)).astype(float)
    power = np.maximum(scipy.fft.fft(drizzle_correlation(drop, lag)).real, 0)
    power /= power.mean()
    return np.sqrt(power[:, None] * power[None, : side // 2 + 1]).astype(np.float32)
