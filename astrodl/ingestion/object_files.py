"""Find and read the files of one object: from path templates to bands and labels as they stand in the files."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.config import BandSettings, DataSettings, PlaneSettings
from astrodl.fits.file import MissingExtensionError, UnreadableError, pixel_scale_arcsec, read_bytes
from astrodl.ingestion import rgb
from astrodl.ingestion.containers import Container, Shelf, exists, open_container
from astrodl.ingestion.planes import Plane, RefusedError, flat, masked_by, plane_of, variance_of, without_bad
from astrodl.ingestion.templates import Templates


@dataclass
class ObjectFiles:
    """The files of one object, each read once.

    Parameters
    ----------
    data
        Settings of the survey.
    templates
        Fills in paths and extensions.
    index
        Place of the object in arrays of all objects; None where each object has files or extensions of its own.
    shelf
        Files that other objects share.
    """

    data: DataSettings
    templates: Templates
    index: int | None
    shelf: Shelf
    _open: dict[str, Container] = field(default_factory=dict)
    _pixels: dict[tuple[str, Any], NDArray[np.float32]] = field(default_factory=dict)
    _digests: dict[str, bytes] = field(default_factory=dict)

    def band(self, position: int, *, with_scale: bool = False) -> Plane | None:
        """Read a band with its noise, masks and PSF; None where its file or extension is absent.

        Raises
        ------
        RefusedError
            A path leaves the root, or a file is unusable.
        """
        band = self.data.bands[position]
        name = self.path(band)
        try:
            if not exists(self.root, name):
                return None
            if self.data.layout == "rgb":
                return Plane(self._channel(name, band, position), band.zero_point)
            plane = self._image(name, band, position, with_scale)
        except MissingExtensionError:
            return None
        except UnreadableError as error:
            raise RefusedError(name, band.name, str(error)) from None
        return self._with_companions(plane, band, position)

    def label(self, name: str, extension: str | int) -> Plane | None:
        """Read a pixel label; None where its file or extension is absent."""
        assert self.data.labels is not None
        path = self.templates.path(self.data.labels.path, "", name)
        try:
            if not exists(self.root, path):
                return None
            file = self._container(path, self.data.labels.path)
            pixels = flat(self._once(path, ("label", extension), lambda: file.pixels(extension, 2, self.index)))
            return Plane(pixels, file.zero_point(extension, 2))
        except MissingExtensionError:
            return None
        except UnreadableError as error:
            raise RefusedError(path, name, str(error)) from None

    @property
    def root(self) -> str:
        """The folder that no path may leave."""
        return self.templates.root

    def path(self, band: BandSettings) -> str:
        """Fill in the path template of a band, relative to the root."""
        template = self.data.template(band)
        return self.templates.path(template, band.name if "{band" in template else "", band.name)

    def extensions(self, band: BandSettings) -> list[str]:
        """List the images in the file of a band, for a message; empty where it cannot be read."""
        try:
            return self._container(self.path(band), self.data.template(band)).images
        except (UnreadableError, RefusedError):
            return []

    def nothing(self) -> str:
        """Say why none of the bands could be found."""
        band = self.data.bands[0]
        if not exists(self.root, self.path(band)):
            return "the file does not exist"
        return f"none of the bands is in the file (images there: {', '.join(self.extensions(band)) or 'none'})"

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the names and contents that were read: whole files, or the pixels taken from shared ones."""
        digest = hashlib.sha256()
        for name in sorted(self._digests):
            digest.update(f"{name}\0".encode() + self._digests[name])
        return digest.digest()

    # -- one band -----------------------------------------------------------------------------------------------------

    def _extension(self, band: BandSettings) -> str | int | None:
        extension = band.extension if band.extension is not None else self.data.extension
        if extension is None and self.data.layout == "extensions":
            return band.name
        return self.templates.extension(extension, band.name)

    def _image(self, name: str, band: BandSettings, position: int, with_scale: bool) -> Plane:
        file = self._container(name, self.data.template(band))
        extension = self._extension(band)
        cubes = self.data.layout in ("cube", "arrays") or band.plane is not None
        n_axes = 3 if cubes else 2
        pixels = self._once(name, extension, lambda: file.pixels(extension, n_axes, self.index))
        if cubes and (pixels.ndim == 3 or self.data.layout == "cube" or band.plane is not None):
            pixels = plane_of(pixels, position if band.plane is None else band.plane)
        zero = band.zero_point if band.zero_point is not None else file.zero_point(extension, n_axes)
        hdu = file.hdu(extension, n_axes) if with_scale else None
        return Plane(flat(pixels), zero, pixel_scale_arcsec(hdu) if hdu is not None else None)

    def _with_companions(self, image: Plane, band: BandSettings, position: int) -> Plane:
        """Add variance, masks and PSF as far as the settings ask for them."""
        data = self.data
        if data.noise is None and data.psf is None and not data.masks:
            return image
        shape = image.pixels.shape
        variance = masked = None
        if data.noise is not None:
            variance = variance_of(self._companion(data.noise, band, position, shape), data.noise)
        for mask in data.masks:
            bad = masked_by(self._companion(mask, band, position, shape, exact=True), mask)
            masked = bad if masked is None else masked | bad
        psf = self._companion(data.psf, band, position, None) if data.psf is not None else None
        pixels, variance, masked = without_bad(image.pixels, variance, masked)
        return Plane(pixels, image.zero_point, image.pixel_scale_arcsec, variance, masked, psf)

    def _companion(
        self,
        settings: PlaneSettings,
        band: BandSettings,
        position: int,
        shape: tuple[int, ...] | None,
        exact: bool = False,
    ) -> NDArray[np.float32]:
        """Read a plane that goes with a band; its shape must be that of the image, if `shape` is given.

        Raises
        ------
        RefusedError
            It is absent, unreadable or of another shape.
        """
        template = settings.template(self.data.template(band))
        name = self.templates.path(template, band.name if "{band" in template else "", band.name)
        extension = self.templates.extension(settings.extension, band.name)
        try:
            if not exists(self.root, name):
                raise UnreadableError("the file does not exist")
            file = self._container(name, template)
            n_axes = 3 if settings.plane is not None or self.data.layout in ("cube", "arrays") else 2
            read = file.integers if exact else file.pixels
            pixels = self._once(name, (extension, exact), lambda: read(extension, n_axes, self.index))
            if pixels.ndim == 3:
                pixels = plane_of(pixels, position if settings.plane is None else settings.plane)
            if shape is not None and pixels.shape != shape:
                raise UnreadableError(f"has shape {pixels.shape}, the image has {shape}; bring them to one grid")
            return flat(pixels)
        except UnreadableError as error:
            kind = type(settings).__name__.removesuffix("Settings").lower()
            raise RefusedError(name, band.name, f"{kind} plane: {error}") from None

    def _channel(self, name: str, band: BandSettings, position: int) -> NDArray[np.float32]:
        def decode() -> NDArray[np.float32]:
            data = read_bytes(Path(self.root, name))
            self._digests[name] = hashlib.sha256(data).digest()
            return rgb.decode(data)

        return plane_of(self._once(name, 0, decode), position if band.plane is None else band.plane)

    # -- files --------------------------------------------------------------------------------------------------------

    def _container(self, name: str, template: str) -> Container:
        """Open a file: from the shelf where objects share it."""
        if name not in self._open:
            path = os.path.join(self.root, name)
            if self._shared(template):  # by other objects
                self._open[name] = self.shelf.get(path)
            else:
                self._open[name] = open_container(Path(path))
                self._digests[name] = self._open[name].checksum
        return self._open[name]

    def _shared(self, template: str) -> bool:
        extensions = [band.extension for band in self.data.bands] + [self.data.extension]
        by_extension = any(isinstance(one, str) and "{" in one for one in extensions)
        return self.index is not None or by_extension or "{" not in template.replace("{band", "")

    def _once(self, name: str, key: Any, read: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Decode pixels once, though several bands be planes of them."""
        if (name, key) not in self._pixels:
            self._pixels[name, key] = pixels = read()
            if name not in self._digests:  # of a shared file this object's part counts
                self._digests[f"{name} {key}"] = hashlib.sha256(np.ascontiguousarray(pixels).data).digest()
        return self._pixels[name, key]
