"""Pixel grids of cutouts: sum blocks of pixels, crop and pad."""

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_psf", "fit_size", "rebin", "rebinned_length"]


def rebin(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Sum blocks of `factor` x `factor` pixels, (..., y, x).

    Remaining rows and columns are dropped on both sides. Blocks with missing pixels are scaled up from their other
    pixels, and are NaN where fewer than half remain.
    """
    if factor == 1:
        return image
    *lead, height, width = image.shape
    n_rows, n_columns = height // factor, width // factor
    top, left = (height - n_rows * factor) // 2, (width - n_columns * factor) // 2
    kept = image[..., top : top + n_rows * factor, left : left + n_columns * factor]
    if np.isfinite(kept).all():
        # About ten times faster than a sum over the short axes of blocks.
        parts = (kept[..., row::factor, column::factor] for row, column in product(range(factor), repeat=2))
        return np.asarray(sum(parts), np.float32)
    blocks = kept.reshape(*lead, n_rows, factor, n_columns, factor)
    n_valid = np.isfinite(blocks).sum(axis=(-3, -1))
    total = np.nansum(blocks, axis=(-3, -1), dtype=np.float64)
    scaled = total * factor**2 / np.maximum(n_valid, 1)
    return np.where(2 * n_valid >= factor**2, scaled, np.nan).astype(np.float32)


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


def fit_psf(psf: NDArray[np.float32], size: int, factor: int = 1) -> NDArray[np.float32]:
    """Crop a point-spread function about pixel ``n // 2``, or pad it with zeros; all NaN stays all NaN.

    With `factor`, pixels are summed as in `rebin`, but in blocks about the centre of pixel ``n // 2``; a pixel that two
    blocks share is divided by area. The sum is not renormalised: light outside the crop is lost.
    """
    if np.isnan(psf).all():
        return np.full((size, size), np.nan, np.float32)
    if factor > 1:
        rows, columns = (_overlap_weights(length, factor) for length in psf.shape)
        psf = (rows @ np.nan_to_num(psf) @ columns.T).astype(np.float32)
    return np.nan_to_num(fit_size(psf, size))


def rebinned_length(length: int, factor: int) -> int:
    """Return the number of blocks of `factor` pixels that cover an axis of `length` pixels about pixel ``n // 2``."""
    return length if factor == 1 else 2 * math.ceil((length // 2 + 0.5) / factor - 0.5) + 1


def _overlap_weights(length: int, factor: int) -> NDArray[np.float64]:
    """Return the share of each pixel in each block of `factor` pixels about pixel ``n // 2``, (blocks, pixels)."""
    n_blocks = rebinned_length(length, factor)
    blocks = factor * (np.arange(n_blocks) - n_blocks // 2)[:, np.newaxis]
    pixels = np.arange(length) - length // 2
    upper = np.minimum(blocks + factor / 2, pixels + 0.5)
    return np.maximum(upper - np.maximum(blocks - factor / 2, pixels - 0.5), 0.0)
