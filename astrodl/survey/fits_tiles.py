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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from astrodl.survey.fits_bytes import MAX_BYTES, UnreadableError, gunzip
from astrodl.survey.fits_header import BLOCK, TYPES, Unit, by, parse_cards

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
    def n_pixels(self) -> int:
        """Pixels of a tile that is not cut by the edge."""
        return math.prod(self.tile)

    def tiles(self, column: str, which: NDArray[np.bool_]) -> Iterator[tuple[int, bytes]]:
        """Give number and bytes of tiles that a column holds."""
        starts, n_bytes = self.columns[column].offsets, self.columns[column].n_bytes
        for number in np.flatnonzero(which):
            yield int(number), self.heap[starts[number] : starts[number] + n_bytes[number]]

    def size(self, number: int) -> list[int]:
        """Give the axes of a tile, cut by the edge of the image, without those of one pixel."""
        counts = [-(-length // part) for length, part in zip(self.shape, self.tile, strict=True)]
        axes = zip(np.unravel_index(number, counts), self.shape, self.tile, strict=True)
        return [size for index, length, part in axes if (size := min(part, length - int(index) * part)) > 1]


def unpack(data: bytes, unit: Unit) -> NDArray[Any]:
    """Unpack the image of a unit as astropy does.

    Raises
    ------
    UnreadableError
        The image is too large, damaged, or compressed in an unknown way.
    """
    table = _read_table(data, unit)
    rows, heap = _check_code(table)
    header = fits.Header(table.cards.items())
    header["PCOUNT"] = len(heap)
    body = rows + heap
    parts = (_PRIMARY, header.tostring().encode("ascii"), body, bytes(-len(body) % BLOCK))
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(io.BytesIO(b"".join(parts))) as file:
                image = np.asarray(file[1].data)
    except Exception as error:  # the class that the C code raises is derived from Exception, and private
        raise _refuse(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    if image.shape != unit.shape:
        raise _refuse(f"it has {by(image.shape)} pixels instead of {by(unit.shape)}")
    return image


def _refuse(reason: str) -> UnreadableError:
    return UnreadableError(f"the tile-compressed image cannot be unpacked ({reason})")


def _read_table(data: bytes, unit: Unit) -> _Table:
    cards = _cards(data, unit)
    bits, code = cards.get("ZBITPIX"), cards.get("ZCMPTYPE")
    if type(bits) is not int or bits not in TYPES:
        raise _refuse(f"ZBITPIX is {bits}, which FITS does not know")
    if code not in _CODES:
        raise _refuse(f"ZCMPTYPE is {code!r}, known are {', '.join(_CODES)}")
    if math.prod(unit.shape) * 8 > MAX_BYTES:
        raise UnreadableError(f"the compressed image claims {by(unit.shape)} pixels, more than a cutout can have")
    tile = _tile(cards, unit.shape)
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
    """Check what the code of the compression relies on; gives the table's rows and heap for astropy."""
    code = table.cards["ZCMPTYPE"]
    packed = table.columns["COMPRESSED_DATA"].lengths > 0
    if "GZIP_COMPRESSED_DATA" in table.columns:
        _check_gzip(table, "GZIP_COMPRESSED_DATA", ~packed & (table.columns["GZIP_COMPRESSED_DATA"].lengths > 0))
    if table.cards.get("ZQUANTIZ") in _DITHERED and not 1 <= _whole(table.cards, "ZDITHER0", 0) <= 10_000:
        raise _refuse(f"ZDITHER0 is {table.cards.get('ZDITHER0')}, must be a number from 1 to 10000")
    if code.startswith("RICE"):
        _check_rice(table)
    elif code.startswith("GZIP"):
        _check_gzip(table, "COMPRESSED_DATA", packed)
    elif code == "PLIO_1":
        _check_plio(table, packed)
    elif code == "HCOMPRESS_1":
        return _pad_hcompress(table, packed)
    return table.rows, table.heap


def _check_gzip(table: _Table, column: str, which: NDArray[np.bool_]) -> None:
    for _, tile in table.tiles(column, which):
        try:
            gunzip(tile, 8 * table.n_pixels)
        except UnreadableError:
            raise _refuse("a tile unpacks to more pixels than it has") from None
        except Exception as error:
            raise _refuse(f"a tile is damaged: {error}") from None


def _check_rice(table: _Table) -> None:
    settings = {"BLOCKSIZE": 32, "BYTEPIX": 4}
    for key, value in table.cards.items():
        if key.startswith("ZNAME") and str(value).upper() in settings:
            settings[str(value).upper()] = table.cards.get(key.replace("ZNAME", "ZVAL"), 0)
    if settings["BLOCKSIZE"] not in (16, 32) or settings["BYTEPIX"] not in (1, 2, 4):
        raise _refuse(f"BLOCKSIZE is {settings['BLOCKSIZE']}, BYTEPIX is {settings['BYTEPIX']}")


def _check_plio(table: _Table, which: NDArray[np.bool_]) -> None:
    """Check the length that each line list says of itself: CFITSIO reads that far."""
    if table.columns["COMPRESSED_DATA"].letter != "I":
        raise _refuse("PLIO needs a column of 16-bit integers")
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
    if column.letter != "B" or table.n_pixels > _LARGEST_H_TILE:
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
    room = table.n_pixels * (2 * n_planes + 1) // 8 + 64
    kind, position = column.place
    rows = bytearray(table.rows)
    lengths = np.ndarray(len(which), kind, rows, position, (len(rows) // len(which),))
    lengths[which] += room
    return bytes(rows), table.heap + bytes(room)
