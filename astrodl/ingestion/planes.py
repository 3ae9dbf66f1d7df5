"""Planes: what is known of the pixels of one band of one object, as it stands in the files."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astrodl.config import MaskSettings, NoiseSettings
from astrodl.errors import DataError
from astrodl.fits.file import UnreadableError


class RefusedError(DataError):
    """An object that goes to quarantine: the file and band (or label) that are to blame, and why."""

    def __init__(self, file: str, band: str, reason: str) -> None:
        super().__init__(reason)
        self.file, self.band, self.reason = file, band, reason


@dataclass(frozen=True)
class Plane:
    """A band or label of one object.

    Attributes
    ----------
    pixels
        (y, x), NaN where there is no data.
    zero_point
        AB magnitude of one count, or None.
    pixel_scale_arcsec
        Scale of the pixels of the file; only filled on request.
    variance
        (y, x), in squared counts; None where no noise plane is configured.
    masked
        (y, x), true where a mask took the pixel away; None without masks.
    psf
        (y, x) point-spread function; None where none is configured.
    padded, reprojected
        Whether pixels lie beyond the edge of a mosaic; whether they were brought from another grid.
    """

    pixels: NDArray[np.float32]
    zero_point: float | None = None
    pixel_scale_arcsec: float | None = None
    variance: NDArray[np.float32] | None = None
    masked: NDArray[np.bool_] | None = None
    psf: NDArray[np.float32] | None = None
    padded: bool = False
    reprojected: bool = False


def variance_of(noise: NDArray[np.float32], kind: NoiseSettings) -> NDArray[np.float32]:
    """Turn a noise plane into variance; NaN where it says that there is no data (weight 0, variance not positive)."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = {"variance": noise, "sigma": noise * noise, "weight": 1 / noise}[kind.kind]
        good = (noise > 0) & np.isfinite(variance)
    return np.where(good, variance, np.float32(np.nan))


def masked_by(plane: NDArray[np.float32], settings: MaskSettings) -> NDArray[np.bool_]:
    """Tell which pixels a mask plane takes away; those of the mask without data are."""
    missing = np.isnan(plane)
    values = np.where(missing, 0, plane).astype(np.int64)
    if settings.bits is not None:
        return missing | ((values & sum(1 << bit for bit in settings.bits)) != 0)
    if settings.values is not None:
        return missing | np.isin(values, settings.values)
    return missing | (values != 0)


def without_bad(
    pixels: NDArray[np.float32], variance: NDArray[np.float32] | None, masked: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.bool_] | None]:
    """Take away pixels that are masked or have no weight; both count as masked where the image has data."""
    if variance is None and masked is None:
        return pixels, None, None
    bad = np.zeros(pixels.shape, bool) if masked is None else masked
    if variance is not None:
        bad = bad | (np.isnan(variance) & np.isfinite(pixels))
        variance = np.where(bad | np.isnan(pixels), np.float32(np.nan), variance)
    return np.where(bad, np.float32(np.nan), pixels), variance, bad


def plane_of(pixels: NDArray[np.float32], plane: int) -> NDArray[np.float32]:
    """Pick a plane of a cube."""
    if pixels.ndim != 3:
        raise UnreadableError(f"the image has {by(pixels.shape)} pixels, a cube is needed")
    if plane >= len(pixels):
        raise UnreadableError(f"the image has {len(pixels)} planes, plane {plane} (from 0) is asked for")
    return pixels[plane]


def flat(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Require a two-dimensional image."""
    if pixels.ndim != 2 or min(pixels.shape) < 2:
        raise UnreadableError(f"the image has {by(pixels.shape)} pixels, a two-dimensional image is needed")
    return pixels


def by(shape: tuple[int, ...]) -> str:
    """Write a shape as astronomers do: x first."""
    return " x ".join(str(length) for length in reversed(shape))
