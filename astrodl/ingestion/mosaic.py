"""Images of the sky that objects are cut from: FITS (tile-compressed or not), HDF5 or NPZ, read piece by piece."""

import io
import warnings
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from numpy.typing import NDArray

from astrodl.fits.file import MissingExtensionError, UnreadableError, open_fits, read_bytes
from astrodl.fits.file import zero_point as header_zero_point
from astrodl.fits.tiles import checked
from astrodl.ingestion.arrays import ArrayFile

_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
_ARRAYS = (b"\x89HDF", b"PK\x03\x04")


@dataclass
class Mosaic:
    """One image of the sky, of which only the pixels asked for are read.

    Parameters
    ----------
    path
        The file.
    extension
        FITS extension or name of an array; None: the first image.
    plane
        Plane of a cube; None for an image with two axes.

    Raises
    ------
    UnreadableError
        No such image, or it is damaged.
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
            self._open_fits(magic.startswith(_PACKED))
        *lead, _, _ = self.full_shape if len(self.full_shape) >= 2 else (0, 0, 0, 0)
        if len(lead) > 1:
            raise UnreadableError(f"the image has {len(self.full_shape)} axes, two or three are accepted")
        if not lead:
            self.plane = None
        elif self.plane is None or self.plane >= lead[0]:
            raise UnreadableError(f"the image has {lead[0]} planes, plane {self.plane} (from 0) is asked for")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.full_shape[-2], self.full_shape[-1]

    @cached_property
    def wcs(self) -> WCS | None:
        """Celestial coordinates of the pixels, or None."""
        # wcslib may hang on a header with two NAXIS, and WCS takes memory by the number of axes.
        if self.header is None or self.header.count("NAXIS") != 1 or self.header.get("WCSAXES", 2) not in range(10):
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyWarning)  # of cards that astropy mends by itself
                wcs = WCS(self.header, naxis=2)
        except (ValueError, TypeError, KeyError, AttributeError, MemoryError, fits.VerifyError):
            return None  # the errors of wcslib are ValueErrors
        return wcs if wcs.has_celestial else None

    def section(self, top: int, left: int, height: int, width: int, *, exact: bool = False) -> NDArray[Any]:
        """Read ``[top : top + height, left : left + width]``, NaN (0 if `exact`) beyond the edge; integers if `exact`.

        Raises
        ------
        UnreadableError
            The data are damaged.
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
                warnings.simplefilter("ignore", AstropyWarning)  # of non-standard cards
                pixels = np.asarray(self._hdu.section[index])
        except Exception as error:  # the decompressors raise whatever they meet in damaged data
            raise UnreadableError(f"the pixels cannot be read ({type(error).__name__}: {error!s:.80})") from None
        if exact:
            return np.nan_to_num(pixels).astype(np.int64)
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite, and then missing
            pixels = pixels.astype(np.float32)
        pixels[~np.isfinite(pixels)] = np.nan
        return pixels

    def _open_array(self) -> None:
        self._array = ArrayFile(self.path)
        name = self.extension if self.extension is not None else next(iter(self._array.images), "")
        self._entry = self._array.find(name)
        self.full_shape = self._entry.shape

    def _open_fits(self, packed: bool) -> None:
        """Open the image; a packed file is unpacked into memory, within the limit."""
        source = io.BytesIO(read_bytes(self.path)) if packed else self.path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyWarning)  # non-standard cards do not matter to the pixels
                self._file = fits.open(source, memmap=not packed)
                # Whoever forgets a mosaic, or fails to open it, leaves no file open.
                self._closer = weakref.finalize(self, self._file.close)
                self._hdu = self._find()
                header = self._hdu.header
                self.full_shape = tuple(int(header[f"NAXIS{axis}"]) for axis in range(int(header["NAXIS"]), 0, -1))
                cards: Any = SimpleNamespace(cards=dict(header)), SimpleNamespace(cards=dict(self._file[0].header))
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise UnreadableError(f"not a readable FITS file ({error!s:.100})") from None
        self.header, self.zero_point = header, header_zero_point(*cards)
        if isinstance(self._hdu, fits.CompImageHDU):
            self._open_checked(read_bytes(self.path), self._file.index_of(self._hdu))

    def _open_checked(self, data: bytes, index: int) -> None:
        """Replace a tile-compressed image by its checked copy in memory, still compressed."""
        self._closer()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            self._file = fits.open(io.BytesIO(checked(data, open_fits(data).hdus[index].unit)))
        self._closer = weakref.finalize(self, self._file.close)
        self._hdu = self._file[1]

    def _find(self) -> Any:
        """Give the extension asked for, or the first image."""
        images = [hdu for hdu in self._file if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
        if self.extension is None:
            if not images:
                raise UnreadableError("the file holds no image")
            return images[0]
        names = [hdu.name or str(self._file.index(hdu)) for hdu in images]
        wanted = self.extension
        for number, hdu in enumerate(self._file):
            if wanted == number or (isinstance(wanted, str) and hdu.name.upper() == wanted.upper()):
                if hdu not in images:
                    raise UnreadableError(f"extension '{wanted}' holds no image")
                return hdu
        raise MissingExtensionError(wanted, names)

    def close(self) -> None:
        """Close the file."""
        if self._hdu is not None:
            self._closer()


def _clip(start: int, length: int, n: int) -> slice:
    return slice(min(max(start, 0), n), max(min(start + length, n), 0))
