"""Mosaics: large images of the sky in FITS (tile-compressed or not), HDF5 or NPZ, of which sections are read."""

import io
import warnings
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from astrodl.fits import MissingExtensionError, UnreadableError, open_fits, read_bytes
from astrodl.fits import zero_point as header_zero_point
from astrodl.fits.tiles import rebuild_checked
from astrodl.ingestion.arrays import ArrayFile

__all__ = ["Mosaic", "MosaicCache"]

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
_ARRAYS = (b"\x89HDF", b"PK\x03\x04")
_MAX_OPEN = 64


@dataclass
class Mosaic:
    """A large image of the sky, of which sections are read.

    Parameters
    ----------
    path
        The file.
    extension
        FITS extension or name of an array; by default the first image.
    plane
        Plane of a cube, from 0; None for an image with two axes.

    Raises
    ------
    UnreadableError
        If the image is missing or damaged.
    """

    path: Path
    extension: str | int | None
    plane: int | None

    def __post_init__(self) -> None:
        try:
            with open(self.path, "rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise UnreadableError(f"the file cannot be read ({error.strerror})") from None
        self._hdu: Any = None
        self.full_shape: tuple[int, ...] = ()
        self.header: fits.Header | None = None
        self.zero_point: float | None = None
        if magic.startswith(_ARRAYS):
            self._open_array()
        else:
            self._open_fits(magic.startswith(_COMPRESSED))
        *leading, _, _ = self.full_shape if len(self.full_shape) >= 2 else (0, 0, 0, 0)
        if len(leading) > 1:
            raise UnreadableError(f"the image has {len(self.full_shape)} axes, two or three are accepted")
        if not leading:
            self.plane = None
        elif self.plane is None or self.plane >= leading[0]:
            raise UnreadableError(f"the image has {leading[0]} planes, plane {self.plane} (from 0) is asked for")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.full_shape[-2], self.full_shape[-1]

    @cached_property
    def wcs(self) -> WCS | None:
        """Celestial WCS, or None."""
        # wcslib can hang on a header with two NAXIS, and its memory grows with the number of axes.
        if self.header is None or self.header.count("NAXIS") != 1 or self.header.get("WCSAXES", 2) not in range(10):
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyWarning)  # cards that astropy fixes
                wcs = WCS(self.header, naxis=2)
        except (ValueError, TypeError, KeyError, AttributeError, MemoryError, fits.VerifyError):
            return None  # the errors of wcslib are ValueErrors
        return wcs if wcs.has_celestial else None

    @property
    def pixel_scale_arcsec(self) -> float | None:
        """Pixel scale of the celestial WCS, or None."""
        if self.wcs is None:
            return None
        scale = float(np.sqrt(np.prod(proj_plane_pixel_scales(self.wcs))) * 3600)
        return scale if np.isfinite(scale) and scale > 0 else None

    def section(self, top: int, left: int, height: int, width: int, *, exact: bool = False) -> NDArray[Any]:
        """Read ``[top : top + height, left : left + width]``.

        Parameters
        ----------
        top, left
            First row and column; they can lie outside the mosaic.
        height, width
            Size of the section in pixels.
        exact
            Read 64-bit integers, with 0 beyond the edge, instead of float32 with NaN.

        Raises
        ------
        UnreadableError
            If the data are damaged.
        """
        rows, columns = (
            _clip(start, length, n) for start, length, n in zip((top, left), (height, width), self.shape, strict=True)
        )
        out = np.zeros((height, width), np.int64) if exact else np.full((height, width), np.nan, np.float32)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return out
        index = (rows, columns) if self.plane is None else (self.plane, rows, columns)
        pixels = self._read(index, exact)
        out[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = pixels
        return out

    def _read(self, index: tuple[Any, ...], exact: bool) -> NDArray[Any]:
        if self._hdu is None:
            pixels = self._array.read(self._entry, index)
            return np.nan_to_num(pixels).astype(np.int64) if exact else pixels
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore", AstropyWarning)  # cards that violate the standard
                pixels = np.asarray(self._hdu.section[index])
        except Exception as error:  # the decompressors raise many types for damaged data
            raise UnreadableError(f"the pixels cannot be read ({type(error).__name__}: {error!s:.80})") from None
        if exact:
            return np.nan_to_num(pixels).astype(np.int64)
        with np.errstate(over="ignore", invalid="ignore"):  # values beyond float32 become infinite, and then NaN
            pixels = pixels.astype(np.float32)
        pixels[~np.isfinite(pixels)] = np.nan
        return pixels

    def _open_array(self) -> None:
        self._array = ArrayFile(self.path)
        name = self.extension if self.extension is not None else next(iter(self._array.images), "")
        self._entry = self._array.find(name)
        self.full_shape = self._entry.shape

    def _open_fits(self, compressed: bool) -> None:
        """Open the image; decompress a compressed file into memory, within the size limit."""
        source = io.BytesIO(read_bytes(self.path)) if compressed else self.path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyWarning)  # such cards do not affect the pixels
                self._file = fits.open(source, memmap=not compressed)
                # Close the file with the mosaic, also if the constructor fails.
                self._close_file = weakref.finalize(self, self._file.close)
                self._hdu = self._find_hdu()
                header = self._hdu.header
                self.full_shape = tuple(int(header[f"NAXIS{axis}"]) for axis in range(int(header["NAXIS"]), 0, -1))
                cards: Any = SimpleNamespace(cards=dict(header)), SimpleNamespace(cards=dict(self._file[0].header))
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise UnreadableError(f"not a readable FITS file ({error!s:.100})") from None
        self.header, self.zero_point = header, header_zero_point(*cards)
        if isinstance(self._hdu, fits.CompImageHDU):
            self._open_checked(read_bytes(self.path), self._file.index_of(self._hdu))

    def _open_checked(self, data: bytes, index: int) -> None:
        """Replace a tile-compressed image by a checked copy in memory, still compressed."""
        self._close_file()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            self._file = fits.open(io.BytesIO(rebuild_checked(data, open_fits(data).hdus[index].layout)))
        self._close_file = weakref.finalize(self, self._file.close)
        self._hdu = self._file[1]

    def _find_hdu(self) -> Any:
        """Return the requested extension, by default the first image."""
        images = [hdu for hdu in self._file if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
        if self.extension is None:
            if not images:
                raise UnreadableError("the file holds no image")
            return images[0]
        names = [hdu.name or str(self._file.index(hdu)) for hdu in images]
        extension = self.extension
        for number, hdu in enumerate(self._file):
            if extension == number or (isinstance(extension, str) and hdu.name.upper() == extension.upper()):
                if hdu not in images:
                    raise UnreadableError(f"extension '{extension}' holds no image")
                return hdu
        raise MissingExtensionError(extension, names)

    def close(self) -> None:
        """Close the file."""
        if self._hdu is not None:
            self._close_file()


@dataclass
class MosaicCache:
    """Open mosaics; if there are many, the least recently used are closed."""

    _open: "OrderedDict[tuple[str, Any, int | None], Mosaic]" = field(default_factory=OrderedDict)

    def get(self, path: str, extension: str | int | None, plane: int | None) -> Mosaic:
        """Return an open mosaic; open it first if it is not in the cache."""
        key = (path, extension, plane)
        if key not in self._open:
            self._open[key] = Mosaic(Path(path), extension, plane)
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(key)
        return self._open[key]


def _clip(start: int, length: int, n: int) -> slice:
    return slice(min(max(start, 0), n), max(min(start + length, n), 0))
