"""Find and read the files of one object: from path templates to bands and labels as they stand in the files."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrodl.config import BandSettings, DataSettings
from astrodl.errors import DataError
from astrodl.survey import rgb
from astrodl.survey.fits import (
    FitsFile,
    Hdu,
    MissingExtensionError,
    UnreadableError,
    open_fits,
    pixel_scale_arcsec,
    read_bytes,
    zero_point,
)


class RefusedError(DataError):
    """An object that goes to quarantine: the file and band (or label) that are to blame, and why."""

    def __init__(self, file: str, band: str, reason: str) -> None:
        super().__init__(reason)
        self.file, self.band, self.reason = file, band, reason


@dataclass(frozen=True)
class Plane:
    """A band or label as it stands in the file.

    Attributes
    ----------
    pixels
        (y, x), NaN where there is no data.
    zero_point
        AB magnitude of one count, or None.
    pixel_scale_arcsec
        Scale of the pixels of the file; only filled on request.
    """

    pixels: NDArray[np.float32]
    zero_point: float | None = None
    pixel_scale_arcsec: float | None = None


@dataclass
class ObjectFiles:
    """The files of one object, each read once.

    Parameters
    ----------
    data
        Settings of the survey.
    root
        Resolved folder that no path may leave.
    fields
        Catalogue values for the path templates.
    """

    data: DataSettings
    root: str
    fields: Mapping[str, str]
    _bytes: dict[str, bytes] = field(default_factory=dict)
    _paths: dict[tuple[str, str], str] = field(default_factory=dict)
    _fits: dict[str, FitsFile] = field(default_factory=dict)
    _pixels: dict[tuple[str, int], NDArray[np.float32]] = field(default_factory=dict)

    def band(self, position: int, *, with_scale: bool = False) -> Plane | None:
        """Read a band; None where its file or extension is absent.

        Raises
        ------
        RefusedError
            The path leaves the root, or the file is unusable.
        """
        band = self.data.bands[position]
        name = self.path(band)
        try:
            if not os.path.lexists(os.path.join(self.root, name)):
                return None
            if self.data.layout == "rgb":
                return Plane(self._channel(name, band, position), band.zero_point)
            return self._fits_plane(name, band, position, with_scale)
        except MissingExtensionError:
            return None
        except UnreadableError as error:
            raise RefusedError(name, band.name, str(error)) from None

    def label(self, name: str, extension: str) -> Plane | None:
        """Read a pixel label; None where its file or extension is absent."""
        assert self.data.labels is not None
        path = self._expand(self.data.labels.path, "", name)
        try:
            if not os.path.lexists(os.path.join(self.root, path)):
                return None
            file = self._open(path)
            hdu = file.find(extension)
            return Plane(_flat(file.pixels(hdu)), zero_point(hdu, file.hdus[0]))
        except MissingExtensionError:
            return None
        except UnreadableError as error:
            raise RefusedError(path, name, str(error)) from None

    def path(self, band: BandSettings) -> str:
        """Fill in the path template of a band, relative to the root."""
        template = band.path if band.path is not None else self.data.path
        assert template is not None
        return self._expand(template, band.name if "{band" in template else "", band.name)

    def extensions(self, band: BandSettings) -> list[str]:
        """List the images in the file of a band, for a message; empty where it cannot be read."""
        try:
            return self._open(self.path(band)).images
        except (UnreadableError, RefusedError):
            return []

    def nothing(self) -> str:
        """Say why none of the bands could be found."""
        band = self.data.bands[0]
        if not os.path.lexists(os.path.join(self.root, self.path(band))):
            return "the file does not exist"
        return f"none of the bands is in the file (images there: {', '.join(self.extensions(band)) or 'none'})"

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the names and bytes of all files that were read."""
        digest = hashlib.sha256()
        for name in sorted(self._bytes):
            digest.update(f"{name}\0{len(self._bytes[name])}\0".encode())
            digest.update(self._bytes[name])
        return digest.digest()

    def _expand(self, template: str, band: str, blame: str) -> str:
        if (template, band) in self._paths:
            return self._paths[template, band]
        try:
            name = template.format_map({**self.fields, "band": band})
        except (ValueError, KeyError, IndexError, AttributeError) as error:
            raise DataError(f"path template '{template}': {error}; write {{column}} or {{band}}") from None
        resolved = os.path.realpath(os.path.join(self.root, name)) if "\0" not in name else ""
        if not resolved.startswith(self.root.rstrip("/") + "/"):
            raise RefusedError(name.replace("\0", "?"), blame, "the path leads out of data.root")
        self._paths[template, band] = name
        return name

    def _read(self, name: str) -> bytes:
        if name not in self._bytes:
            self._bytes[name] = read_bytes(Path(self.root, name))
        return self._bytes[name]

    def _open(self, name: str) -> FitsFile:
        if name not in self._fits:
            self._fits[name] = open_fits(self._read(name))
        return self._fits[name]

    def _fits_plane(self, name: str, band: BandSettings, position: int, with_scale: bool) -> Plane:
        file = self._open(name)
        hdu = self._hdu(file, band)
        pixels = self._once(name, hdu.index, lambda: file.pixels(hdu))
        if self.data.layout == "cube":
            pixels = _plane(pixels, position if band.plane is None else band.plane)
        elif band.plane is not None:
            pixels = _plane(pixels, band.plane)
        zero = band.zero_point if band.zero_point is not None else zero_point(hdu, file.hdus[0])
        return Plane(_flat(pixels), zero, pixel_scale_arcsec(hdu) if with_scale else None)

    def _hdu(self, file: FitsFile, band: BandSettings) -> Hdu:
        if band.extension is not None:
            return file.find(band.extension)
        if self.data.layout == "extensions":
            return file.find(band.name)
        return file.first_image(3 if self.data.layout == "cube" or band.plane is not None else 2)

    def _channel(self, name: str, band: BandSettings, position: int) -> NDArray[np.float32]:
        pixels = self._once(name, 0, lambda: rgb.decode(self._read(name)))
        return _plane(pixels, position if band.plane is None else band.plane)

    def _once(self, name: str, index: int, read: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Decode pixels once, though several bands be planes of them."""
        if (name, index) not in self._pixels:
            self._pixels[name, index] = read()
        return self._pixels[name, index]


def _plane(pixels: NDArray[np.float32], plane: int) -> NDArray[np.float32]:
    if pixels.ndim != 3:
        raise UnreadableError(f"the image has {by(pixels.shape)} pixels, a cube is needed")
    if plane >= len(pixels):
        raise UnreadableError(f"the image has {len(pixels)} planes, plane {plane} (from 0) is asked for")
    return pixels[plane]


def _flat(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    if pixels.ndim != 2 or min(pixels.shape) < 2:
        raise UnreadableError(f"the image has {by(pixels.shape)} pixels, a two-dimensional image is needed")
    return pixels


def by(shape: tuple[int, ...]) -> str:
    """Write a shape as astronomers do: x first."""
    return " x ".join(str(length) for length in reversed(shape))
