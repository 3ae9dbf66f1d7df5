"""What could be known of clumps: limits of detection, from simulated galaxies without neighbours."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from profile_fit import draw_galaxies
from scipy.ndimage import gaussian_filter

from astrodl.metrics.clumps import free_response
from astrodl.metrics.segmentation import dice, overlap
from astrodl.photometry.clumps import Clumps, find_peaks, measure_fluxes, true_clumps
from astrodl.tasks.segmentation.scoring import BRIGHT_CONTRAST, BRIGHT_SNR
from astrodl.tasks.segmentation.settings import SegmentationSettings

__all__ = ["Limits", "measure_limits"]

_WIDTH_PIXELS = 1.0
"""Gaussian sigma of a clump."""
_SIGNIFICANT = 5.0


class Limits(NamedTuple):
    """Limits of detection; of clumps in the mask (`all`) and bright ones, or of galaxies."""

    n_clumps: int
    known: float
    """Share of the clumps above 5 sigma where the smooth light is known."""
    local: float
    """Share above 5 sigma where it is unknown: a background with slope and curvature around the clump."""
    n_bright: int
    bright_known: float
    bright_local: float
    mimics: float
    """Peaks of the smooth light off the centre, such as nuclei, bars and rings, that are 5 sigma clumps to that fit; as
    a share of the number of bright clumps."""
    dice: float
    """Best Dice coefficient of a threshold on the smoothed noisy light of clumps, all other light being known."""
    completeness: float
    """Completeness of bright clumps at a purity of 85 %, if clumps and mimics are told apart by their significance
    alone; 0 where the purity is not reached."""


def _measure(plane: NDArray[np.float64], sigma: NDArray[np.float64], y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the signal-to-noise ratio of clumps above a local background, for images without noise."""
    flux, unit = measure_fluxes(plane[None], y, x, np.ones(1), np.array([_WIDTH_PIXELS]))
    # the error for unit noise: from a plane without light
    _, unit = measure_fluxes(np.zeros_like(plane)[None], y, x, np.ones(1), np.array([_WIDTH_PIXELS]))
    row, column = (np.clip(np.rint(values).astype(int), 0, len(plane) - 1) for values in (y, x))
    ratio: np.ndarray = flux[:, 0] / (unit[:, 0] * sigma[row, column])
    return np.nan_to_num(ratio)


def measure_limits(folder: Path, numbers: list[int], band: int, *, purity: float = 0.85) -> Limits:
    """Measure the limits on simulated galaxies, by number, from the folder of `astrodl simulate`."""
    simulator, galaxies = draw_galaxies(folder, numbers)
    random, settings = np.random.default_rng(0), SegmentationSettings()
    sky = float(simulator.sky_sigma[band])
    smooth = np.stack([galaxy.parts[band, :2].sum(0) for galaxy in galaxies])
    light = np.stack([galaxy.parts[band, 2] for galaxy in galaxies])
    sigma = np.stack([galaxy.sigma[band] for galaxy in galaxies])
    mask = (light > settings.clump_sigma * sky) & (light > settings.clump_contrast * smooth)
    truth = true_clumps(light, mask, np.full(len(light), sky))
    share = truth.flux / (light + smooth).sum((1, 2))[truth.clumps.image]
    bright = truth.is_detectable & (truth.snr >= BRIGHT_SNR) & (share >= BRIGHT_CONTRAST)
    # sources dim where the photons of the galaxy add to the noise of the sky
    at = tuple(np.rint(values).astype(int) for values in (truth.clumps.y, truth.clumps.x))
    known = truth.snr * sky / sigma[truth.clumps.image, at[0], at[1]]
    local, mimic = np.zeros(len(known)), []
    peaks = find_peaks(smooth / sky, 2.0, 2.0)
    middle = (light.shape[-1] - 1) / 2
    peaks = peaks.select(np.hypot(peaks.y - middle, peaks.x - middle) > 2)
    for number in range(len(light)):
        own = truth.clumps.image == number
        local[own] = _measure(light[number], sigma[number], truth.clumps.y[own], truth.clumps.x[own])
        mimic += [_alone(smooth[number], sigma[number], peaks, int(k)) for k in np.flatnonzero(peaks.image == number)]
    mimics = np.array(mimic)
    noisy = np.concatenate([local, mimics]) + random.standard_normal(len(local) + len(mimics))
    finds = np.concatenate([bright, np.zeros(len(mimics), bool)])
    real = np.arange(len(noisy)) < len(local)
    _, completeness, pure = free_response(noisy, real, finds, int(bright.sum()))
    reached = completeness[pure >= purity]
    seen = truth.is_detectable
    return Limits(
        n_clumps=int(seen.sum()),
        known=float(np.mean(known[seen] >= _SIGNIFICANT)),
        local=float(np.mean(local[seen] >= _SIGNIFICANT)),
        n_bright=int(bright.sum()),
        bright_known=float(np.mean(known[bright] >= _SIGNIFICANT)),
        bright_local=float(np.mean(local[bright] >= _SIGNIFICANT)),
        mimics=float(np.sum(mimics >= _SIGNIFICANT) / bright.sum()),
        dice=_best_dice(light + sigma * random.standard_normal(light.shape), smooth, mask, sky, settings),
        completeness=float(reached.max()) if len(reached) else 0.0,
    )


def _alone(plane: NDArray[np.float64], sigma: NDArray[np.float64], peaks: Clumps, number: int) -> float:
    return float(_measure(plane, sigma, peaks.y[number : number + 1], peaks.x[number : number + 1])[0])


def _best_dice(
    noisy: np.ndarray, smooth: np.ndarray, mask: np.ndarray, sky: float, settings: SegmentationSettings
) -> float:
    """Return the Dice coefficient of the best smoothing and threshold."""
    limit = np.maximum(settings.clump_contrast * smooth, settings.clump_sigma * sky)
    scores = []
    for blur in (0.7, 1.0, 1.3):
        ratio = gaussian_filter(noisy, (0, blur, blur)) / limit
        scores += [dice(*overlap(mask, ratio > threshold)) for threshold in np.linspace(0.3, 1.5, 13)]
    return float(max(scores))
