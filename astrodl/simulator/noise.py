"""Noise of simulated images: sky and camera, photon noise of the sources, and the correlation from drizzling."""

from collections.abc import Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from astrodl.simulator.bands import Band
from astrodl.simulator.fourier import Floats

__all__ = ["Noise", "drizzle_correlation"]

_PIXFRAC = 0.8
"""Side of a drop over that of a detector pixel, as in the CANDELS mosaics (Koekemoer et al. 2011)."""
_MARGIN = 8


class Noise:
    """Noise of the images of all bands.

    Parameters
    ----------
    bands
        The bands.
    size
        Side of the images in pixels.
    pixel_scale_arcsec
        Pixel scale.
    correlated
        Correlate neighbouring pixels as in a drizzled mosaic of many dithered exposures, with the same variance.
    """

    def __init__(self, bands: Sequence[Band], size: int, pixel_scale_arcsec: float, *, correlated: bool) -> None:
        self.sky_sigma = np.array([band.sky_sigma(pixel_scale_arcsec) for band in bands])
        self.exposure = np.array([band.exposure_s for band in bands])
        # A margin that is cut off, as the periodic noise would correlate opposite edges.
        self.side = size + _MARGIN
        self.filter: Floats | None = None
        if correlated:
            drops = [_PIXFRAC * (band.native_pixel_arcsec / pixel_scale_arcsec or 1.0) for band in bands]
            self.filter = np.stack([_correlation_filter(drop, self.side) for drop in drops])

    def variance(self, images: Floats) -> Floats:
        """Return the variance of each pixel of noise-free images (bands, y, x), in (electron / s)^2."""
        photons = np.maximum(images, 0) / self.exposure[:, None, None]
        return (self.sky_sigma[:, None, None] ** 2 + photons).astype(np.float32)

    def add(self, rng: np.random.Generator, images: Floats, variance: Floats) -> Floats:
        """Add noise of the given variance to images."""
        return images + self._draw_unit_noise(rng, images.shape) * np.sqrt(variance)

    def _draw_unit_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Draw noise of unit variance."""
        if self.filter is None:
            return rng.standard_normal(shape, dtype=np.float32)
        white = rng.standard_normal((shape[0], self.side, self.side), dtype=np.float32)
        filtered = scipy.fft.rfft2(white, workers=1) * self.filter
        return scipy.fft.irfft2(filtered, s=(self.side, self.side), workers=1)[:, : shape[1], : shape[2]]


def drizzle_correlation(drop: float, lag: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation of pixels along an axis after drizzling many exposures with random dithers.

    A detector pixel contributes its noise to the output pixels in proportion to the overlap with its drop, a trapezium
    as a function of distance (Fruchter & Hook 2002, section 4). The correlation is the autocorrelation of the
    trapezium. Its sum over all lags is r^2 / (r - 1 / 3) for r >= 1. The ratio of the noise of large areas to that of
    pixels is therefore r / (1 - 1 / 3r) (Casertano et al. 2000, appendix A).

    Parameters
    ----------
    drop
        Side of the drop in output pixels, r.
    lag
        Distances in output pixels.
    """
    step = 0.002
    reach = (drop + 1) / 2
    offset = np.arange(-reach, reach + step, step)
    overlap = np.clip(reach - np.abs(offset), 0, min(drop, 1.0))
    shifted = [np.interp(offset - value, offset, overlap, left=0, right=0) for value in np.abs(lag)]
    return np.array([np.sum(overlap * other) for other in shifted]) / np.sum(overlap**2)


def _correlation_filter(drop: float, side: int) -> Floats:
    """Return the Fourier filter that correlates white noise and keeps its variance, (side, side // 2 + 1)."""
    lag = np.minimum(np.arange(side), side - np.arange(side)).astype(float)
    power = np.maximum(scipy.fft.fft(drizzle_correlation(drop, lag)).real, 0)
    power /= power.mean()
    return np.sqrt(power[:, None] * power[None, : side // 2 + 1]).astype(np.float32)
