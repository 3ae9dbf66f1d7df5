"""Make the cutout of one object for the store: calibrated bands and labels, sky, flags."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.fits import UnreadableError, to_microjansky
from astrodl.fits.header import format_shape
from astrodl.ingestion.band_image import BandImage, RefusedError, flux_factor
from astrodl.ingestion.object_images import ObjectImages
from astrodl.ingestion.zeros import find_empty_borders
from astrodl.photometry.pixel_grid import fit_psf, fit_size, rebin
from astrodl.photometry.sky import border_sky
from astrodl.store import BAND_FLAGS

__all__ = ["Cutout", "read_cutout"]


@dataclass(frozen=True)
class Cutout:
    """The cutout of one object as it is stored.

    Attributes
    ----------
    image, sky_sigma, background
        (bands, y, x), (bands,), (bands,); in microjansky if calibrated.
    zero_points
        AB zero points from the files or settings, NaN if there is none, (bands,).
    band_flags
        Bits of `astrodl.store.BAND_FLAGS` except `not_detected`, (bands,).
    checksum
        SHA-256 of everything that was read.
    datasets
        Optional datasets of the store: "variance" (bands, y, x), "mask" (bands, y, x), "psf" (bands, p, p),
        "label/{name}" (y, x).
    """

    image: NDArray[np.float32]
    sky_sigma: NDArray[np.float32]
    background: NDArray[np.float32]
    zero_points: NDArray[np.float64]
    band_flags: NDArray[np.uint8]
    checksum: bytes
    datasets: dict[str, NDArray[Any]]


def read_cutout(
    images: ObjectImages, *, calibrated: bool, psf_size: int | None = None, picture_bits: int | None = None
) -> Cutout:
    """Read, calibrate and cut out one object.

    Parameters
    ----------
    images
        The images of the object.
    calibrated
        Whether fluxes become microjansky; every band must then have a zero point.
    psf_size
        Side of the stored point-spread functions, in pixels.
    picture_bits
        Bits of a value that pictures must have, if any.

    Raises
    ------
    RefusedError
        If the object cannot be used.
    """
    data = images.data
    band_images = [images.band(position) for position in range(len(data.bands))]
    _require_bits(images, band_images, picture_bits)
    native = _stack(images, band_images)
    if data.zero_is_missing:
        # A channel of an RGB image can be zero; only a pixel that is zero in all channels is missing.
        together = np.abs(native).max(axis=0, keepdims=True) if data.layout == "rgb" else native
        native[np.broadcast_to(find_empty_borders(together), native.shape)] = np.nan
    factors = _flux_factors(images, band_images, calibrated)
    scales = [1.0 if image is None else image.scaled_by for image in band_images]
    constants = np.array([band.background for band in data.bands]) * scales
    if constants.any():
        native = native - _columns(constants)
    bands = _scale(images, rebin(native, data.rebin), factors)
    sky = np.array([border_sky(band) for band in bands])
    level = np.nan_to_num(sky[:, 0]) if data.background == "border" else np.zeros(len(bands))
    if data.background == "border":
        bands = bands - _columns(level)
    image = fit_size(bands, data.size)
    if np.isnan(image).all():
        which = "all pixels are" if np.isnan(bands).all() else "the central pixels are all"
        raise RefusedError(images.path(data.bands[0]), "", f"{which} NaN, infinite or masked")
    zero_points = np.array([np.nan if one is None or one.zero_point is None else one.zero_point for one in band_images])
    companions = _companions(images, band_images, np.isfinite(native), factors, psf_size)
    background = level + constants * data.rebin**2 * factors
    return Cutout(
        image,
        sky[:, 1].astype(np.float32),
        background.astype(np.float32),
        zero_points,
        _band_flags(image, bands.shape[1:], band_images, companions.get("mask")),
        images.checksum,
        companions | _labels(images, native.shape[1:], zero_points, calibrated),
    )


def _require_bits(images: ObjectImages, band_images: list[BandImage | None], bits: int | None) -> None:
    """Check that pictures have the bits of the others of the survey, because white is 255 or 65535."""
    for band, image in zip(images.data.bands, band_images, strict=True):
        if bits is not None and image is not None and image.picture_bits not in (None, bits):
            reason = (
                f"the picture has {image.picture_bits} bits, the first of the survey {bits}; bring all to one depth"
            )
            raise RefusedError(images.path(band), band.name, reason)


def _columns(values: ArrayLike) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)[:, np.newaxis, np.newaxis]


def _scale(
    images: ObjectImages, planes: NDArray[np.float32], factors: NDArray[np.float64], *, positive: bool = False
) -> NDArray[np.float32]:
    """Multiply the planes of the bands, and refuse an object if float32 cannot represent the result."""
    with np.errstate(over="ignore", under="ignore"):
        scaled = planes * _columns(factors)
    lost = np.isinf(scaled) | (scaled == 0) if positive else np.isinf(scaled)
    for number in np.flatnonzero(lost.any(axis=(1, 2)))[:1]:
        band = images.data.bands[number]
        what = "variances" if positive else "fluxes"
        reason = f"{what} are too small or too large for float32; give every band a zero_point, or correct it"
        raise RefusedError(images.path(band), band.name, reason)
    return scaled


def _stack(images: ObjectImages, band_images: list[BandImage | None]) -> NDArray[np.float32]:
    """Stack the bands, with NaN for missing bands."""
    settings = images.data.bands
    found = {band.name: one.pixels for band, one in zip(settings, band_images, strict=True) if one is not None}
    if not found:
        raise RefusedError(images.path(settings[0]), settings[0].name, images.describe_missing())
    first, shape = next((name, pixels.shape) for name, pixels in found.items())
    for band in settings:
        if band.name in found and found[band.name].shape != shape:
            sizes = f"{format_shape(found[band.name].shape)} pixels, band {first} has {format_shape(shape)}"
            raise RefusedError(images.path(band), band.name, f"the band has {sizes}; bring them to one grid")
    stack = np.empty((len(settings), *shape), np.float32)
    for pixels, band in zip(stack, settings, strict=True):
        pixels[:] = found.get(band.name, np.nan)
    return stack


def _flux_factors(images: ObjectImages, band_images: list[BandImage | None], calibrated: bool) -> NDArray[np.float64]:
    """Return the factors from counts to the stored unit, (bands,)."""
    found = [(band, image) for band, image in zip(images.data.bands, band_images, strict=True) if image is not None]
    without = [band for band, image in found if image.zero_point is None]
    if calibrated and without:
        reason = "no zero point in the header, though other objects have one"
        raise RefusedError(images.path(without[0]), without[0].name, reason)
    if not calibrated and not without and len(found) == len(band_images):
        reason = "the header has a zero point, though the first object has none; correct either, or give zero_point"
        raise RefusedError(images.path(found[0][0]), found[0][0].name, reason)
    factors = np.array([1.0 if image is None else 1 / image.scaled_by for image in band_images])
    for number, (band, image) in enumerate(zip(images.data.bands, band_images, strict=True)):
        if calibrated and image is not None:
            try:
                factors[number] = flux_factor(image)
            except UnreadableError as error:
                raise RefusedError(images.path(band), band.name, str(error)) from None
    return factors


def _companions(
    images: ObjectImages,
    band_images: list[BandImage | None],
    has_data: NDArray[np.bool_],
    factors: NDArray[np.float64],
    psf_size: int | None,
) -> dict[str, NDArray[Any]]:
    """Bring variance, mask and PSF to the pixels and the unit of the image; `has_data` is (bands, y, x)."""
    data = images.data
    companions: dict[str, NDArray[Any]] = {}
    shape = has_data.shape[1:]
    if data.noise is not None:
        variance = _fill_missing([None if image is None else image.variance for image in band_images], shape, np.nan)
        rebinned = _rebin_variance(variance, has_data, data.rebin)
        companions["variance"] = fit_size(_scale(images, rebinned, factors**2, positive=True), data.size)
    if data.masks or data.noise is not None:
        mask = _fill_missing([None if image is None else image.mask for image in band_images], shape, 0.0)
        companions["mask"] = np.nan_to_num(fit_size(rebin(mask, data.rebin), data.size)) > 0
    if psf_size is not None:
        missing = np.full((2, 2), np.nan)
        psfs = [missing if image is None or image.psf is None else image.psf for image in band_images]
        companions["psf"] = np.stack([fit_psf(psf, psf_size, data.rebin) for psf in psfs])
    return companions


def _rebin_variance(variance: NDArray[np.float32], has_data: NDArray[np.bool_], factor: int) -> NDArray[np.float32]:
    """Return the variance of the blocks that `rebin` sums; it scales a block up from the pixels that have data."""
    variance = np.where(has_data, variance, np.float32(np.nan))
    if factor == 1 or has_data.all():
        return rebin(variance, factor)
    share = rebin(has_data.astype(np.float32), factor) / factor**2
    with np.errstate(divide="ignore"):
        return np.asarray(rebin(variance, factor) / share, np.float32)


def _fill_missing(planes: Sequence[NDArray[Any] | None], shape: tuple[int, ...], fill: float) -> NDArray[np.float32]:
    """Stack planes as float32, with a constant for missing planes."""
    return np.stack(
        [np.full(shape, fill, np.float32) if plane is None else plane.astype(np.float32) for plane in planes]
    )


def _labels(
    images: ObjectImages, shape: tuple[int, ...], zero_points: NDArray[np.float64], calibrated: bool
) -> dict[str, NDArray[np.float32]]:
    """Bring the labels to the pixels and the unit of the image, whose native shape is `shape`."""
    data = images.data
    if data.labels is None:
        return {}
    known = {float(value) for value in zero_points if np.isfinite(value)}
    common = known.pop() if len(known) == 1 else None
    labels = {}
    for name, extension in data.labels.extensions.items():
        image = images.label(name, extension)
        if image is None:
            labels[f"label/{name}"] = np.full((data.size, data.size), np.nan, np.float32)
            continue
        if image.pixels.shape != shape:
            sizes = f"{format_shape(image.pixels.shape)} pixels, the image has {format_shape(shape)}"
            raise RefusedError("", name, f"the label has {sizes}; bring both to one grid")
        factor = 1.0
        if calibrated:
            zero_point = image.zero_point if image.zero_point is not None else common
            if zero_point is None:
                raise RefusedError("", name, "no zero point in the header of the label, and those of the bands differ")
            factor = to_microjansky(zero_point)
        with np.errstate(over="ignore"):
            pixels = rebin(image.pixels, data.rebin) * np.float32(factor)
        if np.isinf(pixels).any():
            raise RefusedError("", name, "the fluxes of the label are too large for float32; correct its zero point")
        labels[f"label/{name}"] = fit_size(pixels, data.size)
    return labels


def _band_flags(
    image: NDArray[np.float32],
    shape: tuple[int, ...],
    band_images: list[BandImage | None],
    mask: NDArray[np.bool_] | None,
) -> NDArray[np.uint8]:
    """Return the reasons why pixels have no data, per band: not observed, beyond the edge, masked, not covered."""
    size = image.shape[-1]
    missing = np.isnan(image)
    not_covered = np.zeros(len(image), bool)
    if missing.any():
        inside = fit_size(np.zeros(shape, np.float32), size) == 0
        not_covered = (missing & inside if mask is None else missing & inside & ~mask).any(axis=(1, 2))
    flags = np.zeros(len(image), np.uint8)
    if mask is not None:
        flags[mask.any(axis=(1, 2))] = BAND_FLAGS["masked_pixels"]
    for number, band_image in enumerate(band_images):
        if missing[number].all():
            flags[number] |= BAND_FLAGS["not_observed"]
            continue
        assert band_image is not None
        padded = band_image.padded or min(shape) < size
        flags[number] |= BAND_FLAGS["padded"] if padded else 0
        flags[number] |= BAND_FLAGS["partial_coverage"] if not_covered[number] and not band_image.padded else 0
        flags[number] |= BAND_FLAGS["reprojected"] if band_image.reprojected else 0
    return flags
