"""Clumps as objects: from the map of centres to a catalogue of positions, fluxes and probabilities."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit, logit

from astrodl.metrics.clumps import free_response, match_positions
from astrodl.photometry.clumps import Clumps, TrueClumps, find_peaks, fit_widths, measure_fluxes, true_clumps
from astrodl.products import Column, stream_catalog
from astrodl.store import Reader
from astrodl.tasks.base import Arrays
from astrodl.tasks.segmentation.labels import Labels
from astrodl.tasks.segmentation.settings import SegmentationSettings

if TYPE_CHECKING:
    from astrodl.tasks.segmentation import Segmentation

__all__ = [
    "FLAGS",
    "LEAST_SCORE",
    "MATCH_PIXELS",
    "best_mask_threshold",
    "clump_probability",
    "correct_fluxes",
    "detect",
    "fit_detection",
    "fit_photometry",
    "flux_columns",
    "half_light_radius",
    "is_real",
    "listed",
    "measure_block",
    "pad",
    "write",
]

MATCH_PIXELS = 2.0
"""Largest distance of a predicted clump from the true one."""
_REAL_SNR = 3.0
"""True clumps with this signal-to-noise ratio are real, also where the galaxy outshines them."""
_SEPARATION_PIXELS = 1.5
"""Smallest distance of two predicted clumps."""
LEAST_SCORE = 0.005
"""Smallest value of the map of centres that is considered."""
_AREA_PIXELS = 5.0
"""Pixels of the mask farther from all clumps belong to none."""
_LEAST_CLUMPS = 20
"""Predicted clumps that the calibration of their probability needs."""
_PHOTOMETRY_OBJECTS = 1000
"""Training objects on which the photometry is fitted."""

FLAGS = {"blended": 1, "centre": 2, "edge": 4, "faint": 8, "many": 16, "input": 32}
"""Bits of `flags` in the table of clumps.

blended
    Another clump is within four pixels.
centre
    Within two pixels of the centre of the image, where it may be the bulge.
edge
    The window of the fit crosses the border of the image, or has pixels without data.
faint
    The signal-to-noise ratio of the flux in the reference band is below three.
many
    The galaxy has more clumps than `max_clumps`; the least probable are left out.
input
    `input_flags` of the galaxy are not zero.
"""


def is_real(truth: TrueClumps) -> np.ndarray:
    """Return the true clumps that a predicted one may match: detectable ones, and those above `_REAL_SNR`."""
    real: np.ndarray = truth.is_detectable | (truth.snr >= _REAL_SNR)
    return real


def pad(clumps: Clumps, n_images: int, most: int, *columns: np.ndarray) -> list[np.ndarray]:
    """Return y, x, value and further columns of clumps as arrays (n_images, most), NaN where there are fewer.

    The clumps of an image are in decreasing order of the value.
    """
    order = np.lexsort((-clumps.value, clumps.image))
    image = clumps.image[order]
    counts = np.bincount(image, minlength=n_images)
    rank = np.arange(len(image)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = rank < most
    padded = []
    for values in (clumps.y, clumps.x, clumps.value, *columns):
        array = np.full((n_images, most), np.nan, np.float32)
        array[image[kept], rank[kept]] = values[order][kept]
        padded.append(array)
    return padded


def listed(y: np.ndarray, x: np.ndarray, value: np.ndarray) -> Clumps:
    """List padded clumps (n, most)."""
    image, column = np.nonzero(np.isfinite(y))
    return Clumps(image, *(values[image, column].astype(np.float64) for values in (y, x, value)))


# -- calibration ------------------------------------------------------------------------------------------------------


def best_mask_threshold(probability: np.ndarray, mask: np.ndarray) -> float:
    """Return the threshold of the mask with the best pooled Dice coefficient."""
    thresholds = np.linspace(0.1, 0.9, 33)
    scores = [
        2 * np.count_nonzero((chosen := probability > t) & mask) / max(np.count_nonzero(chosen) + mask.sum(), 1)
        for t in thresholds
    ]
    return float(thresholds[int(np.argmax(scores))])


def fit_detection(
    settings: SegmentationSettings, centre: np.ndarray, light: np.ndarray, mask: np.ndarray
) -> dict[str, Any]:
    """Fit the threshold of clumps with the stated purity, and their probability to be real, on validation objects.

    Parameters
    ----------
    centre
        Predicted maps of centres, (n, y, x).
    light
        True light of the clumps in units of the sky noise, (n, y, x).
    mask
        True masks, (n, y, x).
    """
    truth = true_clumps(light, mask, np.ones(len(light)))
    real = is_real(truth)
    wanted, detectable = truth.clumps.select(real), truth.is_detectable[real]
    found = find_peaks(centre, LEAST_SCORE, _SEPARATION_PIXELS)
    _, own = match_positions(
        wanted.image, np.column_stack([wanted.y, wanted.x]), found.image, np.column_stack([found.y, found.x]),
        MATCH_PIXELS,
    )  # fmt: skip
    matched = own >= 0
    finds = np.zeros(len(own), bool)
    finds[matched] = detectable[own[matched]]
    n_real = np.count_nonzero(matched)
    if not n_real:
        _warn("none of the predicted clumps of the validation split is real; all peaks are kept")
        return {"centre_threshold": LEAST_SCORE}
    threshold, completeness, purity = free_response(found.value, matched, finds, int(detectable.sum()))
    pure = np.flatnonzero((purity >= settings.purity) & (np.arange(len(purity)) >= _LEAST_CLUMPS - 1))
    best = int(np.argmax(2 * completeness * purity / np.maximum(completeness + purity, 1e-9)))
    if len(pure):
        best = int(pure[-1])
    else:
        _warn(
            f"purity = {settings.purity:g} is not reached by {_LEAST_CLUMPS} clumps of the validation split; the "
            f"threshold is that of the best F1, with a purity of {purity[best]:.2f}"
        )
    fitted: dict[str, Any] = {"centre_threshold": float(threshold[best])}
    if n_real < _LEAST_CLUMPS or n_real > len(matched) - _LEAST_CLUMPS // 4:
        _warn(f"{n_real} of {len(matched)} predicted clumps are real: too few of a kind to calibrate probabilities")
        return fitted
    from sklearn.linear_model import LogisticRegression

    score = logit(np.clip(found.value, 1e-6, 1 - 1e-6))[:, None]
    logistic = LogisticRegression(C=1e3).fit(score, matched)
    return fitted | {"clump_logit": [float(logistic.coef_[0, 0]), float(logistic.intercept_[0])]}


def _warn(reason: str) -> None:
    print(f"segmentation: warning: {reason}; train longer, or on more galaxies", file=sys.stderr)


def fit_photometry(settings: SegmentationSettings, store: Reader, train: np.ndarray, reference: str) -> dict[str, Any]:
    """Fit the photometry of clumps on training objects: widths per band, and the correction and scatter of the fluxes.

    The correction makes the median of the fluxes in the reference band that of the truth, for the light that the fit
    of the background takes. The scatter is the share of the flux that, added in quadrature to the error of the fit,
    covers 68 % of the differences.
    """
    sample = train[:: max(1, -(-len(train) // _PHOTOMETRY_OBJECTS))]
    labels, band = Labels.read(store, sample, [reference], 0), store.band_indices([reference])[0]
    truth = labels.clumps(labels.mask(settings))
    bright = truth.is_detectable
    images, sky = store.images(sample), store.sky_sigma[sample]
    widths = fit_widths(images, truth.clumps.select(bright), truth.snr[bright])
    flux, error = (values[:, band] for values in _measure(images, sky, truth.clumps, widths))
    known = bright & np.isfinite(flux) & (error > 0) & (truth.flux > 0)
    fitted: dict[str, Any] = {"clump_widths": widths.tolist(), "flux_factor": 1.0, "flux_scatter": 0.0}
    if np.count_nonzero(known) < _LEAST_CLUMPS:
        return fitted
    factor = float(np.clip(1 / max(np.median(flux[known] / truth.flux[known]), 0.1), 0.5, 2))
    flux, error, true = factor * flux[known], factor * error[known], truth.flux[known]
    scatters = np.linspace(0, 1, 101)
    covered = [np.mean(np.abs(flux - true) < np.hypot(error, scatter * np.abs(flux))) for scatter in scatters]
    best = int(np.argmin(np.abs(np.array(covered) - 0.6827)))
    return fitted | {"flux_factor": factor, "flux_scatter": float(scatters[best])}


def correct_fluxes(flux: np.ndarray, error: np.ndarray, constants: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Apply correction and scatter of `fit_photometry` to fluxes and their errors."""
    corrected, factor = constants["flux_factor"] * flux, constants["flux_factor"]
    return corrected, np.hypot(factor * error, constants["flux_scatter"] * corrected)


def _measure(images: np.ndarray, sky: np.ndarray, found: Clumps, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measure the fluxes of clumps and their errors, (k, bands)."""
    flux, error = np.full((2, len(found.image), images.shape[1]), np.nan)
    for number in np.unique(found.image):
        own = np.flatnonzero(found.image == number)
        flux[own], error[own] = measure_fluxes(images[number], found.y[own], found.x[own], sky[number], widths)
    return flux, error


# -- detection --------------------------------------------------------------------------------------------------------


def detect(settings: SegmentationSettings, constants: dict[str, Any], mask: np.ndarray, centre: np.ndarray) -> Arrays:
    """Find the clumps in predicted maps: positions, probabilities, areas (n, max_clumps), and their number."""
    peaks = find_peaks(centre, constants.get("centre_threshold", 0.5), _SEPARATION_PIXELS)
    probability = clump_probability(peaks.value, constants)
    chosen = mask > constants.get("clump_threshold", 0.5)
    area = _areas(chosen, peaks)
    y, x, _, shown, pixels = pad(peaks, len(centre), settings.max_clumps, probability, area)
    return {
        "clump_y": y,
        "clump_x": x,
        "clump_probability": shown,
        "clump_area": pixels,
        "n_clumps": np.bincount(peaks.image, minlength=len(centre)),
    }


def clump_probability(score: np.ndarray, constants: dict[str, Any]) -> np.ndarray:
    """Return the probability that a peak of the map of centres is a clump, from its height."""
    slope, intercept = constants.get("clump_logit", (1.0, 0.0))
    probability: np.ndarray = expit(slope * logit(np.clip(score, 1e-6, 1 - 1e-6)) + intercept)
    return probability


def _areas(mask: np.ndarray, peaks: Clumps) -> np.ndarray:
    """Count the pixels of the mask that are nearest to each clump."""
    area = np.zeros(len(peaks.image))
    for number in np.unique(peaks.image):
        own = np.flatnonzero(peaks.image == number)
        y, x = np.nonzero(mask[number])
        distance = np.hypot(y[:, None] - peaks.y[own], x[:, None] - peaks.x[own])
        close = distance.min(axis=1) <= _AREA_PIXELS
        area[own] = np.bincount(distance.argmin(axis=1)[close], minlength=len(own))
    return area


# -- the table --------------------------------------------------------------------------------------------------------


class _Block(NamedTuple):
    """Clumps of consecutive objects."""

    object_id: np.ndarray
    columns: dict[str, np.ndarray]
    flux: np.ndarray
    error: np.ndarray


def write(path: Path, task: "Segmentation", store: Reader, blocks: Iterator[tuple[np.ndarray, Arrays]]) -> None:
    """Write the table of the clumps of all objects of a store; only the table is in memory, not the images."""
    start, parts = 0, []
    for object_id, predictions in blocks:
        parts.append(measure_block(task, store, np.arange(start, start + len(object_id)), object_id, predictions))
        start += len(object_id)
    flux, error = (np.concatenate([getattr(part, name) for part in parts]) for name in ("flux", "error"))
    values = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    identifiers = np.concatenate([part.object_id for part in parts]).astype(str)
    columns = [Column("object_id", identifiers, None, "galaxy of the clump", "meta.id;meta.main")]
    columns += [Column(name, values[name], *_DESCRIBED[name]) for name in values]
    columns += flux_columns(task.context.bands, store.unit, flux, error)
    header = {"REFBAND": str(task.reference_band), "SURVEY": store.survey}
    with stream_catalog(path, len(identifiers), header, widths={"object_id": store.identifier_width}) as file:
        file.write(columns)


_DESCRIBED: dict[str, tuple[str | None, str, str]] = {
    "clump": (None, "number of the clump in its galaxy, from 1, the most probable first", "meta.id"),
    "x": ("pix", "column of the centre in the cutout, from 0", "pos.cartesian.x;instr.det"),
    "y": ("pix", "row of the centre in the cutout, from 0", "pos.cartesian.y;instr.det"),
    "distance": (None, "distance from the centre of the cutout in half-light radii", "pos.distance;arith.ratio"),
    "probability": (None, "probability to be a clump", "stat.probability"),
    "area": ("pix", "pixels of the clump mask that are nearest to it", "phys.area"),
    "snr": (None, "signal-to-noise ratio of the flux in the reference band", "stat.snr"),
    "contrast": (None, "flux in the reference band over that of the galaxy", "phot.flux;arith.ratio"),
    "blue_share": (None, "flux in the bluest band over that of the galaxy", "phot.flux;arith.ratio"),
    "flags": (None, "bits: " + ", ".join(f"{bit} {name}" for name, bit in FLAGS.items()), "meta.code.qual"),
}


def measure_block(
    task: "Segmentation", store: Reader, indices: np.ndarray, object_id: np.ndarray, predictions: Arrays
) -> _Block:
    """Measure the clumps of a block of objects."""
    found = listed(*(predictions[f"clump_{name}"] for name in ("y", "x", "probability")))
    area = predictions["clump_area"][np.isfinite(predictions["clump_y"])]
    constants, bands = task.context.constants, task.context.bands
    rows = np.unique(found.image)
    flux, error, total = (np.full((len(found.image), len(bands)), np.nan) for _ in range(3))
    radius, edge = np.full(len(found.image), np.nan), np.zeros(len(found.image), bool)
    for some in np.array_split(rows, max(1, len(rows) // 256)):
        if not len(some):
            continue
        cutouts = task.read(store, indices[some])
        own = np.flatnonzero(np.isin(found.image, some))
        local = found.select(np.isin(found.image, some))
        local = local._replace(image=np.searchsorted(some, local.image))
        widths = np.array(constants["clump_widths"])
        flux[own], error[own] = _measure(cutouts.images, cutouts.sky_sigma, local, widths)
        total[own] = np.nansum(cutouts.images, axis=(2, 3))[local.image]
        radius[own] = half_light_radius(store, indices[some])[local.image]
        edge[own] = _crosses_edge(cutouts.images, local)
    flux, error = correct_fluxes(flux, error, constants)
    reference, middle = constants["reference"], (store.size - 1) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.hypot(found.y - middle, found.x - middle)
        snr = flux[:, reference] / error[:, reference]
        share = np.where(total > 0, flux / total, np.nan)
        in_radii = distance / radius
    flags = FLAGS["blended"] * _is_blended(found) + FLAGS["centre"] * (distance < 2) + FLAGS["edge"] * edge
    flags += FLAGS["faint"] * ~(snr >= 3)
    flags += FLAGS["many"] * (predictions["n_clumps"] > task.settings.max_clumps)[found.image]
    if "input_flags" in predictions:
        flags += FLAGS["input"] * (predictions["input_flags"] != 0)[found.image]
    first = np.searchsorted(found.image, found.image)
    columns = {
        "clump": (np.arange(len(found.image)) - first + 1).astype(np.int32),
        "x": found.x.astype(np.float32),
        "y": found.y.astype(np.float32),
        "distance": in_radii.astype(np.float32),
        "probability": found.value.astype(np.float32),
        "area": area.astype(np.int32),
        "snr": snr.astype(np.float32),
        "contrast": share[:, reference].astype(np.float32),
        "blue_share": share[:, 0].astype(np.float32),
        "flags": flags.astype(np.int16),
    }
    return _Block(object_id[found.image], columns, flux, error)


def half_light_radius(store: Reader, indices: np.ndarray) -> np.ndarray:
    """Read the measured half-light radii in pixels; NaN where nothing was detected."""
    scale = store.pixel_scale_arcsec
    values = store.features(["r50_arcsec" if scale else "r50_pixels"], indices)[:, 0]
    radius: np.ndarray = values / scale if scale else values
    return radius


def _crosses_edge(images: np.ndarray, found: Clumps) -> np.ndarray:
    """Return whether the window of 9 by 9 pixels of each clump lacks data or crosses the border."""
    known = np.pad(np.isfinite(images).all(axis=1), ((0, 0), (4, 4), (4, 4)))
    rows, columns = (np.rint(values).astype(int)[:, None, None] for values in (found.y, found.x))
    offset = np.arange(9)
    inside = known[found.image[:, None, None], rows + offset[:, None], columns + offset]
    crosses: np.ndarray = np.logical_not(inside.all(axis=(1, 2)))
    return crosses


def _is_blended(found: Clumps, pixels: float = 4.0) -> np.ndarray:
    blended = np.zeros(len(found.image), bool)
    for number in np.unique(found.image):
        own = np.flatnonzero(found.image == number)
        distance = np.hypot(found.y[own, None] - found.y[own], found.x[own, None] - found.x[own])
        blended[own] = (distance < pixels).sum(axis=1) > 1
    return blended


def flux_columns(bands: tuple[str, ...], unit: str, flux: np.ndarray, error: np.ndarray) -> list[Column]:
    """Return fluxes, errors, and colours of adjacent bands."""
    columns, known = [], unit if unit == "uJy" else None
    for number, band in enumerate(bands):
        about = f"flux in {band} above the local background"
        columns.append(Column(f"flux_{band}", flux[:, number].astype(np.float32), known, about, "phot.flux"))
        columns.append(
            Column(
                f"flux_error_{band}",
                error[:, number].astype(np.float32),
                known,
                "its 68 % error",
                "stat.error;phot.flux",
            )
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = np.where(flux > 0, -2.5 * np.log10(flux), np.nan)
    for number in range(len(bands) - 1):
        colour = (magnitude[:, number] - magnitude[:, number + 1]).astype(np.float32)
        about = f"magnitude difference {bands[number]} - {bands[number + 1]}; NaN where a flux is not positive"
        columns.append(Column(f"colour_{bands[number]}_{bands[number + 1]}", colour, "mag", about, "phot.color"))
    return columns
