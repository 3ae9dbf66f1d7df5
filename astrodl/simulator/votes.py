"""Votes of volunteers on the class of a galaxy, as in Galaxy Zoo.

Counts follow a Dirichlet-multinomial distribution, the model of Walmsley et al. (2022, MNRAS 509, 3966): a galaxy has a
probability of each answer that scatters from galaxy to galaxy around a mean. The mean mixes the true class with the
classes that it is confused with, more so for fainter and smaller galaxies.
"""

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator.population import CLASSES

__all__ = ["CONCENTRATION", "confusion_probability", "draw_votes", "expected_votes"]

CONCENTRATION = 12.0
"""Sum of the Dirichlet parameters; larger for less scatter among galaxies of one class, magnitude and size."""
_CONFUSION = np.array(
    [
        [0.00, 0.70, 0.10, 0.10, 0.10],
        [0.55, 0.00, 0.35, 0.05, 0.05],
        [0.10, 0.35, 0.00, 0.40, 0.15],
        [0.15, 0.10, 0.40, 0.00, 0.35],
        [0.10, 0.10, 0.30, 0.50, 0.00],
    ]
)
"""Answers (columns) for a class (row) that is not recognised, in the order of `CLASSES`."""


def confusion_probability(faintness: float, resolution: float) -> float:
    """Return the probability that a volunteer does not recognise the class.

    Parameters
    ----------
    faintness
        Magnitude minus the survey's limit.
    resolution
        Half-light radius over the FWHM of the point-spread function.
    """
    faint = 1 / (1 + np.exp(-(faintness + 0.7) / 0.6))
    return float(0.06 + 0.4 * faint + 0.35 * np.exp(-resolution))


def expected_votes(class_name: str, faintness: float, resolution: float) -> NDArray[np.float64]:
    """Return the mean probability of each answer, in the order of `CLASSES`."""
    number = CLASSES.index(class_name)
    confused = confusion_probability(faintness, resolution)
    mean = confused * _CONFUSION[number]
    mean[number] = 1 - confused
    return mean


def draw_votes(rng: np.random.Generator, n: int, mean: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw the counts of `n` votes with the given mean probabilities."""
    return rng.multinomial(n, rng.dirichlet(CONCENTRATION * mean))
