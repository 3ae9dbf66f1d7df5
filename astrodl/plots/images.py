"""Colour images of galaxies, and contact sheets."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from astrodl.plots.style import MUTED, NO_DATA, WIDTH_INCHES, Array, apply_style, new_canvas, wrap_heading, wrap_label

__all__ = [
    "GAP",
    "balance_bands",
    "channel_weights",
    "contact_sheet",
    "draw_cutout",
    "estimate_sky_sigma",
    "lupton_rgb",
    "order_screen_channels",
    "plain_rgb",
    "sheet_of_rows",
]

GAP = 0.05
"""Space between cutouts, in inches."""
_LINE = 0.135
"""Height of a line of a cutout's title, in inches."""
_MARGIN = 0.08
"""Margin of a sheet, in inches."""


def channel_weights(n_bands: int) -> Array:
    """Return the weights of the bands, from blue to red, in the red, green and blue channels.

    A band at position p in [0, 2] along the list has the weight max(0, w - |p - c|) in the channel at c (blue 0,
    green 1, red 2). With three bands w is one and each band is a channel. With more bands w grows to 1.5, because
    channels with sharp edges make galaxies green. One band gives grey; of two bands, green is the mean.

    Returns
    -------
    ndarray of shape (3, n_bands)
        Rows red, green, blue; each sums to one.
    """
    if n_bands == 1:
        return np.ones((3, 1))
    if n_bands == 2:
        return np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    position = np.linspace(0.0, 2.0, n_bands)
    width = 1.5 - 1.0 / (n_bands - 1)
    weights = np.clip(width - np.abs(position - np.array([[2.0], [1.0], [0.0]])), 0.0, None)
    return weights / weights.sum(axis=1, keepdims=True)


def order_screen_channels(bands: Sequence[str]) -> list[int]:
    """Return the order blue, green, red of three bands that are named after these colours; else the given order."""
    channels = {"blue": 0, "b": 0, "green": 1, "g": 1, "red": 2, "r": 2}
    order = [channels.get(band.lower(), -1) for band in bands]
    # g and r alone are filters of a survey; only all three together are the channels of a JPEG.
    if set(order) != {0, 1, 2}:
        return list(range(len(order)))
    return sorted(range(len(order)), key=order.__getitem__)


def balance_bands(images: ArrayLike) -> Array:
    """Return the factor per band that makes the typical galaxy of a sample nearly white.

    The factor is s^-0.8, where s is the median over objects of the band's share of the flux in the central quarter of
    the image. With few objects the factor shrinks towards one, so that a single red galaxy stays red. Pass the factors
    of a large sample to `lupton_rgb` to give all figures of a survey the same colours.

    Parameters
    ----------
    images : array of shape (n, bands, y, x)
        Linear fluxes; NaN is ignored.

    Returns
    -------
    ndarray of shape (bands,)
    """
    images = np.asarray(images, dtype=np.float64)
    n_bands, (height, width) = images.shape[1], images.shape[2:]
    center = images[:, :, height // 4 : height - height // 4, width // 4 : width - width // 4]
    flux = np.nansum(center, axis=(2, 3))
    flux = flux[(flux > 0).all(axis=1)]
    if len(flux) == 0 or n_bands == 1:
        return np.ones(n_bands)
    share = np.median(flux / flux.mean(axis=1, keepdims=True), axis=0)
    # The prior of no balance has the weight of five objects; ratios beyond 30 are not colours of galaxies.
    logarithm = -0.8 * np.log(np.clip(share, 1 / 30, 30)) * len(flux) / (len(flux) + 5)
    return np.exp(logarithm - logarithm.mean())


def estimate_sky_sigma(images: Array) -> Array:
    """Estimate the noise per image and band from differences of neighbouring pixels, which cancel smooth light.

    Parameters
    ----------
    images : array of shape (n, bands, y, x)
        Fluxes; NaN is ignored.

    Returns
    -------
    ndarray of shape (n, bands)
        Standard deviation of a pixel; zero where no two neighbours are known.
    """
    difference = np.abs(np.diff(images, axis=3)).reshape(*images.shape[:2], -1)
    known = np.isfinite(difference).any(axis=2)
    difference[~known] = 0.0
    return 1.4826 * np.nanmedian(difference, axis=2) / np.sqrt(2)


def lupton_rgb(
    images: ArrayLike,
    sky_sigma: ArrayLike | None = None,
    *,
    band_factors: ArrayLike | None = None,
    per_image: bool = False,
    softening: float = 4.0,
    saturation: float = 1.1,
) -> Array:
    """Make colour images with the arcsinh stretch of Lupton et al. (2004, PASP 116, 133).

    The three channels share one stretch of their mean I, so that colours do not depend on brightness:
    C' = C f(I) / I with f(I) = asinh(I / (k sigma)) / asinh(I_white / (k sigma)). Near saturation all three channels
    are compressed by the same factor, so that cores keep their hue. Colours are damped in pixels dominated by noise.

    Parameters
    ----------
    images : array of shape (n, bands, y, x)
        Linear, background-subtracted fluxes, bands from blue to red. NaN marks missing data: a missing channel is
        replaced by the mean of the others, a pixel without any band is drawn in a muted colour.
    sky_sigma : array of shape (n, bands), optional
        Noise per pixel; by default estimated from neighbouring pixels.
    band_factors : array of shape (bands,), optional
        Factor per band; by default `balance_bands(images)`.
    per_image : bool
        Scale each image to its own peak and noise, instead of all images to common values.
    softening : float
        Flux at which the stretch turns from linear to logarithmic, in units of the sky noise.
    saturation : float
        Factor of the colour contrast; zero gives grey images.

    Returns
    -------
    float32 array of shape (n, y, x, 3)
        Values in [0, 1].

    Raises
    ------
    ValueError
        The images do not have four dimensions.
    """
    images = np.asarray(images, dtype=np.float64)
    if images.ndim != 4:
        raise ValueError(f"images have shape {images.shape}, must be (n, bands, y, x)")
    if len(images) == 0:
        return np.zeros((0, *images.shape[2:], 3), dtype=np.float32)
    images = np.where(np.isfinite(images), images, np.nan)
    factors = balance_bands(images) if band_factors is None else np.asarray(band_factors, dtype=np.float64)
    sigma = estimate_sky_sigma(images) if sky_sigma is None else np.asarray(sky_sigma, dtype=np.float64)
    channels, empty = _combine_bands(images * factors[:, None, None])
    intensity = channels.mean(axis=1)
    noise = _intensity_noise(sigma * factors, intensity)
    white = np.maximum(np.percentile(intensity.reshape(len(images), -1), 99.8, axis=1), 40 * noise)
    if not per_image:
        noise = np.full_like(noise, np.median(noise))
        white = np.full_like(white, np.percentile(white, 80))
    rgb = _stretch(channels, intensity, noise[:, None, None], white[:, None, None], softening, saturation)
    rgb[empty] = to_rgb(NO_DATA)
    return rgb.astype(np.float32)


def plain_rgb(images: ArrayLike, *, maximum: float | None = None) -> Array:
    """Make colour images without a stretch, for images that are already stretched (JPEG, PNG).

    Parameters
    ----------
    images : array of shape (n, bands, y, x)
        Bands from blue to red (see `order_screen_channels`). NaN is drawn in a muted colour.
    maximum : float, optional
        Value of white; by default the 99.9th percentile of all pixels.

    Returns
    -------
    float32 array of shape (n, y, x, 3)
        Values in [0, 1].
    """
    images = np.asarray(images, dtype=np.float64)
    if maximum is None:
        known = images[np.isfinite(images)]
        maximum = max(float(np.quantile(known, 0.999)), 1e-12) if known.size else 1.0
    channels, empty = _combine_bands(images / maximum)
    rgb = np.clip(np.moveaxis(channels, 1, -1), 0, 1)
    rgb[empty] = to_rgb(NO_DATA)
    return rgb.astype(np.float32)


def _combine_bands(images: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return the red, green and blue channels, (n, 3, y, x), and a mask of the pixels without any band, (n, y, x)."""
    weights = channel_weights(images.shape[1])
    known = np.isfinite(images)
    total = np.einsum("cb,nbyx->ncyx", weights, np.where(known, images, 0.0))
    weight = np.einsum("cb,nbyx->ncyx", weights, known.astype(np.float64))
    channels = total / np.where(weight > 0, weight, np.inf)
    has_data = weight > 0
    mean = channels.sum(axis=1) / np.maximum(has_data.sum(axis=1), 1)
    return np.where(has_data, channels, mean[:, None]), np.asarray(~known.any(axis=1))


def _intensity_noise(sigma: Array, intensity: Array) -> Array:
    """Return the noise of the mean of the channels, above zero also for noise-free models."""
    weights = channel_weights(sigma.shape[1]).mean(axis=0)
    noise = np.sqrt(np.nansum((weights * sigma) ** 2, axis=1))
    peak = np.abs(intensity).reshape(len(intensity), -1).max(axis=1)
    return np.maximum(noise, np.where(peak > 0, 1e-3 * peak, 1.0))


def _stretch(
    channels: Array,
    intensity: Array,
    noise: Array,
    white: Array,
    softening: float,
    saturation: float,
) -> Array:
    """Stretch channels of shape (n, 3, y, x) to colours of shape (n, y, x, 3)."""
    # A pedestal of one sigma makes the sky dark grey; without it half of the sky pixels would be black.
    raised = np.maximum(intensity + noise, 1e-6 * noise)
    scaled = np.arcsinh(raised / (softening * noise)) / np.arcsinh((white + noise) / (softening * noise))
    # Colours are smoothed and damped below 3 sigma, because colour noise is more visible than colour detail.
    smooth = gaussian_filter(intensity, (0, 1.2, 1.2))
    difference = gaussian_filter(channels - intensity[:, None], (0, 0, 1.2, 1.2))
    difference /= np.maximum(smooth + noise, 0.5 * noise)[:, None]
    square = np.clip(smooth / (3 * noise), 0, None) ** 2
    difference = _limit(difference * (saturation * square / (1 + square))[:, None])
    rgb = np.clip(scaled[:, None] * (1 + difference), 0, None)
    return np.moveaxis(_compress_highlights(rgb), 1, -1)


def _limit(difference: Array, largest: float = 0.8) -> Array:
    """Compress extreme colours (a drop-out is ten times brighter in one channel) into the range of a screen."""
    size = np.maximum(np.abs(difference).max(axis=1, keepdims=True), 1e-12)
    return difference * largest * np.tanh(size / largest) / size


def _compress_highlights(rgb: Array, knee: float = 0.7) -> Array:
    """Compress values above the knee towards one, by the same factor in the three channels, and desaturate them."""
    brightest = np.maximum(rgb.max(axis=1, keepdims=True), 1e-12)
    excess = np.clip(brightest - knee, 0, None)
    bent = np.minimum(brightest, knee) + (1 - knee) * (1 - np.exp(-excess / (1 - knee)))
    rgb = rgb * bent / brightest
    pale = 0.5 * excess / (excess + 0.5)
    return rgb + pale * (bent - rgb)


def draw_cutout(
    axes: Axes, rgb: ArrayLike, left: float, top: float, side: float, *, title: str = "", frame: str | None = None
) -> None:
    """Draw a cutout on a `new_canvas`, with its title above and a coloured frame around it; sizes in inches."""
    axes.imshow(
        np.clip(np.asarray(rgb, dtype=float), 0, 1),
        extent=(left, left + side, top + side, top),
        origin="lower",
        interpolation="bicubic",
        aspect="auto",
    )
    if frame:
        axes.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor=frame, linewidth=2.2))
    if title:
        # A character is about 0.58 of the font size wide; a long title gets a smaller font.
        size = min(7.2, 72 * side / (0.58 * max(len(line) for line in title.split("\n"))))
        axes.text(left + side / 2, top - 0.025, title, ha="center", va="bottom", fontsize=size, linespacing=1.1)


def contact_sheet(
    rgb: ArrayLike,
    titles: Sequence[str] | None = None,
    n_columns: int = 10,
    heading: str = "",
    *,
    frames: Sequence[str | None] | None = None,
) -> Figure:
    """Draw cutouts in rows.

    Parameters
    ----------
    rgb : array of shape (n, y, x, 3)
        Colour images. The first row of pixels is at the bottom, as in FITS (north up if the WCS says so).
    titles : sequence of n str, optional
        Text above each cutout.
    n_columns : int
        Cutouts per row.
    heading : str
        Heading of the sheet.
    frames : sequence of n colours or None, optional
        Colour of the frame of each cutout.
    """
    n = len(np.asarray(rgb))
    n_columns = max(1, min(n_columns, max(n, 4)))
    rows = [range(start, min(start + n_columns, n)) for start in range(0, n, n_columns)] or [range(0)]
    return sheet_of_rows(
        rgb,
        rows,
        title=None if titles is None else titles.__getitem__,
        frame=None if frames is None else frames.__getitem__,
        n_columns=n_columns,
        heading=heading,
    )


@apply_style
def sheet_of_rows(
    rgb: ArrayLike,
    rows: Sequence[Sequence[int]],
    labels: Sequence[str] | None = None,
    *,
    title: Callable[[int], str] | None = None,
    frame: Callable[[int], str | None] | None = None,
    n_columns: int,
    heading: str = "",
) -> Figure:
    """Draw chosen cutouts in labelled rows, which may be short or empty.

    Parameters
    ----------
    rgb : array of shape (n, y, x, 3)
        All cutouts.
    rows : sequence of sequences of int
        Indices of the objects of each row.
    labels : sequence of str, optional
        Text to the left of each row.
    title, frame : functions of an index, optional
        Title of an object, and the colour of its frame (None for no frame).
    n_columns : int
        Largest number of cutouts in a row.
    heading : str
        Heading of the sheet.
    """
    rgb = np.asarray(rgb)
    titles = [["" if title is None else title(i) for i in row] for row in rows]
    left = _MARGIN if labels is None else 1.05
    side = (WIDTH_INCHES - left - _MARGIN - GAP * (n_columns - 1)) / n_columns
    n_lines = [max((text.count("\n") + 1 for text in texts if text), default=0) for texts in titles]
    heights = [0.05 + n * _LINE if n else 0.03 for n in n_lines]
    top = 0.34 + 0.17 * wrap_heading(heading, WIDTH_INCHES).count("\n") if heading else _MARGIN
    figure, axes = new_canvas(top + sum(heights) + len(rows) * (side + GAP) + _MARGIN, heading)
    for number, (row, height) in enumerate(zip(rows, heights, strict=True)):
        top += height
        for column, i in enumerate(row):
            draw_cutout(
                axes,
                rgb[i],
                left + column * (side + GAP),
                top,
                side,
                title=titles[number][column],
                frame=None if frame is None else frame(i),
            )
        if labels is not None:
            axes.text(left - 0.1, top + side / 2, wrap_label(labels[number]), ha="right", va="center", fontsize=8.5)
        if not len(row):
            axes.text(left, top + side / 2, "none", va="center", color=MUTED)
        top += side + GAP
    return figure
