"""Votes of volunteers on the class of a galaxy, as a project like Galaxy Zoo would return them.

Counts follow a Dirichlet-multinomial distribution, the model of Walmsley et al. (2022, MNRAS 509, 3966): the galaxy has
a probability of each answer, which varies from galaxy to galaxy around a mean, and each volunteer answers by it. The
mean mixes the truth with the classes that it is taken for, the more so the fainter and smaller the galaxy is.
"""

import numpy as np
from numpy.typing import NDArray

from astrodl.simulator.population import CLASSES

CONCENTRATION = 12.0
"""Sum of the Dirichlet parameters: how alike galaxies of one class, magnitude and size are to volunteers."""
_CONFUSED = np.array(
    [
        [0.00, 0.70, 0.10, 0.10, 0.10],
        [0.55, 0.00, 0.35, 0.05, 0.05],
        [0.10, 0.35, 0.00, 0.40, 0.15],
        [0.15, 0.10, 0.40, 0.00, 0.35],
        [0.10, 0.10, 0.30, 0.50, 0.00],
    ]
)
"""What a class (row) is taken for when it is not recognised: columns in the order of `CLASSES`."""


def confusion(faintness: float, resolution: float) -> float:
    """Give the probability that a volunteer does not recognise the class.

    Parameters
    ----------
    faintness
        Magnitude minus the survey's limit.
    resolution
        Half-light radius over the width (FWHM) of the point-spread function.
    """
    faint = 1 / (1 + np.exp(-(faintness + 0.7) / 0.6))
    return float(0.06 + 0.4 * faint + 0.35 * np.exp(-resolution))


def expected_votes(kind: str, faintness: float, resolution: float) -> NDArray[np.float64]:
    """Give the mean probability of each answer, in the order of `CLASSES`."""
    number = CLASSES.index(kind)
    lost = confusion(faintness, resolution)
    mean = lost * _CONFUSED[number]
    mean[number] = 1 - lost
    return mean


def draw_votes(rng: np.random.Generator, n: int, mean: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw the counts of `n` votes with the given mean probabilities."""
    return rng.multinomial(n, rng.dirichlet(CONCENTRATION * mean))
