"""Find the header-data units (HDUs) of a FITS file and the header cards that describe them.

The files of a survey come from one program and share a structure: the same keywords in the same places, with different
positions, dates and exposure times. The layout of a parsed file is therefore cached together with its skeleton: the
keywords of all cards, and the full text of the cards that say where the pixels are. A later file with the same length
and skeleton is not parsed again; recognizing it takes one gather of bytes and one comparison. The skeleton contains all
bytes that the parser reads, so the cached layout equals the parsed one.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astrodl.fits.bytes import UnreadableError

__all__ = [
    "BLOCK",
    "PIXEL_TYPES",
    "ZERO_POINT_KEYS",
    "CardValue",
    "FileLayout",
    "HduLayout",
    "Scaling",
    "find_layout",
    "format_shape",
    "parse_cards",
    "parse_cards_cached",
    "parse_layout",
]

CardValue = str | bool | int | float | None

BLOCK = 2880
_CARD = 80
PIXEL_TYPES = {bits: np.dtype(code) for bits, code in ((8, "u1"), (16, ">i2"), (32, ">i4"), (64, ">i8"))}
PIXEL_TYPES |= {-32: np.dtype(">f4"), -64: np.dtype(">f8")}
"""Type of the pixels by BITPIX."""

ZERO_POINT_KEYS = ("MAGZERO", "MAGZPT", "MAGZP", "MAG_ZP", "MAGZEROP", "ZEROPNT", "ZEROPT", "PHOTZP", "ZP")
"""Keywords of an AB zero point, the most common first."""

_VALUES = {*ZERO_POINT_KEYS, "FLUXMAG0", "PHOTFLAM", "PHOTPLAM", "PIXAR_SR", "BUNIT", "EXPTIME", "INHERIT"}
_STRUCTURE = re.compile(
    r"END|SIMPLE|XTENSION|BITPIX|Z?NAXIS\d{0,3}|ZIMAGE|PCOUNT|GCOUNT|GROUPS|EXTNAME|EXTVER|BSCALE|BZERO|BLANK"
)
_CARD_PATTERN = re.compile(rb"([A-Z0-9_-]{1,8}) *= +('(?:[^']|'')*'|[^/]*)")
_MAX_BLOCKS = 1000  # 36,000 cards; the longest headers of coadds have a few thousand
_MAX_HDUS = 20_000
_MAX_AXES = 32
_MAX_WORDS = 100_000
_MAX_LAYOUTS = 16


class Scaling(NamedTuple):
    """Scaling of stored values: physical value = zero + scale * stored value; `blank` marks missing pixels."""

    scale: float
    zero: float
    blank: int | None


@dataclass(frozen=True, slots=True)
class HduLayout:
    """Structure of one HDU; the same for all files with the same `FileLayout`.

    Attributes
    ----------
    index, name, shape
        See `astrodl.fits.Hdu`.
    cards
        Values of the cards that describe the structure.
    scaling
        Scaling of the stored values; None if they are the physical values.
    value_cards
        Slices of the file that contain the cards of zero points and units.
    header_start, data_start
        Position of the header and of the data, in bytes.
    n_bytes
        Size of the data according to the header.
    n_available
        Number of bytes in the file after the header.
    is_compressed
        Whether the image is tile-compressed.
    is_plain
        Whether the pixels are complete and can be copied to float32 without scaling or overflow.
    dtype
        Type of the stored pixels.
    image_shape
        `shape` without leading axes of length one, down to two axes.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    cards: dict[str, CardValue]
    scaling: Scaling | None
    value_cards: tuple[slice, ...]
    header_start: int
    data_start: int
    n_bytes: int
    n_available: int
    is_compressed: bool
    is_plain: bool
    dtype: np.dtype
    image_shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FileLayout:
    """The HDUs of a file, and a cache of those looked up by extension."""

    hdus: tuple[HduLayout, ...]
    by_extension: dict[str | int, HduLayout] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _KnownLayout:
    words: NDArray[np.intp]
    skeleton: bytes
    layout: FileLayout


_known_layouts: dict[int, _KnownLayout] = {}


def find_layout(data: bytes) -> FileLayout:
    """Find the HDUs of a file, from the cache if an earlier file had the same length and skeleton.

    Raises
    ------
    UnreadableError
        If the data are not FITS or a header is broken.
    """
    known = _known_layouts.get(len(data))
    if known is not None and _skeleton(data, known.words) == known.skeleton:
        return known.layout
    layout, words = parse_layout(data)
    if words is not None:
        while len(_known_layouts) >= _MAX_LAYOUTS:
            _known_layouts.pop(next(iter(_known_layouts)), None)
        _known_layouts[len(data)] = _KnownLayout(words, _skeleton(data, words), layout)
    return layout


def _skeleton(data: bytes, words: NDArray[np.intp]) -> bytes:
    return np.ndarray((len(data) // 8,), np.uint64, data).take(words).tobytes()


def parse_layout(data: bytes) -> tuple[FileLayout, NDArray[np.intp] | None]:
    """Parse the headers of a file.

    Returns
    -------
    layout
        The HDUs.
    words
        Indices of the 8-byte words of the file on which the layout depends, besides the file's length. None if it
        depends on more, for example if the file is truncated or has data after the last HDU.

    Raises
    ------
    UnreadableError
        If the data are not FITS or a header is broken.
    """
    if not data.startswith(b"SIMPLE  ="):
        raise UnreadableError(f"not a FITS file ({_describe_content(data)})")
    hdus: list[HduLayout] = []
    words: list[int] = []
    position = 0
    while position < len(data) and (not hdus or data.startswith(b"XTENSION", position)):
        keywords = _keywords(data, position)
        if keywords is None:
            if not hdus:
                raise UnreadableError("the header has no end: the file is cut short or damaged")
            break
        if len(hdus) == _MAX_HDUS:
            raise UnreadableError(f"the file has more than {_MAX_HDUS} extensions")
        hdu, cards = _parse_hdu(data, position, keywords, len(hdus))
        hdus.append(hdu)
        words += range(position // 8, hdu.data_start // 8, _CARD // 8)
        for card in cards:
            words += range(card // 8 + 1, (card + _CARD) // 8)
        position = hdu.data_start + -(-hdu.n_bytes // BLOCK) * BLOCK
    last = hdus[-1]
    is_complete = position >= len(data) >= last.data_start and last.n_available >= last.n_bytes
    can_cache = is_complete and len(words) <= _MAX_WORDS
    return FileLayout(tuple(hdus)), np.array(words, np.intp) if can_cache else None


def _describe_content(data: bytes) -> str:
    """Describe data that are not FITS."""
    text = data[:200].lstrip().lower()
    if text.startswith((b"<html", b"<!doctype", b"<?xml")):
        return "it is a web page, most often the error message of a download"
    if text.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file itself"
    return f"starts with {data[:16]!r}"


def _keywords(data: bytes, start: int) -> list[str] | None:
    """List the keywords of a header's cards including END; return None if the header has no end."""
    keywords = []
    for card in range(start, min(start + _MAX_BLOCKS * BLOCK, len(data)), _CARD):
        keyword = data[card : card + 8].decode("latin-1").split("=")[0].rstrip()
        keywords.append(keyword)
        if keyword == "END" and not data[card + 3 : card + _CARD].strip():
            return keywords
    return None


def _parse_hdu(data: bytes, header_start: int, keywords: list[str], index: int) -> tuple[HduLayout, list[int]]:
    """Parse a header; return the HDU and the positions of the cards on which it depends."""
    structure = [header_start + _CARD * row for row, keyword in enumerate(keywords) if _STRUCTURE.fullmatch(keyword)]
    values = [header_start + _CARD * row for row, keyword in enumerate(keywords) if keyword in _VALUES]
    data_start = header_start + -(-len(keywords) * _CARD // BLOCK) * BLOCK
    cards = parse_cards(b"".join([data[card : card + _CARD] for card in structure]))
    axes = _axes(cards, "NAXIS")
    bits = cards.get("BITPIX")
    if type(bits) is not int or bits not in PIXEL_TYPES:
        accepted = ", ".join(map(str, PIXEL_TYPES))
        raise UnreadableError(f"BITPIX is {'missing' if bits is None else repr(bits)}, must be one of {accepted}")
    groups = cards.get("GROUPS") is True and axes[-1:] == (0,)
    n_elements = math.prod(axes[:-1] if groups else axes) if axes else 0
    n_bytes = abs(bits) // 8 * _count(cards, "GCOUNT", 1) * (_count(cards, "PCOUNT", 0) + n_elements)
    shape: tuple[int, ...] = ()
    extension = str(cards.get("XTENSION", "IMAGE")).strip()
    is_compressed = cards.get("ZIMAGE") is True and extension in ("BINTABLE", "A3DTABLE")
    if is_compressed:
        shape = _axes(cards, "ZNAXIS")
    elif extension == "IMAGE" and not groups:
        shape = axes
        n_bytes = max(n_bytes, abs(bits) // 8 * n_elements)  # GCOUNT = 0 does not make an image smaller
    if n_bytes >= 1 << 63:
        raise UnreadableError("the header declares more data than any disk can hold")
    scaling = None if is_compressed else _scaling(cards)  # decompression already scales a compressed image
    n_available = max(len(data) - data_start, 0)
    hdu = HduLayout(
        index=index,
        name=str(cards.get("EXTNAME", "" if index else "PRIMARY")).strip(),
        shape=shape,
        cards=cards,
        scaling=scaling,
        value_cards=tuple(slice(card, card + _CARD) for card in values),
        header_start=header_start,
        data_start=data_start,
        n_bytes=n_bytes,
        n_available=n_available,
        is_compressed=is_compressed,
        is_plain=scaling is None and not is_compressed and bits != -64 and n_available >= n_bytes,
        dtype=PIXEL_TYPES[bits],
        image_shape=_drop_leading_axes(shape),
    )
    return hdu, structure


def _drop_leading_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _scaling(cards: dict[str, CardValue]) -> Scaling | None:
    scale, zero = (_number(cards.get(key), default) for key, default in (("BSCALE", 1.0), ("BZERO", 0.0)))
    blank, bits = cards.get("BLANK"), cards["BITPIX"]
    is_integer = type(bits) is int and bits > 0
    scaling = Scaling(scale, zero, blank if type(blank) is int and is_integer else None)
    return None if scaling == (1.0, 0.0, None) else scaling


def _number(value: CardValue, default: float) -> float:
    return float(value) if type(value) is int or type(value) is float else default


@lru_cache(maxsize=4096)
def parse_cards_cached(cards: bytes) -> dict[str, CardValue]:
    """Parse consecutive cards; callers share the result and must not change it."""
    return parse_cards(cards)


def parse_cards(cards: bytes) -> dict[str, CardValue]:
    """Parse consecutive cards; the first card of a keyword counts."""
    parsed: dict[str, CardValue] = {}
    for start in range(0, len(cards), _CARD):
        match = _CARD_PATTERN.match(cards, start, start + _CARD)
        if match and match[1].decode() not in parsed:
            parsed[match[1].decode()] = _parse_value(match[2])
    return parsed


def _parse_value(text: bytes) -> CardValue:
    text = text.strip()
    if text.startswith(b"'"):
        plain = text[1:-1].replace(b"''", b"'").decode("ascii", "replace").rstrip()
        return "".join(letter if letter.isprintable() else "?" for letter in plain)
    if text in (b"T", b"F"):
        return text == b"T"
    for number_type in (int, float):
        try:
            return number_type(text.replace(b"D", b"E"))
        except ValueError:
            continue
    return None


def _axes(cards: dict[str, CardValue], prefix: str) -> tuple[int, ...]:
    n_axes = _count(cards, prefix, 0)
    if n_axes > _MAX_AXES:
        raise UnreadableError(f"{prefix} is {n_axes}: no image has so many axes")
    return tuple(reversed([_count(cards, f"{prefix}{axis}", None) for axis in range(1, n_axes + 1)]))


def _count(cards: dict[str, CardValue], key: str, default: int | None) -> int:
    value = cards.get(key, default)
    if type(value) is not int or value < 0:  # bool is a subclass of int, but T is not a number in FITS
        raise UnreadableError(f"{key} is {'missing' if value is None else repr(value)}, must be an integer >= 0")
    return value


def format_shape(shape: Sequence[int]) -> str:
    """Format a shape as astronomers write it: x first."""
    return " x ".join(str(length) for length in reversed(shape))
