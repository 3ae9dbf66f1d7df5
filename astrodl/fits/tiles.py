"""Unpack tile-compressed images that nobody vouches for.

astropy does the unpacking, with C code of CFITSIO that trusts its input: lengths written in the compressed stream are
followed out of the buffer, which ends the process or makes it use the memory of other objects. Hence all that the C
code relies on is checked before, and astropy is given a table with nothing but the cards that were checked (FITS
standard 4.0, section 10.1).
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
from astrodl.fits.header import BLOCK, TYPES, Unit, by, parse_cards

_PRIMARY = fits.PrimaryHDU().header.tostring().encode("ascii")
_KEYS = re.compile(
    r"(XTENSION|BITPIX|NAXIS[12]?|PCOUNT|GCOUNT|TFIELDS|(TTYPE|TFORM)\d{1,3}|THEAP|ZIMAGE|ZCMPTYPE|ZBITPIX|ZBLANK"
    r"|Z(NAXIS|TILE)\d{0,3}|Z(NAME|VAL)\d{1,3}|ZQUANTIZ|ZDITHER0|BSCALE|BZERO|BLANK)"
)
_WIDTHS = {"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "E": 4, "K": 8, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_CODES = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS")
_DITHERED = ("SUBTRACTIVE_DITHER_1", "SUBTRACTIVE_DITHER_2")
_MOST_TILES = 1_000_000
_MOST_COLUMNS = 20
_LARGEST_H_TILE = 1 << 25
_H_HEADER = np.dtype([("magic", "S2"), ("axes", ">i4", 2), ("scale", ">i4"), ("sum", ">i8"), ("planes", "u1", 3)])


@dataclass(frozen=True)
class _Column:
    """Where the tiles of a column lie in the heap.

    Attributes
    ----------
    letter
        Type of the elements.
    lengths, offsets
        Elements of each tile, and where they begin, in bytes.
    place
        Of the lengths in the table: type, position in the row.
    """

    letter: str
    lengths: NDArray[np.int64]
    offsets: NDArray[np.int64]
    place: tuple[str, int]

    @property
    def n_bytes(self) -> NDArray[np.int64]:
        """Bytes of each tile."""
        return self.lengths * _WIDTHS[self.letter]


@dataclass(frozen=True)
class _Table:
    """The table that holds a compressed image, as far as it could be checked.

    Attributes
    ----------
    cards
        Cards that astropy needs.
    shape, tile
        Of the image and of a tile, slowest axis first.
    columns
        Those that hold tiles, by name.
    rows, heap
        Bytes of the table and of what the tiles lie in.
    """

    cards: dict[str, Any]
    shape: tuple[int, ...]
    tile: tuple[int, ...]
    columns: dict[str, _Column]
    rows: bytes
    heap: bytes

    @property
    def n_pixels(self) -> NDArray[np.int64]:
        """Pixels of each tile."""
        return reduce(np.multiply.outer, self._sizes()).ravel()

    def size(self, number: int) -> list[int]:
        """Give the axes of a tile, without those of one pixel."""
        sizes = self._sizes()
        index = np.unravel_index(number, [len(axis) for axis in sizes])
        return [int(axis[place]) for axis, place in zip(sizes, index, strict=True) if axis[place] > 1]

    def _sizes(self) -> list[NDArray[np.int64]]:
        """Give the lengths of the tiles along each axis; the last is cut by the edge of the image."""
        edges = [np.minimum(np.arange(0, n + step, step), n) for n, step in zip(self.shape, self.tile, strict=True)]
        return [np.diff(axis) for axis in edges]

    def tiles(self, column: str, which: NDArray[np.bool_]) -> Iterator[tuple[int, bytes]]:
        """Give number and bytes of tiles that a column holds."""
        starts, n_bytes = self.columns[column].offsets, self.columns[column].n_bytes
        for number in np.flatnonzero(which):
            yield int(number), self.heap[starts[number] : starts[number] + n_bytes[number]]


def unpack(data: bytes, unit: Unit) -> NDArray[Any]:
    """Unpack the image of a unit as astropy does.

    Raises
    ------
    UnreadableError
        The image is too large, damaged, or compressed in an unknown way.
    """
    if math.prod(unit.shape) * 8 > MAX_BYTES:
        raise UnreadableError(f"the compressed image claims {by(unit.shape)} pixels, more than a cutout can have")
    safe = checked(data, unit)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(io.BytesIO(safe)) as file:
                image = np.asarray(file[1].data)
    except Exception as error:  # the class that the C code raises is derived from Exception, and private
        raise _refuse(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    if image.shape != unit.shape:
        raise _refuse(f"it has {by(image.shape)} pixels instead of {by(unit.shape)}")
    return image


def checked(data: bytes, unit: Unit) -> bytes:
    """Give a FITS file whose first extension is the image of a unit, after checking all that astropy's C code trusts.

    Raises
    ------
    UnreadableError
        The image is damaged, or compressed in an unknown way.
    """
    table = _read_table(data, unit)
    rows, heap = _check_code(table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        header = fits.Header({**table.cards, "PCOUNT": len(heap)}).tostring().encode("ascii")
    return b"".join((_PRIMARY, header, rows, heap, bytes(-(len(rows) + len(heap)) % BLOCK)))


def _refuse(reason: str) -> UnreadableError:
    return UnreadableError(f"the tile-compressed image cannot be unpacked ({reason})")


def _read_table(data: bytes, unit: Unit) -> _Table:
    cards = _cards(data, unit)
    bits, code = cards.get("ZBITPIX"), cards.get("ZCMPTYPE")
    if type(bits) is not int or bits not in TYPES:
        raise _refuse(f"ZBITPIX is {bits}, which FITS does not know")
    if code not in _CODES:
        raise _refuse(f"ZCMPTYPE is {code!r}, known are {', '.join(_CODES)}")
    tile = _tile(cards, unit.shape)
    if math.prod(tile) * 8 > MAX_BYTES:
        raise UnreadableError(f"a tile of the compressed image claims {by(tile)} pixels, more than 1 GB")
    n_tiles = math.prod(-(-length // part) for length, part in zip(unit.shape, tile, strict=True))
    width, n_rows = (_whole(cards, key) for key in ("NAXIS1", "NAXIS2"))
    if n_tiles != n_rows or n_tiles > _MOST_TILES:
        raise _refuse(f"{by(unit.shape)} pixels need {n_tiles} tiles, the table has {n_rows} rows")
    gap = _whole(cards, "THEAP", width * n_rows) - width * n_rows
    if cards.get("NAXIS") != 2 or cards.get("BITPIX") != 8 or cards.get("GCOUNT", 1) != 1 or gap < 0:
        raise _refuse("the cards of the table contradict each other")
    cards["THEAP"] = width * n_rows
    rows = data[unit.start : unit.start + width * n_rows]
    heap = data[unit.start + len(rows) + gap : unit.start + unit.n_bytes]
    return _Table(cards, unit.shape, tile, _columns(cards, rows, n_rows, width, len(heap)), rows, heap)


def _cards(data: bytes, unit: Unit) -> dict[str, Any]:
    """Parse the cards that astropy needs; others never reach it."""
    all_cards = parse_cards(data[unit.header : unit.start])
    cards = {key: value for key, value in all_cards.items() if _KEYS.fullmatch(key) and value is not None}
    for key in ("BSCALE", "BZERO"):
        if type(cards.get(key, 0)) not in (int, float):
            del cards[key]
    for key in ("BLANK", "ZBLANK"):
        if type(cards.get(key, 0)) is not int:
            del cards[key]
    return cards


def _whole(cards: dict[str, Any], key: str, default: int | None = None) -> int:
    value = cards.get(key, default)
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise _refuse(f"{key} is {value!r}")
    return value


def _tile(cards: dict[str, Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Find the shape of a tile, which is a row of the image unless the header says otherwise."""
    tile = []
    for axis, length in enumerate(reversed(shape), 1):
        key = f"ZTILE{axis}"
        cards.setdefault(key, length if axis == 1 else 1)
        if _whole(cards, key) == 0:
            raise _refuse(f"{key} is 0")
        tile.append(min(cards[key], length))
    return tuple(reversed(tile))


def _columns(cards: dict[str, Any], rows: bytes, n_rows: int, width: int, n_heap: int) -> dict[str, _Column]:
    """Read where the tiles lie, and make sure that all lie in the heap."""
    columns: dict[str, _Column] = {}
    position = 0
    n_columns = _whole(cards, "TFIELDS")
    if n_columns > _MOST_COLUMNS:
        raise _refuse(f"the table has {n_columns} columns")
    for number in range(1, n_columns + 1):
        name, form = str(cards.get(f"TTYPE{number}")).strip().upper(), str(cards.get(f"TFORM{number}"))
        match = re.match(r"(\d{0,9})([LBAIJEKDCMPQ])([BIJED]?)", form)
        if match is None or name in columns:
            raise _refuse(f"column {number} has TTYPE {name!r} and TFORM {form!r}")
        cards[f"TTYPE{number}"] = name
        repeat, letter, element = int(match[1] or 1), match[2], match[3]
        if name.endswith("COMPRESSED_DATA"):
            if letter not in "PQ" or repeat != 1 or not element or position + _WIDTHS[letter] > width:
                raise _refuse(f"column {name} has TFORM {form!r}")
            columns[name] = _column(letter, element, rows, n_rows, width, position, n_heap)
        position += repeat * _WIDTHS[letter]
    if position != width or "COMPRESSED_DATA" not in columns:
        raise _refuse("the columns of the table do not make up its rows")
    if np.all([column.lengths == 0 for column in columns.values()], axis=0).any():
        raise _refuse("there are tiles without data")
    return columns


def _column(letter: str, element: str, rows: bytes, n_rows: int, width: int, position: int, n_heap: int) -> _Column:
    kind, pair_width = (">i4", 8) if letter == "P" else (">i8", 16)
    pairs = np.ndarray((n_rows, 2), kind, rows, position, (width, pair_width // 2)).astype(np.int64)
    column = _Column(element, pairs[:, 0], pairs[:, 1], (kind, position))
    # The lengths first: their sum with an offset could overflow.
    outside = (pairs < 0) | (pairs > n_heap)
    if outside.any() or ((column.offsets + column.n_bytes > n_heap) & (column.lengths > 0)).any():
        raise _refuse("tiles lie outside of the data")
    return column


def _check_code(table: _Table) -> tuple[bytes, bytes]:
    """Check what the code of the compression relies on; gives the table's rows and heap for astropy.

    A tile must be long enough for its pixels, so that memory is never taken for pixels that are not there.
    """
    code = table.cards["ZCMPTYPE"]
    packed = table.columns["COMPRESSED_DATA"].lengths > 0
    spare = table.columns.get("GZIP_COMPRESSED_DATA")
    if spare is not None:
        _check_gzip(table, "GZIP_COMPRESSED_DATA", ~packed & (spare.lengths > 0))
    if table.cards.get("ZQUANTIZ") in _DITHERED and not 1 <= _whole(table.cards, "ZDITHER0", 0) <= 10_000:
        raise _refuse(f"ZDITHER0 is {table.cards.get('ZDITHER0')}, must be a number from 1 to 10000")
    if code.startswith("RICE"):
        _check_rice(table, packed)
    elif code.startswith("GZIP"):
        _check_gzip(table, "COMPRESSED_DATA", packed)
    elif code == "PLIO_1":
        _check_plio(table, packed)
    elif code == "HCOMPRESS_1":
        return _pad_hcompress(table, packed)
    else:
        _check_lengths(table.columns["COMPRESSED_DATA"].n_bytes[packed], table.n_pixels[packed])
    return table.rows, table.heap


def _check_lengths(n_bytes: NDArray[np.int64], n_pixels: NDArray[np.int64]) -> None:
    per_pixel, rest = np.divmod(n_bytes, n_pixels)
    if rest.any() or not np.isin(per_pixel, (1, 2, 4, 8)).all():
        raise _refuse("tiles unpack to more or fewer pixels than they have")


def _check_gzip(table: _Table, column: str, which: NDArray[np.bool_]) -> None:
    n_pixels = table.n_pixels[which]
    n_bytes = np.zeros_like(n_pixels)
    for place, (_, tile) in enumerate(table.tiles(column, which)):
        try:
            n_bytes[place] = len(gunzip(tile, 8 * int(n_pixels[place])))
        except (DataError, OSError, EOFError, ValueError, zlib.error) as error:
            raise _refuse(f"a tile is damaged: {error}") from None
    _check_lengths(n_bytes, n_pixels)


def _check_rice(table: _Table, which: NDArray[np.bool_]) -> None:
    """Check block and pixel size; a block of equal pixels takes 3, 4 or 5 bits (Rice code of 1, 2 or 4 bytes)."""
    block, width = (_setting(table.cards, name, default) for name, default in (("BLOCKSIZE", 32), ("BYTEPIX", 4)))
    if type(block) is not int or type(width) is not int or block not in (16, 32) or width not in (1, 2, 4):
        raise _refuse(f"BLOCKSIZE is {block}, BYTEPIX is {width}")
    n_bits = 8 * (table.columns["COMPRESSED_DATA"].n_bytes[which] - width)
    if (n_bits < table.n_pixels[which] // block * {1: 3, 2: 4, 4: 5}[width]).any():
        raise _refuse("tiles are cut short")


def _setting(cards: dict[str, Any], name: str, default: int) -> Any:
    """Find a setting of the compression where astropy finds it: in the first pair of its name, before any gap."""
    number = 1
    while (found := cards.get(f"ZNAME{number}")) is not None:
        if not isinstance(found, str):
            raise _refuse(f"ZNAME{number} is {found!r}")
        if found.lower() == name.lower():
            return cards.get(f"ZVAL{number}")
        number += 1
    return default


def _check_plio(table: _Table, which: NDArray[np.bool_]) -> None:
    """Check the lengths that line lists say of themselves, for CFITSIO reads that far; a word is up to 4096 pixels."""
    if table.columns["COMPRESSED_DATA"].letter != "I":
        raise _refuse("PLIO needs a column of 16-bit integers")
    if (table.columns["COMPRESSED_DATA"].lengths[which] * 4096 < table.n_pixels[which]).any():
        raise _refuse("a tile is cut short")
    for _, tile in table.tiles("COMPRESSED_DATA", which):
        words = np.frombuffer(tile, ">i2").astype(int)
        if len(words) < 3 or (words[2] <= 0 and len(words) < 7):
            raise _refuse("a tile is cut short")
        first, length = (3, words[2]) if words[2] > 0 else (words[1], (words[4] << 15) + words[3])
        if first < 0 or length > len(words):
            raise _refuse("a tile is cut short")


def _pad_hcompress(table: _Table, which: NDArray[np.bool_]) -> tuple[bytes, bytes]:
    """Check sizes in the streams, and give each tile so much behind it that CFITSIO cannot read any further.

    A bit plane takes at most two bits per pixel (codes of six bits for 2 x 2 pixels, and a third more for the levels
    of the tree), a sign one bit.
    """
    column = table.columns["COMPRESSED_DATA"]
    largest = math.prod(table.tile)
    if column.letter != "B" or largest > _LARGEST_H_TILE:
        raise _refuse(f"tiles have {by(table.tile)} pixels")
    n_planes = 0
    for number, tile in table.tiles("COMPRESSED_DATA", which):
        if len(tile) < _H_HEADER.itemsize:
            raise _refuse("a tile is cut short")
        head = np.frombuffer(tile, _H_HEADER, 1)[0]
        n_planes = max(n_planes, int(head["planes"].max()))
        axes = [int(length) for length in head["axes"]]
        if head["magic"] != b"\xdd\x99" or n_planes > 63 or sorted(axes) != sorted(table.size(number)):
            raise _refuse("a tile does not begin as it should")
    room = largest * (2 * n_planes + 1) // 8 + 64
    kind, position = column.place
    rows = bytearray(table.rows)
    lengths = np.ndarray(len(which), kind, rows, position, (len(rows) // len(which),))
    lengths[which] += room
    return bytes(rows), table.heap + bytes(room)
