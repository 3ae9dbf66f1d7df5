"""The image of one object in one band, with its noise, mask and point-spread function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.config import MaskSettings, NoiseSettings
from astrodl.errors import DataError
from astrodl.fits import UnreadableError, to_microjansky
from astrodl.fits.header import format_shape
from astrodl.fits.units import MICROJANSKY_ZERO_POINT, ZERO_POINT_RANGE

__all__ = [
    "BandImage",
    "RefusedError",
    "float32_scale",
    "flux_factor",
    "mask_bad_pixels",
    "read_scaled",
    "read_variance",
    "require_2d",
    "select_plane",
    "to_mask",
]

_Read = Callable[[type[np.floating[Any]]], NDArray[Any]]
_SMALLEST_UNIT = -10.0
"""Lower zero points are those of large units, in which the squares of fluxes are zero in float32."""
_FAINT_UNIT = 8.0
"""No instrument has so low a zero point; below there are units of magnitude zero, and headers without a value."""
_BRIGHTEST_PIXEL = 1e4
"""Largest flux of a typical pixel in microjansky, AB magnitude 13.9."""


class RefusedError(DataError):
    """An object that goes to quarantine: the file and the band (or label) at fault, and the reason."""

    def __init__(self, file: str, band: str, reason: str) -> None:
        super().__init__(reason)
        self.file, self.band, self.reason = file, band, reason


@dataclass(frozen=True)
class BandImage:
    """A band or label of one object, as it is in the files.

    Attributes
    ----------
    pixels
        (y, x), NaN if there are no data.
    zero_point
        AB magnitude of one count, or None.
    pixel_scale_arcsec
        Pixel scale of the file; only set on request.
    variance
        (y, x), in squared counts; None if no noise plane is configured.
    mask
        (y, x), true if a mask plane masks the pixel; None if no mask is configured.
    psf
        (y, x) point-spread function; None if none is configured.
    padded, reprojected
        Whether pixels lie beyond the edge of a mosaic; whether the image was reprojected from another grid.
    scaled_by
        Power of ten by which the pixels were multiplied, and by its square the variance; see `float32_scale`.
    picture_bits
        Bits of a value of a picture; None for other images.
    """

    pixels: NDArray[np.float32]
    zero_point: float | None = None
    pixel_scale_arcsec: float | None = None
    variance: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    psf: NDArray[np.float32] | None = None
    padded: bool = False
    reprojected: bool = False
    scaled_by: float = 1.0
    picture_bits: int | None = None


def float32_scale(zero_point: float | None) -> float:
    """Return the power of ten that makes pixels of an unusual unit and their squares fit into float32; usually 1.

    A flux in erg/s/cm2/Hz has a zero point of -48.6 and a value of 1e-29, whose square is zero in float32.
    """
    if zero_point is None or zero_point > _SMALLEST_UNIT:
        return 1.0
    return float(10.0 ** round(0.4 * (MICROJANSKY_ZERO_POINT - zero_point)))


def read_scaled(read: _Read, scale: float) -> NDArray[np.float32]:
    """Read pixels as float32, multiplied by `scale` before the conversion; `read` reads them as a given type.

    Raises
    ------
    UnreadableError
        If they are too large.
    """
    if scale == 1:
        return read(np.float32)
    exact = read(np.float64) * scale
    with np.errstate(over="ignore"):
        pixels = exact.astype(np.float32)
    if np.isinf(pixels).any():
        largest = np.nanmax(np.abs(exact)) / scale
        raise UnreadableError(f"pixels, such as {largest:.2g}, are too large for the unit or zero point of the band")
    return pixels


def read_variance(read: _Read, settings: NoiseSettings, scale: float) -> NDArray[np.float32]:
    """Read a noise plane and convert it to the variance of pixels that are multiplied by `scale`.

    The variance is NaN where the plane marks missing data: weight 0, or variance not positive.

    Raises
    ------
    UnreadableError
        If all variances are too small or too large for float32.
    """
    if scale == 1:
        variance = _to_variance(read(np.float32), settings)
    else:
        with np.errstate(over="ignore"):
            variance = (_to_variance(read(np.float64), settings) * scale**2).astype(np.float32)
        variance[~np.isfinite(variance) | (variance == 0)] = np.nan
    if np.isnan(variance).all():
        exact = _to_variance(read(np.float64), settings)
        if np.isfinite(exact).any():
            raise UnreadableError(
                f"noise plane: the variances, such as {np.nanmedian(exact):.2g}, do not fit into float32; give the "
                "zero_point of the band, -48.6 for erg/s/cm2/Hz"
            )
    return variance


def _to_variance(noise: NDArray[Any], settings: NoiseSettings) -> NDArray[Any]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        variance = {"variance": noise, "sigma": noise * noise, "weight": 1 / noise}[settings.kind]
        good = (noise > 0) & np.isfinite(variance) & (variance > 0)
    return np.where(good, variance, noise.dtype.type(np.nan))


def flux_factor(image: BandImage) -> float:
    """Return the factor from the pixels to microjansky.

    Raises
    ------
    UnreadableError
        If the zero point is not plausible: out of range, or a typical pixel would be as bright as a star.
    """
    assert image.zero_point is not None
    low, high = ZERO_POINT_RANGE
    if not low <= image.zero_point <= high:
        raise UnreadableError(f"the zero point is {image.zero_point}, accepted are AB magnitudes from {low} to {high}")
    factor = to_microjansky(image.zero_point) / image.scaled_by
    if image.zero_point < _FAINT_UNIT:
        typical = float(np.nanmedian(np.abs(image.pixels))) * factor if np.isfinite(image.pixels).any() else 0.0
        if typical > _BRIGHTEST_PIXEL:
            magnitude = MICROJANSKY_ZERO_POINT - 2.5 * np.log10(typical)
            raise UnreadableError(
                f"with the zero point {image.zero_point:g} a typical pixel has AB magnitude {magnitude:.3g}; correct "
                "the header or give the band's zero_point"
            )
    return factor


def to_mask(plane: NDArray[np.float32], settings: MaskSettings) -> NDArray[np.bool_]:
    """Return which pixels a mask plane masks; pixels without data in the plane are masked."""
    missing = np.isnan(plane)
    values = np.where(missing, 0, plane).astype(np.int64)
    if settings.bits is not None:
        return missing | ((values & sum(1 << bit for bit in settings.bits)) != 0)
    if settings.values is not None:
        return missing | np.isin(values, settings.values)
    return missing | (values != 0)


def mask_bad_pixels(
    pixels: NDArray[np.float32], variance: NDArray[np.float32] | None, mask: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.bool_] | None]:
    """Set masked pixels and pixels without variance to NaN; return pixels, variance and the mask of both kinds."""
    if variance is None and mask is None:
        return pixels, None, None
    bad = np.zeros(pixels.shape, bool) if mask is None else mask
    if variance is not None:
        bad = bad | (np.isnan(variance) & np.isfinite(pixels))
        variance = np.where(bad | np.isnan(pixels), np.float32(np.nan), variance)
    return np.where(bad, np.float32(np.nan), pixels), variance, bad


def select_plane(cube: NDArray[np.float32], plane: int, axis: int = 0) -> NDArray[np.float32]:
    """Return a plane of a cube whose axis `axis` counts the planes.

    Raises
    ------
    UnreadableError
        If the image is not a cube, or has no such plane.
    """
    if cube.ndim != 3:
        raise UnreadableError(f"the image has {format_shape(cube.shape)} pixels, a cube is needed")
    planes = np.moveaxis(cube, axis, 0)
    if plane >= len(planes):
        raise UnreadableError(f"the image has {len(planes)} planes, plane {plane} (from 0) is asked for")
    return planes[plane]


def require_2d(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image if it has two axes of at least two pixels.

    Raises
    ------
    UnreadableError
        Otherwise.
    """
    if pixels.ndim != 2 or min(pixels.shape) < 2:
        raise UnreadableError(f"the image has {format_shape(pixels.shape)} pixels, a two-dimensional image is needed")
    return pixels
