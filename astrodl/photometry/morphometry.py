"""Sizes and shapes on a detection image: moments, concentration, asymmetry, smoothness, Gini, M20."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

__all__ = ["Detection", "gini", "measure_structure"]

_BINS_PER_PIXEL = 8
_SMOOTHING_WIDTHS = (3, 5, 9)
_MIN_PIXELS = 5
_N_FEATURES = 10

_Array = NDArray[np.float64]
_Image = NDArray[np.float32]


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

    image: _Image
    noise: _Image
    valid: NDArray[np.bool_]
    footprint: NDArray[np.bool_]

    @cached_property
    def detected(self) -> NDArray[np.bool_]:
        """Whether the footprint has at least five pixels and a positive flux, (n,)."""
        return (self.area >= _MIN_PIXELS) & (self.flux > 0)

    @cached_property
    def area(self) -> NDArray[np.int64]:
        """Number of pixels in the footprint, (n,)."""
        return self.footprint.sum(axis=(1, 2))

    @cached_property
    def source(self) -> _Image:
        """Image inside the footprint, zero outside, (n, y, x)."""
        return self.image * self.footprint

    @cached_property
    def flux(self) -> _Array:
        """Flux in the footprint, (n,)."""
        return self.source.sum(axis=(1, 2), dtype=np.float64)

    @cached_property
    def positive(self) -> _Array:
        """Positive flux in the footprint, zero elsewhere, (n, y, x)."""
        return np.maximum(self.source, 0).astype(np.float64)

    @cached_property
    def profiles(self) -> tuple[_Array, _Array]:
        """Sums of `positive` over rows, (n, y), and over columns, (n, x)."""
        return self.positive.sum(axis=2), self.positive.sum(axis=1)

    @cached_property
    def centre(self) -> tuple[_Array, _Array]:
        """Centroid (y, x) of the footprint, (n,) each; the centre of the image without a footprint."""
        total = self.profiles[0].sum(axis=1)
        safe = np.where(total > 0, total, 1)
        y, x = (profile @ np.arange(profile.shape[1], dtype=np.float64) / safe for profile in self.profiles)
        middle_y, middle_x = ((length - 1) / 2 for length in self.image.shape[1:])
        return np.where(total > 0, y, middle_y), np.where(total > 0, x, middle_x)

    @cached_property
    def offsets(self) -> tuple[_Image, _Image]:
        """Offsets of pixels from the centroid along y, (n, y, 1), and along x, (n, 1, x)."""
        y, x = self.centre
        rows, columns = (np.arange(length) for length in self.image.shape[1:])
        return (
            (rows[np.newaxis, :, np.newaxis] - y[:, np.newaxis, np.newaxis]).astype(np.float32),
            (columns[np.newaxis, np.newaxis, :] - x[:, np.newaxis, np.newaxis]).astype(np.float32),
        )

    @cached_property
    def distance(self) -> _Image:
        """Distance of pixels from the centroid, (n, y, x)."""
        dy, dx = self.offsets
        return np.sqrt(dy * dy + dx * dx)


class _Footprints:
    """Pixels in the footprints of the detected objects, one object after the other.

    Attributes
    ----------
    rows
        Indices of the detected objects, (k,).
    starts
        Index of the first pixel of each detected object, (k,).
    owner
        Detected object, from 0 to k - 1, of each pixel, (P,).
    index
        Index of each pixel in the flat images, (P,).
    light, noise, distance
        Values of each pixel, (P,).
    """

    def __init__(self, detection: Detection) -> None:
        self.rows = np.flatnonzero(detection.detected)
        area = detection.area[self.rows]
        self.starts = np.cumsum(area) - area
        self.owner = np.repeat(np.arange(len(area)), area)
        self.index = np.flatnonzero(detection.footprint & detection.detected[:, np.newaxis, np.newaxis])
        self.light = detection.image.reshape(-1)[self.index]
        self.noise = np.nan_to_num(detection.noise.reshape(-1)[self.index])
        self.distance = detection.distance.reshape(-1)[self.index]

    def sum(self, values: NDArray[np.floating]) -> _Array:
        """Sum values of pixels over each object, (P,) -> (k,)."""
        return np.add.reduceat(values, self.starts, dtype=np.float64)


def measure_structure(detection: Detection) -> _Array:
    """Measure S/N, area, r50, rms radius, ellipticity, concentration, asymmetry, smoothness, Gini and M20.

    Returns
    -------
    ndarray
        (n, 10), lengths in pixels; NaN where nothing was detected.
    """
    pixels = _Footprints(detection)
    rows = pixels.rows
    structure = np.full((len(detection.image), _N_FEATURES), np.nan)
    if not len(rows):
        return structure
    flux = detection.flux[rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = flux / np.sqrt(pixels.sum(np.square(pixels.noise, dtype=np.float64)))
        r20, r50, r80 = _flux_radii(pixels, flux, (0.2, 0.5, 0.8))
        rms, ellipticity = (values[rows] for values in _second_moments(detection))
        concentration = 5 * np.log10(r80 / r20)
        columns = [snr, detection.area[rows], r50, rms, ellipticity, concentration, _asymmetry(detection, pixels)]
        columns += [_smoothness(detection, pixels, r20, r50), gini(np.abs(pixels.light), pixels.starts), _m20(pixels)]
    structure[rows] = np.stack(columns, axis=1)
    return structure


def _flux_radii(pixels: _Footprints, flux: _Array, fractions: Sequence[float]) -> list[_Array]:
    """Find the radii of circles about the centroid that contain fractions of the footprint's flux, (k,) each.

    The light of a pixel is spread over one pixel in radius, which makes the curve of growth smooth.
    """
    n_bins = (int(pixels.distance.max()) + 2) * _BINS_PER_PIXEL
    bins = (pixels.distance * _BINS_PER_PIXEL).astype(np.int64)
    light = np.bincount(pixels.owner * n_bins + bins, pixels.light, len(flux) * n_bins).reshape(-1, n_bins)
    spread = ndimage.uniform_filter1d(light, _BINS_PER_PIXEL, axis=1, mode="reflect")
    growth = np.cumsum(spread, axis=1) / flux[:, np.newaxis]
    return [_first_crossing(growth, fraction) for fraction in fractions]


def _first_crossing(growth: _Array, level: float) -> _Array:
    first = (growth >= level).argmax(axis=1)
    rows = np.arange(len(growth))
    above, below = growth[rows, first], np.where(first > 0, growth[rows, first - 1], 0.0)
    part = (level - below) / np.where(above > below, above - below, 1)
    # `uniform_filter1d` with an even width is off by half a bin to the left.
    return np.where(above >= level, first + part - 0.5, np.nan) / _BINS_PER_PIXEL


def _second_moments(detection: Detection) -> tuple[_Array, _Array]:
    """Return the rms radius ``sqrt((Mxx + Myy) / 2)`` in pixels and the ellipticity ``1 - b/a``, (n,) each."""
    by_row, by_column = detection.profiles
    total = by_row.sum(axis=1)
    safe = np.where(total > 0, total, 1)
    dy, dx = (offset.astype(np.float64) for offset in detection.offsets)
    yy = (by_row * dy[:, :, 0] ** 2).sum(axis=1) / safe
    xx = (by_column * dx[:, 0, :] ** 2).sum(axis=1) / safe
    xy = ((detection.positive @ dx.transpose(0, 2, 1))[:, :, 0] * dy[:, :, 0]).sum(axis=1) / safe
    mean, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    # The second moment of a pixel itself: a line of pixels must not have zero width.
    minor, major = np.maximum(mean - spread, 1 / 12), np.maximum(mean + spread, 1 / 12)
    return np.sqrt(mean), 1 - np.sqrt(minor / major)


def _asymmetry(detection: Detection, pixels: _Footprints) -> _Array:
    r"""Measure the asymmetry under rotation by 180 degrees, (k,).

    .. math:: A = \min_{centre} \frac{\sum |I - I_{180}| - 2 N \sigma / \sqrt{\pi}}{\sum |I|}

    over the N pixels of the footprint whose partner has data. The second term is the contribution of noise of sigma,
    which Conselice (2003) measures on an area of sky instead.
    """
    n, height, width = detection.image.shape
    # Partners beyond the image are looked up in an additional row or column of NaN.
    padded = np.full((n, height + 1, width + 1), np.nan, np.float32)
    np.copyto(padded[:, :height, :width], detection.image, where=detection.valid)
    lookup = padded.reshape(-1)
    image, pixel = np.divmod(pixels.index, height * width)
    y, x = np.divmod(pixel, width)
    twice_y, twice_x = (np.rint(2 * centre).astype(np.int64)[image] for centre in detection.centre)
    first = image * ((height + 1) * (width + 1))
    lines = [first + (width + 1) * _inside(twice_y + shift - y, height) for shift in (-1, 0, 1)]
    columns = [_inside(twice_x + shift - x, width) for shift in (-1, 0, 1)]
    light = np.abs(pixels.light)
    expected = np.float32(2 / np.sqrt(np.pi)) * pixels.noise
    best = np.full(len(pixels.rows), np.inf)
    for line, column in product(lines, columns):
        excess = np.abs(pixels.light - lookup[line + column]) - expected
        missing = np.flatnonzero(np.isnan(excess))
        with_partner = light.copy()
        excess[missing] = with_partner[missing] = 0
        best = np.fmin(best, pixels.sum(excess) / pixels.sum(with_partner))
    return np.where(np.isfinite(best), best, np.nan)


def _inside(index: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Replace indices outside of 0 to `length` - 1 by `length`."""
    return np.minimum(index.view(np.uint64), length).view(np.int64)


def _smoothness(detection: Detection, pixels: _Footprints, r20: _Array, r50: _Array) -> _Array:
    r"""Measure clumpiness: the positive residual of the image minus itself smoothed by a box of width about r50, (k,).

    .. math:: S = \frac{\sum \max(I - I_s, 0) - N \sigma_s / \sqrt{2 \pi}}{\sum I}

    over the footprint outside r20 (Conselice 2003 also excludes the centre). The second term is the contribution of
    noise, with sigma_s the noise of I - I_s.
    """
    width = np.array(_SMOOTHING_WIDTHS)[np.digitize(np.nan_to_num(r50), [4.0, 7.0])]
    smooth = np.empty_like(detection.image)
    for size in _SMOOTHING_WIDTHS:
        rows = pixels.rows[width == size]
        smooth[rows] = ndimage.uniform_filter(detection.image[rows], (0, size, size), mode="nearest")
    residual = pixels.light - smooth.reshape(-1)[pixels.index]
    noise = pixels.noise * np.sqrt((1 - 1 / width**2) / (2 * np.pi))[pixels.owner]
    outside = pixels.distance > np.nan_to_num(r20)[pixels.owner]
    return pixels.sum((np.maximum(residual, 0) - noise) * outside) / detection.flux[pixels.rows]


def gini(light: NDArray[np.floating], starts: ArrayLike = (0,)) -> _Array:
    r"""Measure the Gini coefficient of non-negative values.

    .. math:: G = \frac{\sum_i (2 i - n - 1) I_i}{\overline{I}\, n (n - 1)}

    with the values sorted in increasing order (Lotz et al. 2004, eq. 6). G is 0 if all values are equal and 1 if one
    pixel has all the light.

    Parameters
    ----------
    light
        Values of k objects, one object after the other, (P,).
    starts
        Index of the first value of each object, (k,); by default all values belong to one object.

    Returns
    -------
    ndarray
        (k,).
    """
    starts = np.asarray(starts)
    n = np.diff(starts, append=len(light))
    ordered = light.copy()
    for values in np.split(ordered, starts[1:]):
        values.sort()
    ranks = 2 * (np.arange(len(light)) - starts.repeat(n)) + 1 - n.repeat(n)
    weighted, total = (np.add.reduceat(values, starts, dtype=np.float64) for values in (ranks * ordered, ordered))
    return weighted / (total * (n - 1))


def _m20(pixels: _Footprints) -> _Array:
    r"""Measure M20, the second moment of the brightest 20 % of the light, (k,).

    .. math:: M_{20} = \log_{10} \frac{\sum_i I_i r_i^2}{M_{tot}} \text{ while } \sum_i I_i < 0.2 I_{tot}

    with the pixels of the footprint sorted by decreasing flux (Lotz et al. 2004, eq. 8). Of equal pixels,
    the last comes first.
    """
    ordered = -pixels.light
    n_bright = np.ones(len(pixels.rows), np.int64)
    for number, values in enumerate(np.split(ordered, pixels.starts[1:])):
        values.sort()
        growth = values.cumsum(dtype=np.float64)
        n_bright[number] = max(int((growth > 0.2 * growth[-1]).sum()), 1)
    faintest = -ordered[pixels.starts + n_bright - 1][pixels.owner]
    bright = pixels.light > faintest
    equal = np.flatnonzero(pixels.light == faintest)
    owner = pixels.owner[equal]
    n_equal = np.bincount(owner, minlength=len(n_bright))
    from_last = np.cumsum(n_equal)[owner] - np.arange(len(equal))
    bright[equal[from_last <= (n_bright - pixels.sum(bright))[owner]]] = True
    moment = pixels.light * np.square(pixels.distance, dtype=np.float64)
    m20 = np.log10(pixels.sum(moment * bright) / pixels.sum(moment))
    return np.where(np.isfinite(m20), m20, np.nan)
