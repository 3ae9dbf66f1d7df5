"""Compare the measurements of objects with those of the training objects: magnitudes, colours, S/N, size, noise.

A network gives a confident answer for any image. What shows that it was not made for these images is what can be
measured on them: bands in another order change the colours, another unit changes the magnitudes, another sampling
changes the sizes in pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["INPUT_FLAGS", "TrainingRange", "select_measurements"]

_Array = NDArray[np.floating[Any]]

INPUT_FLAGS = {"no_data": 1, "missing_band": 2, "magnitude": 4, "colour": 8, "snr": 16, "size": 32, "noise": 64}
"""Bits of ``input_flags``: no pixel with data; a band without data that the training objects have; a measurement
outside the range of the training objects."""

_APERTURES = ("_ap6", "_ap3", "_total", "")
"""Ends of the names of magnitudes, best first: an aperture does not depend on what was detected."""
_TAIL = 0.001
"""Share of the training objects beyond each end of the range; below 1000 objects the range is that of all."""
_TOLERANCE = {"magnitude": 0.1, "colour": 0.1, "snr": 0.1, "size": 0.05, "noise": 0.1}
"""Margin of the range, and the smallest width: magnitudes, or decades. It allows for errors of the measurement."""
_SHARE_OUTSIDE = 0.25
_SHIFT = 0.5
"""Largest shift of the median, in half widths of the central 68 % of the training objects, without a warning."""
_N_ERRORS = 4.0
"""Standard errors by which the number of objects above the median of the training objects must differ from half."""
_ADVICE = {
    "magnitude": "check the unit and the zero points",
    "colour": "check the order of the bands and their zero points",
    "snr": "check the depth and the unit",
    "size": "check the pixel scale and the rebinning",
    "noise": "check the unit and the depth",
}
_TITLES = {"magnitude": "magnitudes", "colour": "colours", "snr": "S/N", "size": "half-light radii in pixels"}


def select_measurements(
    features: _Array, names: Sequence[str], sky_sigma: _Array, bands: Sequence[str], pixel_scale_arcsec: float | None
) -> dict[str, NDArray[np.float32]]:
    """Select the measurements to compare, (N,) each.

    Parameters
    ----------
    features, names
        As `astrodl.photometry.features.measure` gives them, (N, F).
    sky_sigma
        Noise of a pixel, (N, bands).
    bands
        Names of the bands.
    pixel_scale_arcsec
        Pixel scale of sizes in arcsec; None if unknown.

    Returns
    -------
    dict
        Per band ``magnitude_{b}`` in an aperture and ``noise_{b}`` (log10), ``colour_{b}_{c}`` of adjacent bands,
        ``snr`` and ``size`` (log10; the half-light radius in pixels). NaN where there is no measurement.
    """
    place = {name: number for number, name in enumerate(names)}
    found: dict[str, NDArray[np.float32]] = {}
    for number, band in enumerate(bands):
        found[f"noise_{band}"] = _log10(sky_sigma[:, number])
        name = next((name for end in _APERTURES if (name := f"magnitude_{band}{end}") in place), None)
        if name is not None:
            found[f"magnitude_{band}"] = features[:, place[name]]
    for first, second in pairwise(bands):
        if f"magnitude_{first}" in found and f"magnitude_{second}" in found:
            found[f"colour_{first}_{second}"] = found[f"magnitude_{first}"] - found[f"magnitude_{second}"]
    if "snr" in place:
        found["snr"] = _log10(features[:, place["snr"]])
    if "r50_arcsec" in place and pixel_scale_arcsec:
        found["size"] = _log10(features[:, place["r50_arcsec"]] / pixel_scale_arcsec)
    elif "r50_pixels" in place:
        found["size"] = _log10(features[:, place["r50_pixels"]])
    return found


def _log10(values: _Array) -> NDArray[np.float32]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(np.where(values > 0, values, np.nan)).astype(np.float32)


@dataclass(frozen=True)
class TrainingRange:
    """Ranges of the measurements of the training objects.

    Of objects like them, a share of at most ``max(0.002, 2 / (n_objects + 1))`` is outside the range of a measurement.

    Attributes
    ----------
    n_objects
        Number of training objects.
    measurements
        Measurement -> lower end, median, upper end, half width of the central 68 %, share without a measurement.
    """

    n_objects: int
    measurements: dict[str, tuple[float, float, float, float, float]]

    @classmethod
    def fit(cls, measured: Mapping[str, _Array]) -> "TrainingRange":
        """Fit the ranges to the result of `select_measurements` for the training objects."""
        ranges: dict[str, tuple[float, float, float, float, float]] = {}
        for name, values in measured.items():
            known = np.asarray(values[np.isfinite(values)], np.float64)
            if not len(known):
                continue
            low, high = np.quantile(known, _TAIL, method="lower"), np.quantile(known, 1 - _TAIL, method="higher")
            lower, middle, upper = np.quantile(known, [0.16, 0.5, 0.84])
            margin = _TOLERANCE[_kind(name)]
            missing = 1 - len(known) / len(values)
            width = max((upper - lower) / 2, margin)
            ranges[name] = (float(low - margin), float(middle), float(high + margin), float(width), float(missing))
        return cls(max(map(len, measured.values()), default=0), ranges)

    def flags(self, measured: Mapping[str, _Array], has_data: NDArray[np.bool_]) -> NDArray[np.int16]:
        """Return bits of `INPUT_FLAGS`.

        Parameters
        ----------
        measured
            Result of `select_measurements`.
        has_data
            Whether an image has a pixel with data, (N,).
        """
        flags = np.where(has_data, 0, INPUT_FLAGS["no_data"]).astype(np.int16)
        for name, (low, _, high, _, missing) in self.measurements.items():
            if name not in measured:
                continue
            values, kind = measured[name], _kind(name)
            outside = (values < low) | (values > high)
            lost = ~np.isfinite(values) & has_data & (missing < _TAIL)
            if kind in ("snr", "size"):  # not detected, unlike the training objects
                outside |= lost
            elif kind != "colour":
                flags[lost] |= INPUT_FLAGS["missing_band"]
            flags[outside & has_data] |= INPUT_FLAGS[kind]
        return flags

    def describe(self, measured: Mapping[str, _Array], flags: NDArray[np.integer[Any]]) -> list[str]:
        """Describe how a set of objects differs from the training objects, in one line per kind of measurement.

        A kind differs where more than a quarter of the objects are outside the range, or where the median of a
        measurement is shifted by half of the width of the training objects, significantly in the sign test.
        """
        lines = []
        n_objects = len(flags)
        if n_empty := int((flags & INPUT_FLAGS["no_data"] > 0).sum()):
            lines.append(f"{n_empty} of {n_objects} objects have no pixel with data, and get no value")
        for kind, advice in _ADVICE.items():
            n_outside = int((flags & INPUT_FLAGS[kind] > 0).sum())
            shift, name, here, there = max(self._shifts(measured, kind), default=(0.0, "", 0.0, 0.0))
            if n_outside > _SHARE_OUTSIDE * n_objects or shift > 1:
                where = f" (median {name} {_format(kind, here)}, there {_format(kind, there)})" if name else ""
                title = _TITLES.get(kind, kind)
                lines.append(
                    f"{title} unlike those of the training objects{where}, {n_outside} of {n_objects} objects outside "
                    f"their range; {advice}, or train on objects like these"
                )
        return lines

    def _shifts(self, measured: Mapping[str, _Array], kind: str) -> list[tuple[float, str, float, float]]:
        """Return of each measurement the shift of the median over the allowed one, the name, and both medians.

        A shift counts if it is large and, in the sign test about the median of the training objects, significant.
        """
        shifts = []
        for name, (_, middle, _, width, _) in self.measurements.items():
            if _kind(name) == kind and name in measured:
                known = measured[name][np.isfinite(measured[name])]
                if len(known):
                    here = float(np.median(known))
                    share = np.mean(known > middle) + 0.5 * np.mean(known == middle)
                    error = 0.5 * np.sqrt(1 / len(known) + 1 / max(self.n_objects, 1))
                    shift = min(abs(here - middle) / width / _SHIFT, abs(share - 0.5) / error / _N_ERRORS)
                    shifts.append((float(shift), name, here, middle))
        return shifts


def _kind(name: str) -> str:
    return name.split("_", 1)[0]


def _format(kind: str, value: float) -> str:
    return f"{value:.2f}" if kind in ("magnitude", "colour") else f"{10**value:.3g}"
