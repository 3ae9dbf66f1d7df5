"""Cut one object from mosaics, by its place on the sky or its pixel; bands on other grids are brought to one."""

import hashlib
import os
import warnings
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS, Sip
from astropy.wcs.utils import proj_plane_pixel_area, proj_plane_pixel_scales
from numpy.typing import NDArray

from astrodl.config import BandSettings, DataSettings, PlaneSettings
from astrodl.fits.file import MissingExtensionError, UnreadableError
from astrodl.ingestion.containers import exists, open_container
from astrodl.ingestion.mosaic import Mosaic
from astrodl.ingestion.planes import Plane, RefusedError, flat, masked_by, variance_of, without_bad
from astrodl.ingestion.templates import Templates

_ALIGNED_PIXELS = 0.01
_MARGIN_PIXELS = 3
_MAX_OPEN = 64


@dataclass
class Gallery:
    """Mosaics that are open, the least recently used closed when there are many."""

    _open: "OrderedDict[tuple[str, Any, int | None], Mosaic]" = field(default_factory=OrderedDict)

    def get(self, path: str, extension: str | int | None, plane: int | None) -> Mosaic:
        """Open an image of the sky, or give it if it is open."""
        key = (path, extension, plane)
        if key not in self._open:
            self._open[key] = Mosaic(Path(path), extension, plane)
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(key)
        return self._open[key]


@dataclass(frozen=True)
class Window:
    """The stamp of an object: its first row and column on the reference grid, its side, that grid's coordinates."""

    top: int
    left: int
    side: int
    wcs: WCS | None

    @property
    def stamp_wcs(self) -> WCS | None:
        """Coordinates of the pixels of the stamp."""
        if self.wcs is None:
            return None
        return _shifted(self.wcs, self.top, self.left)


@dataclass
class SkyCut:
    """One object of the mosaics.

    Parameters
    ----------
    data
        Settings of the survey.
    templates
        Fills in paths and extensions.
    position
        Right ascension and declination in degrees, or None.
    pixel
        Column and row of the reference band, from 0, or None; takes the place of the position.
    gallery
        Mosaics that other objects share.
    """

    data: DataSettings
    templates: Templates
    position: tuple[float, float] | None
    pixel: tuple[float, float] | None
    gallery: Gallery
    _digest: Any = field(default_factory=hashlib.sha256)
    _window: Window | None = None

    def band(self, position: int, *, with_scale: bool = False) -> Plane | None:
        """Cut a band with its noise, masks and PSF; None where its file is absent or ends before the stamp begins.

        Raises
        ------
        RefusedError
            The object has no place, a path leaves the root, or a file is unusable.
        """
        band = self.data.bands[position]
        name = self.path(band)
        try:
            if not exists(self.root, name):
                return None
            mosaic = self._mosaic(name, band, position)
            window = self._window or self._place()
            plane = self._cut(mosaic, window, band, position)
        except MissingExtensionError:
            return None
        except UnreadableError as error:
            raise RefusedError(name, band.name, str(error)) from None
        if plane is None:
            return None
        self._digest.update(name.encode() + b"\0")
        for pixels in (plane.pixels, plane.variance, plane.masked, plane.psf):
            if pixels is not None:
                self._digest.update(np.ascontiguousarray(pixels).data)
        scale = _scale_arcsec(window.wcs) if with_scale else None
        zero = band.zero_point if band.zero_point is not None else mosaic.zero_point
        return replace(plane, zero_point=zero, pixel_scale_arcsec=scale)

    def label(self, name: str, extension: str | int) -> Plane | None:
        """Labels of mosaics are not supported; the settings refuse them."""
        raise AssertionError

    @property
    def root(self) -> str:
        """The folder that no path may leave."""
        return self.templates.root

    def path(self, band: BandSettings) -> str:
        """Fill in the path template of a band, relative to the root."""
        return self.templates.path(self.data.template(band), band.name, band.name)

    def extensions(self, band: BandSettings) -> list[str]:
        """List the images in the file of a band, for a message."""
        try:
            return open_container(Path(self.root, self.path(band))).images
        except (UnreadableError, RefusedError):
            return []

    def nothing(self) -> str:
        """Say why none of the bands could be found."""
        if not any(exists(self.root, self.path(band)) for band in self.data.bands):
            return "the file does not exist"
        return "the object lies outside the images"

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the pixels that were cut."""
        return bytes(self._digest.digest())

    # -- where --------------------------------------------------------------------------------------------------------

    def _place(self) -> Window:
        """Find the stamp on the grid of the reference band: the object's pixel becomes its pixel n // 2."""
        names = [band.name for band in self.data.bands]
        reference = names.index(self.data.reference_band) if self.data.reference_band else 0
        band = self.data.bands[reference]
        mosaic = self._mosaic(self.path(band), band, reference)
        side = self.data.size * self.data.rebin
        x, y = self._pixel(mosaic)
        if not (np.isfinite(x) and np.isfinite(y) and max(abs(x), abs(y)) < 1 << 30):
            raise UnreadableError(
                "the object has no place on the reference band (position missing or off the projection)"
            )
        self._window = Window(round(y) - side // 2, round(x) - side // 2, side, mosaic.wcs)
        return self._window

    def _pixel(self, mosaic: Mosaic) -> tuple[float, float]:
        if self.pixel is not None:
            return self.pixel[0] - self.data.pixel_origin, self.pixel[1] - self.data.pixel_origin
        if mosaic.wcs is None:
            raise UnreadableError("the header has no celestial coordinates (WCS); give data.x_column and data.y_column")
        assert self.position is not None
        with np.errstate(all="ignore"):
            x, y = mosaic.wcs.all_world2pix([self.position], 0, quiet=True)[0]
        return float(x), float(y)

    # -- one band -----------------------------------------------------------------------------------------------------

    def _mosaic(self, name: str, band: BandSettings, position: int) -> Mosaic:
        extension = band.extension if band.extension is not None else self.data.extension
        extension = self.templates.extension(extension, band.name)
        return self._open(name, extension, position if band.plane is None else band.plane)

    def _companion(self, settings: PlaneSettings, band: BandSettings, position: int) -> Mosaic:
        name = self.templates.path(settings.template(self.data.template(band)), band.name, band.name)
        extension = self.templates.extension(settings.extension, band.name)
        try:
            return self._open(name, extension, position if settings.plane is None else settings.plane)
        except UnreadableError as error:
            kind = type(settings).__name__.removesuffix("Settings").lower()
            raise RefusedError(name, band.name, f"{kind} plane: {error}") from None

    def _open(self, name: str, extension: str | int | None, plane: int) -> Mosaic:
        return self.gallery.get(os.path.join(self.root, name), extension, plane)

    def _cut(self, mosaic: Mosaic, window: Window, band: BandSettings, position: int) -> Plane | None:
        box = _box(mosaic, window)
        if not _overlaps(box, mosaic.shape):
            return None
        data = self.data
        pixels = mosaic.section(*box.corner, *box.lengths)
        variance = masked = None
        if data.noise is not None:
            noise = self._same_grid(self._companion(data.noise, band, position), mosaic).section(
                *box.corner, *box.lengths
            )
            variance = variance_of(noise, data.noise)
        for mask in data.masks:
            other = self._same_grid(self._companion(mask, band, position), mosaic)
            bad = masked_by(other.section(*box.corner, *box.lengths, exact=True), mask)
            masked = bad if masked is None else masked | bad
        pixels, variance, masked = without_bad(pixels, variance, masked)
        plane = Plane(
            pixels, variance=variance, masked=masked, psf=self._psf(band, position), padded=box.over(mosaic.shape)
        )
        return plane if box.aligned else _reproject(plane, mosaic, box, window)

    def _same_grid(self, companion: Mosaic, image: Mosaic) -> Mosaic:
        if companion.shape != image.shape:
            raise UnreadableError(f"{companion.path.name} has shape {companion.shape}, the image {image.shape}")
        return companion

    def _psf(self, band: BandSettings, position: int) -> NDArray[np.float32] | None:
        settings = self.data.psf
        if settings is None:
            return None
        mosaic = self._companion(settings, band, position)
        return flat(mosaic.section(0, 0, *mosaic.shape))


@dataclass(frozen=True)
class Box:
    """Pixels of a mosaic to read: first row and column, height and width; `aligned` if they are those of the stamp."""

    corner: tuple[int, int]
    lengths: tuple[int, int]
    aligned: bool

    def over(self, shape: tuple[int, int]) -> bool:
        """Tell whether it reaches over the edge."""
        return any(
            start < 0 or start + length > n for start, length, n in zip(self.corner, self.lengths, shape, strict=True)
        )


def _overlaps(box: Box, shape: tuple[int, int]) -> bool:
    return all(
        start < n and start + length > 0 for start, length, n in zip(box.corner, box.lengths, shape, strict=True)
    )


def _box(mosaic: Mosaic, window: Window) -> Box:
    """Find the pixels that cover the stamp: the same grid, a whole number of pixels away, or another grid."""
    whole = Box((window.top, window.left), (window.side, window.side), aligned=True)
    if window.wcs is None or mosaic.wcs is None or mosaic.wcs is window.wcs:
        return whole
    edge = np.array([-0.5, window.side / 2 - 0.5, window.side - 0.5])
    x, y = (grid.ravel() for grid in np.meshgrid(edge + window.left, edge + window.top))
    with np.errstate(all="ignore"):
        sky = window.wcs.all_pix2world(x, y, 0)
        other_x, other_y = mosaic.wcs.all_world2pix(*sky, 0, quiet=True)
    if not (np.isfinite(other_x).all() and np.isfinite(other_y).all()):
        return Box((-window.side - 1, -window.side - 1), (1, 1), aligned=False)  # on another part of the sky
    dx, dy = other_x - x, other_y - y
    shift_x, shift_y = round(float(dx.mean())), round(float(dy.mean()))
    if max(np.abs(dx - shift_x).max(), np.abs(dy - shift_y).max()) < _ALIGNED_PIXELS:
        return Box((window.top + shift_y, window.left + shift_x), whole.lengths, aligned=True)
    low = np.floor([other_y.min(), other_x.min()]).astype(int) - _MARGIN_PIXELS
    high = np.ceil([other_y.max(), other_x.max()]).astype(int) + _MARGIN_PIXELS
    height, width = high - low + 1
    if max(height, width) > 64 * window.side:
        raise UnreadableError("the stamp covers too many pixels of this band; are the pixel scales right?")
    return Box((int(low[0]), int(low[1])), (int(height), int(width)), aligned=False)


def _reproject(plane: Plane, mosaic: Mosaic, box: Box, window: Window) -> Plane:
    """Bring a band to the grid of the stamp, flux conserved.

    Pixels are averaged over the exact overlap of their outlines on the sky (`reproject.reproject_exact`) and multiplied
    by the ratio of pixel areas, so that sums of fluxes stay. Variances are scaled with the same ratio, as if pixels
    stayed independent; the correlation between neighbours that any interpolation brings is not kept.
    """
    from reproject import reproject_exact

    assert mosaic.wcs is not None
    target = window.stamp_wcs
    source = _shifted(mosaic.wcs, *box.corner)
    shape = (window.side, window.side)

    def moved(image: NDArray[Any]) -> NDArray[np.float32]:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", AstropyWarning)
            return np.asarray(reproject_exact((image, source), target, shape, return_footprint=False), np.float32)

    ratio = np.float32(proj_plane_pixel_area(target) / proj_plane_pixel_area(source))
    pixels = moved(plane.pixels) * ratio
    variance = None if plane.variance is None else moved(plane.variance) * ratio
    masked = None if plane.masked is None else np.nan_to_num(moved(plane.masked.astype(np.float32))) > 1e-3
    padded = bool(box.over(mosaic.shape) and np.isnan(moved(_inside(box, mosaic.shape))).any())
    return replace(plane, pixels=pixels, variance=variance, masked=masked, padded=padded, reprojected=True)


def _inside(box: Box, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Give 1 for pixels of the box that the mosaic has and NaN beyond its edge."""
    inside = np.full(box.lengths, np.nan, np.float32)
    (top, left), (height, width) = box.corner, box.lengths
    inside[max(-top, 0) : max(min(height, shape[0] - top), 0), max(-left, 0) : max(min(width, shape[1] - left), 0)] = 1
    return inside


def _shifted(wcs: WCS, top: int, left: int) -> WCS:
    """Give the coordinates of a box of pixels, which may begin before the first (slicing does not allow that)."""
    moved = wcs.deepcopy()
    moved.wcs.crpix = moved.wcs.crpix - np.array([left, top])
    if moved.sip is not None:
        sip = moved.sip
        moved.sip = Sip(sip.a, sip.b, sip.ap, sip.bp, sip.crpix - np.array([left, top]))
    return moved


def _scale_arcsec(wcs: WCS | None) -> float | None:
    if wcs is None:
        return None
    scale = float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs))) * 3600)
    return scale if np.isfinite(scale) and scale > 0 else None
