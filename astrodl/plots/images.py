"""Colour images of galaxies and sheets of them."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

from astrodl.plots.style import INK, MUTED, NO_DATA, WIDTH_INCHES, Array, canvas, label, styled, wrap

GAP = 0.05
"""Space between cutouts, in inches."""
LINE = 0.135
"""Height of a line of a cutout's title, in inches."""


def channel_weights(n_bands: int) -> Array:
    """Return how much each band, blue to red, adds to the red, green and blue channels.

    Neighbouring bands share a channel: a band at position p in [0, 2] along the list adds with weight
    max(0, w - |p - c|) to the channel at c (blue 0, green 1, red 2). With three bands w is one and each is a channel;
    with more it grows to 1.5, since sharply cut channels make greens that no galaxy has. One band gives grey; of two,
    green is the mean.

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


def blue_to_red(bands: Sequence[str]) -> list[int]:
    """Return the order in which bands named for the colours of a screen run from blue to red; others as they are."""
    place = {"blue": 0, "b": 0, "green": 1, "g": 1, "red": 2, "r": 2}
    names = [band.lower() for band in bands]
    # g and r alone are filters of a survey; only the three together are the channels of a JPEG.
    if {place.get(name) for name in names} != {0, 1, 2}:
        return list(range(len(names)))
    return sorted(range(len(names)), key=lambda i: place[names[i]])


def balance_bands(images: ArrayLike) -> Array:
    """Return the factor per band that makes the typical galaxy of a set nearly white, a little warm.

    The factor is s^-0.8, where s is the median, over objects, of the band's share of the flux in the central quarter of
    the image. With few objects it is drawn towards one, since a single red galaxy should stay red. Pass the factors of
    a large set to `lupton_rgb` to give all figures of a survey the same colours.

    Parameters
    ----------
    images : array of shape (n, bands, y, x)
        Linear fluxes; NaN is ignored.
    """
    images = np.asarray(images, dtype=np.float64)
    n_bands, (height, width) = images.shape[1], images.shape[2:]
    center = images[:, :, height // 4 : height - height // 4, width // 4 : width - width // 4]
    flux = np.nansum(center, axis=(2, 3))
    flux = flux[(flux > 0).all(axis=1)]
    if len(flux) == 0 or n_bands == 1:
        return np.ones(n_bands)
    share = np.median(flux / flux.mean(axis=1, keepdims=True), axis=0)
    # Five objects count as much as the assumption that nothing needs balancing; slopes beyond 30 are not colours.
    logarithm = -0.8 * np.log(np.clip(share, 1 / 30, 30)) * len(flux) / (len(flux) + 5)
    return np.exp(logarithm - logarithm.mean())


def estimate_sky_sigma(images: Array) -> Array:
    """Return the noise per image and band from differences of neighbouring pixels (blind to smooth light)."""
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
    C' = C f(I) / I with f(I) = asinh(I / (k sigma)) / asinh(I_white / (k sigma)). Where a channel comes near one all
    three are bent back together, so that cores keep their hue. Colour is damped where there is only noise.

    Parameters
    ----------
    images : array of shape (n, bands, y, x)
        Linear, background-free fluxes, bands from blue to red. A pixel without any band is shown in a muted colour,
        a missing channel is replaced by the mean of the others.
    sky_sigma : array of shape (n, bands), optional
        Noise per pixel; by default estimated from neighbouring pixels.
    band_factors : array of shape (bands,), optional
        Factor per band; by default `balance_bands(images)`.
    per_image : bool
        Stretch each image by its own peak and noise, instead of all by the same.
    softening : float
        Flux at which the stretch turns from linear to logarithmic, in units of the sky noise.
    saturation : float
        One leaves colours as they are, zero is grey.

    Returns
    -------
    float32 array of shape (n, y, x, 3), values in [0, 1]
    """
    images = np.asarray(images, dtype=np.float64)
    if images.ndim != 4:
        raise ValueError(f"images have shape {images.shape}, must be (n, bands, y, x)")
    if len(images) == 0:
        return np.zeros((0, *images.shape[2:], 3), dtype=np.float32)
    images = np.where(np.isfinite(images), images, np.nan)
    factors = balance_bands(images) if band_factors is None else np.asarray(band_factors, dtype=np.float64)
    sigma = estimate_sky_sigma(images) if sky_sigma is None else np.asarray(sky_sigma, dtype=np.float64)
    channels, empty = _channels(images * factors[:, None, None])
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
    """Show images that were already stretched for the eye (JPEG, PNG) as they are.

    Parameters
    ----------
    images : array of shape (n, bands, y, x)
        Bands from blue to red (see `blue_to_red`). NaN is shown in a muted colour.
    maximum : float, optional
        What is white; by default the 99.9th percentile of all pixels.
    """
    images = np.asarray(images, dtype=np.float64)
    if maximum is None:
        known = images[np.isfinite(images)]
        maximum = max(float(np.quantile(known, 0.999)), 1e-12) if known.size else 1.0
    channels, empty = _channels(images / maximum)
    rgb = np.clip(np.moveaxis(channels, 1, -1), 0, 1)
    rgb[empty] = to_rgb(NO_DATA)
    return rgb.astype(np.float32)


def _channels(images: Array) -> tuple[Array, Array]:
    """Combine bands into red, green, blue of shape (n, 3, y, x), and tell the pixels without any band."""
    weights = channel_weights(images.shape[1])
    known = np.isfinite(images)
    total = np.einsum("cb,nbyx->ncyx", weights, np.where(known, images, 0.0))
    weight = np.einsum("cb,nbyx->ncyx", weights, known.astype(np.float64))
    channels = total / np.where(weight > 0, weight, np.inf)
    have = weight > 0
    mean = channels.sum(axis=1) / np.maximum(have.sum(axis=1), 1)
    return np.where(have, channels, mean[:, None]), np.asarray(~known.any(axis=1))


def _intensity_noise(sigma: Array, intensity: Array) -> Array:
    """Return the noise of the mean of the channels, never zero (a noise-free model has a peak but no noise)."""
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
    """Apply the stretch; returns (n, y, x, 3)."""
    # One sigma of pedestal keeps the sky dark grey instead of cutting half of its noise to black.
    raised = np.maximum(intensity + noise, 1e-6 * noise)
    scaled = np.arcsinh(raised / (softening * noise)) / np.arcsinh((white + noise) / (softening * noise))
    # The eye sees colour noise first and colour detail last: colour is smoothed a little and damped below 3 sigma.
    smooth = gaussian_filter(intensity, (0, 1.2, 1.2))
    difference = gaussian_filter(channels - intensity[:, None], (0, 0, 1.2, 1.2))
    difference /= np.maximum(smooth + noise, 0.5 * noise)[:, None]
    square = np.clip(smooth / (3 * noise), 0, None) ** 2
    difference = _limit(difference * (saturation * square / (1 + square))[:, None])
    rgb = np.clip(scaled[:, None] * (1 + difference), 0, None)
    return np.moveaxis(_compress_highlights(rgb), 1, -1)


def _limit(difference: Array, largest: float = 0.8) -> Array:
    """Bend extreme colours (a drop-out is ten times brighter in one channel) into what a screen can show."""
    size = np.maximum(np.abs(difference).max(axis=1, keepdims=True), 1e-12)
    return difference * largest * np.tanh(size / largest) / size


def _compress_highlights(rgb: Array, knee: float = 0.7) -> Array:
    """Bend what is brighter than the knee towards one, same factor for the three channels, and pale it a little."""
    brightest = np.maximum(rgb.max(axis=1, keepdims=True), 1e-12)
    excess = np.clip(brightest - knee, 0, None)
    bent = np.minimum(brightest, knee) + (1 - knee) * (1 - np.exp(-excess / (1 - knee)))
    rgb = rgb * bent / brightest
    pale = 0.5 * excess / (excess + 0.5)
    return rgb + pale * (bent - rgb)


def draw_cutout(
    axes: Axes, rgb: ArrayLike, left: float, top: float, side: float, *, title: str = "", frame: str | None = None
) -> None:
    """Draw a cutout on a `style.canvas`, with its title above and a coloured frame round it; sizes in inches."""
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
        # A letter is about 0.58 of the font size wide; long titles shrink rather than run into their neighbours.
        size = min(7.2, 72 * side / (0.58 * max(len(line) for line in title.split("\n"))))
        axes.text(left + side / 2, top - 0.025, title, ha="center", va="bottom", fontsize=size, linespacing=1.1)


@styled
def contact_sheet(
    rgb: ArrayLike,
    titles: Sequence[str] | None = None,
    n_columns: int = 10,
    heading: str = "",
    rows_labels: Sequence[str] | None = None,
    *,
    frames: Sequence[str | None] | None = None,
) -> Figure:
    """Lay cutouts out in rows.

    Parameters
    ----------
    rgb : array of shape (n, y, x, 3)
        Colour images, drawn with the first row of pixels at the bottom as FITS has it (north up when the WCS says so).
    titles : sequence of n str, optional
        Text above each cutout.
    n_columns : int
        Cutouts per row.
    heading : str
        Heading of the sheet.
    rows_labels : sequence of str, optional
        Text to the left of each row.
    frames : sequence of n colours or None, optional
        Frame of each cutout.
    """
    rgb = np.asarray(rgb)
    n_columns = max(1, min(n_columns, max(len(rgb), 4)))
    n_rows = max(1, -(-len(rgb) // n_columns))
    n_lines = max((title.count("\n") + 1 for title in titles if title), default=0) if titles is not None else 0
    margin, left = 0.08, 1.05 if rows_labels is not None else 0.08
    top = 0.38 + 0.17 * wrap(heading, WIDTH_INCHES).count("\n") if heading else margin
    side = (WIDTH_INCHES - left - margin - GAP * (n_columns - 1)) / n_columns
    row_height = side + GAP + (n_lines * LINE + 0.03 if n_lines else 0)
    figure, axes = canvas(WIDTH_INCHES, top + n_rows * row_height + margin)
    axes.text(margin, 0.1, wrap(heading, WIDTH_INCHES), va="top", fontsize=11, fontweight="bold", color=INK)
    for i, image in enumerate(rgb):
        row, column = divmod(i, n_columns)
        draw_cutout(
            axes,
            image,
            left + column * (side + GAP),
            top + (row + 1) * row_height - side - GAP,
            side,
            title=titles[i] if titles is not None else "",
            frame=frames[i] if frames is not None else None,
        )
    for row, name in enumerate(rows_labels or ()):
        middle = top + (row + 1) * row_height - side / 2 - GAP
        axes.text(left - 0.1, middle, label(name), ha="right", va="center", fontsize=8.5)
    return figure


def sheet_of_rows(
    rgb: ArrayLike,
    rows: Sequence[Sequence[int]],
    labels: Sequence[str],
    *,
    title: Callable[[int], str],
    frame: Callable[[int], str | None],
    n_columns: int,
    heading: str,
) -> Figure:
    """Lay chosen cutouts out in labelled rows, which may be short or empty; each row is as high as its titles.

    Parameters
    ----------
    rgb : array of shape (n, y, x, 3)
        All cutouts.
    rows : sequence of sequences of int
        Objects of each row.
    labels : sequence of str
        Text to the left of each row.
    title, frame : functions of the object's index
        Its title and the colour of its frame (None: no frame).
    n_columns : int
        Cutouts a row has room for.
    heading : str
        Heading of the sheet.
    """
    rgb = np.asarray(rgb)
    left, margin = 1.05, 0.08
    side = (WIDTH_INCHES - left - margin - GAP * (n_columns - 1)) / n_columns
    heights = [max((title(i).count("\n") + 1 for i in row), default=1) * LINE + 0.05 for row in rows]
    top = 0.34 + 0.17 * wrap(heading, WIDTH_INCHES).count("\n")
    figure, axes = canvas(WIDTH_INCHES, top + sum(heights) + len(rows) * (side + GAP) + margin)
    axes.text(margin, 0.1, wrap(heading, WIDTH_INCHES), va="top", fontsize=11, fontweight="bold", color=INK)
    for row, name, height in zip(rows, labels, heights, strict=True):
        top += height
        for column, i in enumerate(row):
            draw_cutout(axes, rgb[i], left + column * (side + GAP), top, side, title=title(i), frame=frame(i))
        axes.text(left - 0.1, top + side / 2, label(name), ha="right", va="center", fontsize=8.5)
        if not row:
            axes.text(left, top + side / 2, "none", va="center", color=MUTED)
        top += side + GAP
    return figure
