"""From the pixels of a file to a stored cutout: block sums, central crop, sky, missing pixels."""

from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAD_TO_SIGMA = 1.4826
_CLIP = 3.0
_MAX_CLIPS = 5


def rebin(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Sum blocks of `factor` x `factor` pixels, (..., y, x).

    The rows and columns that are left over are dropped on both sides. A block with missing pixels is scaled up from
    those that are there, and is NaN where fewer than half are.
    """
    if factor == 1:
        return image
    *lead, height, width = image.shape
    n_rows, n_columns = height // factor, width // factor
    top, left = (height - n_rows * factor) // 2, (width - n_columns * factor) // 2
    kept = image[..., top : top + n_rows * factor, left : left + n_columns * factor]
    if np.isfinite(kept).all():
        # Some ten times faster than a sum over the short axes of blocks.
        parts = (kept[..., row::factor, column::factor] for row, column in product(range(factor), repeat=2))
        return np.asarray(sum(parts), np.float32)
    blocks = kept.reshape(*lead, n_rows, factor, n_columns, factor)
    there = np.isfinite(blocks).sum(axis=(-3, -1))
    total = np.nansum(blocks, axis=(-3, -1), dtype=np.float64)
    scaled = total * factor**2 / np.maximum(there, 1)
    return np.where(2 * there >= factor**2, scaled, np.nan).astype(np.float32)


def fit_size(image: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Crop or pad with NaN to `size` x `size` pixels about the centre, (..., y, x).

    Pixel ``n // 2`` of an axis of n pixels becomes pixel ``size // 2``.
    """
    out = np.full((*image.shape[:-2], size, size), np.nan, np.float32)
    (to_y, from_y), (to_x, from_x) = (_overlap(length, size) for length in image.shape[-2:])
    out[..., to_y, to_x] = image[..., from_y, from_x]
    return out


def _overlap(length: int, size: int) -> tuple[slice, slice]:
    start = length // 2 - size // 2
    first, last = max(start, 0), min(start + size, length)
    return slice(first - start, last - start), slice(first, last)


def border_sky(image: NDArray[np.float32]) -> tuple[float, float]:
    """Measure level and noise of the sky on the border of an image, (y, x).

    The border is a frame of a sixteenth of the shorter side, at least two pixels. Its median and 1.4826 times its
    median absolute deviation are taken after clipping at three sigma, up to five times. Where more than half of the
    pixels are equal (8-bit images), the standard deviation of what was kept takes the place of the deviation.

    Returns
    -------
    level, sigma
        NaN where the border holds no data; sigma is NaN also where all border pixels are equal.
    """
    values = _border(image)
    if not len(values):
        return np.nan, np.nan
    for _ in range(_MAX_CLIPS):
        level = _median(values)
        distance = np.abs(values - level)
        sigma = MAD_TO_SIGMA * _median(distance)
        kept = values[distance <= _CLIP * sigma]
        if sigma == 0 or len(kept) == len(values):
            break
        values = kept
    if sigma == 0:
        sigma = values.std()
    return float(level), float(sigma) if sigma > 0 else np.nan


def _median(values: NDArray[np.float32]) -> float:
    """Give the median of finite values, for a thousand of them five times faster than `numpy.median`."""
    ordered, n = np.sort(values), len(values)
    return 0.5 * (float(ordered[(n - 1) // 2]) + float(ordered[n // 2]))


def _border(image: NDArray[np.float32]) -> NDArray[np.float32]:
    width = max(2, min(image.shape) // 16)
    inner = image[width:-width]
    parts = (image[:width], image[-width:], inner[:, :width], inner[:, -width:])
    values = np.concatenate([part.ravel() for part in parts])
    return values[np.isfinite(values)]


def block_sky(images: ArrayLike) -> NDArray[np.float32]:
    """Measure the noise of the sky on the borders of many images, (..., y, x) -> (...)."""
    images = np.asarray(images, np.float32)
    flat = images.reshape(-1, *images.shape[-2:])
    sigma = [border_sky(image)[1] for image in flat]
    return np.asarray(sigma, np.float32).reshape(images.shape[:-2])


def fit_psf(psf: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Crop or pad with zeros a point-spread function about pixel n // 2, which becomes pixel ``size // 2``.

    NaN where there is no point-spread function at all. Its sum is kept as it is: light beyond the crop stays lost.
    """
    if np.isnan(psf).all():
        return np.full((size, size), np.nan, np.float32)
    return np.nan_to_num(fit_size(psf, size))
