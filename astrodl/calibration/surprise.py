"""The outlier score: how surprising residuals and features are among objects of similar flux and peak.

The score is a sum over parts: the largest residual of each image region, and the distance of the features from their
mean. The surprise of a part is minus the logarithm of the fraction of reference objects with a larger value.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_ranks", "fit_score", "percentile", "score", "surprises"]

_Array = NDArray[np.floating[Any]]

_N_LEVELS = 64
"""Number of quantiles that describe the distribution of a part of the score."""
_N_PARTS = 5
"""Number of parts of the held-out objects, each of which has scores from fits without it."""
_N_RANKS = 128
"""Number of quantiles that describe the distribution of the score, and as many again for its tail."""


def fit_score(
    residuals: _Array, light: _Array, features: _Array | None = None, *, n_regions: int
) -> dict[str, list[Any]]:
    """Fit the distributions that `score` compares with, without labels.

    The fits clip the outermost 5 %, so that outliers among the reference objects have little effect.

    Parameters
    ----------
    residuals
        Logarithms of the residual measures of the reference objects, (N, n_regions * n_bands), regions first.
    light
        Logarithms of flux and peak in units of the sky noise, (N, 2).
    features
        Standardised features, (N, F); None leaves them out of the score.
    n_regions
        Number of image regions.

    Returns
    -------
    dict
        Lists of numbers: `middle` and `scatter` (6, n_regions * n_bands), polynomials of `light`; `centre` (F,) and
        `precision` (F, F) of the features; `surprise` (L,) and the values `table` (P, L) of each part with that
        surprise.
    """
    middle, scatter = _robust_fit(_design(light), residuals)
    constants = {"middle": middle.tolist(), "scatter": scatter.tolist()}
    if features is not None:
        centre, precision = _robust_covariance(features)
        constants |= {"centre": centre.tolist(), "precision": precision.tolist()}
    parts = _parts(residuals, light, features, constants, n_regions)
    levels = np.geomspace(1, 1 / len(parts), _N_LEVELS)
    constants["surprise"] = (-np.log(levels)).tolist()
    constants["table"] = np.quantile(parts, 1 - levels, axis=0).T.tolist()
    return constants


def fit_ranks(
    residuals: _Array, light: _Array, features: _Array | None, held_out: NDArray[np.bool_], *, n_regions: int
) -> dict[str, list[float]]:
    """Fit the distribution that `percentile` compares with: scores of objects on which nothing was fitted.

    Objects that a network was trained on have smaller residuals than others, and all that served for a fit are closer
    to it. Each of the held-out objects therefore has the score of constants that were fitted without it.

    Parameters
    ----------
    residuals, light, features, n_regions
        As for `fit_score`.
    held_out
        Objects that the network was not trained on, (N,).

    Returns
    -------
    dict
        `scores`, and the fraction `below` each of them.
    """
    rows = np.random.default_rng(0).permutation(np.flatnonzero(held_out))
    scores = []
    for part in np.array_split(rows, min(_N_PARTS, len(rows))):
        others = np.ones(len(residuals), bool)
        others[part] = False
        fitted, judged = (
            (residuals[chosen], light[chosen], None if features is None else features[chosen])
            for chosen in (others, part)
        )
        scores.append(score(*judged, fit_score(*fitted, n_regions=n_regions), n_regions=n_regions))
    return _rank_table(np.concatenate(scores))


def score(
    residuals: _Array, light: _Array, features: _Array | None, constants: Mapping[str, Any], *, n_regions: int
) -> _Array:
    """Compute the outlier score, the sum of the surprise of all parts in nats, (N,).

    Parameters
    ----------
    residuals, light, features, n_regions
        As for `fit_score`; features are not used where the constants were fitted without them.
    constants
        Result of `fit_score`.
    """
    return np.sum(list(surprises(residuals, light, features, constants, n_regions=n_regions).T), axis=0)


def surprises(
    residuals: _Array, light: _Array, features: _Array | None, constants: Mapping[str, Any], *, n_regions: int
) -> _Array:
    """Compute the surprise of each part in nats, (N, P); the parameters are those of `score`."""
    parts = _parts(residuals, light, features, constants, n_regions)
    tables = zip(parts.T, constants["table"], strict=True)
    return np.stack([_surprise(part, table, constants["surprise"]) for part, table in tables], axis=1)


def percentile(scores: _Array, constants: Mapping[str, Any]) -> _Array:
    """Interpolate the fraction of the held-out objects with a lower score, (N,); NaN where there were none.

    `constants` has the result of `fit_ranks`. The fraction does not depend on the other objects.
    """
    if "scores" not in constants:
        return np.full(len(scores), np.nan)
    return np.interp(scores, constants["scores"], constants["below"])


def _parts(
    residuals: _Array, light: _Array, features: _Array | None, constants: Mapping[str, Any], n_regions: int
) -> _Array:
    """Compute the parts of the score (N, P): the largest residual of each region, the distance of the features."""
    design = _design(light)
    standard = (residuals - design @ np.array(constants["middle"])) / np.exp(design @ np.array(constants["scatter"]))
    parts = list(standard.reshape(len(standard), n_regions, -1).max(2).T)
    if "precision" in constants:
        assert features is not None
        parts.append(_distance(features, np.array(constants["centre"]), np.array(constants["precision"])))
    return np.stack(parts, axis=1)


def _surprise(values: _Array, table: list[float], levels: list[float]) -> _Array:
    """Interpolate the surprise of values; extrapolate beyond the largest of the table with the table's mean slope."""
    slope = levels[-1] / max(table[-1] - table[0], 1e-6)
    return np.interp(values, table, levels) + slope * np.maximum(values - table[-1], 0)


def _rank_table(scores: _Array) -> dict[str, list[float]]:
    """Describe a distribution by quantiles in equal steps, and in equal logarithmic steps in the upper tail."""
    below = np.union1d(np.linspace(0, 1, _N_RANKS), 1 - np.geomspace(1, 1 / len(scores), _N_RANKS))
    return {"below": below.tolist(), "scores": np.quantile(scores, below).tolist()}


def _distance(features: _Array, centre: _Array, precision: _Array) -> _Array:
    """Compute the Mahalanobis distance of features (N, F) from their centre, (N,)."""
    offset = features - centre
    return np.sqrt(np.einsum("ij,jk,ik->i", offset, precision, offset))


def _robust_covariance(features: _Array, ridge: float = 0.05) -> tuple[_Array, _Array]:
    """Fit centre (F,) and precision matrix (F, F); clip the objects beyond the 95 % quantile of the distance twice."""
    keep = np.ones(len(features), dtype=bool)
    for _ in range(3):
        centre = features[keep].mean(0)
        covariance = np.atleast_2d(np.cov(features[keep].T))
        precision = np.linalg.inv(covariance + ridge * np.eye(len(centre)))
        distance = _distance(features, centre, precision)
        keep = distance <= np.quantile(distance, 0.95)
    return centre, precision


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
