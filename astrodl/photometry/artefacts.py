"""Artefacts of an image, told from galaxies by rules on the pixels: no data, borders, saturation, trails."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ARTEFACTS", "TRAIL", "find_artefacts", "measure_trail"]

ARTEFACTS = {"missing": 1, "edge": 2, "saturation": 4, "trail": 8}
"""Bits of the flag: pixels without data; rows or columns at a border without data; a flat top; a line in one band."""
MISSING = 0.05
"""Share of the pixels of a band without data from which it counts as missing."""
FLAT = 5
"""Pixels at the largest value of a band from which the top is flat."""
TRAIL = 12.0
"""Significance of a line from which it is a trail."""
_SIDE, _N_ANGLES = 32, 48
_FAINT, _BRIGHT, _OTHERS = -2.0, 8.0, 4.0
"""Limits of a pixel in units of the noise; largest value in another band of a pixel that can be of a line."""
_FILLED, _BESIDE = 0.5, 0.6
"""Share of a line that is above the noise, at least; the same beside it over that on it, at most."""


def find_artefacts(images: ArrayLike, sky_sigma: ArrayLike) -> NDArray[np.int16]:
    """Flag artefacts by simple rules.

    A band that has no data at all is no artefact, and neither is a galaxy on the border of the survey whose cutout has
    a few dead pixels. Without a second band a trail cannot be told from an edge-on galaxy, and is not flagged.

    Parameters
    ----------
    images
        Linear, sky-subtracted fluxes, (N, bands, y, x), NaN where there is no data.
    sky_sigma
        Noise of a pixel, (N, bands).

    Returns
    -------
    ndarray
        Bits of `ARTEFACTS`, (N,); 0 where there is none.
    """
    pixels, sigma = np.asarray(images, np.float32), np.asarray(sky_sigma, np.float32)
    known = np.isfinite(pixels)
    observed = known.any((2, 3))
    share = 1 - known.mean((2, 3))
    missing = (observed & (share > MISSING)).any(1)
    sides = (known[..., 0, :], known[..., -1, :], known[..., 0], known[..., -1])
    edge = (observed & np.any([~side.any(-1) for side in sides], axis=0)).any(1)
    top = np.where(known, pixels, -np.inf).max((2, 3), keepdims=True)
    with np.errstate(invalid="ignore"):
        is_bright = top[..., 0, 0] > 10 * np.nan_to_num(sigma, nan=np.inf)
    flat = (observed & is_bright & ((pixels == top).sum((2, 3)) >= FLAT)).any(1)
    trail = measure_trail(pixels, sigma) > TRAIL
    bits = zip((missing, edge, flat, trail), ARTEFACTS.values(), strict=True)
    return sum((found.astype(np.int16) * np.int16(bit) for found, bit in bits), np.zeros(len(pixels), np.int16))


def measure_trail(images: ArrayLike, sky_sigma: ArrayLike) -> NDArray[np.float32]:
    """Measure the significance of the straightest, longest line that is seen in one band only.

    In each band, pixels that are bright in another one are left out, and the others clipped, so that no star makes a
    line. Lines of all directions are averaged (a Radon transform), and the brighter of the two parallels a few pixels
    away is taken off. Half of a line must be above the noise, and fewer of the parallels.

    Parameters
    ----------
    images, sky_sigma
        As for `find_artefacts`.

    Returns
    -------
    ndarray
        Mean of the line over its error, (N,); 0 where no line is filled, and with fewer than two bands.
    """
    pixels, sigma = np.asarray(images, np.float32), np.asarray(sky_sigma, np.float32)
    n_bands, height, width = pixels.shape[1:]
    found = np.zeros(len(pixels), np.float32)
    if n_bands < 2 or min(height, width) < 16:
        return found
    with np.errstate(invalid="ignore", divide="ignore"):
        signal = np.nan_to_num(pixels / sigma[..., None, None], nan=0.0, posinf=0.0, neginf=0.0)
    binned = _bin(signal, max(1, round(min(height, width) / _SIDE)))
    smooth = _smooth(binned)
    weights, shape = _lines(*binned.shape[-2:])
    least = 0.5 * min(binned.shape[-2:])
    for band in range(n_bands):
        alone = (np.delete(smooth, band, axis=1).max(1) < _OTHERS).astype(np.float32)
        flux = np.clip(binned[:, band], _FAINT, _BRIGHT) * alone
        lit = (binned[:, band] > 1) * alone
        total, n_lit, n, n_square = (
            (maps.reshape(len(maps), -1) @ matrix).reshape(-1, *shape)
            for maps, matrix in ((flux, weights), (lit, weights), (alone, weights), (alone, weights**2))
        )
        is_long = n > least
        mean, filled = np.where(is_long, total / np.maximum(n, 1), 0), n_lit / np.maximum(n, 1)
        is_line = is_long & (filled > _FILLED) & (_beside(filled) < _BESIDE * filled)
        value = (mean - np.maximum(_beside(mean), 0)) * n / np.sqrt(np.maximum(n_square, 1))
        value = np.where(is_line, value, 0)[..., 4:-4]
        found = np.maximum(found, value.reshape(len(value), -1).max(1))
    return found


def _bin(signal: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Average over squares of pixels, in units of the noise of the average."""
    height, width = (side // factor for side in signal.shape[-2:])
    cut = signal[..., : height * factor, : width * factor]
    blocks = cut.reshape(*signal.shape[:2], height, factor, width, factor)
    return blocks.mean((3, 5)) * factor


def _smooth(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average over 3 x 3 pixels, zero beyond the border, in units of the noise of the average."""
    padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = maps.shape[-2:]
    shifted = [padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.asarray(np.sum(shifted, axis=0) / 3, np.float32)


def _beside(lines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the larger value of the two parallels four pixels away."""
    return np.maximum(np.roll(lines, 4, 2), np.roll(lines, -4, 2))


def _lines(height: int, width: int) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Return the weights of the pixels in lines, (pixels, angles * offsets), and the numbers of angles and offsets."""
    y, x = np.mgrid[:height, :width]
    y, x = y.ravel() - (height - 1) / 2, x.ravel() - (width - 1) / 2
    angles = np.arange(_N_ANGLES) * np.pi / _N_ANGLES
    half = min(height, width) // 2
    offsets = np.arange(1 - half, half)
    across = x[:, None] * np.cos(angles) + y[:, None] * np.sin(angles)
    weights = np.maximum(1 - np.abs(across[..., None] - offsets), 0).astype(np.float32)
    return weights.reshape(len(x), -1), (len(angles), len(offsets))
