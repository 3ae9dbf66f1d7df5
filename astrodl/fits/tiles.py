"""Decompress tile-compressed images that come from untrusted sources.

astropy decompresses them with C code of CFITSIO that trusts its input: it follows the lengths in a compressed stream
beyond the end of the buffer, which crashes the process or reads unrelated memory. This module therefore checks
everything that the C code relies on, and passes astropy a table with the checked cards only (FITS standard 4.0, section
10.1).
"""

import io
import math
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from astrodl.errors import DataError
from astrodl.fits.bytes import MAX_BYTES, UnreadableError, gunzip
from astrodl.fits.header import BLOCK, PIXEL_TYPES, HduLayout, format_shape, parse_cards

__all__ = ["decompress", "rebuild_checked"]

_PRIMARY = fits.PrimaryHDU().header.tostring().encode("ascii")
_KEYS = re.compile(
    r"(XTENSION|BITPIX|NAXIS[12]?|PCOUNT|GCOUNT|TFIELDS|(TTYPE|TFORM)\d{1,3}|THEAP|ZIMAGE|ZCMPTYPE|ZBITPIX|ZBLANK"
    r"|Z(NAXIS|TILE)\d{0,3}|Z(NAME|VAL)\d{1,3}|ZQUANTIZ|ZDITHER0|BSCALE|BZERO|BLANK)"
)
_WIDTHS = {"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "E": 4, "K": 8, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_ALGORITHMS = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS")
_DITHERED = ("SUBTRACTIVE_DITHER_1", "SUBTRACTIVE_DITHER_2")
_MAX_TILES = 1_000_000
_MAX_COLUMNS = 20
_MAX_HCOMPRESS_PIXELS = 1 << 25
_HCOMPRESS_HEADER = np.dtype(
    [("magic", "S2"), ("axes", ">i4", 2), ("scale", ">i4"), ("sum", ">i8"), ("planes", "u1", 3)]
)


@dataclass(frozen=True)
class _Column:
    """A column of tiles, which lie in the heap after the table.

    Attributes
    ----------
    letter
        Type of the elements.
    lengths, offsets
        Number of elements of each tile, and position of the tile in the heap in bytes.
    descriptors
        Type of the lengths in the table, and their position in a row.
    """

    letter: str
    lengths: NDArray[np.int64]
    offsets: NDArray[np.int64]
    descriptors: tuple[str, int]

    @property
    def n_bytes(self) -> NDArray[np.int64]:
        """Size of each tile in bytes."""
        return self.lengths * _WIDTHS[self.letter]


@dataclass(frozen=True)
class _Table:
    """The binary table that holds a compressed image.

    Attributes
    ----------
    cards
        Cards that astropy needs.
    shape, tile
        Shape of the image and of a tile, slowest axis first.
    columns
        Columns of tiles, by name.
    rows, heap
        Bytes of the table and of the heap.
    """

    cards: dict[str, Any]
    shape: tuple[int, ...]
    tile: tuple[int, ...]
    columns: dict[str, _Column]
    rows: bytes
    heap: bytes

    @property
    def n_pixels(self) -> NDArray[np.int64]:
        """Number of pixels of each tile."""
        return reduce(np.multiply.outer, self._axis_lengths()).ravel()

    def tile_axes(self, number: int) -> list[int]:
        """Return the axes of a tile that are longer than one pixel."""
        lengths = self._axis_lengths()
        index = np.unravel_index(number, [len(axis) for axis in lengths])
        return [int(axis[place]) for axis, place in zip(lengths, index, strict=True) if axis[place] > 1]

    def _axis_lengths(self) -> list[NDArray[np.int64]]:
        """Return the lengths of the tiles along each axis; the edge of the image cuts the last tile."""
        edges = [np.minimum(np.arange(0, n + step, step), n) for n, step in zip(self.shape, self.tile, strict=True)]
        return [np.diff(axis) for axis in edges]

    def tiles(self, column: str, selected: NDArray[np.bool_]) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the bytes of the selected tiles of a column."""
        starts, n_bytes = self.columns[column].offsets, self.columns[column].n_bytes
        for number in np.flatnonzero(selected):
            yield int(number), self.heap[starts[number] : starts[number] + n_bytes[number]]


def decompress(data: bytes, hdu: HduLayout) -> NDArray[Any]:
    """Decompress an image as astropy does.

    Parameters
    ----------
    data
        The file.
    hdu
        The HDU with the compressed image.

    Raises
    ------
    UnreadableError
        If the image is too large, damaged, or compressed with an unknown algorithm.
    """
    if math.prod(hdu.shape) * 8 > MAX_BYTES:
        raise UnreadableError(
            f"the compressed image claims {format_shape(hdu.shape)} pixels, more than a cutout can have"
        )
    checked = rebuild_checked(data, hdu)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(io.BytesIO(checked)) as file:
                image = np.asarray(file[1].data)
    except Exception as error:  # the C code raises a private class derived from Exception
        raise _failure(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    if image.shape != hdu.shape:
        raise _failure(f"it has {format_shape(image.shape)} pixels instead of {format_shape(hdu.shape)}")
    return image


def rebuild_checked(data: bytes, hdu: HduLayout) -> bytes:
    """Check a compressed image and build a FITS file with this image as its first extension, still compressed.

    Raises
    ------
    UnreadableError
        If the image is damaged or compressed with an unknown algorithm.
    """
    table = _read_table(data, hdu)
    rows, heap = _check_tiles(table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        header = fits.Header({**table.cards, "PCOUNT": len(heap)}).tostring().encode("ascii")
    return b"".join((_PRIMARY, header, rows, heap, bytes(-(len(rows) + len(heap)) % BLOCK)))


def _failure(reason: str) -> UnreadableError:
    return UnreadableError(f"the tile-compressed image cannot be unpacked ({reason})")


def _read_table(data: bytes, hdu: HduLayout) -> _Table:
    cards = _select_cards(data, hdu)
    bits, algorithm = cards.get("ZBITPIX"), cards.get("ZCMPTYPE")
    if type(bits) is not int or bits not in PIXEL_TYPES:
        raise _failure(f"ZBITPIX is {bits}, which FITS does not know")
    if algorithm not in _ALGORITHMS:
        raise _failure(f"ZCMPTYPE is {algorithm!r}, known are {', '.join(_ALGORITHMS)}")
    tile = _tile_shape(cards, hdu.shape)
    if math.prod(tile) * 8 > MAX_BYTES:
        raise UnreadableError(f"a tile of the compressed image claims {format_shape(tile)} pixels, more than 1 GB")
    n_tiles = math.prod(-(-length // part) for length, part in zip(hdu.shape, tile, strict=True))
    width, n_rows = (_count(cards, key) for key in ("NAXIS1", "NAXIS2"))
    if n_tiles != n_rows or n_tiles > _MAX_TILES:
        raise _failure(f"{format_shape(hdu.shape)} pixels need {n_tiles} tiles, the table has {n_rows} rows")
    gap = _count(cards, "THEAP", width * n_rows) - width * n_rows
    if cards.get("NAXIS") != 2 or cards.get("BITPIX") != 8 or cards.get("GCOUNT", 1) != 1 or gap < 0:
        raise _failure("the cards of the table contradict each other")
    cards["THEAP"] = width * n_rows
    start = hdu.data_start
    rows = data[start : start + width * n_rows]
    heap = data[start + len(rows) + gap : start + hdu.n_bytes]
    return _Table(cards, hdu.shape, tile, _columns(cards, rows, n_rows, width, len(heap)), rows, heap)


def _select_cards(data: bytes, hdu: HduLayout) -> dict[str, Any]:
    """Parse the cards that astropy needs and drop all others."""
    all_cards = parse_cards(data[hdu.header_start : hdu.data_start])
    cards = {key: value for key, value in all_cards.items() if _KEYS.fullmatch(key) and value is not None}
    for key in ("BSCALE", "BZERO"):
        if type(cards.get(key, 0)) not in (int, float):
            del cards[key]
    for key in ("BLANK", "ZBLANK"):
        if type(cards.get(key, 0)) is not int:
            del cards[key]
    return cards


def _count(cards: dict[str, Any], key: str, default: int | None = None) -> int:
    value = cards.get(key, default)
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise _failure(f"{key} is {value!r}")
    return value


def _tile_shape(cards: dict[str, Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a tile; by default a row of the image."""
    tile = []
    for axis, length in enumerate(reversed(shape), 1):
        key = f"ZTILE{axis}"
        cards.setdefault(key, length if axis == 1 else 1)
        if _count(cards, key) == 0:
            raise _failure(f"{key} is 0")
        tile.append(min(cards[key], length))
    return tuple(reversed(tile))


def _columns(cards: dict[str, Any], rows: bytes, n_rows: int, width: int, n_heap: int) -> dict[str, _Column]:
    """Read the positions of the tiles, and check that all tiles lie in the heap."""
    columns: dict[str, _Column] = {}
    position = 0
    n_columns = _count(cards, "TFIELDS")
    if n_columns > _MAX_COLUMNS:
        raise _failure(f"the table has {n_columns} columns")
    for number in range(1, n_columns + 1):
        name, form = str(cards.get(f"TTYPE{number}")).strip().upper(), str(cards.get(f"TFORM{number}"))
        match = re.match(r"(\d{0,9})([LBAIJEKDCMPQ])([BIJED]?)", form)
        if match is None or name in columns:
            raise _failure(f"column {number} has TTYPE {name!r} and TFORM {form!r}")
        cards[f"TTYPE{number}"] = name
        repeat, letter, element = int(match[1] or 1), match[2], match[3]
        if name.endswith("COMPRESSED_DATA"):
            if letter not in "PQ" or repeat != 1 or not element or position + _WIDTHS[letter] > width:
                raise _failure(f"column {name} has TFORM {form!r}")
            columns[name] = _column(letter, element, rows, n_rows, width, position, n_heap)
        position += repeat * _WIDTHS[letter]
    if position != width or "COMPRESSED_DATA" not in columns:
        raise _failure("the columns of the table do not make up its rows")
    if np.all([column.lengths == 0 for column in columns.values()], axis=0).any():
        raise _failure("there are tiles without data")
    return columns


def _column(letter: str, element: str, rows: bytes, n_rows: int, width: int, position: int, n_heap: int) -> _Column:
    dtype, pair_width = (">i4", 8) if letter == "P" else (">i8", 16)
    pairs = np.ndarray((n_rows, 2), dtype, rows, position, (width, pair_width // 2)).astype(np.int64)
    column = _Column(element, pairs[:, 0], pairs[:, 1], (dtype, position))
    # Check the values first: the sum of a length and an offset could overflow.
    outside = (pairs < 0) | (pairs > n_heap)
    if outside.any() or ((column.offsets + column.n_bytes > n_heap) & (column.lengths > 0)).any():
        raise _failure("tiles lie outside of the data")
    return column


def _check_tiles(table: _Table) -> tuple[bytes, bytes]:
    """Check the tiles for their algorithm; return the rows and the heap of the table for astropy.

    A tile must be long enough for its pixels, so that no memory is allocated for pixels that do not exist.
    """
    algorithm = table.cards["ZCMPTYPE"]
    packed = table.columns["COMPRESSED_DATA"].lengths > 0
    fallback = table.columns.get("GZIP_COMPRESSED_DATA")
    if fallback is not None:
        _check_gzip(table, "GZIP_COMPRESSED_DATA", ~packed & (fallback.lengths > 0))
    if table.cards.get("ZQUANTIZ") in _DITHERED and not 1 <= _count(table.cards, "ZDITHER0", 0) <= 10_000:
        raise _failure(f"ZDITHER0 is {table.cards.get('ZDITHER0')}, must be a number from 1 to 10000")
    if algorithm.startswith("RICE"):
        _check_rice(table, packed)
    elif algorithm.startswith("GZIP"):
        _check_gzip(table, "COMPRESSED_DATA", packed)
    elif algorithm == "PLIO_1":
        _check_plio(table, packed)
    elif algorithm == "HCOMPRESS_1":
        return _pad_hcompress(table, packed)
    else:
        _check_lengths(table.columns["COMPRESSED_DATA"].n_bytes[packed], table.n_pixels[packed])
    return table.rows, table.heap


def _check_lengths(n_bytes: NDArray[np.int64], n_pixels: NDArray[np.int64]) -> None:
    per_pixel, rest = np.divmod(n_bytes, n_pixels)
    if rest.any() or not np.isin(per_pixel, (1, 2, 4, 8)).all():
        raise _failure("tiles unpack to more or fewer pixels than they have")


def _check_gzip(table: _Table, column: str, selected: NDArray[np.bool_]) -> None:
    n_pixels = table.n_pixels[selected]
    n_bytes = np.zeros_like(n_pixels)
    for place, (_, tile) in enumerate(table.tiles(column, selected)):
        try:
            n_bytes[place] = len(gunzip(tile, 8 * int(n_pixels[place])))
        except (DataError, OSError, EOFError, ValueError, zlib.error) as error:
            raise _failure(f"a tile is damaged: {error}") from None
    _check_lengths(n_bytes, n_pixels)


def _check_rice(table: _Table, selected: NDArray[np.bool_]) -> None:
    """Check block and pixel size; a block of equal pixels takes 3, 4 or 5 bits (pixels of 1, 2 or 4 bytes)."""
    block, width = (_setting(table.cards, name, default) for name, default in (("BLOCKSIZE", 32), ("BYTEPIX", 4)))
    if type(block) is not int or type(width) is not int or block not in (16, 32) or width not in (1, 2, 4):
        raise _failure(f"BLOCKSIZE is {block}, BYTEPIX is {width}")
    n_bits = 8 * (table.columns["COMPRESSED_DATA"].n_bytes[selected] - width)
    if (n_bits < table.n_pixels[selected] // block * {1: 3, 2: 4, 4: 5}[width]).any():
        raise _failure("tiles are cut short")


def _setting(cards: dict[str, Any], name: str, default: int) -> Any:
    """Find a setting of the algorithm as astropy does: in the first ZNAMEi of this name, before any gap in i."""
    number = 1
    while (setting := cards.get(f"ZNAME{number}")) is not None:
        if not isinstance(setting, str):
            raise _failure(f"ZNAME{number} is {setting!r}")
        if setting.lower() == name.lower():
            return cards.get(f"ZVAL{number}")
        number += 1
    return default


def _check_plio(table: _Table, selected: NDArray[np.bool_]) -> None:
    """Check the lengths in the line lists, because CFITSIO reads that far; one word encodes up to 4096 pixels."""
    if table.columns["COMPRESSED_DATA"].letter != "I":
        raise _failure("PLIO needs a column of 16-bit integers")
    if (table.columns["COMPRESSED_DATA"].lengths[selected] * 4096 < table.n_pixels[selected]).any():
        raise _failure("a tile is cut short")
    for _, tile in table.tiles("COMPRESSED_DATA", selected):
        words = np.frombuffer(tile, ">i2").astype(int)
        if len(words) < 3 or (words[2] <= 0 and len(words) < 7):
            raise _failure("a tile is cut short")
        first, length = (3, words[2]) if words[2] > 0 else (words[1], (words[4] << 15) + words[3])
        if first < 0 or length > len(words):
            raise _failure("a tile is cut short")


def _pad_hcompress(table: _Table, selected: NDArray[np.bool_]) -> tuple[bytes, bytes]:
    """Check the sizes in the streams, and pad the heap so that CFITSIO cannot read beyond it.

    A bit plane takes at most two bits per pixel (codes of six bits for 2 x 2 pixels, and a third more for the levels
    of the tree), a sign one bit.
    """
    column = table.columns["COMPRESSED_DATA"]
    largest = math.prod(table.tile)
    if column.letter != "B" or largest > _MAX_HCOMPRESS_PIXELS:
        raise _failure(f"tiles have {format_shape(table.tile)} pixels")
    n_planes = 0
    for number, tile in table.tiles("COMPRESSED_DATA", selected):
        if len(tile) < _HCOMPRESS_HEADER.itemsize:
            raise _failure("a tile is cut short")
        header = np.frombuffer(tile, _HCOMPRESS_HEADER, 1)[0]
        n_planes = max(n_planes, int(header["planes"].max()))
        axes = [int(length) for length in header["axes"]]
        if header["magic"] != b"\xdd\x99" or n_planes > 63 or sorted(axes) != sorted(table.tile_axes(number)):
            raise _failure("a tile does not begin as it should")
    n_padding = largest * (2 * n_planes + 1) // 8 + 64
    dtype, position = column.descriptors
    rows = bytearray(table.rows)
    lengths = np.ndarray(len(selected), dtype, rows, position, (len(rows) // len(selected),))
    lengths[selected] += n_padding
    return bytes(rows), table.heap + bytes(n_padding)
