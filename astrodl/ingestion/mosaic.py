"""Mosaics: large images of the sky in FITS (tile-compressed or not), HDF5 or NPZ, of which sections are read."""

import io
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from astrodl.fits import (
    AUXILIARY_IMAGES,
    MissingExtensionError,
    UnreadableError,
    list_extensions,
    match_extension,
    open_fits,
    read_bytes,
)
from astrodl.fits import zero_point as header_zero_point
from astrodl.fits.counts import check_counts
from astrodl.fits.tiles import rebuild_checked
from astrodl.ingestion.arrays import ArrayFile
from astrodl.ingestion.axes import find_band_axis
from astrodl.ingestion.sky_grid import SkyGrid, read_sky_grid

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
        self.same_grid_as: Mosaic | None = None
        if magic.startswith(_ARRAYS):
            self._open_array()
        else:
            self._open_fits(magic.startswith(_COMPRESSED))
        *leading, _, _ = self.full_shape if len(self.full_shape) >= 2 else (0, 0, 0, 0)
        if len(leading) > 1:
            raise UnreadableError(f"the image has {len(self.full_shape)} axes, two or three are accepted")
        if len(leading) == 1 and leading[0] > 1 and find_band_axis(self.full_shape, default=0) != 0:
            raise UnreadableError(f"the image has axes {self.full_shape}, slowest first; write it as (bands, y, x)")
        if not leading:
            self.plane = None
        elif self.plane is None or self.plane >= leading[0]:
            raise UnreadableError(f"the image has {leading[0]} planes, plane {self.plane} (from 0) is asked for")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.full_shape[-2], self.full_shape[-1]

    @property
    def sky_grid(self) -> SkyGrid | None:
        """Pixel grid on the sky; None if the header has no celestial coordinates.

        Raises
        ------
        UnreadableError
            If the celestial coordinates cannot be used.
        """
        if isinstance(self._sky_grid, UnreadableError):
            raise UnreadableError(str(self._sky_grid))
        return self._sky_grid

    @cached_property
    def _sky_grid(self) -> SkyGrid | UnreadableError | None:
        try:
            return None if self.header is None else read_sky_grid(self.header, self._file)
        except UnreadableError as error:
            return error

    @cached_property
    def zero_point(self) -> float | None:
        """AB zero point in the header, or None.

        Raises
        ------
        UnreadableError
            If it is not plausible.
        """
        return None if self.header is None else header_zero_point(*self._cards)

    @property
    def pixel_scale_arcsec(self) -> float | None:
        """Pixel scale of the celestial coordinates, or None."""
        try:
            return None if self.sky_grid is None else self.sky_grid.pixel_scale_arcsec
        except UnreadableError:
            return None

    def section(
        self,
        top: int,
        left: int,
        height: int,
        width: int,
        *,
        exact: bool = False,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> NDArray[Any]:
        """Read ``[top : top + height, left : left + width]``.

        Parameters
        ----------
        top, left
            First row and column; they can lie outside the mosaic.
        height, width
            Size of the section in pixels.
        exact
            Read 64-bit integers, with 0 beyond the edge, instead of float32 with NaN.
        dtype
            Read another type than float32, float64 for values that float32 cannot represent.

        Raises
        ------
        UnreadableError
            If the data are damaged.
        """
        rows, columns = (
            _clip(start, length, n) for start, length, n in zip((top, left), (height, width), self.shape, strict=True)
        )
        out = np.zeros((height, width), np.int64) if exact else np.full((height, width), np.nan, dtype)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return out
        index = (rows, columns) if self.plane is None else (self.plane, rows, columns)
        pixels = self._read(index, exact, dtype)
        out[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = pixels
        return out

    def _read(self, index: tuple[Any, ...], exact: bool, dtype: type[np.floating[Any]]) -> NDArray[Any]:
        if self._hdu is None:
            pixels = self._array.values(self._entry, index) if exact else self._array.read(self._entry, index, dtype)
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
            pixels = pixels.astype(dtype)
        pixels[~np.isfinite(pixels)] = np.nan
        return pixels

    def _open_array(self) -> None:
        self._array = ArrayFile(self.path)
        self._entry = self._array.find(self.extension)
        self.full_shape = self._entry.shape

    def _open_fits(self, compressed: bool) -> None:
        """Open the image; decompress a compressed file into memory, within the size limit."""
        source = io.BytesIO(read_bytes(self.path)) if compressed else self.path
        with _refusing_damage():
            check_counts(source)
            self._file = fits.open(source, memmap=not compressed)
            # Close the file with the mosaic, also if the constructor fails.
            self._close_file = weakref.finalize(self, self._file.close)
            self._hdu = self._find_hdu()
            header = self._hdu.header
            self.full_shape = tuple(int(header[f"NAXIS{axis}"]) for axis in range(int(header["NAXIS"]), 0, -1))
            self._cards: Any = [SimpleNamespace(cards=dict(one)) for one in (header, self._file[0].header)]
            self.header = header
            if isinstance(self._hdu, fits.CompImageHDU):
                self._sky_grid  # noqa: B018  read while the file with its tables is open
                self._open_checked(read_bytes(self.path), self._file.index_of(self._hdu))

    def _open_checked(self, data: bytes, index: int) -> None:
        """Replace a tile-compressed image by a checked copy in memory, still compressed."""
        self._close_file()
        self._file = fits.open(io.BytesIO(rebuild_checked(data, open_fits(data).hdus[index].layout)))
        self._close_file = weakref.finalize(self, self._file.close)
        self._hdu = self._file[1]

    def _find_hdu(self) -> Any:
        """Return the requested extension, by default the first image."""
        images = [hdu for hdu in self._file if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
        if self.extension is None:
            first = next((hdu for hdu in images if hdu.name.upper() not in AUXILIARY_IMAGES), None)
            if first is None:
                raise UnreadableError("the file holds no image")
            return first
        identities = [(str(hdu.name), hdu.ver) for hdu in self._file]
        found = [self._file[number] for number in match_extension(self.extension, identities)]
        if not found:
            raise MissingExtensionError(self.extension, _list_images(self._file, images))
        if not any(hdu in images for hdu in found):
            raise UnreadableError(f"extension '{self.extension}' holds no image")
        return next(hdu for hdu in found if hdu in images)

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


@contextmanager
def _refusing_damage() -> Iterator[None]:
    """Turn the errors of astropy, which raises many types for damaged files, into one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # cards that violate the standard and do not affect pixels
            yield
    except UnreadableError:
        raise
    except Exception as error:
        raise UnreadableError(f"not a readable FITS file ({error!s:.100})") from None


def _list_images(file: fits.HDUList, images: Sequence[Any]) -> list[str]:
    return list_extensions([(number, hdu.name, hdu.ver) for number, hdu in enumerate(file) if hdu in images])


def _clip(start: int, length: int, n: int) -> slice:
    return slice(min(max(start, 0), n), max(min(start + length, n), 0))
