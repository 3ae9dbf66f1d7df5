"""Make the stored cutout of one object: calibrated bands and labels, sky, flags."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.config import DataSettings
from astrodl.fits.file import to_microjansky
from astrodl.ingestion.planes import Plane, RefusedError, by
from astrodl.ingestion.sources import Files
from astrodl.photometry.sky import border_sky, fit_psf, fit_size, rebin
from astrodl.store import BAND_FLAGS


@dataclass(frozen=True)
class Cutout:
    """One object as it is stored.

    Attributes
    ----------
    image, sky_sigma, background
        (bands, y, x), (bands,), (bands,); in microjansky where `calibrated`.
    zero_points
        As found in the files or settings, NaN where there is none, (bands,).
    band_flags
        Bits of `astrodl.store.BAND_FLAGS`, but `not_detected`, (bands,).
    planes
        What else was asked for: "variance" (bands, y, x), "mask" (bands, y, x), "psf" (bands, p, p),
        "label/{name}" (y, x).
    checksum
        SHA-256 of all that was read.
    """

    image: NDArray[np.float32]
    sky_sigma: NDArray[np.float32]
    background: NDArray[np.float32]
    zero_points: NDArray[np.float64]
    band_flags: NDArray[np.uint8]
    checksum: bytes
    planes: dict[str, NDArray[Any]] = field(default_factory=dict)


def read_cutout(files: Files, *, calibrated: bool, psf_size: int | None = None) -> Cutout:
    """Read, calibrate and cut out one object.

    Parameters
    ----------
    files
        The files of the object.
    calibrated
        Whether every band must have a zero point, so that fluxes become microjansky.
    psf_size
        Side of the stored point-spread functions.

    Raises
    ------
    RefusedError
        The object cannot be used.
    """
    data = files.data
    planes = [files.band(position) for position in range(len(data.bands))]
    native = _stack(files, planes)
    if data.zero_is_missing:
        zero = native == 0
        # A black channel of a picture is a colour; only a pixel that is black in all may be missing.
        native[zero.all(axis=0, keepdims=True) & zero if data.layout == "rgb" else zero] = np.nan
    factors = _factors(files, planes, calibrated)
    constants = [band.background for band in data.bands]
    if any(constants):
        native = native - _columns(constants)
    bands = rebin(native, data.rebin) * _columns(factors)
    sky = np.array([border_sky(band) for band in bands])
    level = np.nan_to_num(sky[:, 0]) if data.background == "border" else np.zeros(len(bands))
    if data.background == "border":
        bands = bands - _columns(level)
    image = fit_size(bands, data.size)
    if np.isnan(image).all():
        which = "all pixels are" if np.isnan(bands).all() else "the central pixels are all"
        raise RefusedError(files.path(data.bands[0]), "", f"{which} NaN, infinite or masked")
    zero_points = np.array([np.nan if p is None or p.zero_point is None else p.zero_point for p in planes])
    more = _companions(data, planes, factors, psf_size)
    background = level + np.array(constants) * data.rebin**2 * factors
    return Cutout(
        image,
        sky[:, 1].astype(np.float32),
        background.astype(np.float32),
        zero_points,
        _band_flags(image, bands.shape[1:], planes, more.get("mask")),
        files.checksum,
        more | _labels(files, zero_points, calibrated),
    )


def _columns(values: object) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)[:, np.newaxis, np.newaxis]


def _stack(files: Files, planes: list[Plane | None]) -> NDArray[np.float32]:
    """Stack the bands; those that are absent are NaN."""
    names = [band.name for band in files.data.bands]
    found = {name: plane.pixels for name, plane in zip(names, planes, strict=True) if plane is not None}
    if not found:
        raise RefusedError(files.path(files.data.bands[0]), names[0], files.nothing())
    first, shape = next((name, pixels.shape) for name, pixels in found.items())
    for band in files.data.bands:
        if band.name in found and found[band.name].shape != shape:
            sizes = f"{by(found[band.name].shape)} pixels, band {first} has {by(shape)}"
            raise RefusedError(files.path(band), band.name, f"the band has {sizes}; bring them to one grid")
    bands = np.empty((len(names), *shape), np.float32)
    for band_pixels, name in zip(bands, names, strict=True):
        band_pixels[:] = found.get(name, np.nan)
    return bands


def _factors(files: Files, planes: list[Plane | None], calibrated: bool) -> NDArray[np.float64]:
    factors = np.ones(len(planes))
    for number, plane in enumerate(planes):
        if not calibrated or plane is None:
            continue
        band = files.data.bands[number]
        if plane.zero_point is None:
            raise RefusedError(
                files.path(band), band.name, "no zero point in the header, though other objects have one"
            )
        factors[number] = to_microjansky(plane.zero_point)
    return factors


def _companions(
    data: DataSettings, planes: list[Plane | None], factors: NDArray[np.float64], psf_size: int | None
) -> dict[str, NDArray[Any]]:
    """Bring variance, masks and PSF to the pixels and units of the image."""
    more: dict[str, NDArray[Any]] = {}
    shape = next(plane.pixels.shape for plane in planes if plane is not None)
    if data.noise is not None:
        variance = _gather([None if plane is None else plane.variance for plane in planes], shape, np.nan)
        more["variance"] = fit_size(rebin(variance, data.rebin) * _columns(factors**2), data.size)
    if data.masks or data.noise is not None:
        mask = _gather([None if plane is None else plane.masked for plane in planes], shape, 0.0)
        more["mask"] = np.nan_to_num(fit_size(rebin(mask, data.rebin), data.size)) > 0
    if psf_size is not None:
        psf = [np.full((2, 2), np.nan) if plane is None or plane.psf is None else plane.psf for plane in planes]
        more["psf"] = np.stack([fit_psf(one, psf_size) for one in psf])
    return more


def _gather(parts: Sequence[NDArray[Any] | None], shape: tuple[int, ...], fill: float) -> NDArray[np.float32]:
    return np.stack([np.full(shape, fill, np.float32) if one is None else one.astype(np.float32) for one in parts])


def _labels(files: Files, zero_points: NDArray[np.float64], calibrated: bool) -> dict[str, NDArray[np.float32]]:
    data = files.data
    if data.labels is None:
        return {}
    known = np.unique(zero_points[np.isfinite(zero_points)])
    shared = float(known[0]) if len(known) == 1 else None
    labels = {}
    for name, extension in data.labels.extensions.items():
        plane = files.label(name, extension)
        if plane is None:
            labels[f"label/{name}"] = np.full((data.size, data.size), np.nan, np.float32)
            continue
        factor = 1.0
        if calibrated:
            zero = plane.zero_point if plane.zero_point is not None else shared
            if zero is None:
                raise RefusedError("", name, "no zero point in the header of the label, and bands differ in theirs")
            factor = to_microjansky(zero)
        pixels = rebin(plane.pixels, data.rebin) * np.float32(factor)
        labels[f"label/{name}"] = fit_size(pixels, data.size)
    return labels


def _band_flags(
    image: NDArray[np.float32], shape: tuple[int, ...], planes: list[Plane | None], mask: NDArray[Any] | None
) -> NDArray[np.uint8]:
    """Say per band why pixels have no data: never observed, beyond the edge, masked, or simply absent."""
    size = image.shape[-1]
    gone = np.isnan(image)
    masked = np.zeros_like(gone) if mask is None else mask.astype(bool)
    inside = fit_size(np.zeros(shape, np.float32), size) == 0
    flags = np.zeros(len(image), np.uint8)
    for number, plane in enumerate(planes):
        if masked[number].any():
            flags[number] |= BAND_FLAGS["masked_pixels"]
        if gone[number].all():
            flags[number] |= BAND_FLAGS["not_observed"]
            continue
        assert plane is not None
        padded = plane.padded or min(shape) < size
        unexplained = gone[number] & inside & ~masked[number]
        flags[number] |= BAND_FLAGS["padded"] if padded else 0
        flags[number] |= BAND_FLAGS["partial_coverage"] if unexplained.any() and not plane.padded else 0
        flags[number] |= BAND_FLAGS["reprojected"] if plane.reprojected else 0
    return flags
