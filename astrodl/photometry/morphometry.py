"""Sizes and shapes on a detection image: moments, concentration, asymmetry, smoothness, Gini, M20."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = [
    "Detection",
    "asymmetry",
    "flux_radii",
    "gini",
    "gini_m20",
    "measure_structure",
    "second_moments",
    "smoothness",
]

_BINS_PER_PIXEL = 8
_SMOOTHING_WIDTHS = (3, 5, 9)
_MIN_PIXELS = 5

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Detection:
    """Images on which objects are detected and shapes measured.

    Attributes
    ----------
    image, noise
        Inverse-variance weighted mean of the bands and its sigma, (n, y, x); 0 and NaN where no band has data.
    valid
        Pixels with data, (n, y, x).
    footprint
        Pixels of the central object, (n, y, x); all False where nothing was detected.
    """

    image: NDArray[np.float32]
    noise: NDArray[np.float32]
    valid: NDArray[np.bool_]
    footprint: NDArray[np.bool_]

    @cached_property
    def detected(self) -> NDArray[np.bool_]:
        """Whether the footprint has at least five pixels and a positive flux, (n,)."""
        return (self.footprint.sum(axis=(1, 2)) >= _MIN_PIXELS) & (self.flux > 0)

    @cached_property
    def source(self) -> NDArray[np.float32]:
        """Image inside the footprint, zero outside, (n, y, x)."""
        return np.where(self.footprint, self.image, 0)

    @cached_property
    def flux(self) -> _Array:
        """Flux in the footprint, (n,)."""
        return self.source.sum(axis=(1, 2), dtype=np.float64)

    @cached_property
    def centre(self) -> tuple[_Array, _Array]:
        """Centroid (y, x) of the footprint, (n,) each; the centre of the image without a footprint."""
        middle = [(length - 1) / 2 for length in self.image.shape[1:]]
        positive = np.where(self.source > 0, self.source, 0)
        total = positive.sum(axis=(1, 2), dtype=np.float64)
        rows, columns = (np.arange(length, dtype=np.float64) for length in self.image.shape[1:])
        safe = np.where(total > 0, total, 1)
        y = positive.sum(axis=2, dtype=np.float64) @ rows / safe
        x = positive.sum(axis=1, dtype=np.float64) @ columns / safe
        return np.where(total > 0, y, middle[0]), np.where(total > 0, x, middle[1])

    @cached_property
    def offsets(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Offsets of pixels from the centroid along y, (n, y, 1), and along x, (n, 1, x)."""
        y, x = self.centre
        rows, columns = (np.arange(length) for length in self.image.shape[1:])
        return (
            (rows[np.newaxis, :, np.newaxis] - y[:, np.newaxis, np.newaxis]).astype(np.float32),
            (columns[np.newaxis, np.newaxis, :] - x[:, np.newaxis, np.newaxis]).astype(np.float32),
        )

    @cached_property
    def distance(self) -> NDArray[np.float32]:
        """Distance of pixels from the centroid, (n, y, x)."""
        dy, dx = self.offsets
        return np.sqrt(dy * dy + dx * dx)


def measure_structure(detection: Detection) -> _Array:
    """Measure S/N, area, r50, rms radius, ellipticity, concentration, asymmetry, smoothness, Gini and M20.

    Returns
    -------
    ndarray
        (n, 10), lengths in pixels; NaN where nothing was detected.
    """
    noise = np.where(detection.footprint, np.nan_to_num(detection.noise), 0)
    variance = np.square(noise, dtype=np.float64).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = detection.flux / np.sqrt(variance)
        area = detection.footprint.sum(axis=(1, 2)).astype(np.float64)
        r20, r50, r80 = flux_radii(detection, (0.2, 0.5, 0.8))
        rms, ellipticity = second_moments(detection)
        concentration = 5 * np.log10(r80 / r20)
        columns = [snr, area, r50, rms, ellipticity, concentration, asymmetry(detection)]
        columns += [smoothness(detection, r20, r50), *gini_m20(detection)]
    return np.where(detection.detected[:, np.newaxis], np.stack(columns, axis=1), np.nan)


def flux_radii(detection: Detection, fractions: tuple[float, ...]) -> list[_Array]:
    """Find the radii of circles about the centroid that contain fractions of the footprint's flux, (n,) each.

    The light of a pixel is spread over one pixel in radius, which makes the curve of growth smooth.
    """
    n = len(detection.image)
    longest = int(np.ceil(np.hypot(*detection.image.shape[1:]))) + 1
    n_bins = longest * _BINS_PER_PIXEL
    bins = (detection.distance * _BINS_PER_PIXEL).astype(np.int64)
    rows, ys, xs = np.nonzero(detection.footprint)
    index = rows * n_bins + bins[rows, ys, xs]
    light = np.bincount(index, detection.image[rows, ys, xs], n * n_bins).reshape(n, n_bins)
    spread = ndimage.uniform_filter1d(light, _BINS_PER_PIXEL, axis=1, mode="reflect")
    growth = np.cumsum(spread, axis=1) / np.where(detection.flux == 0, 1, detection.flux)[:, np.newaxis]
    return [_first_crossing(growth, fraction) for fraction in fractions]


def _first_crossing(growth: _Array, level: float) -> _Array:
    first = (growth >= level).argmax(axis=1)
    rows = np.arange(len(growth))
    above, below = growth[rows, first], np.where(first > 0, growth[rows, first - 1], 0.0)
    part = (level - below) / np.where(above > below, above - below, 1)
    # `uniform_filter1d` with an even width is off by half a bin to the left.
    return np.where(above >= level, first + part - 0.5, np.nan) / _BINS_PER_PIXEL


def second_moments(detection: Detection) -> tuple[_Array, _Array]:
    """Return the rms radius ``sqrt((Mxx + Myy) / 2)`` in pixels and the ellipticity ``1 - b/a``, (n,) each."""
    light = np.where(detection.source > 0, detection.source, 0).astype(np.float64)
    total = light.sum(axis=(1, 2))
    safe = np.where(total > 0, total, 1)
    dy, dx = (offset.astype(np.float64) for offset in detection.offsets)
    by_row, by_column = light.sum(axis=2), light.sum(axis=1)
    yy = (by_row * dy[:, :, 0] ** 2).sum(axis=1) / safe
    xx = (by_column * dx[:, 0, :] ** 2).sum(axis=1) / safe
    xy = ((light @ dx.transpose(0, 2, 1))[:, :, 0] * dy[:, :, 0]).sum(axis=1) / safe
    mean, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    # The second moment of a pixel itself: a line of pixels must not have zero width.
    minor, major = np.maximum(mean - spread, 1 / 12), np.maximum(mean + spread, 1 / 12)
    return np.sqrt(mean), 1 - np.sqrt(minor / major)


def asymmetry(detection: Detection) -> _Array:
    r"""Measure the asymmetry under rotation by 180 degrees, (n,).

    .. math:: A = \min_{centre} \frac{\sum |I - I_{180}| - 2 N \sigma / \sqrt{\pi}}{\sum |I|}

    over the N pixels of the footprint whose partner has data. The second term is the contribution of noise of sigma,
    which Conselice (2003) measures on an area of sky instead.
    """
    n, height, width = detection.image.shape
    pixels = np.nonzero(detection.footprint)
    rows, ys, xs = (index.astype(np.int32) for index in pixels)  # half the memory traffic of int64
    light = detection.image[pixels]
    expected = np.float32(2 / np.sqrt(np.pi)) * np.nan_to_num(detection.noise[pixels])
    lookup = np.where(detection.valid, detection.image, np.nan).ravel()
    base = rows * np.int32(height * width)
    twice_y, twice_x = (np.rint(2 * centre).astype(np.int32)[rows] for centre in detection.centre)
    best = np.full(n, np.inf)
    for shift_y, shift_x in product((-1, 0, 1), repeat=2):
        y, x = twice_y + np.int32(shift_y) - ys, twice_x + np.int32(shift_x) - xs
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        partner = lookup[np.where(inside, base + y * np.int32(width) + x, 0)]
        inside &= ~np.isnan(partner)
        excess = np.where(inside, np.abs(light - partner) - expected, 0)
        total = np.bincount(rows, np.where(inside, np.abs(light), 0), n)
        with np.errstate(divide="ignore", invalid="ignore"):
            best = np.fmin(best, np.bincount(rows, excess, n) / total)
    return np.where(np.isfinite(best), best, np.nan)


def smoothness(detection: Detection, r20: _Array, r50: _Array) -> _Array:
    r"""Measure clumpiness: the positive residual of the image minus itself smoothed by a box of width about r50, (n,).

    .. math:: S = \frac{\sum \max(I - I_s, 0) - N \sigma_s / \sqrt{2 \pi}}{\sum I}

    over the footprint outside r20 (Conselice 2003 also excludes the centre). The second term is the contribution of
    noise, with sigma_s the noise of I - I_s.
    """
    outside = detection.footprint & (detection.distance > np.nan_to_num(r20)[:, np.newaxis, np.newaxis])
    choice = np.digitize(np.nan_to_num(r50), [4.0, 7.0])
    result = np.full(len(r50), np.nan)
    for number, width in enumerate(_SMOOTHING_WIDTHS):
        rows = np.flatnonzero(choice == number)
        if not len(rows):
            continue
        image = detection.image[rows]
        residual = image - ndimage.uniform_filter(image, (0, width, width), mode="nearest")
        noise = np.nan_to_num(detection.noise[rows]) * np.sqrt((1 - 1 / width**2) / (2 * np.pi))
        excess = np.where(outside[rows], np.maximum(residual, 0) - noise, 0).sum(axis=(1, 2), dtype=np.float64)
        result[rows] = excess / detection.flux[rows]
    return result


def gini_m20(detection: Detection) -> tuple[_Array, _Array]:
    r"""Measure the Gini coefficient and M20, the second moment of the brightest 20 % of the light, (n,) each.

    .. math:: G = \frac{\sum_i (2 i - n - 1) |I_i|}{\overline{|I|}\, n (n - 1)}, \quad
        M_{20} = \log_{10} \frac{\sum_i I_i r_i^2}{M_{tot}} \text{ while } \sum_i I_i < 0.2 I_{tot}

    with the pixels of the footprint sorted by increasing flux for G and by decreasing flux for M20 (Lotz et al. 2004,
    eqs. 6 and 8). G is 0 if all pixels are equal and 1 if one pixel has all the light.
    """
    distance = detection.distance
    results = np.full((2, len(distance)), np.nan)
    for row in np.flatnonzero(detection.detected):
        inside = detection.footprint[row]
        light = detection.image[row][inside].astype(np.float64)
        order = np.argsort(light, kind="stable")
        results[0, row] = gini(np.abs(light))
        moment = (light * np.square(distance[row][inside], dtype=np.float64))[order[::-1]]
        brightest = np.cumsum(light[order[::-1]]) < 0.2 * light.sum()
        brightest[0] = True
        with np.errstate(divide="ignore", invalid="ignore"):
            results[1, row] = np.log10(moment[brightest].sum() / moment.sum())
    return results[0], np.where(np.isfinite(results[1]), results[1], np.nan)


def gini(light: _Array) -> float:
    """Return the Gini coefficient of non-negative values (see `gini_m20`)."""
    n = len(light)
    ranks = 2 * np.arange(1, n + 1) - n - 1
    return float((ranks * np.sort(light)).sum() / (light.mean() * n * (n - 1)))
