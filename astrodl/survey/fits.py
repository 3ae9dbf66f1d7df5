"""Read images from FITS files that nobody vouches for.

A file is read whole, unpacked within a limit, and its structure is walked before any pixel is touched, so that a header
can never make us allocate more than the file holds. Plain images are then views of those bytes; tile-compressed ones
go through astropy. The few cards that matter per object are parsed here, which is some ten times faster than opening
the file with astropy; `Hdu.header` gives the whole header as astropy reads it.
"""

import bz2
import gzip
import io
import lzma
import math
import re
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from astrodl.errors import DataError

MAX_BYTES = 1 << 30
"""Largest file after unpacking: cutouts are kilobytes to megabytes, more is a mistake or an attack."""

_BLOCK = 2880
_CARD = re.compile(
    rb"(SIMPLE|XTENSION|BITPIX|Z?NAXIS\d{0,3}|ZIMAGE|ZBITPIX|PCOUNT|GCOUNT|GROUPS|EXTNAME|EXTVER|BSCALE|BZERO|BLANK"
    rb"|MAGZERO|MAGZPT|ZP|PHOTFLAM|PHOTPLAM|BUNIT|EXPTIME) *= +('(?:[^']|'')*'|[^/]*)"
)
_TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_MICROJANSKY = 23.9
_UNIT_ZERO_POINTS = {"jy": 8.9, "mjy": 16.4, "ujy": 23.9, "njy": 31.4, "maggy": 0.0, "nmgy": 22.5, "nanomaggy": 22.5}


class UnreadableError(DataError):
    """An image that cannot be used; the message is the reason, for the quarantine list."""


@dataclass(frozen=True)
class Hdu:
    """One header-data unit of a file.

    Attributes
    ----------
    index, name
        Position in the file, from 0, and EXTNAME ("PRIMARY" for the first if it has none).
    shape
        Axes of the image, slowest first; empty if there is none.
    cards
        Values of the cards that `_CARD` knows.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    cards: dict[str, Any]
    header_bytes: bytes
    start: int
    n_bytes: int
    available: int

    @property
    def is_image(self) -> bool:
        """Whether it holds an image, tile-compressed or not."""
        return bool(self.shape) and 0 not in self.shape

    @property
    def compressed(self) -> bool:
        """Whether the image is tile-compressed."""
        return self.cards.get("ZIMAGE") is True

    @property
    def header(self) -> fits.Header:
        """The header as astropy reads it."""
        with warnings.catch_warnings():
            # Cards that break the standard are frequent, and none of them matters to a WCS.
            warnings.simplefilter("ignore", AstropyWarning)
            return fits.Header.fromstring(self.header_bytes)


@dataclass(frozen=True)
class FitsFile:
    """The bytes of a FITS file and the units found in them."""

    data: bytes
    hdus: tuple[Hdu, ...]

    @property
    def images(self) -> list[str]:
        """Names (or numbers, where there is no name) of the units that hold an image."""
        return [hdu.name or str(hdu.index) for hdu in self.hdus if hdu.is_image]

    def find(self, extension: str | int) -> Hdu:
        """Find an image by number or by name (case does not matter; "SCI,2" is the second of that name).

        Raises
        ------
        MissingExtensionError
            There is no such extension.
        UnreadableError
            The extension holds no image.
        """
        if isinstance(extension, int):
            matches = [hdu for hdu in self.hdus if hdu.index == extension]
        else:
            name, _, version = extension.partition(",")
            matches = [hdu for hdu in self.hdus if hdu.name.upper() == name.strip().upper()]
            if version:
                matches = [hdu for hdu in matches if str(hdu.cards.get("EXTVER", 1)) == version.strip()]
        if not matches:
            cut = self.hdus[-1].available < self.hdus[-1].n_bytes
            if cut:
                raise UnreadableError(_truncated(self.hdus[-1]))
            raise MissingExtensionError(extension, self.images)
        if not matches[0].is_image:
            raise UnreadableError(f"extension '{extension}' holds no image")
        return matches[0]

    def first_image(self, n_axes: int) -> Hdu:
        """Find the first image with `n_axes` axes longer than one pixel, else the first image.

        Raises
        ------
        UnreadableError
            The file holds no image.
        """
        images = [hdu for hdu in self.hdus if hdu.is_image]
        if not images:
            raise UnreadableError("the file holds no image")
        return next((hdu for hdu in images if len(_long_axes(hdu.shape)) == n_axes), images[0])

    def pixels(self, hdu: Hdu) -> NDArray[np.float32]:
        """Read an image as float32 with NaN where there is no data, axes of one pixel in front removed.

        Raises
        ------
        UnreadableError
            The data are cut short or cannot be unpacked.
        """
        if hdu.available < hdu.n_bytes:
            raise UnreadableError(_truncated(hdu))
        image = self._unpack(hdu) if hdu.compressed else self._plain(hdu)
        while image.ndim > 2 and image.shape[0] == 1:
            image = image[0]
        return image

    def _plain(self, hdu: Hdu) -> NDArray[np.float32]:
        raw = np.frombuffer(self.data, _TYPES[hdu.cards["BITPIX"]], math.prod(hdu.shape), hdu.start).reshape(hdu.shape)
        scale, zero, blank = (hdu.cards.get(key) for key in ("BSCALE", "BZERO", "BLANK"))
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite, and then missing
            if _number(scale, 1.0) != 1 or _number(zero, 0.0) != 0:
                image = (raw * _number(scale, 1.0) + _number(zero, 0.0)).astype(np.float32)
            else:
                image = raw.astype(np.float32)
        if raw.dtype.kind in "iu" and isinstance(blank, int):
            image[raw == blank] = np.nan
        image[~np.isfinite(image)] = np.nan
        return image

    def _unpack(self, hdu: Hdu) -> NDArray[np.float32]:
        if math.prod(hdu.shape) * 8 > MAX_BYTES:
            raise UnreadableError(f"the compressed image claims {_by(hdu.shape)} pixels, more than a cutout can have")
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore", AstropyWarning)  # of non-standard cards, see `Hdu.header`
                with fits.open(io.BytesIO(self.data)) as file:
                    image = np.array(file[hdu.index].data, np.float32)
        except (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, MemoryError, zlib.error) as error:
            raise UnreadableError(f"the tile-compressed image cannot be unpacked ({error})") from None
        image[~np.isfinite(image)] = np.nan
        return image


class MissingExtensionError(UnreadableError):
    """The file lacks an extension; `available` lists those that hold images."""

    def __init__(self, extension: str | int, available: Sequence[str]) -> None:
        super().__init__(f"no extension '{extension}' (images in the file: {', '.join(available) or 'none'})")
        self.available = list(available)


def read_bytes(path: Path) -> bytes:
    """Read a file whole, unpacking gzip, bzip2 and xz by content.

    Raises
    ------
    UnreadableError
        Missing, not a plain file, damaged, or larger than `MAX_BYTES` when unpacked.
    """
    try:
        if not path.is_file():
            raise UnreadableError("the file does not exist" if not path.exists() else "not a file")
        if path.stat().st_size > MAX_BYTES:
            raise UnreadableError(f"the file has {path.stat().st_size / 1e9:.1f} GB, more than a cutout can have")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"the file cannot be read ({error.strerror})") from None
    if not data:
        raise UnreadableError("the file is empty")
    return _decompress(data)


def open_fits(data: bytes) -> FitsFile:
    """Walk through the structure of a FITS file.

    Raises
    ------
    UnreadableError
        Not FITS, or the first header is broken.
    """
    if not data.startswith(b"SIMPLE  ="):
        raise UnreadableError(f"not a FITS file (starts with {data[:16]!r})")
    hdus: list[Hdu] = []
    position = 0
    while position < len(data) and (not hdus or data.startswith(b"XTENSION", position)):
        end = _header_end(data, position)
        if end is None:
            if not hdus:
                raise UnreadableError("the header has no end: the file is cut short or damaged")
            break
        hdus.append(_parse(data, position, end, len(hdus)))
        position = end + -(-hdus[-1].n_bytes // _BLOCK) * _BLOCK
    return FitsFile(data, tuple(hdus))


def zero_point(hdu: Hdu, primary: Hdu) -> float | None:
    """Find the AB magnitude of one count per pixel in the header, or in the primary header.

    MAGZERO, MAGZPT or ZP; else PHOTFLAM and PHOTPLAM by ``-2.5 log10(PHOTFLAM) - 5 log10(PHOTPLAM) - 2.408`` (ACS Data
    Handbook, section 5.1.1), for counts per second; else BUNIT if it is Jy, mJy, uJy, nJy or (nano)maggies.
    """
    for cards in (hdu.cards, primary.cards):
        for key in ("MAGZERO", "MAGZPT", "ZP"):
            value = cards.get(key)
            if isinstance(value, (int, float)) and math.isfinite(value):
                return float(value)
        flam, plam = _number(cards.get("PHOTFLAM"), 0.0), _number(cards.get("PHOTPLAM"), 0.0)
        if flam > 0 and plam > 0:
            return _hst_zero_point(flam, plam, cards)
        unit = str(cards.get("BUNIT", "")).strip().lower().removesuffix("/pixel").replace("nanomaggies", "nanomaggy")
        if unit in _UNIT_ZERO_POINTS:
            return _UNIT_ZERO_POINTS[unit]
    return None


def to_microjansky(zero_point: float) -> float:
    """Give the factor from counts to microjansky: ``10 ** (-0.4 (zero_point - 23.9))``."""
    return float(10.0 ** (-0.4 * (zero_point - _MICROJANSKY)))


def pixel_scale_arcsec(hdu: Hdu) -> float | None:
    """Give the pixel scale in arcsec of the celestial WCS, or None without one."""
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_scales

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # of cards that astropy mends by itself
            wcs = WCS(hdu.header, naxis=2)
            if not wcs.has_celestial:
                return None
            scales = proj_plane_pixel_scales(wcs)
    except (ValueError, TypeError, KeyError, MemoryError, AttributeError, fits.VerifyError):
        return None  # the errors of wcslib are ValueErrors; a WCS is a convenience, pixels are still good
    scale = float(np.sqrt(np.prod(scales)) * 3600)
    return scale if np.isfinite(scale) and scale > 0 else None


def _hst_zero_point(flam: float, plam: float, cards: dict[str, Any]) -> float:
    value = -2.5 * math.log10(flam) - 5 * math.log10(plam) - 2.408
    unit = str(cards.get("BUNIT", "")).strip().upper()
    if unit in ("ELECTRONS", "COUNTS"):  # totals, whereas PHOTFLAM is per second
        value += 2.5 * math.log10(max(_number(cards.get("EXPTIME"), 1.0), 1e-6))
    return value


def _decompress(data: bytes) -> bytes:
    for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open)):
        if data.startswith(magic):
            try:
                with opener(io.BytesIO(data)) as file:
                    unpacked = file.read(MAX_BYTES + 1)
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                raise UnreadableError(f"the compressed file is cut short or damaged ({error})") from None
            if len(unpacked) > MAX_BYTES:
                raise UnreadableError("the compressed file unpacks to more than 1 GB, more than a cutout can have")
            return unpacked
    if data.startswith(b"\x1f\x9d"):
        raise UnreadableError("compressed with the old `compress` (.Z), which is not supported; unpack it")
    return data


def _header_end(data: bytes, start: int) -> int | None:
    for block in range(start, len(data), _BLOCK):
        for card in range(block, min(block + _BLOCK, len(data)), 80):
            if data.startswith(b"END", card) and not data[card + 3 : card + 80].strip():
                return block + _BLOCK
    return None


def _parse(data: bytes, start: int, end: int, index: int) -> Hdu:
    cards = _cards(data, start, end)
    axes = _axes(cards, "NAXIS")
    if cards.get("BITPIX") not in _TYPES:
        raise UnreadableError(f"BITPIX is {cards.get('BITPIX')}, which FITS does not know")
    groups = cards.get("GROUPS") is True and axes[-1:] == (0,)
    elements = math.prod(axes[:-1] if groups else axes) if axes else 0
    n_bytes = abs(cards["BITPIX"]) // 8 * _count(cards, "GCOUNT", 1) * (_count(cards, "PCOUNT", 0) + elements)
    kind = str(cards.get("XTENSION", "IMAGE")).strip()
    shape = _axes(cards, "ZNAXIS") if cards.get("ZIMAGE") is True else axes if kind == "IMAGE" and not groups else ()
    name = str(cards.get("EXTNAME", "" if index else "PRIMARY")).strip()
    available = max(len(data) - end, 0)
    return Hdu(index, name, shape, cards, data[start:end], end, n_bytes, available)


def _cards(data: bytes, start: int, end: int) -> dict[str, Any]:
    cards: dict[str, Any] = {}
    for position in range(start, end, 80):
        match = _CARD.match(data, position, position + 80)
        if match and match[1].decode() not in cards:
            cards[match[1].decode()] = _value(match[2])
    return cards


def _value(text: bytes) -> str | bool | int | float | None:
    text = text.strip()
    if text.startswith(b"'"):
        return text[1:-1].replace(b"''", b"'").decode("ascii", "replace").rstrip()
    if text in (b"T", b"F"):
        return text == b"T"
    for kind in (int, float):
        try:
            return kind(text.replace(b"D", b"E"))
        except ValueError:
            continue
    return None


def _axes(cards: dict[str, Any], prefix: str) -> tuple[int, ...]:
    lengths = [cards.get(f"{prefix}{axis}") for axis in range(1, _count(cards, prefix, 0) + 1)]
    if any(not isinstance(length, int) or length < 0 for length in lengths):
        raise UnreadableError(f"{prefix} cards are missing or wrong")
    return tuple(reversed(lengths))


def _count(cards: dict[str, Any], key: str, default: int) -> int:
    value = cards.get(key, default)
    if not isinstance(value, int) or value < 0 or (key.endswith("NAXIS") and value > 999):
        raise UnreadableError(f"{key} is {value!r}, must be a number from 0")
    return value


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, (int, float)) else default


def _long_axes(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length > 1]


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in reversed(shape))


def _truncated(hdu: Hdu) -> str:
    return (
        f"the file is cut short: extension '{hdu.name or hdu.index}' should hold {_by(hdu.shape) or 'data of'} "
        f"pixels ({hdu.n_bytes / 1e6:.3g} MB), {hdu.available / 1e6:.3g} MB are there"
    )
