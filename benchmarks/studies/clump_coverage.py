"""Calibrations of the 68 % interval of the bulge-to-total ratio, compared on test galaxies."""

from itertools import pairwise

import numpy as np
import study
from numpy.typing import NDArray
from sklearn.linear_model import QuantileRegressor

from astrodl.tasks.segmentation import ratio

__all__ = ["compare_calibrations"]

COVERAGE = 0.6827
_Array = NDArray[np.float64]


def needed_share(probability: _Array, bt: _Array) -> _Array:
    """Return the central share of each distribution that reaches the true ratio, the score of split conformal."""
    p = probability / probability.sum(1, keepdims=True)
    edges = np.array(ratio.bin_edges(p.shape[1] - 2))
    cumulative = np.concatenate([np.zeros((len(p), 1)), np.cumsum(p, axis=1)], axis=1)
    quantile = np.array([np.interp(value, edges, row) for value, row in zip(bt, cumulative, strict=True)])
    needed: _Array = 2 * np.abs(quantile - 0.5)
    # at 0 and 1 any part of the bin will do
    needed = np.where(bt < 0.005, np.maximum(0, 1 - 2 * p[:, 0]), needed)
    return np.where(bt > 0.995, np.maximum(0, 1 - 2 * p[:, -1]), needed)


def compare_calibrations(
    validation: tuple[_Array, _Array, _Array], test: tuple[_Array, _Array, _Array], n_bins: int = 4
) -> str:
    """Tabulate the coverage in bins of magnitude for widths that are fitted to validation galaxies in several ways.

    Parameters
    ----------
    validation, test
        Distributions (n, bins), true ratios and magnitudes of galaxies.
    """
    scores, magnitudes = [], []
    for probability, bt, magnitude in (validation, test):
        open_ones = ratio.is_open(ratio.summarize(probability, probability.shape[1] - 2, {}))
        scores.append(needed_share(probability, bt)[open_ones])
        magnitudes.append(magnitude[open_ones])
    edges = np.quantile(test[2], np.linspace(0, 1, n_bins + 1))
    bins = [np.clip(np.searchsorted(edges[1:-1], one, side="right"), 0, n_bins - 1) for one in magnitudes]
    widths = {"one width": np.full(len(scores[1]), np.quantile(scores[0], COVERAGE))}
    each = np.array([np.quantile(scores[0][bins[0] == number], COVERAGE) for number in range(n_bins)])
    widths["one per bin of magnitude"] = each[bins[1]]
    for name, powers in (("linear in magnitude", [1]), ("quadratic in magnitude", [1, 2])):
        inputs = [np.stack([(one - 22.0) ** power for power in powers], axis=1) for one in magnitudes]
        fitted = QuantileRegressor(quantile=COVERAGE, alpha=0).fit(inputs[0], scores[0])
        widths[name] = fitted.predict(inputs[1])
    rows = [["validation galaxies, one width", *_in_bins(scores[0] <= widths["one width"][0], bins[0], n_bins)]]
    rows += [[name, *_in_bins(scores[1] <= width, bins[1], n_bins)] for name, width in widths.items()]
    counts = [np.bincount(one, minlength=n_bins) for one in bins]
    spread = COVERAGE * (1 - COVERAGE)
    chance = [np.sqrt(spread / counts[1].min()), np.sqrt(spread / len(scores[0])), np.sqrt(spread / counts[0].min())]
    head = ["width of the interval, fitted on validation", "all", *(f"{a:.3g} to {b:.3g}" for a, b in pairwise(edges))]
    about = (
        "Coverage of the 68 % interval in bins of magnitude, first seed. By chance alone, that of a bin of test "
        f"galaxies scatters by {chance[0]:.3f}; one width, fitted to {len(scores[0])} validation galaxies, by "
        f"{chance[1]:.3f}; one per bin by {chance[2]:.3f}."
    )
    return about + "\n\n" + study.table(head, rows)


def _in_bins(hits: NDArray[np.bool_], bins: NDArray[np.intp], n_bins: int) -> list[str]:
    """Write the share of hits, of all and in each bin."""
    return [f"{hits.mean():.3f}", *(f"{hits[bins == number].mean():.3f}" for number in range(n_bins))]
