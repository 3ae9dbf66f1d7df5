"""Tile-compressed images: the same pixels as astropy's, and no lie that its C code would follow out of its buffers."""

import gzip
import io
import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from astropy.io import fits

from astrodl.fits.file import UnreadableError, open_fits
from tests.fits.mutate import CODES, simulated_files

FILES = simulated_files()
PACKED = [name for name in FILES if name.partition("-")[0] in CODES]


def table_of(name: str) -> tuple[fits.Header, np.ndarray, bytes]:
    """Give header, descriptors (tiles, 2) of the first column, and heap of a packed file."""
    data = FILES[name]
    unit = open_fits(data).hdus[1].unit
    header = fits.Header.fromstring(data[unit.header : unit.start])
    width, n_rows = header["NAXIS1"], header["NAXIS2"]
    pairs = np.ndarray((n_rows, 2), ">i4", data, unit.start, (width, 4)).copy()
    return header, pairs, data[unit.start + width * n_rows : unit.start + unit.n_bytes]


def packed(name: str, header: fits.Header, pairs: np.ndarray, heap: bytes) -> bytes:
    """Write a packed file anew."""
    data = FILES[name]
    unit = open_fits(data).hdus[1].unit
    rows = bytearray(data[unit.start : unit.start + header["NAXIS1"] * header["NAXIS2"]])
    np.ndarray(pairs.shape, ">i4", rows, 0, (header["NAXIS1"], 4))[...] = pairs
    body = bytes(rows) + heap
    header["PCOUNT"] = len(heap)
    return data[: unit.header] + header.tostring().encode() + body + bytes(-len(body) % 2880)


def read(data: bytes) -> np.ndarray:
    file = open_fits(data)
    return file.pixels(file.hdus[1])


@pytest.mark.parametrize("name", PACKED)
def test_every_compression_gives_the_pixels_that_astropy_gives(name: str) -> None:
    with fits.open(io.BytesIO(FILES[name])) as file:
        expected = np.array(file[1].data, np.float32)
    np.testing.assert_array_equal(read(FILES[name]), expected)


@pytest.mark.parametrize("name", PACKED)
def test_a_packed_file_written_anew_is_read_as_before(name: str) -> None:
    """Proves the tool of the tests below: what they refuse is the lie, not the writing."""
    np.testing.assert_array_equal(read(packed(name, *table_of(name))), read(FILES[name]))


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
def test_a_header_that_lies_is_refused_before_memory_is_taken(name: str, cards: dict[str, object], reason: str) -> None:
    header, pairs, heap = table_of(name)
    header.update(cards)
    data = packed(name, header, pairs, heap)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableError, match=reason):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(data)
    finally:
        tracemalloc.stop()


def lies_about_its_length(tile: bytearray) -> None:
    tile[6:10] = (4000).to_bytes(2, "big") + (2).to_bytes(2, "big")  # words 4 and 5 of a line list


def begins_before_itself(tile: bytearray) -> None:
    tile[2:4] = (-9).to_bytes(2, "big", signed=True)  # word 2: where the list begins


def claims_more_pixels(tile: bytearray) -> None:
    tile[2:6] = (1000).to_bytes(4, "big")


def claims_too_many_planes(tile: bytearray) -> None:
    tile[22:25] = bytes([255, 255, 255])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("PLIO_1", lies_about_its_length),
        ("PLIO_1", begins_before_itself),
        ("HCOMPRESS_1", claims_more_pixels),
        ("HCOMPRESS_1", claims_too_many_planes),
    ],
)
def test_a_stream_that_lies_never_reaches_the_c_code(name: str, damage: Callable[[bytearray], None]) -> None:
    header, pairs, heap = table_of(name)
    tile = bytearray(heap)
    damage(tile)
    with pytest.raises(UnreadableError, match=r"a tile (is cut short|does not begin as it should)"):
        read(packed(name, header, pairs, bytes(tile)))


def reading(data: bytes) -> bytes | str:
    try:
        return read(data).tobytes()
    except UnreadableError as error:
        return str(error)


def test_an_hcompress_stream_that_is_cut_reads_padding_and_not_the_memory_behind() -> None:
    """The end of the stream is zero: CFITSIO would go on behind its buffer, here it meets zeros that we put there."""
    header, pairs, heap = table_of("HCOMPRESS_1")
    pairs[-1, 0] = 40
    data = packed("HCOMPRESS_1", header, pairs, heap[: pairs[-1, 1] + 40])
    results = {reading(data) for _ in range(5)}
    assert len(results) == 1  # what lies behind a buffer would differ from time to time


@pytest.mark.parametrize("pair", [(1 << 30, 0), (10, 1 << 30), (-1, 0), (10, -1), (0, 0)])
def test_tiles_that_lie_elsewhere_are_refused(pair: tuple[int, int]) -> None:
    header, pairs, heap = table_of("RICE_1")
    pairs[1] = pair
    with pytest.raises(UnreadableError, match=r"tiles lie outside of the data|tiles without data"):
        read(packed("RICE_1", header, pairs, heap))


def test_a_tile_that_unpacks_without_end_is_refused_within_memory() -> None:
    header, pairs, _ = table_of("GZIP_1")
    bomb = gzip.compress(bytes(50_000_000))
    pairs[:] = (len(bomb), 0)
    data = packed("GZIP_1", header, pairs, bomb)
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


def test_of_two_settings_that_contradict_the_one_that_counts_is_checked() -> None:
    header, pairs, heap = table_of("RICE_1")
    header.update({"ZNAME1": "BYTEPIX", "ZVAL1": 8, "ZNAME2": "BYTEPIX", "ZVAL2": 4})
    with pytest.raises(UnreadableError, match="BYTEPIX is 8"):
        read(packed("RICE_1", header, pairs, heap))
