"""Read whole files into memory, decompressed and within a size limit."""

import bz2
import lzma
import os
import stat
import zlib
from collections.abc import Callable
from typing import Protocol

from astrodl.errors import DataError

__all__ = ["MAX_BYTES", "UnreadableError", "gunzip", "read_bytes"]

MAX_BYTES = 1 << 30
"""Largest decompressed file, in bytes. Cutouts have kilobytes to megabytes; more is a mistake or an attack."""

_STEP = 32 << 20
_PIECE = 64 << 10
_MAX_STREAMS = 20_000  # parallel compressors write one stream per 64 KiB or more
_XZ_MEMORY = 128 << 20  # xz -9 needs 65 MiB; a header can ask for 4 GiB


class UnreadableError(DataError):
    """A file or image that cannot be read; the message is the reason that the quarantine list shows."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_FORMATS: tuple[tuple[bytes, Callable[[], _Decompressor]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ", lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)),
)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file and decompress gzip, bzip2 and xz, recognized by content.

    Raises
    ------
    UnreadableError
        If the file is missing, not a regular file, damaged, or larger than `MAX_BYTES` when decompressed.
    """
    try:
        data = _read(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UnreadableError("the file does not exist") from None
    except OSError as error:
        raise UnreadableError(f"the file cannot be read ({error.strerror})") from None
    if not data:
        raise UnreadableError("the file is empty")
    return _decompress(data)


def _read(path: str | os.PathLike[str]) -> bytes:
    # Opening a pipe or a device must not block.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError("not a file")
        if status.st_size > MAX_BYTES:
            raise UnreadableError(f"the file has {status.st_size / 1e9:.1f} GB, more than a cutout can have")
        data = os.read(handle, status.st_size)
        while len(data) < status.st_size and (more := os.read(handle, status.st_size - len(data))):
            data += more  # a network file system may return less than requested
        return data
    finally:
        os.close(handle)


def _decompress(data: bytes) -> bytes:
    if data.startswith(b"SIMPLE"):  # by far the most common case
        return data
    for magic, decompressor in _FORMATS:
        if data.startswith(magic):
            try:
                return _inflate(data, magic, decompressor, MAX_BYTES)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise UnreadableError(f"the compressed file is cut short or damaged ({error})") from None
    if data.startswith(b"\x1f\x9d"):
        raise UnreadableError("compressed with the old `compress` (.Z), which is not supported; unpack it")
    return data


def gunzip(data: bytes, limit: int) -> bytes:
    """Decompress gzip data of at most `limit` bytes; see `_inflate` for the exceptions."""
    return _inflate(data, *_FORMATS[0], limit)


def _inflate(data: bytes, magic: bytes, decompressor: Callable[[], _Decompressor], limit: int) -> bytes:
    """Decompress one or more consecutive streams; ignore other data after them.

    The output in memory never exceeds `limit` by more than one step of 32 MiB.

    Raises
    ------
    UnreadableError
        If the output has more than `limit` bytes.
    OSError, EOFError, ValueError, zlib.error, lzma.LZMAError
        If a stream is damaged or ends early, or there are too many streams.
    """
    parts: list[bytes] = []
    n_left, position = limit, 0
    for _ in range(_MAX_STREAMS):
        stream = decompressor()
        while not stream.eof:
            # In pieces, because each stream returns a copy of its unused input.
            pending = data[position : position + _PIECE]
            position += len(pending)
            while True:
                part = stream.decompress(pending, min(_STEP, n_left + 1))
                n_left -= len(part)
                if n_left < 0:
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
    raise ValueError(f"it has more than {_MAX_STREAMS} parts")
