"""The checksums of the FITS standard, of content that comes piece by piece (FITS 4.0, section 4.4.2.7, appendix J)."""

import numpy as np

_FORBIDDEN = frozenset([*range(0x3A, 0x41), *range(0x5B, 0x61)])
"""Characters between digits and letters, which the encoded checksum must not hold."""


class Sum32:
    """Sum of big-endian words of 32 bits in ones' complement, in which a carry is added at the low end.

    Pieces may end anywhere, in the middle of a word too.
    """

    def __init__(self) -> None:
        self._total = 0
        self._begun = b""

    def add(self, piece: bytes) -> None:
        """Add what follows."""
        content = self._begun + piece
        whole = len(content) - len(content) % 4
        self._total += int(np.frombuffer(content, ">u4", whole // 4).sum(dtype=np.uint64))
        self._begun = content[whole:]

    @property
    def value(self) -> int:
        """The sum so far; a word that is not complete ends in zeros."""
        total = self._total + int.from_bytes(self._begun.ljust(4, b"\0"), "big")
        while total >> 32:
            total = (total & 0xFFFFFFFF) + (total >> 32)
        return total


def checksum_card(header: bytes, datasum: int) -> str:
    """Give the value of CHECKSUM that makes the sum of a header-data unit minus zero.

    Parameters
    ----------
    header
        The header, in which CHECKSUM is sixteen characters ``0``.
    datasum
        Sum of the data.
    """
    total = Sum32()
    total.add(header)
    total.add(datasum.to_bytes(4, "big"))
    return _encoded(0xFFFFFFFF - total.value)


def _encoded(value: int) -> str:
    """Write a number in sixteen letters and digits: each byte as the sum of four of them, rotated by one place."""
    columns = [_four((value >> shift) & 0xFF) for shift in (24, 16, 8, 0)]
    text = "".join(chr(columns[byte][place]) for place in range(4) for byte in range(4))
    return text[-1] + text[:-1]


def _four(byte: int) -> list[int]:
    """Divide a byte into four characters; a pair that holds a forbidden one moves apart, which keeps its sum."""
    quarter, rest = divmod(byte, 4)
    letters = [quarter + rest + 0x30, *[quarter + 0x30] * 3]
    while _FORBIDDEN.intersection(letters):
        for first in (0, 2):
            if _FORBIDDEN.intersection(letters[first : first + 2]):
                letters[first] += 1
                letters[first + 1] -= 1
    return letters
