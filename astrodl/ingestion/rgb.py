"""Read JPEG and PNG images as bands."""

import io
import struct
import warnings

import numpy as np
from numpy.typing import NDArray

from astrodl.fits import UnreadableError

__all__ = ["count_bits", "decode", "orientation"]

_MAX_PIXELS = 1 << 26  # 8192 x 8192
_ORIENTATION = 0x0112  # EXIF tag


def decode(data: bytes) -> NDArray[np.float32]:
    """Decode a JPEG or PNG to (channels, y, x) float32, 0 to 255 for 8-bit images.

    Channels are red, green and blue, or one for a grey image, which may have 16 bits. Transparent pixels are NaN. The
    image is turned upright as its EXIF data say. The bottom row comes first, as in FITS, so that north stays up. Most
    images are stretched: the values are not linear fluxes.

    Raises
    ------
    UnreadableError
        If the data are not JPEG or PNG, damaged, too large, or of 16 bits in colour, which Pillow cuts to 8.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if count_bits(data) == 16 and data[25:26] != b"\0":
        raise UnreadableError("a PNG of 16 bits in colour; 8 bits, or 16 bits in grey are accepted: write FITS instead")
    try:
        with warnings.catch_warnings():
            # Of more than 89 million pixels, where the limit below is lower, and of damaged EXIF data.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                if image.width * image.height > _MAX_PIXELS:
                    raise UnreadableError(
                        f"the image claims {image.width} x {image.height} pixels, more than a cutout can have"
                    )
                upright = image if _read_orientation(image) == 1 else ImageOps.exif_transpose(image)
                pixels = _channels(upright)
    except Image.DecompressionBombError:
        raise UnreadableError("the image claims more pixels than a cutout can have") from None
    except UnidentifiedImageError:
        raise UnreadableError(f"not a JPEG or PNG image (starts with {data[:16]!r})") from None
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises these for damaged files
        raise UnreadableError(f"the image is cut short or damaged ({error})") from None
    return pixels[:, ::-1]


def count_bits(data: bytes) -> int:
    """Return the bits of a value of a JPEG or PNG: 16, or 8 (for fewer, too: `decode` gives 0 to 255)."""
    return 16 if data.startswith(b"\x89PNG") and data[12:16] == b"IHDR" and data[24:25] == b"\x10" else 8


def orientation(data: bytes) -> int:
    """Return the EXIF orientation of a JPEG or PNG that `decode` reads, 1 if it is upright."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF data
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            return _read_orientation(image)


def _read_orientation(image: "Image.Image") -> int:  # type: ignore[name-defined]  # noqa: F821
    try:
        value = image.getexif().get(_ORIENTATION)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):
        return 1
    return value if value in range(2, 9) else 1


def _channels(image: "Image.Image") -> NDArray[np.float32]:  # type: ignore[name-defined]  # noqa: F821
    if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
        grey = np.array(image.convert("L") if image.mode == "1" else image, np.float32)[np.newaxis]
        transparent = image.info.get("transparency")
        return np.where(grey == transparent, np.float32(np.nan), grey) if isinstance(transparent, int) else grey
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        pixels = np.asarray(image.convert("RGBA"), np.float32).transpose(2, 0, 1)
        return np.where(pixels[3] > 0, pixels[:3], np.nan).astype(np.float32)
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1).astype(np.float32)
