"""Tile-compressed images: the pixels of astropy, and no wrong length that its C code would follow out of a buffer."""

import gzip
import io
import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from astropy.io import fits

from astrodl.fits import UnreadableError, open_fits
from tests.fits.mutate import CODES, simulated_files

FILES = simulated_files()
COMPRESSED = [name for name in FILES if name.partition("-")[0] in CODES]


def split_table(name: str) -> tuple[fits.Header, np.ndarray, bytes]:
    """Return header, descriptors (tiles, 2) of the first column, and heap of a compressed file."""
    data = FILES[name]
    hdu = open_fits(data).hdus[1].layout
    header = fits.Header.fromstring(data[hdu.header_start : hdu.data_start])
    width, n_rows = header["NAXIS1"], header["NAXIS2"]
    pairs = np.ndarray((n_rows, 2), ">i4", data, hdu.data_start, (width, 4)).copy()
    return header, pairs, data[hdu.data_start + width * n_rows : hdu.data_start + hdu.n_bytes]


def join_table(name: str, header: fits.Header, pairs: np.ndarray, heap: bytes) -> bytes:
    """Build a compressed file from the parts of `split_table`."""
    data = FILES[name]
    hdu = open_fits(data).hdus[1].layout
    rows = bytearray(data[hdu.data_start : hdu.data_start + header["NAXIS1"] * header["NAXIS2"]])
    np.ndarray(pairs.shape, ">i4", rows, 0, (header["NAXIS1"], 4))[...] = pairs
    body = bytes(rows) + heap
    header["PCOUNT"] = len(heap)
    return data[: hdu.header_start] + header.tostring().encode() + body + bytes(-len(body) % 2880)


def read(data: bytes) -> np.ndarray:
    file = open_fits(data)
    return file.pixels(file.hdus[1])


@pytest.mark.parametrize("name", COMPRESSED)
def test_every_algorithm_gives_the_pixels_of_astropy(name: str) -> None:
    with fits.open(io.BytesIO(FILES[name])) as file:
        expected = np.array(file[1].data, np.float32)
    np.testing.assert_array_equal(read(FILES[name]), expected)


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_rebuilt_file_is_read_as_the_original(name: str) -> None:
    """The tests below change one part of a rebuilt file."""
    np.testing.assert_array_equal(read(join_table(name, *split_table(name))), read(FILES[name]))


@pytest.mark.parametrize(
    ("name", "cards", "reason"),
    [
        ("RICE_1", {"ZVAL2": 8}, "BYTEPIX is 8"),
        ("RICE_1", {"ZVAL1": 0}, "BLOCKSIZE is 0"),
        ("RICE_1", {"ZVAL1": 1 << 30}, "BLOCKSIZE is"),
        ("RICE_1", {"ZNAXIS1": 1_000_000, "ZNAXIS2": 1_000_000}, "1000000 x 1000000 pixels, more than a cutout"),
        ("RICE_1", {"ZNAXIS1": 1_000_000, "ZTILE1": 1_000_000}, "tiles are cut short"),
        ("GZIP_1", {"ZNAXIS1": 1_000_000, "ZTILE1": 1_000_000}, "more or fewer pixels than they have"),
        ("NOCOMPRESS", {"ZNAXIS1": 1_000_000, "ZTILE1": 1_000_000}, "more or fewer pixels than they have"),
        ("PLIO_1", {"ZNAXIS1": 2_000_000, "ZTILE1": 2_000_000}, "a tile is cut short"),
        ("HCOMPRESS_1", {"ZNAXIS1": 1_000_000, "ZTILE1": 1_000_000}, "does not begin as it should"),
        ("GZIP_1", {"ZTILE2": 8}, "need 6 tiles, the table has 3 rows"),
        ("GZIP_1", {"ZTILE1": 0}, "ZTILE1 is 0"),
        ("GZIP_1", {"ZCMPTYPE": "LZ77"}, "ZCMPTYPE is 'LZ77', known are RICE_1"),
        ("GZIP_1", {"ZBITPIX": 7}, "ZBITPIX is 7"),
        ("GZIP_1", {"TFORM1": "1PX"}, "column COMPRESSED_DATA has TFORM '1PX'"),
        ("GZIP_1", {"TFORM1": "1J"}, "column COMPRESSED_DATA has TFORM '1J'"),
        ("GZIP_1", {"TFIELDS": 999_999}, "999999 columns"),
        ("GZIP_1", {"THEAP": 3}, "contradict each other"),
        ("RICE_1-dithered", {"ZDITHER0": 0}, "ZDITHER0 is 0"),
        ("RICE_1-dithered", {"ZDITHER0": -5}, "ZDITHER0 is -5"),
    ],
)
def test_a_wrong_header_is_refused_without_allocation(name: str, cards: dict[str, object], reason: str) -> None:
    header, pairs, heap = split_table(name)
    header.update(cards)
    data = join_table(name, header, pairs, heap)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableError, match=reason):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(data)
    finally:
        tracemalloc.stop()


def set_wrong_length(tile: bytearray) -> None:
    tile[6:10] = (4000).to_bytes(2, "big") + (2).to_bytes(2, "big")  # words 4 and 5 of a line list


def set_negative_start(tile: bytearray) -> None:
    tile[2:4] = (-9).to_bytes(2, "big", signed=True)  # word 2: start of the list


def set_more_pixels(tile: bytearray) -> None:
    tile[2:6] = (1000).to_bytes(4, "big")


def set_too_many_planes(tile: bytearray) -> None:
    tile[22:25] = bytes([255, 255, 255])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("PLIO_1", set_wrong_length),
        ("PLIO_1", set_negative_start),
        ("HCOMPRESS_1", set_more_pixels),
        ("HCOMPRESS_1", set_too_many_planes),
    ],
)
def test_a_wrong_stream_never_reaches_the_c_code(name: str, damage: Callable[[bytearray], None]) -> None:
    header, pairs, heap = split_table(name)
    tile = bytearray(heap)
    damage(tile)
    with pytest.raises(UnreadableError, match=r"a tile (is cut short|does not begin as it should)"):
        read(join_table(name, header, pairs, bytes(tile)))


def outcome(data: bytes) -> bytes | str:
    try:
        return read(data).tobytes()
    except UnreadableError as error:
        return str(error)


def test_a_truncated_hcompress_stream_reads_padding_and_no_other_memory() -> None:
    """CFITSIO would read beyond its buffer; here it reads padding with zeros."""
    header, pairs, heap = split_table("HCOMPRESS_1")
    pairs[-1, 0] = 40
    data = join_table("HCOMPRESS_1", header, pairs, heap[: pairs[-1, 1] + 40])
    results = {outcome(data) for _ in range(5)}
    assert len(results) == 1  # memory beyond a buffer would differ between calls


@pytest.mark.parametrize("pair", [(1 << 30, 0), (10, 1 << 30), (-1, 0), (10, -1), (0, 0)])
def test_tiles_outside_the_heap_are_refused(pair: tuple[int, int]) -> None:
    header, pairs, heap = split_table("RICE_1")
    pairs[1] = pair
    with pytest.raises(UnreadableError, match=r"tiles lie outside of the data|tiles without data"):
        read(join_table("RICE_1", header, pairs, heap))


def test_a_tile_with_a_decompression_bomb_is_refused_with_little_memory() -> None:
    header, pairs, _ = split_table("GZIP_1")
    bomb = gzip.compress(bytes(50_000_000))
    pairs[:] = (len(bomb), 0)
    data = join_table("GZIP_1", header, pairs, bomb)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableError, match="a tile is damaged: unpacks to more"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_without_ztile_a_tile_is_a_row_of_the_image() -> None:
    values = np.arange(60, dtype=np.int32).reshape(6, 10)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(values, tile_shape=(1, 10))]).writeto(buffer)
    data = buffer.getvalue().replace(b"ZTILE1  ", b"OTHER1  ").replace(b"ZTILE2  ", b"OTHER2  ")
    np.testing.assert_array_equal(read(data), values)


def test_of_two_contradictory_settings_the_first_is_checked() -> None:
    header, pairs, heap = split_table("RICE_1")
    header.update({"ZNAME1": "BYTEPIX", "ZVAL1": 8, "ZNAME2": "BYTEPIX", "ZVAL2": 4})
    with pytest.raises(UnreadableError, match="BYTEPIX is 8"):
        read(join_table("RICE_1", header, pairs, heap))
