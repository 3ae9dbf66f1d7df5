"""Find the units of a FITS file and the few cards of their headers that matter.

The files of a survey come from one program and look alike: the same keywords at the same places, only positions, dates
and exposure times differ. What was found in a file is therefore kept under its skeleton, the keywords of all cards and
the whole of those cards that say where the pixels are. The next file of the same length and skeleton need not be
parsed: finding its units is one gather of bytes and one comparison. As the skeleton holds everything that the parser
looks at, the result is the same.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astrodl.fits.bytes import UnreadableError

BLOCK = 2880
CARD = 80
TYPES = {bits: np.dtype(kind) for bits, kind in ((8, "u1"), (16, ">i2"), (32, ">i4"), (64, ">i8"))}
TYPES |= {-32: np.dtype(">f4"), -64: np.dtype(">f8")}

ZERO_POINT_KEYS = ("MAGZERO", "MAGZPT", "MAGZP", "MAG_ZP", "MAGZEROP", "ZEROPNT", "ZEROPT", "PHOTZP", "ZP")
"""Keywords of an AB zero point, the more usual first."""

_VALUES = {*ZERO_POINT_KEYS, "FLUXMAG0", "PHOTFLAM", "PHOTPLAM", "PIXAR_SR", "BUNIT", "EXPTIME"}
_STRUCTURE = re.compile(
    r"END|SIMPLE|XTENSION|BITPIX|Z?NAXIS\d{0,3}|ZIMAGE|PCOUNT|GCOUNT|GROUPS|EXTNAME|EXTVER|BSCALE|BZERO|BLANK"
)
_CARD = re.compile(rb"([A-Z0-9_-]{1,8}) *= +('(?:[^']|'')*'|[^/]*)")
_MOST_BLOCKS = 1000  # 36,000 cards; the longest headers of stacks have some thousand
_MOST_UNITS = 20_000
_MOST_AXES = 32
_MOST_WORDS = 100_000
_MOST_LAYOUTS = 16


class Scaling(NamedTuple):
    """Physical value = zero + scale * stored value; `blank` is the stored value that means none."""

    scale: float
    zero: float
    blank: int | None


@dataclass(frozen=True, slots=True)
class Unit:
    """What is the same for a header-data unit of all files of a layout.

    Attributes
    ----------
    index, name, shape
        See `astrodl.fits.file.Hdu`.
    cards
        Values of the cards that describe the structure.
    scaling
        How stored values become physical ones; None where they are the same.
    values
        Slices of the file that hold the cards of zero points and units.
    header, start
        Where the header and the data begin, in bytes.
    n_bytes
        What the header says of the data.
    available
        Bytes after the header.
    compressed
        Whether it holds a tile-compressed image.
    plain
        Whether its numbers are all there and only need to be copied to become float32, without overflow.
    kind
        Type of the numbers as stored.
    flat
        `shape` without axes of one pixel in front.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    cards: dict[str, Any]
    scaling: Scaling | None
    values: tuple[slice, ...]
    header: int
    start: int
    n_bytes: int
    available: int
    compressed: bool
    plain: bool
    kind: np.dtype[Any]
    flat: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The units of a file, and what was looked up among them."""

    units: tuple[Unit, ...]
    found: dict[str | int, Unit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Known:
    words: NDArray[np.intp]
    skeleton: bytes
    layout: Layout


_known: dict[int, _Known] = {}


def find_units(data: bytes) -> Layout:
    """Walk through the units of a file, or recognise it as one that looks like an earlier one.

    Raises
    ------
    UnreadableError
        Not FITS, or a header is broken.
    """
    known = _known.get(len(data))
    if known is not None and _skeleton(data, known.words) == known.skeleton:
        return known.layout
    layout, words = parse(data)
    if words is not None:
        while len(_known) >= _MOST_LAYOUTS:
            _known.pop(next(iter(_known)), None)
        _known[len(data)] = _Known(words, _skeleton(data, words), layout)
    return layout


def _skeleton(data: bytes, words: NDArray[np.intp]) -> bytes:
    return np.ndarray((len(data) // 8,), np.uint64, data).take(words).tobytes()


def parse(data: bytes) -> tuple[Layout, NDArray[np.intp] | None]:
    """Walk through the units of a file.

    Returns
    -------
    layout
        The units.
    words
        Indices of the 8-byte words of the file on which the layout depends, besides its length; None where it depends
        on more, as in a file that is cut short or has something behind its units.

    Raises
    ------
    UnreadableError
        Not FITS, or a header is broken.
    """
    if not data.startswith(b"SIMPLE  ="):
        raise UnreadableError(f"not a FITS file ({_guess(data)})")
    units: list[Unit] = []
    words: list[int] = []
    position = 0
    while position < len(data) and (not units or data.startswith(b"XTENSION", position)):
        keywords = _keywords(data, position)
        if keywords is None:
            if not units:
                raise UnreadableError("the header has no end: the file is cut short or damaged")
            break
        if len(units) == _MOST_UNITS:
            raise UnreadableError(f"the file has more than {_MOST_UNITS} extensions")
        unit, cards = _unit(data, position, keywords, len(units))
        units.append(unit)
        words += range(position // 8, unit.start // 8, CARD // 8)
        for card in cards:
            words += range(card // 8 + 1, (card + CARD) // 8)
        position = unit.start + -(-unit.n_bytes // BLOCK) * BLOCK
    last = units[-1]
    whole = position >= len(data) >= last.start and last.available >= last.n_bytes
    known = whole and len(words) <= _MOST_WORDS
    return Layout(tuple(units)), np.array(words, np.intp) if known else None


def _guess(data: bytes) -> str:
    """Say what stands in the place of a FITS file."""
    text = data[:200].lstrip().lower()
    if text.startswith((b"<html", b"<!doctype", b"<?xml")):
        return "it is a web page, most often the error message of a download"
    if text.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file itself"
    return f"starts with {data[:16]!r}"


def _keywords(data: bytes, start: int) -> list[str] | None:
    """List the keywords of a header's cards, the last of them END; None where the header has no end."""
    found = []
    for card in range(start, min(start + _MOST_BLOCKS * BLOCK, len(data)), CARD):
        keyword = data[card : card + 8].decode("latin-1").split("=")[0].rstrip()
        found.append(keyword)
        if keyword == "END" and not data[card + 3 : card + CARD].strip():
            return found
    return None


def _unit(data: bytes, header: int, keywords: list[str], index: int) -> tuple[Unit, list[int]]:
    """Parse a header; gives the unit and the positions of the cards on which it depends."""
    structure = [header + CARD * row for row, keyword in enumerate(keywords) if _STRUCTURE.fullmatch(keyword)]
    values = [header + CARD * row for row, keyword in enumerate(keywords) if keyword in _VALUES]
    start = header + -(-len(keywords) * CARD // BLOCK) * BLOCK
    cards = parse_cards(b"".join([data[card : card + CARD] for card in structure]))
    axes = _axes(cards, "NAXIS")
    bits = cards.get("BITPIX")
    if type(bits) is not int or bits not in TYPES:
        raise UnreadableError(
            f"BITPIX is {'missing' if bits is None else repr(bits)}, must be one of {', '.join(map(str, TYPES))}"
        )
    groups = cards.get("GROUPS") is True and axes[-1:] == (0,)
    elements = math.prod(axes[:-1] if groups else axes) if axes else 0
    n_bytes = abs(bits) // 8 * _count(cards, "GCOUNT", 1) * (_count(cards, "PCOUNT", 0) + elements)
    shape: tuple[int, ...] = ()
    tiled = is_tiled(cards)
    if tiled:
        shape = _axes(cards, "ZNAXIS")
    elif str(cards.get("XTENSION", "IMAGE")).strip() == "IMAGE" and not groups:
        shape = axes
        n_bytes = max(n_bytes, abs(bits) // 8 * elements)  # GCOUNT = 0 does not make an image smaller
    if n_bytes >= 1 << 63:
        raise UnreadableError("the header promises more data than any disk can hold")
    scaling = None if tiled else _scaling(cards)  # a compressed image is scaled where it is unpacked
    available = max(len(data) - start, 0)
    unit = Unit(
        index=index,
        name=str(cards.get("EXTNAME", "" if index else "PRIMARY")).strip(),
        shape=shape,
        cards=cards,
        scaling=scaling,
        values=tuple(slice(card, card + CARD) for card in values),
        header=header,
        start=start,
        n_bytes=n_bytes,
        available=available,
        compressed=tiled,
        plain=scaling is None and not tiled and bits != -64 and available >= n_bytes,
        kind=TYPES[bits],
        flat=_flat(shape),
    )
    return unit, structure


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _scaling(cards: dict[str, Any]) -> Scaling | None:
    scale, zero = (_number(cards.get(key), default) for key, default in (("BSCALE", 1.0), ("BZERO", 0.0)))
    blank = cards.get("BLANK")
    scaling = Scaling(scale, zero, blank if type(blank) is int and cards["BITPIX"] > 0 else None)
    return None if scaling == (1.0, 0.0, None) else scaling


def _number(value: Any, default: float) -> float:
    return float(value) if type(value) is int or type(value) is float else default


def is_tiled(cards: dict[str, Any]) -> bool:
    """Whether the cards are those of a tile-compressed image."""
    return cards.get("ZIMAGE") is True and str(cards.get("XTENSION", "")).strip() in ("BINTABLE", "A3DTABLE")


@lru_cache(maxsize=4096)
def parse_values(cards: bytes) -> dict[str, Any]:
    """Parse cards that stand one behind the other; the result is shared and must not be changed."""
    return parse_cards(cards)


def parse_cards(cards: bytes) -> dict[str, Any]:
    """Parse cards that stand one behind the other; of several with one keyword the first counts."""
    parsed: dict[str, Any] = {}
    for start in range(0, len(cards), CARD):
        match = _CARD.match(cards, start, start + CARD)
        if match and match[1].decode() not in parsed:
            parsed[match[1].decode()] = _value(match[2])
    return parsed


def _value(text: bytes) -> str | bool | int | float | None:
    text = text.strip()
    if text.startswith(b"'"):
        plain = text[1:-1].replace(b"''", b"'").decode("ascii", "replace").rstrip()
        return "".join(letter if letter.isprintable() else "?" for letter in plain)
    if text in (b"T", b"F"):
        return text == b"T"
    for kind in (int, float):
        try:
            return kind(text.replace(b"D", b"E"))
        except ValueError:
            continue
    return None


def _axes(cards: dict[str, Any], prefix: str) -> tuple[int, ...]:
    n_axes = _count(cards, prefix, 0)
    if n_axes > _MOST_AXES:
        raise UnreadableError(f"{prefix} is {n_axes}: no image has so many axes")
    return tuple(reversed([_count(cards, f"{prefix}{axis}", None) for axis in range(1, n_axes + 1)]))


def _count(cards: dict[str, Any], key: str, default: int | None) -> int:
    value = cards.get(key, default)
    if type(value) is not int or value < 0:  # a bool is an int to Python, and T no number to FITS
        raise UnreadableError(f"{key} is {'missing' if value is None else repr(value)}, must be a number from 0")
    return value


def by(shape: Sequence[int]) -> str:
    """Write a shape as astronomers do: x first."""
    return " x ".join(str(length) for length in reversed(shape))
