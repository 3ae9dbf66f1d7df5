"""Make the stored cutout of one object: calibrated bands and labels, sky, flags."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astrodl.store import FLAGS
from astrodl.survey import calibrate
from astrodl.survey.fits import to_microjansky
from astrodl.survey.object_files import ObjectFiles, Plane, RefusedError, by


@dataclass(frozen=True)
class Cutout:
    """One object as it is stored.

    Attributes
    ----------
    image, sky_sigma, background
        (bands, y, x), (bands,), (bands,); in microjansky where `calibrated`.
    zero_points
        As found in the files or settings, NaN where there is none, (bands,).
    flags
        Bits of `astrodl.store.FLAGS`.
    labels
        Label name -> (y, x).
    checksum
        SHA-256 of all bytes read.
    """

    image: NDArray[np.float32]
    sky_sigma: NDArray[np.float32]
    background: NDArray[np.float32]
    zero_points: NDArray[np.float64]
    flags: int
    labels: dict[str, NDArray[np.float32]]
    checksum: bytes


def read_cutout(files: ObjectFiles, *, calibrated: bool) -> Cutout:
    """Read, calibrate and cut out one object.

    Parameters
    ----------
    files
        The files of the object.
    calibrated
        Whether every band must have a zero point, so that fluxes become microjansky.

    Raises
    ------
    RefusedError
        The object cannot be used.
    """
    data = files.data
    planes = [files.band(position) for position in range(len(data.bands))]
    bands = _stack(files, planes)
    if data.zero_is_missing:
        zero = bands == 0
        # A black channel of a picture is a colour; only a pixel that is black in all may be missing.
        bands[zero.all(axis=0, keepdims=True) & zero if data.layout == "rgb" else zero] = np.nan
    factors = _factors(files, planes, calibrated)
    bands = calibrate.rebin(bands, data.rebin) * factors[:, np.newaxis, np.newaxis].astype(np.float32)
    sky = np.array([calibrate.border_sky(band) for band in bands])
    background = np.nan_to_num(sky[:, 0]) if data.background == "border" else np.zeros(len(bands))
    bands = bands - background[:, np.newaxis, np.newaxis].astype(np.float32)
    image = calibrate.fit_size(bands, data.size)
    if np.isnan(image).all():
        which = "all pixels are" if np.isnan(bands).all() else "the central pixels are all"
        raise RefusedError(files.path(data.bands[0]), "", f"{which} NaN or infinite")
    zero_points = np.array([np.nan if p is None or p.zero_point is None else p.zero_point for p in planes])
    return Cutout(
        image,
        sky[:, 1].astype(np.float32),
        background.astype(np.float32),
        zero_points,
        _flags(image, bands.shape[1:]),
        _labels(files, zero_points, calibrated),
        files.checksum,
    )


def _stack(files: ObjectFiles, planes: list[Plane | None]) -> NDArray[np.float32]:
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
    missing = np.full(shape, np.nan, np.float32)
    return np.stack([found.get(name, missing) for name in names])


def _factors(files: ObjectFiles, planes: list[Plane | None], calibrated: bool) -> NDArray[np.float64]:
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


def _labels(files: ObjectFiles, zero_points: NDArray[np.float64], calibrated: bool) -> dict[str, NDArray[np.float32]]:
    data = files.data
    if data.labels is None:
        return {}
    known = np.unique(zero_points[np.isfinite(zero_points)])
    shared = float(known[0]) if len(known) == 1 else None
    labels = {}
    for name, extension in data.labels.extensions.items():
        plane = files.label(name, extension)
        if plane is None:
            labels[name] = np.full((data.size, data.size), np.nan, np.float32)
            continue
        factor = 1.0
        if calibrated:
            zero = plane.zero_point if plane.zero_point is not None else shared
            if zero is None:
                raise RefusedError("", name, "no zero point in the header of the label, and bands differ in theirs")
            factor = to_microjansky(zero)
        labels[name] = calibrate.fit_size(calibrate.rebin(plane.pixels, data.rebin) * np.float32(factor), data.size)
    return labels


def _flags(image: NDArray[np.float32], shape: tuple[int, ...]) -> int:
    gone = np.isnan(image)
    empty = gone.all(axis=(1, 2))
    size = image.shape[-1]
    inside = calibrate.fit_size(np.zeros(shape, np.float32), size) == 0
    flags = FLAGS["missing_band"] if empty.any() else 0
    flags |= FLAGS["partial_coverage"] if (gone[~empty] & inside).any() else 0
    return flags | (FLAGS["padded"] if min(shape) < size else 0)
