"""Photometry of a survey without images: fluxes and magnitudes from the columns of its catalogue.

The conventions of catalogues for objects without a measurement are those of BPZ (Benitez 2000, ApJ 536, 571) and EAZY
(Brammer, van Dokkum & Coppi 2008, ApJ 686, 1503), see `ingest_photometry`.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astrodl.config import BandSettings, DataSettings
from astrodl.fits.units import MICROJANSKY_ZERO_POINT, to_microjansky
from astrodl.ingestion.blocks import DETECTION_SNR, BlockRecord, RefusedObject, object_flags
from astrodl.ingestion.columns import warn
from astrodl.ingestion.objects import Objects
from astrodl.ingestion.photometry_columns import flux_zero_point
from astrodl.ingestion.properties import SurveyProperties
from astrodl.photometry.features import asinh_magnitude, catalogue_features
from astrodl.store import BAND_FLAGS, FLAGS, RowLocation, write_rows

__all__ = ["ingest_photometry"]

_Array = NDArray[np.float64]

_BRIGHTEST, _FAINTEST = -10.0, 35.0
"""Possible magnitudes; from the faintest on (99, 37.5 ...), an object is not detected."""
_BRIGHTEST_LIMIT = 10.0
"""An error of an object that is not detected is its limiting magnitude if it is at least this large."""
_LARGEST_ERROR = 10.0
"""Possible errors of magnitudes are smaller."""


class _Band(NamedTuple):
    """Photometry of a band, (N,) each; NaN where not known."""

    flux: _Array
    sigma: _Array
    magnitude: _Array
    observed: NDArray[np.bool_]


def ingest_photometry(
    survey: SurveyProperties, objects: Objects, catalog: Path, partial: Path, locations: Mapping[str, RowLocation]
) -> BlockRecord:
    """Calibrate the photometry of all objects and write their features; return the record of the whole catalogue.

    A magnitude from 35 on (99, 99.9, 37.5) is that of an object that is not detected; its error, if it is 10 to 35, is
    the magnitude of one sigma: the flux is then 0 with this error. Other impossible magnitudes, and exactly 0, are
    those of bands that are not observed. Fluxes may be negative; a flux with an error that is negative, or with an
    inverse variance of 0, or 0 with an error of 0, is not observed. Magnitudes of fluxes with an error are asinh
    magnitudes, see `astrodl.photometry.features`. Both are corrected for the Galactic extinction, if it is given.

    Parameters
    ----------
    survey, objects
        The survey.
    catalog
        Name of the catalogue in messages.
    partial, locations
        The unfinished store, and the locations of its rows; see `astrodl.store.write_rows`.
    """
    data = survey.data
    bands = [_read_band(band, objects, data, calibrated=survey.calibrated, path=catalog) for band in data.bands]
    flux, sigma, magnitude, observed = (np.stack(parts, axis=1) for parts in zip(*bands, strict=True))
    features = catalogue_features(flux, sigma, magnitude, calibrated=survey.calibrated)
    with np.errstate(invalid="ignore"):
        detected = np.where(np.isfinite(sigma), flux / sigma >= DETECTION_SNR, flux > 0)
    band_flags = np.where(observed, 0, BAND_FLAGS["not_observed"]).astype(np.uint8)
    band_flags[observed & ~detected] |= BAND_FLAGS["not_detected"]
    flags = object_flags(band_flags, np.logical_not(detected.any(axis=1)))
    if objects.ebv is not None:
        features = np.concatenate([features, objects.ebv.astype(np.float32)[:, np.newaxis]], axis=1)
    arrays: dict[str, NDArray[Any]] = {
        "features": features,
        "sky_sigma": _finite32(sigma),
        "flags": flags,
        "band_flags": band_flags,
    }
    arrays["background"] = np.full(flux.shape, np.nan, np.float32)
    write_rows(partial, {name: locations[name] for name in arrays}, 0, arrays)
    empty = ~observed.any(axis=1)
    reason = "no band has a usable value"
    refused = [
        RefusedObject(row, objects.object_id[row], catalog.name, data.bands[0].name, reason)
        for row in np.flatnonzero(empty).tolist()
    ]
    counts = {name: int((flags[~empty] & bit > 0).sum()) for name, bit in FLAGS.items()}
    return BlockRecord(0, len(objects), refused, sha256().hexdigest(), [None] * len(bands), counts, {}, "")


def _finite32(values: _Array) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    return np.where(np.isfinite(single), single, np.float32(np.nan))


def _read_band(band: BandSettings, objects: Objects, data: DataSettings, *, calibrated: bool, path: Path) -> _Band:
    """Return the photometry of a band, corrected for extinction; print what is not observed or not detected."""
    read = _read_magnitudes if band.magnitude is not None else _read_fluxes
    photometry = read(band, objects, data, calibrated)
    n_lost = len(objects) - int(photometry.observed.sum())
    n_below = int((photometry.observed & ~(photometry.flux > 0)).sum())
    if n_lost or n_below:
        column = band.magnitude or band.flux
        limits = int((photometry.observed & np.isfinite(photometry.sigma) & ~(photometry.flux > 0)).sum())
        warn(
            path,
            f"band '{band.name}' (column '{column}'): of {len(objects):,} objects, {n_lost:,} are not observed and "
            f"{n_below:,} have no positive flux, {limits:,} of these with a known error",
        )
    if band.extinction is None:
        return photometry
    return _deredden(photometry, _extinction(band, objects, path))


def _read_magnitudes(band: BandSettings, objects: Objects, data: DataSettings, calibrated: bool) -> _Band:
    magnitude = objects.photometry[f"{band.name}.magnitude"].astype(np.float64)
    error = objects.photometry.get(f"{band.name}.error", np.full(len(magnitude), np.nan))
    below = magnitude >= _FAINTEST
    measured = (magnitude > _BRIGHTEST) & (magnitude < _FAINTEST) & (magnitude != 0)
    has_limit = below & (error >= _BRIGHTEST_LIMIT) & (error < _FAINTEST)
    known = np.where(measured, magnitude, np.nan)
    flux = _flux_of(known)
    sigma = np.where((error > 0) & (error < _LARGEST_ERROR), flux * error * np.log(10) / 2.5, np.nan)
    flux[has_limit], sigma[has_limit] = 0.0, _flux_of(error[has_limit])
    known[has_limit] = asinh_magnitude(0.0, sigma[has_limit])
    return _Band(flux, sigma, known, measured | below)


def _flux_of(magnitude: _Array) -> _Array:
    """Return AB magnitudes in microjansky."""
    return np.asarray(to_microjansky(0.0) * 10.0 ** (-0.4 * magnitude))


def _read_fluxes(band: BandSettings, objects: Objects, data: DataSettings, calibrated: bool) -> _Band:
    role, units = f"{band.name}.flux", objects.photometry_units
    zero_point = flux_zero_point(band, units) if calibrated else None
    factor = 1.0 if zero_point is None else to_microjansky(zero_point)
    flux = objects.photometry[role].astype(np.float64)
    observed = np.isfinite(flux)
    sigma = np.full(len(flux), np.nan)
    if band.error is not None:
        error = objects.photometry[f"{band.name}.error"].astype(np.float64)
        sigma, lost = _sigma_of(error, data.error_kind)
        observed &= ~lost & ~((flux == 0) & ~(sigma > 0))
    flux, sigma = np.where(observed, flux * factor, np.nan), np.where(observed, sigma * factor, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        plain = -2.5 * np.log10(np.where(flux > 0, flux, np.nan)) + MICROJANSKY_ZERO_POINT
    return _Band(flux, sigma, np.where(np.isfinite(sigma), asinh_magnitude(flux, sigma), plain), observed)


def _sigma_of(error: _Array, kind: str) -> tuple[_Array, NDArray[np.bool_]]:
    """Return the standard deviation, NaN if unknown, and which fluxes are not observed."""
    lost = (error < 0) | ((error == 0) & (kind == "weight"))
    with np.errstate(invalid="ignore", divide="ignore"):
        positive = np.where(error > 0, error, np.nan)
        if kind == "sigma":
            return positive, lost
        return np.sqrt(positive if kind == "variance" else 1 / positive), lost


def _extinction(band: BandSettings, objects: Objects, path: Path) -> _Array:
    """Return the extinction in magnitudes; NaN where it is not known."""
    if isinstance(band.extinction, str):
        values = objects.photometry[f"{band.name}.extinction"].astype(np.float64)
    else:
        assert objects.ebv is not None
        assert band.extinction is not None
        values = band.extinction * objects.ebv
    if n_unknown := int((~np.isfinite(values)).sum()):
        warn(path, f"band '{band.name}': {n_unknown:,} objects have no extinction and count as not observed")
    return values


def _deredden(photometry: _Band, extinction: _Array) -> _Band:
    factor = 10.0 ** (0.4 * extinction)
    observed = photometry.observed & np.isfinite(extinction)
    flux, sigma = photometry.flux * factor, photometry.sigma * factor
    return _Band(flux, sigma, photometry.magnitude - extinction, observed)
