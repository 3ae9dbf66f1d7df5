"""Read the images of one object from its own files, or from arrays of all objects."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.config import BandSettings, PlaneSettings
from astrodl.fits import MissingExtensionError, UnreadableError, pixel_scale_arcsec, read_bytes
from astrodl.ingestion import rgb
from astrodl.ingestion.band_image import (
    BandImage,
    RefusedError,
    mask_bad_pixels,
    require_2d,
    select_plane,
    to_mask,
    to_variance,
)
from astrodl.ingestion.image_files import ImageFile, ImageFileCache, open_image_file, path_exists
from astrodl.ingestion.object_images import ObjectImages, companion_error

__all__ = ["ObjectFiles"]


@dataclass
class ObjectFiles(ObjectImages):
    """The image files of one object, each read once.

    Parameters
    ----------
    data, templates
        See `ObjectImages`.
    index
        Index of the object in arrays of all objects; None if each object has its own files or extensions.
    cache
        Files that objects share.
    """

    index: int | None
    cache: ImageFileCache
    _open: dict[str, ImageFile] = field(default_factory=dict)
    _pixels: dict[tuple[str, Any], NDArray[np.float32]] = field(default_factory=dict)
    _digests: dict[str, bytes] = field(default_factory=dict)

    def band(self, position: int, *, with_scale: bool = False) -> BandImage | None:
        """Read a band; see `ObjectImages.band`."""
        band = self.data.bands[position]
        name = self.path(band)
        try:
            if not self._exists(name):
                return None
            if self.data.layout == "rgb":
                return BandImage(self._channel(name, band, position), band.zero_point)
            image = self._image(name, band, position, with_scale)
        except MissingExtensionError:
            return None
        except UnreadableError as error:
            raise RefusedError(name, band.name, str(error)) from None
        return self._add_companions(image, band, position)

    def label(self, name: str, extension: str | int) -> BandImage | None:
        """Read a pixel label; see `ObjectImages.label`."""
        assert self.data.labels is not None
        path = self.templates.path(self.data.labels.path, "", label=name)
        try:
            if not self._exists(path):
                return None
            file = self._file(path, self.data.labels.path)
            pixels = require_2d(
                self._read_once(path, ("label", extension), lambda: file.pixels(extension, 2, self.index))
            )
            return BandImage(pixels, file.zero_point(extension, 2))
        except MissingExtensionError:
            return None
        except UnreadableError as error:
            raise RefusedError(path, name, str(error)) from None

    def extensions(self, band: BandSettings) -> list[str]:
        """Return the names of the images in the file of a band."""
        try:
            return self._file(self.path(band), self.data.template(band)).images
        except (UnreadableError, RefusedError):
            return []

    def describe_missing(self) -> str:
        """Return the reason why no band was found."""
        band = self.data.bands[0]
        if not self._exists(self.path(band)):
            return "the file does not exist"
        return f"none of the bands is in the file (images there: {', '.join(self.extensions(band)) or 'none'})"

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the names and contents that were read: whole files, or the pixels of shared files."""
        digest = hashlib.sha256()
        for name in sorted(self._digests):
            digest.update(f"{name}\0".encode() + self._digests[name])
        return digest.digest()

    def _extension(self, band: BandSettings) -> str | int | None:
        extension = band.extension if band.extension is not None else self.data.extension
        if extension is None and self.data.layout == "extensions":
            return band.name
        return self.templates.extension(extension, band.name)

    def _image(self, name: str, band: BandSettings, position: int, with_scale: bool) -> BandImage:
        file = self._file(name, self.data.template(band))
        extension = self._extension(band)
        is_cube = self.data.layout in ("cube", "arrays") or band.plane is not None
        n_axes = 3 if is_cube else 2
        pixels = self._read_once(name, extension, lambda: file.pixels(extension, n_axes, self.index))
        if is_cube and (pixels.ndim == 3 or self.data.layout == "cube" or band.plane is not None):
            pixels = select_plane(pixels, position if band.plane is None else band.plane)
        zero_point = band.zero_point if band.zero_point is not None else file.zero_point(extension, n_axes)
        hdu = file.hdu(extension, n_axes) if with_scale else None
        return BandImage(require_2d(pixels), zero_point, pixel_scale_arcsec(hdu) if hdu is not None else None)

    def _add_companions(self, image: BandImage, band: BandSettings, position: int) -> BandImage:
        """Add the noise, mask and PSF planes that are configured."""
        data = self.data
        if data.noise is None and data.psf is None and not data.masks:
            return image
        shape = image.pixels.shape
        variance = mask = None
        if data.noise is not None:
            variance = to_variance(self._companion(data.noise, band, position, shape), data.noise)
        for settings in data.masks:
            bad = to_mask(self._companion(settings, band, position, shape, exact=True), settings)
            mask = bad if mask is None else mask | bad
        psf = self._companion(data.psf, band, position, None) if data.psf is not None else None
        pixels, variance, mask = mask_bad_pixels(image.pixels, variance, mask)
        return BandImage(pixels, image.zero_point, image.pixel_scale_arcsec, variance, mask, psf)

    def _companion(
        self,
        settings: PlaneSettings,
        band: BandSettings,
        position: int,
        shape: tuple[int, ...] | None,
        exact: bool = False,
    ) -> NDArray[np.float32]:
        """Read the noise, mask or PSF plane of a band; `shape` is the shape of the image if both must agree.

        Raises
        ------
        RefusedError
            If the plane is missing, unreadable or has another shape.
        """
        template = settings.template(self.data.template(band))
        name = self.templates.path(template, band.name)
        extension = self.templates.extension(settings.extension, band.name)
        try:
            if not self._exists(name):
                raise UnreadableError("the file does not exist")
            file = self._file(name, template)
            n_axes = 3 if settings.plane is not None or self.data.layout in ("cube", "arrays") else 2
            read = file.values if exact else file.pixels
            pixels = self._read_once(name, (extension, exact), lambda: read(extension, n_axes, self.index))
            if pixels.ndim == 3:
                pixels = select_plane(pixels, position if settings.plane is None else settings.plane)
            if shape is not None and pixels.shape != shape:
                raise UnreadableError(f"has shape {pixels.shape}, the image has {shape}; bring them to one grid")
            return require_2d(pixels)
        except UnreadableError as error:
            raise companion_error(name, band, settings, error) from None

    def _channel(self, name: str, band: BandSettings, position: int) -> NDArray[np.float32]:
        def decode() -> NDArray[np.float32]:
            data = read_bytes(Path(self.root, name))
            self._digests[name] = hashlib.sha256(data).digest()
            return rgb.decode(data)

        return select_plane(self._read_once(name, 0, decode), position if band.plane is None else band.plane)

    def _file(self, name: str, template: str) -> ImageFile:
        """Open a file, from the cache if objects share it."""
        if name not in self._open:
            path = os.path.join(self.root, name)
            if self._is_shared(template):
                self._open[name] = self.cache.get(path)
            else:
                self._open[name] = open_image_file(Path(path))
                self._digests[name] = self._open[name].checksum
        return self._open[name]

    def _exists(self, name: str) -> bool:
        return name in self._open or path_exists(self.root, name)

    def _is_shared(self, template: str) -> bool:
        extensions = [band.extension for band in self.data.bands] + [self.data.extension]
        by_extension = any(isinstance(extension, str) and "{" in extension for extension in extensions)
        return self.index is not None or by_extension or "{" not in template.replace("{band", "")

    def _read_once(self, name: str, key: Any, read: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Read pixels once, also if several bands are planes of one cube."""
        if (name, key) not in self._pixels:
            self._pixels[name, key] = pixels = read()
            if name not in self._digests:  # a shared file: only the pixels of this object count
                self._digests[f"{name} {key}"] = hashlib.sha256(np.ascontiguousarray(pixels).data).digest()
        return self._pixels[name, key]
