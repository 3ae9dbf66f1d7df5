"""Cut one object from mosaics, by sky position or pixel; bands on other pixel grids are reprojected to one grid."""

import hashlib
import os
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS, Sip
from astropy.wcs.utils import proj_plane_pixel_area
from numpy.typing import NDArray

from astrodl.config import BandSettings, PlaneSettings
from astrodl.fits import MissingExtensionError, UnreadableError
from astrodl.ingestion.band_image import BandImage, RefusedError, mask_bad_pixels, require_2d, to_mask, to_variance
from astrodl.ingestion.image_files import open_image_file, path_exists
from astrodl.ingestion.mosaic import Mosaic, MosaicCache
from astrodl.ingestion.object_images import ObjectImages, companion_error

__all__ = ["MosaicCutout"]

_ALIGNED_PIXELS = 0.01
_MARGIN_PIXELS = 3
_MAX_SIDES = 64


@dataclass(frozen=True)
class _Window:
    """The cutout of an object on the reference grid: first row and column, side in pixels, WCS of the grid."""

    top: int
    left: int
    side: int
    wcs: WCS | None


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
            window = self._window or self._find_window()
            image = self._cut(mosaic, window, band, position)
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
        zero_point = band.zero_point if band.zero_point is not None else mosaic.zero_point
        return replace(image, zero_point=zero_point, pixel_scale_arcsec=scale)

    def label(self, name: str, extension: str | int) -> BandImage | None:
        """Not supported: the settings refuse labels of mosaics."""
        raise AssertionError

    def extensions(self, band: BandSettings) -> list[str]:
        """Return the names of the images in the file of a band."""
        try:
            return open_image_file(Path(self.root, self.path(band))).images
        except (UnreadableError, RefusedError):
            return []

    def describe_missing(self) -> str:
        """Return the reason why no band was found."""
        if not any(path_exists(self.root, self.path(band)) for band in self.data.bands):
            return "the file does not exist"
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
        x, y = self._find_pixel(mosaic)
        if not (np.isfinite(x) and np.isfinite(y) and max(abs(x), abs(y)) < 1 << 30):
            raise UnreadableError(
                "the object has no place on the reference band (position missing or off the projection)"
            )
        self._window = _Window(round(y) - side // 2, round(x) - side // 2, side, mosaic.wcs)
        return self._window

    def _find_pixel(self, mosaic: Mosaic) -> tuple[float, float]:
        """Return column and row of the object in the reference band, from 0."""
        if self.pixel is not None:
            return self.pixel[0] - self.data.pixel_origin, self.pixel[1] - self.data.pixel_origin
        if mosaic.wcs is None:
            raise UnreadableError("the header has no celestial coordinates (WCS); give data.x_column and data.y_column")
        assert self.position is not None
        with np.errstate(all="ignore"):
            x, y = mosaic.wcs.all_world2pix([self.position], 0, quiet=True)[0]
        return float(x), float(y)

    def _mosaic(self, band: BandSettings, position: int) -> Mosaic:
        extension = band.extension if band.extension is not None else self.data.extension
        extension = self.templates.extension(extension, band.name)
        return self._open(self.path(band), extension, position if band.plane is None else band.plane)

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

    def _cut(self, mosaic: Mosaic, window: _Window, band: BandSettings, position: int) -> BandImage | None:
        box = _find_box(mosaic, window)
        if not box.overlaps(mosaic.shape):
            return None
        data = self.data
        pixels = mosaic.section(*box.corner, *box.lengths)
        variance = mask = None
        if data.noise is not None:
            companion = _require_same_shape(self._companion(data.noise, band, position), mosaic)
            variance = to_variance(companion.section(*box.corner, *box.lengths), data.noise)
        for settings in data.masks:
            companion = _require_same_shape(self._companion(settings, band, position), mosaic)
            bad = to_mask(companion.section(*box.corner, *box.lengths, exact=True), settings)
            mask = bad if mask is None else mask | bad
        pixels, variance, mask = mask_bad_pixels(pixels, variance, mask)
        psf, padded = self._psf(band, position), box.crosses_edge(mosaic.shape)
        image = BandImage(pixels, variance=variance, mask=mask, psf=psf, padded=padded)
        return image if box.aligned else _reproject(image, mosaic, box, window)

    def _psf(self, band: BandSettings, position: int) -> NDArray[np.float32] | None:
        if self.data.psf is None:
            return None
        mosaic = self._companion(self.data.psf, band, position)
        return require_2d(mosaic.section(0, 0, *mosaic.shape))


def _require_same_shape(companion: Mosaic, image: Mosaic) -> Mosaic:
    if companion.shape != image.shape:
        raise UnreadableError(f"{companion.path.name} has shape {companion.shape}, the image {image.shape}")
    return companion


def _find_box(mosaic: Mosaic, window: _Window) -> _Box:
    """Find the pixels that cover the cutout: on the same grid, shifted by whole pixels, or on another grid."""
    same = _Box((window.top, window.left), (window.side, window.side), aligned=True)
    if window.wcs is None or mosaic.wcs is None or mosaic.wcs is window.wcs:
        return same
    edge = np.array([-0.5, window.side / 2 - 0.5, window.side - 0.5])
    x, y = (grid.ravel() for grid in np.meshgrid(edge + window.left, edge + window.top))
    with np.errstate(all="ignore"):
        sky = window.wcs.all_pix2world(x, y, 0)
        other_x, other_y = mosaic.wcs.all_world2pix(*sky, 0, quiet=True)
    if not (np.isfinite(other_x).all() and np.isfinite(other_y).all()):
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
    from reproject import reproject_exact

    assert window.wcs is not None
    assert mosaic.wcs is not None
    target = _shift(window.wcs, window.top, window.left)
    source = _shift(mosaic.wcs, *box.corner)
    shape = (window.side, window.side)

    def reproject(pixels: NDArray[Any]) -> NDArray[np.float32]:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", AstropyWarning)
            return np.asarray(reproject_exact((pixels, source), target, shape, return_footprint=False), np.float32)

    ratio = np.float32(proj_plane_pixel_area(target) / proj_plane_pixel_area(source))
    pixels = reproject(image.pixels) * ratio
    variance = None if image.variance is None else reproject(image.variance) * ratio
    mask = None if image.mask is None else np.nan_to_num(reproject(image.mask.astype(np.float32))) > 1e-3
    padded = image.padded and bool(np.isnan(reproject(_footprint(box, mosaic.shape))).any())
    return replace(image, pixels=pixels, variance=variance, mask=mask, padded=padded, reprojected=True)


def _footprint(box: _Box, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return 1 for pixels of the box inside a mosaic and NaN beyond its edge."""
    inside = np.full(box.lengths, np.nan, np.float32)
    (top, left), (height, width) = box.corner, box.lengths
    inside[max(-top, 0) : max(min(height, shape[0] - top), 0), max(-left, 0) : max(min(width, shape[1] - left), 0)] = 1
    return inside


def _shift(wcs: WCS, top: int, left: int) -> WCS:
    """Return the WCS of a box of pixels, which may begin outside the image (slicing does not allow that)."""
    shifted = wcs.deepcopy()
    shifted.wcs.crpix = shifted.wcs.crpix - np.array([left, top])
    if shifted.sip is not None:
        sip = shifted.sip
        shifted.sip = Sip(sip.a, sip.b, sip.ap, sip.bp, sip.crpix - np.array([left, top]))
    return shifted
