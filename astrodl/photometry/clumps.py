"""Clumps of galaxies: peaks of maps, fluxes above the local background, true clumps from noise-free light."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

__all__ = ["Clumps", "TrueClumps", "find_peaks", "fit_widths", "measure_fluxes", "true_clumps"]

_Array = NDArray[np.float64]

_WIDTHS = np.linspace(0.7, 2.6, 20)
"""Gaussian sigmas in pixels that `fit_widths` tries."""
_WINDOW = 4
"""Half the side of the window of a fit, in pixels."""
_NEIGHBOUR_PIXELS = 2.0
"""Peaks of the true light closer than this are the knots of one clump."""


class Clumps(NamedTuple):
    """Clumps of a set of images."""

    image: NDArray[np.intp]
    """Index of the image, increasing, (k,)."""
    y: _Array
    """Row in pixels, from 0, (k,)."""
    x: _Array
    """Column in pixels, from 0, (k,)."""
    value: _Array
    """Value of the map at the peak, (k,)."""

    def select(self, chosen: NDArray[np.bool_]) -> "Clumps":
        """Return the chosen clumps."""
        return Clumps(self.image[chosen], self.y[chosen], self.x[chosen], self.value[chosen])


def find_peaks(maps: ArrayLike, least: float, separation: float = 1.0) -> Clumps:
    """Find the local maxima of maps, with positions to a fraction of a pixel.

    Parameters
    ----------
    maps
        Maps, (n, y, x); NaN is never a peak.
    least
        Smallest value of a peak.
    separation
        A peak is the highest pixel within this distance in pixels; of equal ones, the first.

    Returns
    -------
    Clumps
        Peaks, in order of the images. The position is the maximum of parabolas through the peak and its neighbours.
    """
    values = np.nan_to_num(np.asarray(maps, np.float64), nan=-np.inf)
    reach = int(np.ceil(separation))
    offset = np.arange(-reach, reach + 1)
    footprint = (np.hypot(offset[:, None], offset) <= max(separation, np.sqrt(2)))[None]
    highest = ndimage.maximum_filter(values, footprint=footprint, mode="constant", cval=-np.inf)
    image, y, x = np.nonzero((values == highest) & (values >= least))
    kept = _first_of_plateaus(image, y, x, max(separation, np.sqrt(2)))
    image, y, x = image[kept], y[kept], x[kept]
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), mode="edge")
    centre = values[image, y, x]
    shifts = []
    for dy, dx in ((1, 0), (0, 1)):
        before, after = padded[image, y + 1 - dy, x + 1 - dx], padded[image, y + 1 + dy, x + 1 + dx]
        with np.errstate(invalid="ignore"):
            curvature = 2 * centre - before - after
            shift = np.divide(after - before, 2 * curvature, out=np.zeros_like(centre), where=curvature > 0)
        shifts.append(np.clip(np.nan_to_num(shift), -0.5, 0.5))
    height, width = values.shape[1:]
    return Clumps(image, np.clip(y + shifts[0], 0, height - 1), np.clip(x + shifts[1], 0, width - 1), centre)


def _first_of_plateaus(
    image: NDArray[np.intp], y: NDArray[np.intp], x: NDArray[np.intp], separation: float
) -> NDArray[np.bool_]:
    """Keep the first of equal peaks that are close to each other."""
    kept = np.ones(len(image), bool)
    for start, stop in _ranges(image):
        close = np.hypot(y[start:stop, None] - y[start:stop], x[start:stop, None] - x[start:stop])
        kept[start:stop] = ~(np.tril(close <= separation, -1)).any(axis=1)
    return kept


def _ranges(image: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Return first and last position of the entries of each image."""
    edges = np.concatenate([np.flatnonzero(np.diff(image, prepend=-1)), [len(image)]])
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


class TrueClumps(NamedTuple):
    """Clumps of the noise-free light of clumps."""

    clumps: Clumps
    """Positions, and the light of the peak in units of the sky noise."""
    flux: _Array
    """Flux, (k,)."""
    snr: _Array
    """Signal-to-noise ratio of an optimal extraction, for the noise of the sky, (k,)."""
    is_detectable: NDArray[np.bool_]
    """Whether the peak is in the mask, (k,)."""


def true_clumps(light: ArrayLike, mask: ArrayLike, sky_sigma: ArrayLike, least: float = 0.3) -> TrueClumps:
    r"""List the clumps in noise-free images of the light of clumps.

    Peaks are those of `find_peaks`; each pixel belongs to the nearest. The signal-to-noise ratio is
    :math:`\sqrt{\sum_p f_p^2} / \sigma` (Horne 1986, PASP 98, 609, for a noise :math:`\sigma` of all pixels).

    Parameters
    ----------
    light
        Noise-free flux of the clumps per pixel, (n, y, x).
    mask
        Pixels where clumps are detectable, (n, y, x).
    sky_sigma
        Sky noise per pixel, (n,).
    least
        Faintest peaks, in units of the sky noise.
    """
    flux = np.nan_to_num(np.asarray(light, np.float64))
    sigma = np.asarray(sky_sigma, np.float64)
    sigma = np.where(np.isfinite(sigma) & (sigma > 0), sigma, np.inf)
    peaks = find_peaks(flux / sigma[:, None, None], least, _NEIGHBOUR_PIXELS)
    total, square = np.zeros(len(peaks.x)), np.zeros(len(peaks.x))
    for start, stop in _ranges(peaks.image):
        number = peaks.image[start]
        y, x = np.nonzero(flux[number] > 0)
        distance = np.hypot(y[:, None] - peaks.y[start:stop], x[:, None] - peaks.x[start:stop])
        owner, pixels = distance.argmin(axis=1), flux[number][y, x]
        total[start:stop] = np.bincount(owner, pixels, stop - start)
        square[start:stop] = np.bincount(owner, pixels**2, stop - start)
    row, column = np.rint(peaks.y).astype(int), np.rint(peaks.x).astype(int)
    inside = np.asarray(mask, bool)[peaks.image, row, column]
    return TrueClumps(peaks, total, np.sqrt(square) / sigma[peaks.image], inside)


def measure_fluxes(
    image: ArrayLike,
    y: ArrayLike,
    x: ArrayLike,
    sky_sigma: ArrayLike,
    widths: ArrayLike,
    measured: ArrayLike | None = None,
) -> tuple[_Array, _Array]:
    r"""Measure the fluxes of clumps in one galaxy by a linear fit of Gaussians on a local background.

    In a window of 9 by 9 pixels around each clump, the amplitudes of the Gaussians of all clumps and of a background
    :math:`b_0 + b_x x + b_y y + b_r r^2` are fitted together, so that neighbours are deblended and the light of the
    galaxy below the clump is removed.

    Parameters
    ----------
    image
        Fluxes, (bands, y, x); pixels that are NaN are left out.
    y, x
        Positions in pixels, (k,).
    sky_sigma
        Sky noise per pixel, (bands,); the scatter of the residuals where it is larger.
    widths
        Gaussian sigma of a clump in each band in pixels, (bands,), from `fit_widths`.
    measured
        Indices of the clumps to measure; the others are neighbours. By default all.

    Returns
    -------
    flux, error
        (k, bands), in the unit of the image; NaN for those not measured, and where less than half of the window has
        data.
    """
    pixels, sky = np.asarray(image, np.float64), np.asarray(sky_sigma, np.float64)
    rows, columns, sigmas = np.asarray(y, np.float64), np.asarray(x, np.float64), np.asarray(widths, np.float64)
    flux, error = np.full((2, len(rows), len(pixels)), np.nan)
    for number in range(len(rows)) if measured is None else np.asarray(measured, int).tolist():
        window = _window(rows[number], columns[number], pixels.shape[1:])
        for band, plane in enumerate(pixels):
            fitted = _fit(plane[window], window, number, rows, columns, sigmas[band])
            if fitted is not None:
                value, unit_error, scatter = fitted
                flux[number, band], error[number, band] = value, unit_error * np.fmax(sky[band], scatter)
    return flux, error


def _window(y: float, x: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    row, column = round(y), round(x)
    return (
        slice(max(0, row - _WINDOW), min(shape[0], row + _WINDOW + 1)),
        slice(max(0, column - _WINDOW), min(shape[1], column + _WINDOW + 1)),
    )


def _fit(
    data: _Array, window: tuple[slice, slice], number: int, rows: _Array, columns: _Array, sigma: float
) -> tuple[float, float, float] | None:
    """Return flux, its error for unit noise, and the scatter of the residuals."""
    y, x = np.mgrid[window]
    known = np.isfinite(data)
    if 2 * np.count_nonzero(known) < (2 * _WINDOW + 1) ** 2:
        return None
    reach = _WINDOW + 2 * sigma
    close = (np.abs(rows - rows[number]) < reach) & (np.abs(columns - columns[number]) < reach)
    order = np.concatenate([[number], np.flatnonzero(close & (np.arange(len(rows)) != number))])
    y, x = y[known], x[known]
    dy, dx = y[:, None] - rows[order], x[:, None] - columns[order]
    gaussians = np.exp(-0.5 * (dy**2 + dx**2) / sigma**2) / (2 * np.pi * sigma**2)
    v, u = dy[:, 0] / _WINDOW, dx[:, 0] / _WINDOW
    design = np.column_stack([gaussians, np.ones_like(u), v, u, v**2 + u**2])
    # pixels that no Gaussian reaches leave a column of zeros: the pseudo-inverse gives it no flux
    inverse = np.linalg.pinv(design, rcond=1e-6)
    parameters = inverse @ data[known]
    residual = data[known] - design @ parameters
    freedom = max(1, len(u) - design.shape[1])
    return float(parameters[0]), float(np.linalg.norm(inverse[0])), float(np.sqrt(residual @ residual / freedom))


def fit_widths(
    images: ArrayLike, clumps: Clumps, weight: ArrayLike, default: float = 1.2, most: int = 100
) -> NDArray[np.float64]:
    """Fit the width of clumps in each band: the Gaussian with the least residuals over all of them.

    Parameters
    ----------
    images
        Fluxes, (n, bands, y, x).
    clumps
        Positions.
    weight
        Brightness of the clumps, (k,): the `most` brightest are fitted.
    default
        Width where there are fewer than ten clumps.
    most
        Number of clumps.

    Returns
    -------
    ndarray
        Gaussian sigma in pixels, (bands,).
    """
    pixels = np.asarray(images, np.float64)
    chosen = np.argsort(-np.asarray(weight, np.float64), kind="stable")[:most]
    if len(chosen) < 10:
        return np.full(pixels.shape[1], default)
    residual = np.zeros((pixels.shape[1], len(_WIDTHS)))
    for number in chosen:
        image = pixels[clumps.image[number]]
        same = clumps.image == clumps.image[number]
        own = int(np.flatnonzero(np.flatnonzero(same) == number)[0])
        rows, columns = clumps.y[same], clumps.x[same]
        window = _window(rows[own], columns[own], image.shape[1:])
        for band, plane in enumerate(image):
            fits = [_fit(plane[window], window, own, rows, columns, sigma) for sigma in _WIDTHS]
            if all(fit is not None for fit in fits):
                squares = np.array([fit[2] ** 2 for fit in fits if fit is not None])
                residual[band] += squares / max(squares.mean(), 1e-300)
    return _WIDTHS[residual.argmin(axis=1)]
