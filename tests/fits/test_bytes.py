"""Reading whole files: compressed or not, decompression bombs, and paths that are not regular files."""

import bz2
import gzip
import lzma
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from astrodl.fits import UnreadableError, read_bytes
from astrodl.fits.bytes import gunzip

COMPRESSORS = [gzip.compress, bz2.compress, lzma.compress]
CONTENT = b"SIMPLE  = " + os.urandom(200_000) + bytes(300_000)


@pytest.mark.parametrize("compress", COMPRESSORS)
def test_compressed_files_are_recognized_by_content(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.fits"
    for data in (
        compress(CONTENT),
        compress(CONTENT[:1000]) + compress(CONTENT[1000:]),
        compress(CONTENT) + bytes(100),
    ):
        path.write_bytes(data)
        assert read_bytes(path) == CONTENT


@pytest.mark.parametrize("compress", COMPRESSORS)
@pytest.mark.parametrize("end", [8, 15, 5000, -20, -1])
def test_a_truncated_compressed_file_is_refused(tmp_path: Path, compress: Callable[[bytes], bytes], end: int) -> None:
    path = tmp_path / "a.fits.gz"
    path.write_bytes(compress(CONTENT)[:end])
    with pytest.raises(UnreadableError, match="cut short or damaged"):
        read_bytes(path)


@pytest.mark.parametrize("compress", COMPRESSORS)
def test_a_decompression_bomb_is_refused_with_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: Callable[[bytes], bytes]
) -> None:
    limit = 1_000_000
    monkeypatch.setattr("astrodl.fits.bytes.MAX_BYTES", limit)
    monkeypatch.setattr("astrodl.fits.bytes._STEP", 100_000)
    path = tmp_path / "bomb.fits.gz"
    path.write_bytes(compress(bytes(20_000_000)))
    dictionary = 8 << 20 if compress is lzma.compress else 4 << 20 if compress is bz2.compress else 0
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableError, match=r"unpacks to more than 0\.001 GB"):
            read_bytes(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * limit + dictionary
    finally:
        tracemalloc.stop()


def test_an_xz_file_that_needs_gigabytes_to_decompress_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "greedy.fits.xz"
    path.write_bytes(_claim_dictionary(lzma.compress(CONTENT[:2000])))
    with pytest.raises(UnreadableError, match="cut short or damaged"):
        read_bytes(path)


def _claim_dictionary(data: bytes) -> bytes:
    """Change the dictionary size in the header of the first block, and its checksum (xz format, section 3.1)."""
    size = (data[12] + 1) * 4
    header = bytearray(data[12 : 12 + size - 4])
    assert header[2] == 0x21  # LZMA2, followed by the length of its properties and the size
    header[4] = 36  # 1 GiB
    return data[:12] + bytes(header) + zlib.crc32(header).to_bytes(4, "little") + data[12 + size :]


def test_a_file_with_thousands_of_empty_streams_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(b"") * 30_000)
    with pytest.raises(UnreadableError, match="more than 20000 parts"):
        read_bytes(path)


def test_gunzip_returns_at_most_the_limit() -> None:
    assert gunzip(gzip.compress(bytes(100)), 100) == bytes(100)
    with pytest.raises(UnreadableError, match="unpacks to more"):
        gunzip(gzip.compress(bytes(101)), 100)


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    with open(path, "wb") as file:
        file.truncate(5 << 30)  # a sparse file
    with pytest.raises(UnreadableError, match=r"the file has 5\.4 GB"):
        read_bytes(path)


def test_paths_without_readable_content_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fits")
    for path, reason in ((tmp_path / "pipe.fits", "not a file"), (tmp_path, "not a file")):
        with pytest.raises(UnreadableError, match=reason):
            read_bytes(path)
    with pytest.raises(UnreadableError, match="does not exist"):
        read_bytes(tmp_path / "absent.fits")
    with pytest.raises(UnreadableError, match="does not exist"):
        read_bytes(tmp_path / "pipe.fits" / "below.fits")
    (tmp_path / "empty.fits").touch()
    with pytest.raises(UnreadableError, match="empty"):
        read_bytes(tmp_path / "empty.fits")
    (tmp_path / "old.fits.Z").write_bytes(b"\x1f\x9d\x90abc")
    with pytest.raises(UnreadableError, match=r"compressed with the old `compress` \(.Z\)"):
        read_bytes(tmp_path / "old.fits.Z")
