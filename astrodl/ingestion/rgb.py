"""Read JPEG and PNG images as bands."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray

from astrodl.fits import UnreadableError

__all__ = ["decode"]

_MAX_PIXELS = 1 << 26  # 8192 x 8192


def decode(data: bytes) -> NDArray[np.float32]:
    """Decode a JPEG or PNG to (channels, y, x) float32, 0 to 255 for 8-bit images.

    Channels are red, green and blue, or one for a grey image. Transparent pixels are NaN. The bottom row comes first,
    as in FITS, so that north stays up. Most images are stretched: the values are not linear fluxes.

    Raises
    ------
    UnreadableError
        If the data are not JPEG or PNG, damaged, or too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns above 89 million pixels; the limit below is lower.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                if image.width * image.height > _MAX_PIXELS:
                    raise UnreadableError(
                        f"the image claims {image.width} x {image.height} pixels, more than a cutout can have"
                    )
                pixels = _channels(image)
    except Image.DecompressionBombError:
        raise UnreadableError("the image claims more pixels than a cutout can have") from None
    except UnidentifiedImageError:
        raise UnreadableError(f"not a JPEG or PNG image (starts with {data[:16]!r})") from None
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises these for damaged files
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
