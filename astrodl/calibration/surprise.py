"""Surprise of the parts of an outlier score, and the score: what is rare among reference objects.

The parts are residuals, each the largest over regions of the image among objects of similar flux and peak, and further
numbers such as distances to neighbours. The surprise of a part is minus the logarithm of the fraction of reference
objects with a larger value; the score is the sum over the parts that count.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Layout", "fit_ranks", "fit_score", "measure_surprise", "percentile"]

Layout = Sequence[Sequence[int]]
"""The columns of the residuals: for each part the number of columns of each of its regions."""
_Array = NDArray[np.floating[Any]]

_N_LEVELS = 64
"""Number of quantiles that describe the distribution of a part of the score."""
_N_PARTS = 5
"""Number of parts of the held-out objects, each of which has scores from fits without it."""
_N_RANKS = 128
"""Number of quantiles that describe the distribution of the score, and as many again for its tail."""


def fit_score(residuals: _Array, light: _Array, others: _Array, *, layout: Layout) -> dict[str, list[Any]]:
    """Fit the distributions that `measure_surprise` compares with, without labels.

    The fits clip the outermost 5 %, so that outliers among the reference objects have little effect.

    Parameters
    ----------
    residuals
        Logarithms of the residual measures of the reference objects, (N, R).
    light
        Logarithms of flux and peak in units of the sky noise, (N, 2).
    others
        Further parts, which are larger for rarer objects, (N, Q).
    layout
        Parts and regions of the columns of the residuals.

    Returns
    -------
    dict
        Lists of numbers: `middle` and `scatter` (6, R), polynomials of `light`; `surprise` (L,) and the values `table`
        (all regions + Q, L) of each number with that surprise.
    """
    design, ends = _design(light), np.cumsum([sum(regions) for regions in layout])[:-1]
    fits = [_robust_fit(design, columns) for columns in np.split(residuals, ends, axis=1)]
    middle, scatter = (np.concatenate(parts, axis=1) for parts in zip(*fits, strict=True))
    constants = {"middle": middle.tolist(), "scatter": scatter.tolist()}
    numbers = _numbers(residuals, light, others, constants, layout)
    levels = np.geomspace(1, 1 / len(numbers), _N_LEVELS)
    constants["surprise"] = (-np.log(levels)).tolist()
    constants["table"] = np.quantile(numbers, 1 - levels, axis=0).T.tolist()
    return constants


def fit_ranks(
    residuals: _Array,
    light: _Array,
    others: _Array,
    held_out: NDArray[np.bool_],
    weights: _Array,
    *,
    layout: Layout,
) -> dict[str, list[float]]:
    """Fit the distribution that `percentile` compares with: scores of objects on which nothing was fitted.

    Objects that a network was trained on have smaller residuals than others, and all that served for a fit are closer
    to it. Each of the held-out objects therefore has the score of constants that were fitted without it.

    Parameters
    ----------
    residuals, light, others, layout
        As for `fit_score`.
    held_out
        Objects that the network was not trained on, (N,).
    weights
        Weights in the score of the columns of `measure_surprise`, (P + Q,).

    Returns
    -------
    dict
        `scores`, and the fraction `below` each of them.
    """
    rows = np.random.default_rng(0).permutation(np.flatnonzero(held_out))
    scores = []
    for part in np.array_split(rows, min(_N_PARTS, len(rows))):
        rest = np.ones(len(residuals), bool)
        rest[part] = False
        fitted, judged = ((residuals[chosen], light[chosen], others[chosen]) for chosen in (rest, part))
        surprise = measure_surprise(*judged, fit_score(*fitted, layout=layout), layout=layout)
        scores.append(surprise @ weights)
    return _rank_table(np.concatenate(scores))


def measure_surprise(
    residuals: _Array, light: _Array, others: _Array, constants: Mapping[str, Any], *, layout: Layout
) -> _Array:
    """Measure the surprise of each part in nats: of residuals the largest over their regions, and of the others.

    Parameters
    ----------
    residuals, light, others, layout
        As for `fit_score`.
    constants
        Result of `fit_score`.

    Returns
    -------
    ndarray
        Surprise, (N, P + Q).
    """
    numbers = _numbers(residuals, light, others, constants, layout)
    tables = zip(numbers.T, constants["table"], strict=True)
    surprise = np.stack([_surprise(number, table, constants["surprise"]) for number, table in tables], axis=1)
    counts = [len(regions) for regions in layout]
    return np.column_stack([_largest(surprise[:, : sum(counts)], counts), surprise[:, sum(counts) :]])


def percentile(scores: _Array, constants: Mapping[str, Any]) -> _Array:
    """Interpolate the fraction of the held-out objects with a lower score, (N,); NaN where there were none.

    `constants` has the result of `fit_ranks`. The fraction does not depend on the other objects.
    """
    if "scores" not in constants:
        return np.full(len(scores), np.nan)
    return np.interp(scores, constants["scores"], constants["below"])


def _numbers(residuals: _Array, light: _Array, others: _Array, constants: Mapping[str, Any], layout: Layout) -> _Array:
    """Return the largest standardised residual of each region, and the other parts: (N, all regions + Q)."""
    design = _design(light)
    standard = (residuals - design @ np.array(constants["middle"])) / np.exp(design @ np.array(constants["scatter"]))
    return np.column_stack([_largest(standard, list(chain.from_iterable(layout))), others])


def _largest(values: _Array, counts: Sequence[int]) -> _Array:
    """Return the largest value in each group of neighbouring columns, (N, len(counts))."""
    return np.maximum.reduceat(values, np.cumsum([0, *counts[:-1]]), axis=1)


def _surprise(values: _Array, table: list[float], levels: list[float]) -> _Array:
    """Interpolate the surprise of values; extrapolate beyond the largest of the table with the table's mean slope."""
    slope = levels[-1] / max(table[-1] - table[0], 1e-6)
    return np.interp(values, table, levels) + slope * np.maximum(values - table[-1], 0)


def _rank_table(scores: _Array) -> dict[str, list[float]]:
    """Describe a distribution by quantiles in equal steps, and in equal logarithmic steps in the upper tail."""
    below = np.union1d(np.linspace(0, 1, _N_RANKS), 1 - np.geomspace(1, 1 / len(scores), _N_RANKS))
    return {"below": below.tolist(), "scores": np.quantile(scores, below).tolist()}


def _design(light: _Array) -> _Array:
    """Compute the terms of a quadratic polynomial of log flux and log peak: (N, 2) -> (N, 6)."""
    flux, peak = (light - np.array([5.0, 2.0])).T / 2
    return np.stack([np.ones_like(flux), flux, peak, flux * flux, flux * peak, peak * peak], axis=1)


def _robust_fit(design: _Array, values: _Array) -> tuple[_Array, _Array]:
    """Fit values (N, R), and the logarithm of their scatter, as polynomials (6, R) each; clip outliers twice."""
    keep = np.ones(len(design), dtype=bool)
    ridge = 1e-3 * np.eye(design.shape[1])
    for _ in range(3):
        solve = np.linalg.solve(design[keep].T @ design[keep] + ridge, design[keep].T)
        middle = solve @ values[keep]
        deviation = np.abs(values - design @ middle)
        scatter = solve @ np.log(deviation[keep] + 1e-3)
        # The mean logarithm of |N(0, 1)| is -0.635.
        scatter[0] += 0.635
        largest = (deviation / np.exp(design @ scatter)).max(1)
        keep = largest < np.quantile(largest, 0.95)
    return middle, scatter
