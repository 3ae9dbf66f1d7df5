"""Pictures: orientation, 16 bits, transparency, and labels that go with them."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image, ImageOps

from astrodl.fits import UnreadableError
from astrodl.ingestion.ingest import ingest
from astrodl.ingestion.rgb import decode, orientation
from astrodl.store import open_store
from tests.ingestion.toy import N, catalog, quarantine, settings

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
GREY_16, COLOUR_16, GREY_ALPHA_16, COLOUR_ALPHA_16 = 0, 2, 4, 6


def encode(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, **options)
    return data.getvalue()


def turned(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def encode_16_bits(pixels: np.ndarray, kind: int) -> bytes:
    """Write a PNG of 16 bits, which Pillow cannot in colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("value", range(10))
def test_pictures_are_turned_upright_as_viewers_do(value: int) -> None:
    data = encode(PIXELS, exif=turned(value))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(decode(data), upright.transpose(2, 0, 1)[:, ::-1])
    assert orientation(data) == (value if 2 <= value <= 8 else 1)
    jpeg = encode(PIXELS, "JPEG", exif=turned(value))
    assert decode(jpeg).shape == ((3, 9, 6) if value in (5, 6, 7, 8) else (3, 6, 9))


def test_damaged_exif_data_do_not_matter() -> None:
    for seed in range(20):
        exif = b"Exif\0\0II*\0" + np.random.default_rng(seed).bytes(30)
        assert decode(encode(PIXELS, "JPEG", exif=exif)).shape == (3, 6, 9)


def test_grey_pictures_keep_16_bits_and_those_in_colour_are_refused() -> None:
    pixels = np.arange(54).reshape(6, 9) * 1200
    np.testing.assert_array_equal(decode(encode_16_bits(pixels, GREY_16))[0], pixels[::-1])
    for kind, n_channels in ((COLOUR_16, 3), (GREY_ALPHA_16, 2), (COLOUR_ALPHA_16, 4)):
        with pytest.raises(UnreadableError, match="16 bits in colour"):
            decode(encode_16_bits(np.zeros((6, 9, n_channels)), kind))


def test_transparent_pixels_of_grey_pictures_are_missing() -> None:
    pixels = np.arange(54, dtype=np.uint8).reshape(6, 9)
    decoded = decode(encode(pixels, transparency=7))[0, ::-1]
    np.testing.assert_array_equal(np.isnan(decoded), pixels == 7)


def test_pictures_of_other_bits_than_the_first_are_quarantined(survey: Path, tmp_path: Path) -> None:
    (survey / "pictures").mkdir()
    for number, name in enumerate(catalog()["objid"]):
        pixels = np.random.default_rng(number).integers(1, 65536, (32, 32))
        picture = encode_16_bits(pixels, GREY_16) if number != 4 else encode((pixels // 257).astype(np.uint8))
        (survey / "pictures" / f"{name}.png").write_bytes(picture)
    options: dict[str, Any] = {"layout": "rgb", "path": "pictures/{objid}.png", "bands": [{"name": "white"}]}
    ingest(settings(survey, **options), tmp_path / "store.h5")
    (line,) = quarantine(tmp_path)
    assert line["object_id"] == str(catalog()["objid"][4])
    assert line["reason"] == "the picture has 8 bits, the first of the survey 16; bring all to one depth"


def test_a_turned_picture_with_labels_is_quarantined_and_upright_ones_keep_theirs(survey: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for folder in ("pictures", "labels"):
        (survey / folder).mkdir()
    for number, name in enumerate(catalog()["objid"]):
        pixels = rng.integers(1, 256, (32, 32, 3), np.uint8)
        picture = encode(pixels, exif=turned(6 if number == 4 else 1))
        (survey / "pictures" / f"{name}.png").write_bytes(picture)
        # as in FITS, the bottom row comes first
        fits.writeto(survey / "labels" / f"{name}.fits", pixels[::-1, :, 0].astype(np.float32))
    bands = [{"name": name} for name in ("red", "green", "blue")]
    options: dict[str, Any] = {"layout": "rgb", "path": "pictures/{objid}.png", "bands": bands}
    assert ingest(settings(survey, **options), tmp_path / "a.h5")["n_refused"] == 0
    labels = {"path": "labels/{objid}.fits", "extensions": {"clump": 0}}
    ingest(settings(survey, labels=labels, **options), tmp_path / "b.h5")
    (line,) = quarantine(tmp_path)
    assert line["object_id"] == str(catalog()["objid"][4])
    assert "EXIF data turn the picture, but not its labels" in line["reason"]
    with open_store(tmp_path / "b.h5") as store:
        assert len(store) == N - 1
        np.testing.assert_array_equal(store.label("clump"), store.images()[:, 0])
