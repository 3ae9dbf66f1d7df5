"""Counts in the headers of FITS files that astropy would follow for hours: axes and columns."""

import bz2
import gzip
import io
import lzma
import os
import re
import warnings
from collections.abc import Callable
from itertools import count
from typing import IO, Any

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning, AstropyWarning

from astrodl.fits.bytes import UnreadableError
from astrodl.fits.header import BLOCK

__all__ = ["DAMAGED", "check_counts"]

DAMAGED = (OSError, ValueError, TypeError, LookupError, UnreadableError, fits.VerifyError, AstropyUserWarning)
"""What astropy raises, or warns of, where a file is damaged."""

_LARGEST = 999
"""Largest number of axes and of columns that the FITS standard allows."""
_COUNT = re.compile(r"Z?NAXIS|TFIELDS|WCSAXES[A-Z]?")
_END = re.compile(rb"END(?![A-Z0-9_-])")
_MAX_HDUS = 20_000
_MAX_HEADER_BYTES = 1000 * BLOCK
_OPENERS: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


def check_counts(source: str | os.PathLike[str] | io.BytesIO) -> None:
    """Check that no header of a file declares more axes or columns than FITS can have, before astropy opens the file.

    Headers alone are read. What else is wrong with them is left to astropy.

    Parameters
    ----------
    source
        The file, which may be compressed, or its bytes; these are at their start afterwards.

    Raises
    ------
    UnreadableError
        If a count is too large, a header has no end, or there are too many extensions.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # cards that violate the standard
        if isinstance(source, io.BytesIO):
            _check(source)
            source.seek(0)
            return
        with open(source, "rb") as file:
            start = file.read(8)
            file.seek(0)
            opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
            _check(file if opener is None else opener(file))


def _check(file: IO[bytes]) -> None:
    start, expected = 0, b"SIMPLE"
    for number in count():
        file.seek(start)
        header = _read_header(file, expected)
        if header is None:
            return
        if number == _MAX_HDUS:
            raise UnreadableError(f"the file has more than {_MAX_HDUS} extensions")
        _check_header(header)
        try:
            start, expected = file.tell() + header.data_size_padded, b"XTENSION"
        except (KeyError, TypeError, ValueError):  # an axis without length, which astropy refuses
            return
        if not 0 <= start < 1 << 63:
            raise UnreadableError("the header declares more data than any disk can hold")


def _read_header(file: IO[bytes], expected: bytes) -> fits.Header | None:
    """Read the header from here on; None if there is none, or the file ends within it."""
    data = b""
    while len(data) < _MAX_HEADER_BYTES:
        block = file.read(BLOCK)
        data += block
        if not data.startswith(expected):
            return None
        if any(_END.match(block, card) for card in range(0, len(block), 80)):
            return fits.Header.fromstring(data)
        if len(block) < BLOCK:
            return None
    raise UnreadableError("the header has no end: the file is damaged")


def _check_header(header: fits.Header) -> None:
    for place, name in enumerate(header.keys()):
        if match := _COUNT.fullmatch(name):
            try:
                value = header[place]
            except (ValueError, fits.VerifyError):  # which astropy refuses
                continue
            if isinstance(value, int) and value > _LARGEST:
                what = "columns" if match[0] == "TFIELDS" else "axes"
                raise UnreadableError(f"{name} is {value}: a FITS file has at most {_LARGEST} {what}")
