"""Metrics and summary statistics of redshift distributions p(z).

A p(z) is piecewise constant: `pdf` (N, B) holds densities per unit z in the B bins between `edges` (B + 1), and every
row integrates to one. All integrals are exact for that form. Rows that are NaN, negative, or do not integrate to one
within 0.1 % raise `ValueError`, and so do true redshifts that are not finite.

PIT statistics are perfect where every object has the same n(z) (Schmidt et al. 2020, MNRAS 499, 1587): always report
CRPS and CDE loss with them.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "cde_loss",
    "check_pdf",
    "coverage",
    "crps",
    "mean",
    "median",
    "mode",
    "odds",
    "pit",
    "pit_ad",
    "pit_cvm",
    "pit_ks",
    "quantile",
]

_Array = NDArray[np.float64]

# Far above the rounding of a float32 softmax over a few hundred bins, far below the effect of missing bin widths.
_NORMALISATION_TOLERANCE = 1e-3
# The Anderson-Darling statistic diverges at 0 and 1, the PIT of objects outside the support of their p(z).
_PIT_FLOOR = 1e-6


def check_pdf(pdf: ArrayLike, edges: ArrayLike) -> tuple[_Array, _Array]:
    """Check a set of p(z) and compute the probability in each bin.

    Parameters
    ----------
    pdf
        Densities, (N, B).
    edges
        Bin edges, (B + 1,).

    Returns
    -------
    probability, edges
        Probability in each bin (N, B), rows summing to one, and the edges as float64.

    Raises
    ------
    ValueError
        Wrong shapes, edges that do not increase, or a row that is NaN, negative or not normalised.
    """
    density, bounds = np.asarray(pdf, dtype=np.float64), np.asarray(edges, dtype=np.float64)
    if bounds.ndim != 1 or bounds.size < 2 or not np.all(np.diff(bounds) > 0):
        raise ValueError("edges of a pdf must be a strictly increasing sequence of at least two numbers")
    if density.ndim != 2 or density.shape[1] != bounds.size - 1:
        raise ValueError(f"pdf has shape {density.shape}, must be (N, {bounds.size - 1}) for {bounds.size} edges")
    probability = density * np.diff(bounds)
    total = probability.sum(axis=1, keepdims=True)
    good = (np.abs(total[:, 0] - 1) < _NORMALISATION_TOLERANCE) & (density >= 0).all(axis=1)
    if not good.all():
        first = int(np.argmin(good))
        raise ValueError(
            f"{np.count_nonzero(~good)} of {good.size} pdfs are NaN, negative or not normalised "
            f"(first: row {first}, integral {total[first, 0]:g}); leave such objects out"
        )
    return probability / total, bounds


def _cumulative(probability: _Array) -> _Array:
    """Integrate from the lower edge to every edge: (N, B) -> (N, B + 1)."""
    return np.concatenate([np.zeros((len(probability), 1)), np.cumsum(probability, axis=1)], axis=1)


def _locate(edges: _Array, z: ArrayLike, n_objects: int) -> tuple[NDArray[np.intp], _Array, _Array]:
    """Return bin and position within the bin (0 to 1) of each z clipped to the range of the edges, and z."""
    truth = np.asarray(z, dtype=np.float64)
    if truth.shape != (n_objects,) or not np.isfinite(truth).all():
        raise ValueError(f"z has shape {truth.shape}, must be ({n_objects},) and finite")
    index = np.clip(np.searchsorted(edges, truth, side="right") - 1, 0, edges.size - 2)
    position = np.clip((truth - edges[index]) / (edges[index + 1] - edges[index]), 0, 1)
    return index, position, truth


def _squared_ramp(start: _Array, stop: _Array) -> _Array:
    """Compute the mean square of a function that rises linearly from start to stop."""
    return (start**2 + start * stop + stop**2) / 3


def crps(pdf: ArrayLike, edges: ArrayLike, z: ArrayLike) -> _Array:
    """Compute the continuous ranked probability score of each object, in units of z.

    CRPS = integral of (F(x) - [x >= z])^2 dx, with F the cumulative distribution (Hersbach 2000, Weather and
    Forecasting 15, 559). It is the absolute error if p(z) is a delta function. For a z outside the edges, the
    distance from them is added.

    Parameters
    ----------
    pdf
        Densities, (N, B).
    edges
        Bin edges, (B + 1,).
    z
        True redshifts, (N,).

    Returns
    -------
    ndarray
        One score per object, (N,); smaller is better.
    """
    probability, bounds = check_pdf(pdf, edges)
    index, position, truth = _locate(bounds, z, len(probability))
    width, rows = np.diff(bounds), np.arange(len(probability))
    cumulative = _cumulative(probability)
    low, high = cumulative[:, :-1], cumulative[:, 1:]
    below = _cumulative(width * _squared_ramp(low, high))
    above = _cumulative(width * _squared_ramp(1 - low, 1 - high))
    start, stop = cumulative[rows, index], cumulative[rows, index + 1]
    here = start + position * (stop - start)
    inside = width[index] * (position * _squared_ramp(start, here) + (1 - position) * _squared_ramp(1 - here, 1 - stop))
    outside = np.abs(truth - np.clip(truth, bounds[0], bounds[-1]))
    return below[rows, index] + inside + above[:, -1] - above[rows, index + 1] + outside


def pit(pdf: ArrayLike, edges: ArrayLike, z: ArrayLike) -> _Array:
    """Compute the probability integral transform, the cumulative distribution at the true redshift.

    It is uniform for calibrated p(z) (Polsterer, D'Isanto & Gieseke 2016, arXiv:1608.08016); 0 or 1 where z lies
    outside the edges.

    Parameters
    ----------
    pdf, edges, z
        As for `crps`.

    Returns
    -------
    ndarray
        One value in [0, 1] per object, (N,).
    """
    probability, bounds = check_pdf(pdf, edges)
    index, position, _ = _locate(bounds, z, len(probability))
    rows = np.arange(len(probability))
    start = _cumulative(probability)[rows, index]
    return np.clip(start + position * probability[rows, index], 0, 1)


def _sort_pit(values: ArrayLike) -> _Array:
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if ordered.ndim != 1 or ordered.size == 0 or not (ordered[0] >= 0 and ordered[-1] <= 1):
        raise ValueError("PIT values must be a sequence of numbers from 0 to 1")
    return ordered


def pit_ks(values: ArrayLike) -> float:
    """Compute the Kolmogorov-Smirnov distance of PIT values from a uniform distribution, 0 to 1."""
    ordered = _sort_pit(values)
    steps = np.arange(ordered.size + 1) / ordered.size
    return float(max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1])))


def pit_cvm(values: ArrayLike) -> float:
    """Compute the Cramer-von Mises statistic of PIT values against a uniform distribution.

    1 / (12 n) + sum of ((2 i - 1) / (2 n) - u_i)^2 over the sorted values; 1/6 is expected of uniform ones.
    """
    ordered = _sort_pit(values)
    expected = (np.arange(ordered.size) + 0.5) / ordered.size
    return float(1 / (12 * ordered.size) + np.sum((expected - ordered) ** 2))


def pit_ad(values: ArrayLike) -> float:
    """Compute the Anderson-Darling statistic of PIT values against a uniform distribution.

    -n - sum of (2 i - 1) / n (ln u_i + ln(1 - u_(n+1-i))) over the sorted values (Anderson & Darling 1954, JASA 49,
    765); 1 is expected of uniform ones. Values are clipped to 1e-6 and 1 - 1e-6: the logarithm diverges at 0 and 1.
    """
    ordered = np.clip(_sort_pit(values), _PIT_FLOOR, 1 - _PIT_FLOOR)
    weight = (2 * np.arange(ordered.size) + 1) / ordered.size
    return float(-ordered.size - np.sum(weight * (np.log(ordered) + np.log1p(-ordered[::-1]))))


def coverage(values: ArrayLike, level: float = 0.68) -> float:
    """Compute the fraction of objects with the true redshift in the central (equal-tailed) interval of a probability.

    It is the fraction with abs(PIT - 1/2) <= level / 2, and equals the level for calibrated p(z).

    Parameters
    ----------
    values
        PIT values, (N,).
    level
        Probability of the interval, between 0 and 1.
    """
    return float(np.mean(np.abs(_sort_pit(values) - 0.5) <= level / 2))


def cde_loss(pdf: ArrayLike, edges: ArrayLike, z: ArrayLike) -> _Array:
    """Compute the conditional density estimation loss of each object; smaller (more negative) is better.

    Its mean estimates the squared distance from the true conditional density up to a constant (Izbicki & Lee 2017,
    arXiv:1704.08095).

    Parameters
    ----------
    pdf, edges, z
        As for `crps`.

    Returns
    -------
    ndarray
        Integral of p(x)^2 dx - 2 p(z) of each object, (N,); the density is zero outside the edges.
    """
    probability, bounds = check_pdf(pdf, edges)
    index, _, truth = _locate(bounds, z, len(probability))
    width = np.diff(bounds)
    inside = (truth >= bounds[0]) & (truth <= bounds[-1])
    at_truth = np.where(inside, probability[np.arange(len(probability)), index] / width[index], 0)
    return np.sum(probability**2 / width, axis=1) - 2 * at_truth


def mean(pdf: ArrayLike, edges: ArrayLike) -> _Array:
    """Compute the mean redshift of each p(z), (N,)."""
    probability, bounds = check_pdf(pdf, edges)
    return probability @ (0.5 * (bounds[1:] + bounds[:-1]))


def quantile(pdf: ArrayLike, edges: ArrayLike, level: float) -> _Array:
    """Compute the redshift below which each p(z) holds a given probability, (N,).

    Raises
    ------
    ValueError
        The level is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, must lie between 0 and 1")
    probability, bounds = check_pdf(pdf, edges)
    cumulative, rows = _cumulative(probability), np.arange(len(probability))
    # The first bin whose upper edge reaches the level; its probability is not zero since its lower edge does not.
    index = np.minimum(np.count_nonzero(cumulative[:, 1:] < level, axis=1), bounds.size - 2)
    position = (level - cumulative[rows, index]) / probability[rows, index]
    return bounds[index] + position * np.diff(bounds)[index]


def median(pdf: ArrayLike, edges: ArrayLike) -> _Array:
    """Compute the median redshift of each p(z), (N,)."""
    return quantile(pdf, edges, 0.5)


def mode(pdf: ArrayLike, edges: ArrayLike) -> _Array:
    """Compute the centre of the bin with the highest density of each p(z) (the first of equals), (N,)."""
    probability, bounds = check_pdf(pdf, edges)
    index = np.argmax(probability / np.diff(bounds), axis=1)
    return 0.5 * (bounds[index] + bounds[index + 1])


def odds(pdf: ArrayLike, edges: ArrayLike, z: ArrayLike | None = None, *, half_width: float = 0.06) -> _Array:
    """Compute the probability near a point estimate, the ODDS of Benitez (2000, ApJ 536, 571).

    Parameters
    ----------
    pdf, edges
        As for `crps`.
    z
        Point estimates, (N,); by default the modes.
    half_width
        Half-width of the window over (1 + z).

    Returns
    -------
    ndarray
        Probability within half_width (1 + z) of z, (N,).
    """
    centre = np.asarray(mode(pdf, edges) if z is None else z, dtype=np.float64)
    reach = half_width * (1 + centre)
    return pit(pdf, edges, centre + reach) - pit(pdf, edges, centre - reach)
