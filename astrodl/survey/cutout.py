"""Read the files of one object: from path templates to calibrated bands and labels."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrodl.config import BandSettings, DataSettings
from astrodl.errors import DataError
from astrodl.store import FLAGS
from astrodl.survey import calibrate, rgb
from astrodl.survey.fits import (
    FitsFile,
    Hdu,
    MissingExtensionError,
    UnreadableError,
    open_fits,
    pixel_scale_arcsec,
    read_bytes,
    to_microjansky,
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


@dataclass(frozen=True)
class Cutout:
    """One object as it is stored.

    Attributes
    ----------
    image, sky_sigma, background
        (bands, y, x), (bands,), (bands,); in microjansky where `calibrated`.
    zero_points
        As found in the files or settings, NaN where there is none, (bands,).
    flags
        Bits of `astrodl.store.FLAGS`.
    labels
        Label name -> (y, x).
    checksum
        SHA-256 of all bytes read.
    """

    image: NDArray[np.float32]
    sky_sigma: NDArray[np.float32]
    background: NDArray[np.float32]
    zero_points: NDArray[np.float64]
    flags: int
    labels: dict[str, NDArray[np.float32]]
    checksum: bytes


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


def read_cutout(files: ObjectFiles, *, calibrated: bool) -> Cutout:
    """Read, calibrate and cut out one object.

    Parameters
    ----------
    files
        The files of the object.
    calibrated
        Whether every band must have a zero point, so that fluxes become microjansky.

    Raises
    ------
    RefusedError
        The object cannot be used.
    """
    data = files.data
    planes = [files.band(position) for position in range(len(data.bands))]
    first = next((number for number, plane in enumerate(planes) if plane is not None), None)
    if first is None:
        raise RefusedError(files.path(data.bands[0]), data.bands[0].name, _nothing(files))
    shape = planes[first].pixels.shape  # type: ignore[union-attr]
    missing = [Plane(np.full(shape, np.nan, np.float32)) if plane is None else plane for plane in planes]
    for plane, band in zip(missing, data.bands, strict=True):
        if plane.pixels.shape != shape:
            sizes = f"{_by(plane.pixels.shape)} pixels, band {data.bands[first].name} has {_by(shape)}"
            raise RefusedError(files.path(band), band.name, f"the band has {sizes}; bring them to one grid")
    bands = np.stack([plane.pixels for plane in missing])
    if data.zero_is_missing:
        zero = bands == 0
        bands[zero.all(axis=0, keepdims=True) & zero if data.layout == "rgb" else zero] = np.nan
    if np.isnan(bands).all():
        raise RefusedError(files.path(data.bands[first]), "", "all pixels are NaN or infinite")
    factors = _factors(files, planes, calibrated)
    bands = calibrate.rebin(bands, data.rebin) * factors[:, np.newaxis, np.newaxis].astype(np.float32)
    sky = np.array([calibrate.border_sky(band) for band in bands])
    background = np.nan_to_num(sky[:, 0]) if data.background == "border" else np.zeros(len(bands))
    bands = bands - background[:, np.newaxis, np.newaxis].astype(np.float32)
    image = calibrate.fit_size(bands, data.size)
    if np.isnan(image).all():
        raise RefusedError(files.path(data.bands[first]), "", "the central pixels are all NaN or infinite")
    zero_points = np.array([np.nan if p is None or p.zero_point is None else p.zero_point for p in planes])
    return Cutout(
        image,
        sky[:, 1].astype(np.float32),
        background.astype(np.float32),
        zero_points,
        _flags(image, bands.shape[1:]),
        _labels(files, zero_points, calibrated),
        files.checksum,
    )


def _factors(files: ObjectFiles, planes: list[Plane | None], calibrated: bool) -> NDArray[np.float64]:
    factors = np.ones(len(planes))
    for number, plane in enumerate(planes):
        if not calibrated or plane is None:
            continue
        band = files.data.bands[number]
        if plane.zero_point is None:
            raise RefusedError(
                files.path(band), band.name, "no zero point in the header, though other objects have one"
            )
        factors[number] = to_microjansky(plane.zero_point)
    return factors


def _labels(files: ObjectFiles, zero_points: NDArray[np.float64], calibrated: bool) -> dict[str, NDArray[np.float32]]:
    data = files.data
    if data.labels is None:
        return {}
    known = np.unique(zero_points[np.isfinite(zero_points)])
    shared = float(known[0]) if len(known) == 1 else None
    labels = {}
    for name, extension in data.labels.extensions.items():
        plane = files.label(name, extension)
        if plane is None:
            labels[name] = np.full((data.size, data.size), np.nan, np.float32)
            continue
        factor = 1.0
        if calibrated:
            zero = plane.zero_point if plane.zero_point is not None else shared
            if zero is None:
                raise RefusedError("", name, "no zero point in the header of the label, and bands differ in theirs")
            factor = to_microjansky(zero)
        labels[name] = calibrate.fit_size(calibrate.rebin(plane.pixels, data.rebin) * np.float32(factor), data.size)
    return labels


def _flags(image: NDArray[np.float32], shape: tuple[int, ...]) -> int:
    gone = np.isnan(image)
    empty = gone.all(axis=(1, 2))
    size = image.shape[-1]
    inside = calibrate.fit_size(np.zeros(shape, np.float32), size) == 0
    flags = FLAGS["missing_band"] if empty.any() else 0
    flags |= FLAGS["partial_coverage"] if (gone[~empty] & inside).any() else 0
    return flags | (FLAGS["padded"] if min(shape) < size else 0)


def _nothing(files: ObjectFiles) -> str:
    band = files.data.bands[0]
    if not os.path.lexists(os.path.join(files.root, files.path(band))):
        return "the file does not exist"
    return f"none of the bands is in the file (images there: {', '.join(files.extensions(band)) or 'none'})"


def _plane(pixels: NDArray[np.float32], plane: int) -> NDArray[np.float32]:
    if pixels.ndim != 3:
        raise UnreadableError(f"the image has {_by(pixels.shape)} pixels, a cube is needed")
    if plane >= len(pixels):
        raise UnreadableError(f"the image has {len(pixels)} planes, plane {plane} (from 0) is asked for")
    return pixels[plane]


def _flat(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    if pixels.ndim != 2 or min(pixels.shape) < 2:
        raise UnreadableError(f"the image has {_by(pixels.shape)} pixels, a two-dimensional image is needed")
    return pixels


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in reversed(shape))
