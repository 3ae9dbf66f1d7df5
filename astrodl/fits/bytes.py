"""Read a file whole, unpacked, within a limit on memory."""

import bz2
import lzma
import os
import stat
import zlib
from collections.abc import Callable
from typing import Protocol

from astrodl.errors import DataError

MAX_BYTES = 1 << 30
"""Largest file after unpacking: cutouts are kilobytes to megabytes, more is a mistake or an attack."""

_STEP = 32 << 20
_PIECE = 64 << 10
_MOST_STREAMS = 20_000  # parallel compressors write a stream per 64 KiB and more
_XZ_MEMORY = 128 << 20  # xz -9 needs 65 MiB; a header may ask for 4 GiB


class UnreadableError(DataError):
    """An image that cannot be used; the message is the reason, for the quarantine list."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_PACKED: tuple[tuple[bytes, Callable[[], _Decompressor]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ", lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)),
)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file whole, unpacking gzip, bzip2 and xz by content.

    Raises
    ------
    UnreadableError
        Missing, not a plain file, damaged, or larger than `MAX_BYTES` when unpacked.
    """
    try:
        data = _read(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UnreadableError("the file does not exist") from None
    except OSError as error:
        raise UnreadableError(f"the file cannot be read ({error.strerror})") from None
    if not data:
        raise UnreadableError("the file is empty")
    return _unpack(data)


def _read(path: str | os.PathLike[str]) -> bytes:
    # A pipe or device that stands where a file is expected must not make us wait for data.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError("not a file")
        if status.st_size > MAX_BYTES:
            raise UnreadableError(f"the file has {status.st_size / 1e9:.1f} GB, more than a cutout can have")
        data = os.read(handle, status.st_size)
        while len(data) < status.st_size and (more := os.read(handle, status.st_size - len(data))):
            data += more  # a network file system may give less than was asked for
        return data
    finally:
        os.close(handle)


def _unpack(data: bytes) -> bytes:
    if data.startswith(b"SIMPLE"):  # by far the most usual
        return data
    for magic, decompressor in _PACKED:
        if data.startswith(magic):
            try:
                return inflate(data, magic, decompressor, MAX_BYTES)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise UnreadableError(f"the compressed file is cut short or damaged ({error})") from None
    if data.startswith(b"\x1f\x9d"):
        raise UnreadableError("compressed with the old `compress` (.Z), which is not supported; unpack it")
    return data


def gunzip(data: bytes, limit: int) -> bytes:
    """Unpack gzip, see `inflate`."""
    return inflate(data, *_PACKED[0], limit)


def inflate(data: bytes, magic: bytes, decompressor: Callable[[], _Decompressor], limit: int) -> bytes:
    """Unpack one or several compressed streams that follow each other; what else follows them is ignored.

    No more than `limit` bytes and one step of 32 MiB are ever held.

    Raises
    ------
    UnreadableError
        More than `limit` bytes come out.
    OSError, EOFError, ValueError, zlib.error, lzma.LZMAError
        A stream is damaged or ends early, or there are too many of them.
    """
    parts: list[bytes] = []
    room, position = limit, 0
    for _ in range(_MOST_STREAMS):
        stream = decompressor()
        while not stream.eof:
            # Fed in pieces, since each stream gives back a copy of what it did not need.
            pending = data[position : position + _PIECE]
            position += len(pending)
            while True:
                part = stream.decompress(pending, min(_STEP, room + 1))
                room -= len(part)
                if room < 0:
                    raise UnreadableError(f"unpacks to more than {limit / 1e9:.3g} GB, more than a cutout can have")
                parts.append(part)
                pending = getattr(stream, "unconsumed_tail", b"")
                if stream.eof or not (pending or len(part)):
                    break
            if not stream.eof and position >= len(data):
                raise EOFError("it ends early")
        position -= len(stream.unused_data)
        if not data.startswith(magic, position):
            return b"".join(parts)
    raise ValueError(f"it has more than {_MOST_STREAMS} parts")
