"""What is fitted on objects that a network has not seen, so that its probabilities mean what they say."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

PIT_FLOOR = 1e-4
"""PIT values are kept this far from 0 and 1, where the likelihood of a beta distribution diverges."""
LEAST_OBJECTS = 30
"""With fewer, nothing is recalibrated."""


def fit_pit(pit: ArrayLike) -> tuple[float, float]:
    """Fit the monotone map of cumulative probabilities that makes PIT values uniform.

    The recalibrated cumulative distribution is G(F(z)), with G the cumulative beta distribution of largest likelihood
    for the PIT values of unseen objects (Gneiting & Ranjan 2013, Electronic Journal of Statistics 7, 1747; mapping the
    PIT is the idea of Bordoloi, Lilly & Amara 2010, MNRAS 406, 881). It has two numbers, where a histogram would follow
    the noise of a thousand objects.

    Parameters
    ----------
    pit
        Cumulative distribution at the true value of each object, (N,), in [0, 1].

    Returns
    -------
    a, b
        Of the beta distribution; 1 and 1, which change nothing, for fewer than `LEAST_OBJECTS` objects.
    """
    from scipy import stats

    values = np.asarray(pit, np.float64)
    if len(values) < LEAST_OBJECTS:
        return 1.0, 1.0
    a, b, _, _ = stats.beta.fit(values.clip(PIT_FLOOR, 1 - PIT_FLOOR), floc=0, fscale=1)
    return float(a), float(b)


def pit_map(a: float, b: float, n_knots: int = 1001) -> Array:
    """Give the map that `fit_pit` found at knots equally spaced from 0 to 1: (n_knots,), from 0 to 1, never falling."""
    from scipy.special import betainc

    return np.asarray(betainc(a, b, np.linspace(0, 1, n_knots)), np.float64)


def conformal_levels(pit: ArrayLike, coverage: float) -> tuple[float, float]:
    """Choose the quantiles of p(z) between which at least a share `coverage` of unseen objects lies.

    Split conformal prediction with the PIT as score (Chernozhukov, Wuthrich & Zhu 2021, PNAS 118, e2107794118): for
    objects exchangeable with those given, the true value falls below the lower quantile, and above the upper one, with
    a probability of at most (1 - coverage) / 2 each, whatever the p(z) are.

    Parameters
    ----------
    pit
        Cumulative distribution at the true value of each object, (N,), in [0, 1].
    coverage
        Share of objects, between 0 and 1.

    Returns
    -------
    low, high
        Cumulative probabilities; 0 or 1 where there are too few objects to promise more.
    """
    ordered = np.sort(np.asarray(pit, np.float64))
    rank = int((1 - coverage) / 2 * (len(ordered) + 1))
    if rank < 1:
        return 0.0, 1.0
    return float(ordered[rank - 1]), float(ordered[-rank])
