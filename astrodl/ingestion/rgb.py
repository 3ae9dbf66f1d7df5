"""Read JPEG and PNG images as bands."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray

from astrodl.fits.file import UnreadableError

MAX_PIXELS = 1 << 26
"""Largest image that is decoded: 8192 x 8192 pixels."""


def decode(data: bytes) -> NDArray[np.float32]:
    """Decode a JPEG or PNG to (channels, y, x) float32, 0 to 255 for 8-bit images.

    Channels are red, green, blue, or one for a grey image; wholly transparent pixels are NaN. The bottom row comes
    first, as in FITS, so an image that shows north up keeps north up. The values are those of the picture, mostly
    stretched, not linear fluxes.

    Raises
    ------
    UnreadableError
        Not a JPEG or PNG, damaged, or too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of images of more than 89 million pixels; our own limit below is lower and refuses them.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UnreadableError(
                        f"the image claims {image.width} x {image.height} pixels, more than a cutout can have"
                    )
                pixels = _channels(image)
    except Image.DecompressionBombError:
        raise UnreadableError("the image claims more pixels than a cutout can have") from None
    except UnidentifiedImageError:
        raise UnreadableError(f"not a JPEG or PNG image (starts with {data[:16]!r})") from None
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise UnreadableError(f"the image is cut short or damaged ({error})") from None
    return pixels[:, ::-1]


def _channels(image: "Image.Image") -> NDArray[np.float32]:  # type: ignore[name-defined]  # noqa: F821
    if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
        grey = image.convert("L") if image.mode == "1" else image
        return np.asarray(grey, np.float32)[np.newaxis]
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        pixels = np.asarray(image.convert("RGBA"), np.float32).transpose(2, 0, 1)
        return np.where(pixels[3] > 0, pixels[:3], np.nan).astype(np.float32)
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1).astype(np.float32)
