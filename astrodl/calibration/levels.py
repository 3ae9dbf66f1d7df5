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


def fit_temperature(log_probability: ArrayLike, label: ArrayLike) -> float:
    """Fit the temperature T for which softmax(log_probability / T) has the largest likelihood (Guo et al. 2017).

    Parameters
    ----------
    log_probability
        Logarithms of class probabilities of unseen objects up to a constant per object, (N, C).
    label
        True classes as integers from 0, (N,).

    Returns
    -------
    float
        Between 0.05 and 20; 1, which changes nothing, for fewer than `LEAST_OBJECTS` objects.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    logits, truth = np.asarray(log_probability, np.float64), np.asarray(label)
    if len(truth) < LEAST_OBJECTS:
        return 1.0
    at_truth = logits[np.arange(len(truth)), truth]

    def loss(log_temperature: float) -> float:
        coldness = np.exp(-log_temperature)
        return float(np.mean(logsumexp(coldness * logits, axis=1) - coldness * at_truth))

    # Convex in 1/T, hence with a single minimum in log T as well.
    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def least_probability(probability: ArrayLike, label: ArrayLike, coverage: float) -> float:
    """Choose the least probability of the classes in an object's set, that a share `coverage` of sets hold the truth.

    Split conformal prediction with the least ambiguous sets, the smallest on average (Sadinle, Lei & Wasserman 2019,
    JASA 114, 223): for objects exchangeable with those given, the true class is in the set with a probability of at
    least `coverage`, whatever the probabilities are, and of 1 / (N + 1) more at most where no two are equal.

    Parameters
    ----------
    probability
        Class probabilities of unseen objects, (N, C).
    label
        True classes as integers from 0, (N,).
    coverage
        Share of objects, between 0 and 1.

    Returns
    -------
    float
        0, with which sets hold all classes, where there are too few objects to promise less.
    """
    truth = np.asarray(label)
    falling = np.sort(np.asarray(probability, np.float64)[np.arange(len(truth)), truth])[::-1]
    # A rounding error must not ask for one object more.
    rank = int(np.ceil((len(falling) + 1) * coverage - 1e-9))
    return float(falling[rank - 1]) if 0 < rank <= len(falling) else float(rank <= 0)
