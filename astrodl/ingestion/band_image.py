"""The image of one object in one band, with its noise, mask and point-spread function."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astrodl.config import MaskSettings, NoiseSettings
from astrodl.errors import DataError
from astrodl.fits import UnreadableError
from astrodl.fits.header import format_shape

__all__ = [
    "BandImage",
    "RefusedError",
    "mask_bad_pixels",
    "require_2d",
    "select_plane",
    "to_mask",
    "to_variance",
]


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
    """

    pixels: NDArray[np.float32]
    zero_point: float | None = None
    pixel_scale_arcsec: float | None = None
    variance: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    psf: NDArray[np.float32] | None = None
    padded: bool = False
    reprojected: bool = False


def to_variance(noise: NDArray[np.float32], settings: NoiseSettings) -> NDArray[np.float32]:
    """Convert a noise plane to variance, with NaN if it marks missing data (weight 0, or variance not positive)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = {"variance": noise, "sigma": noise * noise, "weight": 1 / noise}[settings.kind]
        good = (noise > 0) & np.isfinite(variance)
    return np.where(good, variance, np.float32(np.nan))


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


def select_plane(cube: NDArray[np.float32], plane: int) -> NDArray[np.float32]:
    """Return a plane of a cube.

    Raises
    ------
    UnreadableError
        If the image is not a cube, or has no such plane.
    """
    if cube.ndim != 3:
        raise UnreadableError(f"the image has {format_shape(cube.shape)} pixels, a cube is needed")
    if plane >= len(cube):
        raise UnreadableError(f"the image has {len(cube)} planes, plane {plane} (from 0) is asked for")
    return cube[plane]


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
