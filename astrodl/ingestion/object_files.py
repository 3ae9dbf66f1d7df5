"""Read the images of one object from its own files, or from arrays of all objects."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.config import BandSettings, PlaneSettings
from astrodl.fits import MissingExtensionError, UnreadableError, pixel_scale_arcsec, read_bytes
from astrodl.ingestion import rgb
from astrodl.ingestion.axes import find_band_axis
from astrodl.ingestion.band_image import (
    BandImage,
    RefusedError,
    float32_scale,
    mask_bad_pixels,
    read_scaled,
    read_variance,
    require_2d,
    select_plane,
    to_mask,
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
    _picture_bits: dict[str, int] = field(default_factory=dict)
    _band_axis: int | None = None

    def band(self, position: int, *, with_scale: bool = False) -> BandImage | None:
        """Read a band; see `ObjectImages.band`."""
        band = self.data.bands[position]
        name = self.path(band)
        try:
            if not self._exists(name):
                return None
            if self.data.layout == "rgb":
                return self._channel(name, band, position)
            return self._add_companions(self._image(name, band, position, with_scale), band, position)
        except MissingExtensionError:
            return None
        except UnreadableError as error:
            raise RefusedError(name, band.name, str(error)) from None

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
        """Return the names of the images in the file of a band, if it lacks that of the band."""
        try:
            self._file(self.path(band), self.data.template(band)).find(self.extension(band), 2)
        except MissingExtensionError as error:
            return error.available
        except (UnreadableError, RefusedError):
            return []
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

    def _image(self, name: str, band: BandSettings, position: int, with_scale: bool) -> BandImage:
        file = self._file(name, self.data.template(band))
        extension = self.extension(band)
        is_cube = self.data.layout in ("cube", "arrays") or band.plane is not None
        n_axes = 3 if is_cube else 2
        zero_point = band.zero_point if band.zero_point is not None else file.zero_point(extension, n_axes)
        scale = float32_scale(zero_point)

        def read(dtype: type[np.floating[Any]]) -> NDArray[Any]:
            key = extension if dtype is np.float32 else (extension, "float64")
            return self._read_once(name, key, lambda: file.pixels(extension, n_axes, self.index, dtype))

        pixels = read_scaled(read, scale)
        if is_cube and (pixels.ndim == 3 or self.data.layout == "cube" or band.plane is not None):
            pixels = self._select_plane(pixels, band.plane, position)
        elif is_cube and pixels.ndim == 2:
            self.require_own_image(band)
        hdu = file.hdu(extension, n_axes) if with_scale else None
        pixel_scale = pixel_scale_arcsec(hdu) if hdu is not None else None
        return BandImage(require_2d(pixels), zero_point, pixel_scale, scaled_by=scale)

    def _add_companions(self, image: BandImage, band: BandSettings, position: int) -> BandImage:
        """Add the noise, mask and PSF planes that are configured."""
        data = self.data
        if data.noise is None and data.psf is None and not data.masks:
            return image
        shape = image.pixels.shape
        variance = mask = None
        if data.noise is not None:
            noise = data.noise
            variance = read_variance(
                lambda dtype: self._companion(noise, band, position, shape, dtype=dtype), noise, image.scaled_by
            )
        for settings in data.masks:
            bad = to_mask(self._companion(settings, band, position, shape, exact=True), settings)
            mask = bad if mask is None else mask | bad
        psf = self._companion(data.psf, band, position, None) if data.psf is not None else None
        pixels, variance, mask = mask_bad_pixels(image.pixels, variance, mask)
        return replace(image, pixels=pixels, variance=variance, mask=mask, psf=psf)

    def _companion(
        self,
        settings: PlaneSettings,
        band: BandSettings,
        position: int,
        shape: tuple[int, ...] | None,
        exact: bool = False,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> NDArray[Any]:
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
            key = (extension, exact) if dtype is np.float32 else (extension, "float64")

            def read() -> NDArray[Any]:
                if exact:
                    return file.values(extension, n_axes, self.index)
                return file.pixels(extension, n_axes, self.index, dtype)

            pixels = self._read_once(name, key, read)
            if pixels.ndim == 3:
                pixels = self._select_plane(pixels, settings.plane, position)
            if shape is not None and pixels.shape != shape:
                raise UnreadableError(f"has shape {pixels.shape}, the image has {shape}; bring them to one grid")
            return require_2d(pixels)
        except UnreadableError as error:
            raise companion_error(name, band, settings, error) from None

    def _select_plane(self, cube: NDArray[Any], plane: int | None, position: int) -> NDArray[Any]:
        """Return a plane of a cube, by default that at the position of the band."""
        if cube.ndim != 3:
            return select_plane(cube, 0)
        n_bands = None if any(band.plane is not None for band in self.data.bands) else len(self.data.bands)
        # Noise, masks and PSFs lie as the image does, which is read first, if their lengths do not tell.
        self._band_axis = find_band_axis(cube.shape, n_bands, self._band_axis)
        return select_plane(cube, position if plane is None else plane, self._band_axis)

    def _channel(self, name: str, band: BandSettings, position: int) -> BandImage:
        def decode() -> NDArray[np.float32]:
            data = read_bytes(Path(self.root, name))
            self._picture_bits[name] = rgb.count_bits(data)
            self._digests[name] = hashlib.sha256(data).digest()
            pixels = rgb.decode(data)
            if self.data.labels is not None and rgb.orientation(data) != 1:
                raise UnreadableError("EXIF data turn the picture, but not its labels; save it upright, without them")
            return pixels

        pixels = select_plane(self._read_once(name, 0, decode), position if band.plane is None else band.plane)
        return BandImage(pixels, band.zero_point, picture_bits=self._picture_bits[name])

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
