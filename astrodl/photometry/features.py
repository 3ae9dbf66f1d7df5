"""Features of objects: fluxes, magnitudes, colours and structure, vectorised over objects.

Fluxes are forced: all bands share the centre and footprint found on a detection image, the sum of the bands weighted by
inverse variance; bands that are not calibrated have units of their own and are added in units of their noise, with
equal weight. The footprint is the connected region above one sky sigma (of one pixel) in the detection image, smoothed
by a Gaussian of one pixel, that contains the brightest pixel near the centre.

Features, in this order (b: band, r: aperture radius in pixels; in the unit of the image unless stated otherwise):

=============================  ====================================================================================
``flux_{b}_ap{r}``             flux in a circle of radius 3, 6, 12, 24 pixels (those that fit in the image)
``flux_{b}_total``             flux in the footprint
``magnitude_{b}_ap{r}``,       asinh magnitudes of these fluxes (Lupton, Gunn & Szalay 1999, AJ 118, 1406), softened at
``magnitude_{b}_total``        the sky noise of the aperture; AB if the image is in microjansky
``colour_{b}_{c}_ap{r}``,      differences of the magnitudes of adjacent bands b and c, for radius 6 (or the largest)
``colour_{b}_{c}_total``       and the footprint
``snr``                        signal to noise of the detection image in the footprint
``area_pixels``                area of the footprint
``r50_arcsec``                 radius with half the flux of the footprint (``r50_pixels`` without a pixel scale)
``rms_arcsec``                 root of the mean second moment of the footprint (``rms_pixels``)
``ellipticity``                1 - b/a from the second moments of the footprint
``concentration``              5 log10(r80 / r20) (Conselice 2003, ApJS 147, 1)
``asymmetry``                  under rotation by 180 degrees, noise subtracted, minimum over nine centres half a pixel
                               apart (Conselice 2003)
``smoothness``                 positive residual after smoothing, outside r20, noise subtracted (Conselice 2003)
``gini``, ``m20``              Lotz, Primack & Madau 2004, AJ 128, 163
=============================  ====================================================================================

A feature is NaN if it cannot be measured: its band is missing, more than half of the aperture has no data, or nothing
was detected.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from astrodl.photometry.morphometry import Detection, measure_structure
from astrodl.photometry.sky import block_sky

__all__ = [
    "RADII_PIXELS",
    "asinh_magnitude",
    "band_snr",
    "catalogue_features",
    "detect",
    "feature_names",
    "measure",
    "photometric_features",
    "structural_features",
]

RADII_PIXELS = (3, 6, 12, 24)
"""Radii of the apertures."""
_COLOUR_RADIUS_PIXELS = 6
_PHOTOMETRIC = ("magnitude_", "colour_", "ebv")
"""Prefixes of inputs to photometric redshifts; `ebv`, the Galactic reddening, comes from the catalogue."""
_STRUCTURAL = (
    "area_",
    "r50_",
    "rms_",
    "ellipticity",
    "concentration",
    "asymmetry",
    "smoothness",
    "gini",
    "m20",
)
"""Prefixes of features that describe the shape of a galaxy, without colours."""

_THRESHOLD_SIGMA = 1.0
_SMOOTHING_PIXELS = 1.0
_OPTIMAL_SOFTENING = np.sqrt(1.042)
"""Softening of asinh magnitudes in units of the flux noise that balances bias and variance (Lupton et al. 1999)."""
_ZERO_POINT = 23.9
"""AB zero point of fluxes in microjansky."""
_CHUNK_PIXELS = 1 << 18
"""Pixels of a band that are measured together: the intermediate arrays stay in the cache of a processor."""


def photometric_features(names: Iterable[str]) -> tuple[str, ...]:
    """Select magnitudes, colours and Galactic reddening."""
    return tuple(name for name in names if name.startswith(_PHOTOMETRIC))


def structural_features(names: Iterable[str]) -> tuple[str, ...]:
    """Select sizes and shapes: CAS, Gini, M20, ellipticity, radii."""
    return tuple(name for name in names if name.startswith(_STRUCTURAL))


def measure(
    images: ArrayLike,
    *,
    sky_sigma: ArrayLike | None = None,
    pixel_scale_arcsec: float | None,
    bands: Sequence[str] | None = None,
    calibrated: bool = True,
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Measure all features of objects (see the module docstring).

    Parameters
    ----------
    images
        Linear, sky-subtracted images, NaN where there is no data, (n, bands, y, x).
    sky_sigma
        Noise of a pixel, (n, bands); by default measured on the borders of the images.
    pixel_scale_arcsec
        Pixel scale for the sizes; without it they are in pixels.
    bands
        Names of the bands; by default "band0", "band1", ...
    calibrated
        Whether all bands have the same unit.

    Returns
    -------
    features
        (n, F) float32.
    names
        Names of the F features.

    Raises
    ------
    ValueError
        The images do not have four axes.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4:
        raise ValueError(f"images have {images.ndim} axes, must have four: (n, bands, y, x)")
    sigma = block_sky(images) if sky_sigma is None else np.asarray(sky_sigma, np.float32)
    bands = [f"band{number}" for number in range(images.shape[1])] if bands is None else bands
    height, width = images.shape[-2:]
    radii = _radii(min(height, width))
    names = _names(bands, radii, "pixels" if pixel_scale_arcsec is None else "arcsec")
    features = np.empty((len(images), len(names)), np.float32)
    length = max(1, _CHUNK_PIXELS // (height * width))
    for start in range(0, len(images), length):
        chunk = slice(start, start + length)
        features[chunk] = _measure(images[chunk], sigma[chunk], radii, pixel_scale_arcsec or 1.0, calibrated)
    return features, names


def feature_names(bands: Sequence[str], size: int, pixel_scale_arcsec: float | None) -> tuple[str, ...]:
    """Return the names of the features that `measure` returns for images of `size` x `size` pixels.

    For a size of zero, those of `catalogue_features`.
    """
    if not size:
        totals = [f"{name}_{band}_total" for name in ("flux", "magnitude") for band in bands]
        return (*totals, *(f"colour_{a}_{b}_total" for a, b in pairwise(bands)), "snr")
    return _names(bands, _radii(size), "pixels" if pixel_scale_arcsec is None else "arcsec")


def catalogue_features(
    flux: NDArray[np.float64], sigma: NDArray[np.float64], magnitude: NDArray[np.float64], *, calibrated: bool = True
) -> NDArray[np.float32]:
    """Return the features of objects that have photometry in a catalogue, and no images.

    The signal to noise is that of the sum of the bands weighted by inverse variance, as in `measure`.

    Parameters
    ----------
    flux, sigma, magnitude
        Total flux of each band, its error and its magnitude, (n, bands); NaN where not known.
    calibrated
        Whether all bands have the same unit.

    Returns
    -------
    (n, F) array
        The columns are those of `feature_names` for a size of zero.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        weight = np.where((sigma > 0) & np.isfinite(flux), 1 / np.square(sigma), 0.0)
        light = np.nan_to_num(flux)
        if not calibrated:
            light, weight = np.where(weight > 0, light / sigma, 0.0), np.where(weight > 0, 1.0, 0.0)
        total = weight.sum(axis=1)
        snr = np.where(total > 0, (light * weight).sum(axis=1) / np.sqrt(total), np.nan)
        columns = [flux, magnitude, magnitude[:, :-1] - magnitude[:, 1:], snr[:, np.newaxis]]
        features = np.concatenate(columns, axis=1).astype(np.float32)
    return np.where(np.isfinite(features), features, np.float32(np.nan))


def band_snr(
    features: NDArray[np.float32], names: Sequence[str], bands: Sequence[str], sky_sigma: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the signal-to-noise ratio of each band in the footprint, (n, bands); NaN where nothing was measured."""
    flux = features[:, [names.index(f"flux_{band}_total") for band in bands]]
    area = features[:, names.index("area_pixels")]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(flux / (sky_sigma * np.sqrt(area)[:, np.newaxis]), np.float32)


def _radii(size: int) -> list[int]:
    return [radius for radius in RADII_PIXELS if 2 * radius <= size]


def _names(bands: Sequence[str], radii: Sequence[int], unit: str) -> tuple[str, ...]:
    apertures = [*(f"ap{radius}" for radius in radii), "total"]
    fluxes = [f"{name}_{band}_{aperture}" for name in ("flux", "magnitude") for band in bands for aperture in apertures]
    colours = [f"colour_{a}_{b}_{apertures[k]}" for a, b in pairwise(bands) for k in _colour_apertures(radii)]
    sizes = ["snr", "area_pixels", f"r50_{unit}", f"rms_{unit}"]
    return (*fluxes, *colours, *sizes, "ellipticity", "concentration", "asymmetry", "smoothness", "gini", "m20")


def _colour_apertures(radii: Sequence[int]) -> tuple[int, int]:
    return radii.index(_COLOUR_RADIUS_PIXELS) if _COLOUR_RADIUS_PIXELS in radii else len(radii) - 1, len(radii)


def _measure(
    images: NDArray[np.float32], sigma: NDArray[np.float32], radii: Sequence[int], scale: float, calibrated: bool
) -> NDArray[np.float32]:
    filled, has_data = _fill(images)
    detection = (
        _detect(filled, has_data, sigma) if calibrated else _detect(*_in_units_of_noise(filled, has_data, sigma))
    )
    flux, area = _fluxes(filled, has_data, detection, radii)
    noise = sigma[:, :, np.newaxis] * np.sqrt(area)
    magnitude = asinh_magnitude(flux, noise)
    colour = (magnitude[:, :-1] - magnitude[:, 1:])[..., list(_colour_apertures(radii))]
    structure = measure_structure(detection)
    structure[:, 2:4] *= scale
    n = len(images)
    return np.concatenate([flux.reshape(n, -1), magnitude.reshape(n, -1), colour.reshape(n, -1), structure], axis=1)


def asinh_magnitude(flux: ArrayLike, sigma: ArrayLike, zero_point: float = _ZERO_POINT) -> NDArray[np.float64]:
    r"""Return asinh magnitudes, which are finite for fluxes of any sign.

    .. math:: m = ZP - 2.5 \log_{10} b - \frac{2.5}{\ln 10} \sinh^{-1} \frac{f}{2 b}, \quad b = \sqrt{1.042}\,\sigma

    This is the ordinary magnitude if the flux f is far above its noise (Lupton, Gunn & Szalay 1999, AJ 118, 1406).
    """
    softening = _OPTIMAL_SOFTENING * np.asarray(sigma, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        softening = np.where(softening > 0, softening, np.nan)
        ratio = np.asarray(flux, np.float64) / (2 * softening)
        return zero_point - 2.5 * np.log10(softening) - 2.5 / np.log(10) * np.arcsinh(ratio)


def _in_units_of_noise(
    filled: NDArray[np.float32], has_data: NDArray[np.bool_], sigma: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """Divide each band by its noise; return the arguments of `_detect`."""
    known = np.isfinite(sigma) & (sigma > 0)
    scaled = filled / np.where(known, sigma, 1)[:, :, np.newaxis, np.newaxis]
    return scaled.astype(np.float32), has_data, np.where(known, np.float32(1), np.float32(np.nan))


def detect(images: NDArray[np.float32], sigma: NDArray[np.float32]) -> Detection:
    """Combine the bands by inverse variance and find the footprint of the central object.

    Parameters
    ----------
    images, sigma
        (n, bands, y, x) and (n, bands).
    """
    return _detect(*_fill(images), sigma)


def _fill(images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return images with 0 for missing pixels, and which pixels have data."""
    has_data = np.isfinite(images)
    return images if has_data.all() else np.where(has_data, images, 0), has_data


def _detect(filled: NDArray[np.float32], has_data: NDArray[np.bool_], sigma: NDArray[np.float32]) -> Detection:
    """Detect objects on images with 0 for missing pixels; see `detect`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(np.isfinite(sigma) & (sigma > 0), 1.0 / np.square(sigma, dtype=np.float64), 0.0)
    # Relative weights keep fluxes in maggies (1e-10) in the range of float32.
    weight_sum = weight.sum(axis=1, keepdims=True)
    relative = (weight / np.where(weight_sum > 0, weight_sum, 1.0)).astype(np.float32)
    if has_data.all():  # one number per object instead of an image
        coverage = relative.cumsum(axis=1)[:, -1:, np.newaxis]
    else:
        coverage = np.einsum("nbyx,nb->nyx", has_data.astype(np.float32), relative)
    valid = coverage > 0
    safe = np.where(valid, coverage, 1)
    image = np.einsum("nbyx,nb->nyx", filled, relative) / safe
    with np.errstate(divide="ignore"):
        best = np.where(weight_sum > 0, 1 / np.sqrt(weight_sum), np.nan)[:, :, np.newaxis]
    noise = np.where(valid, best / np.sqrt(safe), np.nan).astype(np.float32)
    footprint = _central_footprint(image, noise, valid)
    return Detection(image, np.broadcast_to(noise, image.shape), np.broadcast_to(valid, image.shape), footprint)


def _central_footprint(
    image: NDArray[np.float32], noise: NDArray[np.float32], valid: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    n, height, width = image.shape
    snr = np.nan_to_num(image / noise)
    smooth = ndimage.gaussian_filter(snr, (0, _SMOOTHING_PIXELS, _SMOOTHING_PIXELS), mode="nearest")
    above = (smooth > _THRESHOLD_SIGMA) & valid
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = True
    labels, _ = ndimage.label(above, in_plane)
    y, x = np.indices((height, width)) - np.array([(height - 1) / 2, (width - 1) / 2])[:, np.newaxis, np.newaxis]
    central = np.flatnonzero(np.hypot(y, x) <= max(min(height, width) / 8, 2))
    candidates = above.reshape(n, -1)[:, central]
    peak = central[np.where(candidates, smooth.reshape(n, -1)[:, central], -np.inf).argmax(axis=1)]
    chosen = np.where(candidates.any(axis=1), labels.reshape(n, -1)[np.arange(n), peak], -1)
    return labels == chosen[:, np.newaxis, np.newaxis]


def _fluxes(
    filled: NDArray[np.float32], has_data: NDArray[np.bool_], detection: Detection, radii: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the fluxes in apertures and footprint, (n, bands, apertures), and the areas in pixels, (n, 1, apertures).

    Fluxes are scaled up for missing pixels, which are 0 in `filled`, and NaN where more than half are missing.
    """
    n, n_bands = filled.shape[:2]
    distance = detection.distance.reshape(n, -1)
    weight = np.empty((n, len(radii) + 1, distance.shape[1]), np.float32)
    # A pixel's weight grows with the distance of its centre inside the circle: exact to first order in 1 / radius.
    for number, radius in enumerate(radii):
        np.clip(radius + 0.5 - distance, 0, 1, out=weight[:, number])
    weight[:, -1] = detection.footprint.reshape(n, -1)
    area = weight.sum(axis=2, dtype=np.float64)[:, np.newaxis]
    weight = np.ascontiguousarray(weight.transpose(0, 2, 1))
    total = (filled.reshape(n, n_bands, -1) @ weight).astype(np.float64)
    covered = area.repeat(n_bands, axis=1)
    gaps = np.flatnonzero(~has_data.all(axis=(1, 2, 3)))
    if len(gaps):
        covered[gaps] = has_data[gaps].reshape(len(gaps), n_bands, -1).astype(np.float32) @ weight[gaps]
    enough = (covered > 0.5 * area) & (area > 0)
    return np.where(enough, total * area / np.where(enough, covered, 1), np.nan), np.where(area > 0, area, np.nan)
