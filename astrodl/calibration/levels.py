"""Calibration of probabilities, intervals and class sets on held-out objects."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import betainc, logsumexp
from scipy.stats import beta

__all__ = ["conformal_levels", "conformal_threshold", "fit_pit", "fit_temperature", "pit_map"]

_Array = NDArray[np.float64]

_PIT_FLOOR = 1e-4
"""PIT values are clipped to this distance from 0 and 1, where the likelihood of a beta distribution diverges."""
_ROUNDING = 1e-9
"""Rounding error that must not change a rank by one."""
_MIN_OBJECTS = 30
"""Smallest number of objects for a fit; with fewer the probabilities are not changed."""


def fit_pit(pit: ArrayLike) -> tuple[float, float]:
    """Fit the monotone map of cumulative probabilities that makes PIT values uniform.

    The recalibrated cumulative distribution is G(F(z)), with G the maximum-likelihood cumulative beta distribution of
    the PIT values of held-out objects (Gneiting & Ranjan 2013, Electronic Journal of Statistics 7, 1747; the mapping of
    the PIT follows Bordoloi, Lilly & Amara 2010, MNRAS 406, 881). It has only two parameters: a histogram would fit the
    noise of a thousand objects.

    Parameters
    ----------
    pit
        Cumulative distribution at the true value of each object, (N,), in [0, 1].

    Returns
    -------
    a, b
        Parameters of the beta distribution; 1 and 1, the identity, for fewer than `_MIN_OBJECTS` objects.
    """
    values = np.asarray(pit, np.float64)
    if len(values) < _MIN_OBJECTS:
        return 1.0, 1.0
    a, b, _, _ = beta.fit(values.clip(_PIT_FLOOR, 1 - _PIT_FLOOR), floc=0, fscale=1)
    return float(a), float(b)


def pit_map(a: float, b: float, n_knots: int = 1001) -> _Array:
    """Compute the map of `fit_pit` at equally spaced knots from 0 to 1: (n_knots,), from 0 to 1, not decreasing."""
    return np.asarray(betainc(a, b, np.linspace(0, 1, n_knots)), np.float64)


def conformal_levels(pit: ArrayLike, coverage: float) -> tuple[float, float]:
    """Choose the quantiles of p(z) that contain at least a fraction `coverage` of held-out objects between them.

    Split conformal prediction with the PIT as score (Chernozhukov, Wuthrich & Zhu 2021, PNAS 118, e2107794118): for
    objects exchangeable with the held-out ones, the true value is below the lower quantile, and above the upper one,
    with a probability of at most (1 - coverage) / 2 each, for any p(z).

    Parameters
    ----------
    pit
        Cumulative distribution at the true value of each object, (N,), in [0, 1].
    coverage
        Fraction of objects, between 0 and 1.

    Returns
    -------
    low, high
        Cumulative probabilities; 0 and 1 for too few objects.
    """
    ordered = np.sort(np.asarray(pit, np.float64))
    rank = int((1 - coverage) / 2 * (len(ordered) + 1) + _ROUNDING)
    if rank < 1:
        return 0.0, 1.0
    return float(ordered[rank - 1]), float(ordered[-rank])


def fit_temperature(log_probability: ArrayLike, label: ArrayLike) -> float:
    """Fit the temperature T for which softmax(log_probability / T) has the largest likelihood (Guo et al. 2017).

    Parameters
    ----------
    log_probability
        Logarithms of class probabilities of held-out objects up to a constant per object, (N, C).
    label
        True classes as integers from 0, (N,).

    Returns
    -------
    float
        Between 0.05 and 20; 1, the identity, for fewer than `_MIN_OBJECTS` objects.
    """
    logits, truth = np.asarray(log_probability, np.float64), np.asarray(label)
    if len(truth) < _MIN_OBJECTS:
        return 1.0
    at_truth = logits[np.arange(len(truth)), truth]

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float(np.mean(logsumexp(inverse * logits, axis=1) - inverse * at_truth))

    # Convex in 1/T, so that it has a single minimum in log T.
    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def conformal_threshold(probability: ArrayLike, label: ArrayLike, coverage: float) -> float:
    """Choose the smallest probability of a class in a set so that a fraction `coverage` of sets has the true class.

    Split conformal prediction with the least ambiguous sets, the smallest on average (Sadinle, Lei & Wasserman 2019,
    JASA 114, 223): for objects exchangeable with the held-out ones, the true class is in the set with a probability of
    at least `coverage` for any probabilities, and at most `coverage` + 1 / (N + 1) if no two are equal.

    Parameters
    ----------
    probability
        Class probabilities of held-out objects, (N, C).
    label
        True classes as integers from 0, (N,).
    coverage
        Fraction of objects, between 0 and 1.

    Returns
    -------
    float
        Smallest probability; 0 for too few objects, so that sets contain all classes.
    """
    truth = np.asarray(label)
    falling = np.sort(np.asarray(probability, np.float64)[np.arange(len(truth)), truth])[::-1]
    rank = int(np.ceil((len(falling) + 1) * coverage - _ROUNDING))
    return float(falling[rank - 1]) if 0 < rank <= len(falling) else float(rank <= 0)
