"""Sprite sheets: the images of many objects in one picture inside a page."""

import base64
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Sprites", "make_sprites"]

_LADDER = ((1.0, 88), (1.0, 75), (0.75, 80), (0.75, 65), (0.5, 75), (0.5, 50), (0.25, 60))
"""Sizes (as a fraction of the largest) and qualities of JPEG to try, the best first."""
_MULTIPLE = 16
"""JPEG codes colour in blocks of 16 pixels; tiles of whole blocks do not shine into their neighbours."""


@dataclass(frozen=True)
class Sprites:
    """Images of N objects in a sheet, row by row.

    Attributes
    ----------
    uri : str
        The sheet as a `data:` URI.
    side : int
        Side of a tile in pixels.
    columns : int
        Tiles per row.
    """

    uri: str
    side: int
    columns: int


def make_sprites(images: Iterable[NDArray[np.floating]], n_images: int, *, side: int, max_bytes: int) -> Sprites:
    """Put colour images into one JPEG, of the best size and quality that fits.

    Parameters
    ----------
    images : iterable of (n, y, x, 3) arrays
        Blocks of images from 0 to 1. The first row of pixels is at the bottom, as in FITS.
    n_images : int
        Number of images in all blocks, at least 1.
    side : int
        Largest side of a tile in pixels, rounded to a multiple of 16.
    max_bytes : int
        Largest length of the URI.

    Returns
    -------
    Sprites
        Tiles of the smallest size where nothing fits.
    """
    side = _round(side)
    columns = math.ceil(math.sqrt(n_images))
    rows = math.ceil(n_images / columns)
    sheet = Image.new("RGB", (columns * side, rows * side))
    number = 0
    for block in images:
        pixels = (255 * np.nan_to_num(np.asarray(block)).clip(0, 1)).round().astype(np.uint8)
        for tile in pixels[:, ::-1]:
            image = Image.fromarray(np.ascontiguousarray(tile))
            image = image if image.size == (side, side) else image.resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(image, (number % columns * side, number // columns * side))
            number += 1
    assert number == n_images, (number, n_images)
    for fraction, quality in _LADDER:
        tile_side = _round(side * fraction)
        size = (columns * tile_side, rows * tile_side)
        uri = _encode(sheet if size == sheet.size else sheet.resize(size, Image.Resampling.BOX), quality)
        if len(uri) <= max_bytes:
            break
    return Sprites(uri, tile_side, columns)


def _round(side: float) -> int:
    return max(_MULTIPLE, round(side / _MULTIPLE) * _MULTIPLE)


def _encode(sheet: Image.Image, quality: int) -> str:
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
