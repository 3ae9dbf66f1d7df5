"""Cut one object from mosaics, by sky position or pixel; bands on other pixel grids are reprojected to one grid."""

import hashlib
import math
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from numpy.typing import NDArray

from astrodl.config import BandSettings, PlaneSettings
from astrodl.fits import MissingExtensionError, UnreadableError
from astrodl.fits.header import format_shape
from astrodl.ingestion.band_image import (
    BandImage,
    RefusedError,
    float32_scale,
    mask_bad_pixels,
    read_scaled,
    read_variance,
    require_2d,
    to_mask,
)
from astrodl.ingestion.image_files import path_exists
from astrodl.ingestion.mosaic import Mosaic, MosaicCache
from astrodl.ingestion.object_images import ObjectImages, companion_error
from astrodl.ingestion.sky_grid import SkyGrid

__all__ = ["MosaicCutout"]

_ALIGNED_PIXELS = 0.01
_MARGIN_PIXELS = 3
_MAX_SIDES = 64


@dataclass(frozen=True)
class _Window:
    """The cutout of an object on the reference grid: first row and column, side in pixels, reference image and grid."""

    top: int
    left: int
    side: int
    mosaic: Mosaic
    grid: SkyGrid | None


@dataclass(frozen=True)
class _Box:
    """Pixels of a mosaic to read: first row and column, height and width; `aligned` if they are those of the cutout."""

    corner: tuple[int, int]
    lengths: tuple[int, int]
    aligned: bool

    def crosses_edge(self, shape: tuple[int, int]) -> bool:
        """Return whether the box extends over the edge of a mosaic."""
        axes = zip(self.corner, self.lengths, shape, strict=True)
        return any(start < 0 or start + length > n for start, length, n in axes)

    def overlaps(self, shape: tuple[int, int]) -> bool:
        """Return whether the box contains pixels of a mosaic."""
        axes = zip(self.corner, self.lengths, shape, strict=True)
        return all(start < n and start + length > 0 for start, length, n in axes)


@dataclass
class MosaicCutout(ObjectImages):
    """The images of one object in mosaics.

    Parameters
    ----------
    data, templates
        See `ObjectImages`.
    position
        Right ascension and declination in degrees, or None.
    pixel
        Column and row in the reference band, used instead of the position; or None.
    mosaics
        Mosaics that objects share.
    """

    position: tuple[float, float] | None
    pixel: tuple[float, float] | None
    mosaics: MosaicCache
    _digest: Any = field(default_factory=hashlib.sha256)
    _window: _Window | None = None

    def band(self, position: int, *, with_scale: bool = False) -> BandImage | None:
        """Cut out a band; see `ObjectImages.band`."""
        band = self.data.bands[position]
        name = self.path(band)
        try:
            if not path_exists(self.root, name):
                return None
            mosaic = self._mosaic(band, position)
            if mosaic.plane is None:
                self.require_own_image(band)
            window = self._window or self._find_window()
            zero_point = band.zero_point if band.zero_point is not None else mosaic.zero_point
            image = self._cut(mosaic, window, band, position, float32_scale(zero_point))
            scale = self._reference_mosaic().pixel_scale_arcsec if with_scale else None
        except MissingExtensionError:
            return None
        except UnreadableError as error:
            raise RefusedError(name, band.name, str(error)) from None
        if image is None:
            return None
        self._digest.update(name.encode() + b"\0")
        for pixels in (image.pixels, image.variance, image.mask, image.psf):
            if pixels is not None:
                self._digest.update(np.ascontiguousarray(pixels).data)
        return replace(image, zero_point=zero_point, pixel_scale_arcsec=scale)

    def label(self, name: str, extension: str | int) -> BandImage | None:
        """Not supported: the settings refuse labels of mosaics."""
        raise AssertionError

    def extensions(self, band: BandSettings) -> list[str]:
        """Return the names of the images in the file of a band, if it lacks that of the band."""
        try:
            self._mosaic(band, self.data.bands.index(band))
        except MissingExtensionError as error:
            return error.available
        except (UnreadableError, RefusedError):
            return []
        return []

    def describe_missing(self) -> str:
        """Return the reason why no band was found."""
        if not any(path_exists(self.root, self.path(band)) for band in self.data.bands):
            return "the file does not exist"
        for band in self.data.bands:
            if available := self.extensions(band):
                return f"no extension '{self.extension(band)}' (images in the file: {', '.join(available)})"
        return "the object lies outside the images"

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the pixels that were cut."""
        return bytes(self._digest.digest())

    def _reference_mosaic(self) -> Mosaic:
        names = [band.name for band in self.data.bands]
        reference = names.index(self.data.reference_band) if self.data.reference_band else 0
        return self._mosaic(self.data.bands[reference], reference)

    def _find_window(self) -> _Window:
        """Find the cutout on the reference grid: the pixel of the object becomes pixel n // 2."""
        mosaic = self._reference_mosaic()
        side = self.data.size * self.data.rebin
        grid: SkyGrid | None = None
        if self.pixel is not None:
            x, y = (value - self.data.pixel_origin for value in self.pixel)
            with suppress(UnreadableError):  # only needed to compare the bands
                grid = mosaic.sky_grid
        else:
            assert self.position is not None
            grid = _require_grid(mosaic)
            x, y = _find_pixel(grid, mosaic.shape, *self.position)
        if not (np.isfinite(x) and np.isfinite(y) and max(abs(x), abs(y)) < 1 << 30):
            raise UnreadableError(
                "the object has no place on the reference band (position missing or off the projection)"
            )
        self._window = _Window(round(y) - side // 2, round(x) - side // 2, side, mosaic, grid)
        return self._window

    def _mosaic(self, band: BandSettings, position: int) -> Mosaic:
        return self._open(self.path(band), self.extension(band), position if band.plane is None else band.plane)

    def _companion(self, settings: PlaneSettings, band: BandSettings, position: int) -> Mosaic:
        """Open the noise, mask or PSF mosaic of a band."""
        name = self.templates.path(settings.template(self.data.template(band)), band.name)
        extension = self.templates.extension(settings.extension, band.name)
        try:
            return self._open(name, extension, position if settings.plane is None else settings.plane)
        except UnreadableError as error:
            raise companion_error(name, band, settings, error) from None

    def _open(self, name: str, extension: str | int | None, plane: int) -> Mosaic:
        return self.mosaics.get(os.path.join(self.root, name), extension, plane)

    def _cut(
        self, mosaic: Mosaic, window: _Window, band: BandSettings, position: int, scale: float
    ) -> BandImage | None:
        box = _find_box(mosaic, window)
        if not box.overlaps(mosaic.shape):
            return None
        data = self.data
        pixels = read_scaled(lambda dtype: mosaic.section(*box.corner, *box.lengths, dtype=dtype), scale)
        variance = mask = None
        if data.noise is not None:
            noise = _require_same_grid(self._companion(data.noise, band, position), mosaic)
            variance = read_variance(
                lambda dtype: noise.section(*box.corner, *box.lengths, dtype=dtype), data.noise, scale
            )
        for settings in data.masks:
            companion = _require_same_grid(self._companion(settings, band, position), mosaic)
            bad = to_mask(companion.section(*box.corner, *box.lengths, exact=True), settings)
            mask = bad if mask is None else mask | bad
        pixels, variance, mask = mask_bad_pixels(pixels, variance, mask)
        psf, padded = self._psf(band, position), box.crosses_edge(mosaic.shape)
        image = BandImage(pixels, variance=variance, mask=mask, psf=psf, padded=padded, scaled_by=scale)
        return image if box.aligned else _reproject(image, mosaic, box, window)

    def _psf(self, band: BandSettings, position: int) -> NDArray[np.float32] | None:
        if self.data.psf is None:
            return None
        mosaic = self._companion(self.data.psf, band, position)
        return require_2d(mosaic.section(0, 0, *mosaic.shape))


def _require_same_grid(companion: Mosaic, image: Mosaic) -> Mosaic:
    """Check that the noise or mask of an image has its shape, and its positions if both have them."""
    if companion.shape != image.shape:
        raise UnreadableError(f"{companion.path.name} has shape {companion.shape}, the image {image.shape}")
    if companion.same_grid_as is not image and companion.sky_grid is not None and image.sky_grid is not None:
        corners = np.array([[0, image.shape[1] - 1, 0], [0, 0, image.shape[0] - 1]], float)
        x, y = companion.sky_grid.to_pixel(*image.sky_grid.to_sky(*corners), image.sky_grid.frame)
        off = float(np.max(np.hypot(x - corners[0], y - corners[1])))
        if not off <= _ALIGNED_PIXELS:
            raise UnreadableError(
                f"the pixels of {companion.path.name} lie {off:.3g} pixels from those of the image, by their WCS; "
                "bring both to one grid"
            )
    companion.same_grid_as = image
    return companion


def _require_grid(mosaic: Mosaic) -> SkyGrid:
    if mosaic.sky_grid is None:
        raise UnreadableError("the header has no celestial coordinates (WCS); give data.x_column and data.y_column")
    return mosaic.sky_grid


def _find_pixel(grid: SkyGrid, shape: tuple[int, int], ra: float, dec: float) -> tuple[float, float]:
    """Return column and row of a position, from 0; NaN if it is off the projection.

    Raises
    ------
    UnreadableError
        If the position is near the image, but the distortion of the image has no solution there.
    """
    x, y = (float(values[0]) for values in grid.to_pixel(ra, dec))
    if np.isfinite(x):
        return x, y
    x, y = (float(values[0]) for values in grid.to_undistorted_pixel(ra, dec))
    if _is_near(x, y, shape):
        raise UnreadableError("the distortion of the image has no solution at the position of the object")
    return x, y


def _is_near(x: Any, y: Any, shape: tuple[int, int]) -> bool:
    """Return whether one of the pixels lies within an image, or no further from it than half of its size."""
    return bool(np.any((np.abs(2 * x / shape[1] - 1) < 2) & (np.abs(2 * y / shape[0] - 1) < 2)))


def _find_box(mosaic: Mosaic, window: _Window) -> _Box:
    """Find the pixels that cover the cutout: on the same grid, shifted by whole pixels, or on another grid.

    Raises
    ------
    UnreadableError
        If there is no sky grid and the images have different shapes, or no solution on the grid.
    """
    same = _Box((window.top, window.left), (window.side, window.side), aligned=True)
    if mosaic is window.mosaic:
        return same
    if window.grid is None or mosaic.sky_grid is None:
        if mosaic.shape != window.mosaic.shape:
            raise UnreadableError(
                f"the image has {format_shape(mosaic.shape)} pixels, the reference band "
                f"{format_shape(window.mosaic.shape)}, and a header has no celestial coordinates (WCS); bring the "
                "bands to one grid"
            )
        return same
    edge = np.array([-0.5, window.side / 2 - 0.5, window.side - 0.5])
    x, y = (axis.ravel() for axis in np.meshgrid(edge + window.left, edge + window.top))
    sky = window.grid.to_sky(x, y)
    other_x, other_y = mosaic.sky_grid.to_pixel(*sky, window.grid.frame)
    if not (np.isfinite(other_x).all() and np.isfinite(other_y).all()):
        if _is_near(*mosaic.sky_grid.to_undistorted_pixel(*sky, window.grid.frame), mosaic.shape):
            raise UnreadableError("the distortion of the image has no solution around the object")
        return _Box((-window.side - 1, -window.side - 1), (1, 1), aligned=False)  # on another part of the sky
    dx, dy = other_x - x, other_y - y
    shift_x, shift_y = round(float(dx.mean())), round(float(dy.mean()))
    if max(np.abs(dx - shift_x).max(), np.abs(dy - shift_y).max()) < _ALIGNED_PIXELS:
        return _Box((window.top + shift_y, window.left + shift_x), same.lengths, aligned=True)
    low = np.floor([other_y.min(), other_x.min()]).astype(int) - _MARGIN_PIXELS
    high = np.ceil([other_y.max(), other_x.max()]).astype(int) + _MARGIN_PIXELS
    height, width = high - low + 1
    if max(height, width) > _MAX_SIDES * window.side:
        raise UnreadableError("the cutout covers too many pixels of this band; are the pixel scales right?")
    return _Box((int(low[0]), int(low[1])), (int(height), int(width)), aligned=False)


def _reproject(image: BandImage, mosaic: Mosaic, box: _Box, window: _Window) -> BandImage:
    """Reproject a band to the grid of the cutout with flux conserved.

    `reproject.reproject_exact` averages the pixels by their exact overlap on the sky; multiplication with the ratio of
    the pixel areas conserves the flux. Variances are multiplied with the same ratio, as if pixels were independent; the
    correlation between neighbours that interpolation introduces is not recorded.
    """
    assert window.grid is not None
    assert mosaic.sky_grid is not None
    target = window.grid.shifted(window.top, window.left)
    source = mosaic.sky_grid.shifted(*box.corner)
    shape = (window.side, window.side)

    def reproject(pixels: NDArray[Any]) -> NDArray[np.float32]:
        return _reproject_exact(pixels, source, target, shape)

    ratio = np.float32(proj_plane_pixel_area(target) / proj_plane_pixel_area(source))
    pixels = reproject(image.pixels) * ratio
    variance = None if image.variance is None else reproject(image.variance) * ratio
    mask = None if image.mask is None else np.nan_to_num(reproject(image.mask.astype(np.float32))) > 1e-3
    padded = image.padded and bool(np.isnan(reproject(_footprint(box, mosaic.shape))).any())
    psf = None if image.psf is None else _reproject_psf(image.psf, mosaic.sky_grid, window, ratio)
    return replace(image, pixels=pixels, variance=variance, mask=mask, psf=psf, padded=padded, reprojected=True)


def _reproject_psf(psf: NDArray[np.float32], grid: SkyGrid, window: _Window, ratio: np.float32) -> NDArray[np.float32]:
    """Reproject a point-spread function at the centre of the cutout; both are centred on pixel n // 2."""
    assert window.grid is not None
    x, y = window.left + window.side // 2, window.top + window.side // 2
    (source_x,), (source_y,) = grid.to_pixel(*window.grid.to_sky([x], [y]), window.grid.frame)
    half = math.ceil(math.hypot(*psf.shape) / 2 / math.sqrt(ratio))
    psf = np.pad(psf, math.ceil(math.sqrt(ratio)) + 1)  # the mean of a pixel that is partly outside is that inside
    height, width = psf.shape
    source = grid.shifted(source_y - height // 2, source_x - width // 2)
    target = window.grid.shifted(y - half, x - half)
    return np.nan_to_num(_reproject_exact(psf, source, target, (2 * half + 1, 2 * half + 1)) * ratio)


def _reproject_exact(pixels: NDArray[Any], source: WCS, target: WCS, shape: tuple[int, int]) -> NDArray[np.float32]:
    from reproject import reproject_exact

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", AstropyWarning)
        return np.asarray(reproject_exact((pixels, source), target, shape, return_footprint=False), np.float32)


def _footprint(box: _Box, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return 1 for pixels of the box inside a mosaic and NaN beyond its edge."""
    inside = np.full(box.lengths, np.nan, np.float32)
    (top, left), (height, width) = box.corner, box.lengths
    inside[max(-top, 0) : max(min(height, shape[0] - top), 0), max(-left, 0) : max(min(width, shape[1] - left), 0)] = 1
    return inside
