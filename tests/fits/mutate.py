"""Damage FITS files in realistic ways, from a seed, and read them in a separate process.

`python -m tests.fits.mutate FOLDER FIRST LAST` damages the files in FOLDER with the seeds FIRST to LAST - 1, reads them
and prints one line of JSON for each. The tests run it in a separate process because a reader with a defect could hang,
crash or use up the memory.
"""

import bz2
import faulthandler
import gzip
import io
import json
import lzma
import re
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits

from astrodl.fits import FitsFile, UnreadableError, open_fits, pixel_scale_arcsec, read_bytes, zero_point

BLOCK, CARD = 2880, 80
HANG_SECONDS = 120
CODES = ("RICE_1", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS")
NUMBERS = ["0", "-1", "1", "2", "7", "8", "16", "-32", "-64", "64", "100", "2147483647", "2147483648", "4000000000"]
NUMBERS += ["1099511627776", "9223372036854775807", "1" * 60, "1.5", "-0.0", "1E400", "NaN", "T", "F", "'x'", "''", ""]
STRUCTURAL = re.compile(
    rb"(SIMPLE|XTENSION|Z?BITPIX|Z?NAXIS\d?|[PG]COUNT|GROUPS|THEAP|TFIELDS|TFORM|ZTILE|ZVAL|ZNAME"
    rb"|ZCMPTYPE|ZIMAGE|ZQUANTIZ|ZDITHER0|BSCALE|BZERO|BLANK|EXTNAME|EXTVER|END)"
)


def compress_xz(data: bytes) -> bytes:
    """Compress with a small dictionary, because decompression allocates it, too."""
    return lzma.compress(data, preset=0)


COMPRESSORS: tuple[Callable[[bytes], bytes], ...] = (gzip.compress, bz2.compress, compress_xz)


def simulated_files() -> dict[str, bytes]:
    """Make intact files of every kind that the reader knows."""
    rng = np.random.default_rng(0)
    sky = rng.normal(100, 10, (48, 40))
    images = {
        "float32": sky.astype(np.float32),
        "float64": sky,
        "uint8": sky.astype(np.uint8),
        "int16": sky.astype(np.int16),
        "uint16": sky.astype(np.uint16),
        "int32": sky.astype(np.int32),
        "uint32": sky.astype(np.uint32),
        "int64": sky.astype(np.int64),
        "cube": rng.normal(size=(3, 20, 20)).astype(np.float32),
    }
    files = {name: to_bytes(fits.PrimaryHDU(image)) for name, image in images.items()}
    bands = [fits.ImageHDU(images["float32"], name=name) for name in "ugriz"]
    for band in bands:
        band.header.update({"MAGZERO": 25.0, "BUNIT": "electron/s", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    files["bands"] = to_bytes(fits.PrimaryHDU(), *bands)
    scaled = fits.PrimaryHDU(images["int16"])
    scaled.header["BLANK"] = 99
    scaled.scale("int16", bscale=0.5, bzero=3)
    files["scaled"] = to_bytes(scaled)
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(9))])
    files["table"] = to_bytes(fits.PrimaryHDU(), table, fits.ImageHDU(images["int32"], name="SCI"))
    for code in CODES:
        packed = fits.CompImageHDU(images["int32"], name="SCI", compression_type=code, tile_shape=(16, 40))
        files[code] = to_bytes(fits.PrimaryHDU(), packed)
    for code in ("RICE_1", "GZIP_2", "HCOMPRESS_1"):
        dithered = fits.CompImageHDU(
            images["float32"], compression_type=code, tile_shape=(16, 40), quantize_method=1, dither_seed=7
        )
        files[f"{code}-dithered"] = to_bytes(fits.PrimaryHDU(), dithered)
    return files


def to_bytes(*hdus: fits.hdu.base._BaseHDU) -> bytes:
    """Return the file that astropy writes."""
    buffer = io.BytesIO()
    fits.HDUList([*hdus]).writeto(buffer)
    return buffer.getvalue()


def mutate(data: bytes, seed: int) -> bytes:
    """Damage a file one to three times; compress one file in eight, and damage half of these again."""
    rng = np.random.default_rng(seed)
    for _ in range(rng.integers(1, 4)):
        data = MUTATIONS[rng.integers(len(MUTATIONS))](data, rng)
    if rng.random() < 1 / 8:
        data = COMPRESSORS[rng.integers(len(COMPRESSORS))](data)
        if rng.random() < 1 / 2:
            data = (flip, cut, append)[rng.integers(3)](data, rng)
    return data


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """Remove the end."""
    return data[: choose_position(data, rng)]


def delete(data: bytes, rng: np.random.Generator) -> bytes:
    """Remove a part."""
    start = choose_position(data, rng)
    return data[:start] + data[start + int(rng.choice([1, 8, CARD, BLOCK])) :]


def blank(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace a part by zeros, ones or spaces, as after an incomplete transfer."""
    start, length = choose_position(data, rng), int(rng.choice([4, 16, 80, 512, BLOCK, 2 * BLOCK]))
    filled = (rng.choice([b"\0", b"\xff", b" "]) * length)[: len(data) - start]
    return data[:start] + filled + data[start + len(filled) :]


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    """Change single bytes."""
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 20)):
        if damaged:
            damaged[choose_position(data, rng)] = rng.integers(256)
    return bytes(damaged)


def overwrite(data: bytes, rng: np.random.Generator) -> bytes:
    """Write a wrong integer, for example in a table of tiles."""
    start = choose_position(data, rng) // 4 * 4
    value = int(rng.choice([0, 1, -1, 1 << 20, (1 << 31) - 1, -(1 << 31), rng.integers(0, 4096)]))
    return data[:start] + value.to_bytes(4, "big", signed=True) + data[start + 4 :]


def swap(data: bytes, rng: np.random.Generator) -> bytes:
    """Swap two blocks."""
    blocks = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
    if blocks:
        first, second = rng.integers(len(blocks), size=2)
        blocks[first], blocks[second] = blocks[second], blocks[first]
    return b"".join(blocks)


def append(data: bytes, rng: np.random.Generator) -> bytes:
    """Append noise, or the file itself."""
    return data + (rng.bytes(int(rng.integers(1, 3 * BLOCK))) if rng.random() < 0.7 else data)


def change_value(data: bytes, rng: np.random.Generator) -> bytes:
    """Change the value of a structure card."""
    return change_card(data, rng, lambda card: card[:9] + str(rng.choice(NUMBERS)).rjust(21).encode(), STRUCTURAL)


def rename_card(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a keyword."""
    other = rng.choice([b"BITPIX  ", b"NAXIS1  ", b"ZIMAGE  ", b"END     ", b"EXTNAME ", b"ZTILE1  ", b"naxis   "])
    return change_card(data, rng, lambda card: bytes(other) + card[8:])


def blank_card(data: bytes, rng: np.random.Generator) -> bytes:
    """Blank a card."""
    return change_card(data, rng, lambda card: b"", STRUCTURAL if rng.random() < 0.5 else None)


def overwrite_card(data: bytes, rng: np.random.Generator) -> bytes:
    """Overwrite a card with another."""
    cards = list(find_cards(data))
    if not cards:
        return data
    source = int(rng.choice(cards))
    return change_card(data, rng, lambda card: data[source : source + CARD])


def change_card(
    data: bytes, rng: np.random.Generator, change: Callable[[bytes], bytes], which: re.Pattern[bytes] | None = None
) -> bytes:
    """Change a random card whose keyword matches."""
    cards = [start for start in find_cards(data) if which is None or which.match(data, start)]
    if not cards:
        return data
    start = int(rng.choice(cards))
    card = change(data[start : start + CARD])[:CARD].ljust(CARD)
    return data[:start] + card + data[start + CARD :]


def find_cards(data: bytes) -> Iterator[int]:
    """Yield the positions of the cards of all headers."""
    for begin in re.finditer(rb"SIMPLE  =|XTENSION=", data):
        for start in range(begin.start(), len(data) - CARD + 1, CARD):
            yield start
            if data.startswith(b"END ", start):
                break


def choose_position(data: bytes, rng: np.random.Generator) -> int:
    """Choose a position; half of them near the end of a header, where the tables of tiles begin."""
    ends = [match.start() // BLOCK * BLOCK + BLOCK for match in re.finditer(rb"END {77}", data)]
    if ends and rng.random() < 0.5:
        return min(int(rng.choice(ends)) + int(rng.integers(-200, 800)), max(len(data) - 1, 0))
    return int(rng.integers(max(len(data), 1)))


MUTATIONS = (cut, delete, blank, flip, overwrite, swap, append)
MUTATIONS += (change_value, change_value, change_value, rename_card, blank_card, overwrite_card)


def read_all(path: Path) -> list[tuple[int, ...]]:
    """Read all images of a file, as ingestion would; return their shapes.

    Raises
    ------
    UnreadableError
        If the file is refused.
    """
    file = open_fits(read_bytes(path))
    return [_read(file, number) for number, hdu in enumerate(file.hdus) if hdu.is_image]


def _read(file: FitsFile, number: int) -> tuple[int, ...]:
    hdu = file.hdus[number]
    zero_point(hdu, file.primary)
    pixel_scale_arcsec(hdu)
    image = file.pixels(hdu)
    assert image.dtype == np.float32
    assert not np.isinf(image).any()
    return image.shape


def measure_reading(path: Path) -> tuple[str, int, float]:
    """Read a file; return the reason of a refusal, the peak of memory in bytes, and the CPU time in seconds."""
    tracemalloc.clear_traces()
    tracemalloc.reset_peak()
    before, start, reason = tracemalloc.get_traced_memory()[0], time.process_time(), ""
    try:
        read_all(path)
    except UnreadableError as error:
        reason = str(error) or "no reason"
    return reason, tracemalloc.get_traced_memory()[1] - before, time.process_time() - start


def normal_peak(data: bytes, path: Path) -> int:
    """Measure the peak of memory for an intact file, compressed or not."""
    peaks = []
    for compress in (bytes, bytes, *COMPRESSORS):  # the first call imports modules
        path.write_bytes(compress(data))
        peaks.append(measure_reading(path)[1])
    return max(peaks[1:])


def main(folder: Path, first: int, last: int) -> None:
    """Read the damaged files of a range of seeds."""
    warnings.simplefilter("error")
    tracemalloc.start()
    bases = sorted(folder.glob("*.base"))
    damaged = folder / f"{first}.fits"
    normal = {base: normal_peak(base.read_bytes(), damaged) for base in bases}
    for seed in range(first, last):
        base = bases[seed % len(bases)]
        print(json.dumps({"seed": seed, "base": base.stem}), end=" ", flush=True)
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        damaged.write_bytes(mutate(base.read_bytes(), seed))
        reason, peak, seconds = measure_reading(damaged)
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps({"reason": reason, "peak": peak, "normal": normal[base], "seconds": seconds}), flush=True)
    damaged.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
