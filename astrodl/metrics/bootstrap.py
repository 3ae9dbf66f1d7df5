"""Bootstrap standard errors over objects."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["bootstrap"]


def bootstrap(
    statistic: Callable[..., float], *arrays: ArrayLike, n_draws: int = 500, seed: int = 0
) -> tuple[float, float]:
    """Evaluate a statistic and its bootstrap standard error.

    Objects (first axis of all arrays together) are drawn with replacement, and the standard error is the standard
    deviation of the statistic over the draws (Efron 1979, Annals of Statistics 7, 1). The draws depend only on the
    number of objects and the seed, so that a network and its baselines have the same ones.

    Parameters
    ----------
    statistic
        Function of all arrays that returns one number.
    *arrays
        Arrays of equal length, objects first.
    n_draws
        Number of draws.
    seed
        Seed of the draws.

    Returns
    -------
    value, error
        The statistic of the full arrays, and its standard error. Draws whose statistic is not finite (for example
        without any object of a class) are left out; the error is NaN if fewer than two draws remain.

    Raises
    ------
    ValueError
        No array, no object, or arrays of different lengths.
    """
    columns = [np.asarray(array) for array in arrays]
    lengths = {column.shape[0] if column.ndim else 0 for column in columns}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"bootstrap: lengths of the arrays are {sorted(lengths)}, must be equal and positive")
    n_objects = lengths.pop()
    random = np.random.default_rng(seed)
    draws = np.full(n_draws, np.nan)
    for draw in range(n_draws):
        chosen = random.integers(n_objects, size=n_objects)
        draws[draw] = statistic(*(column[chosen] for column in columns))
    finite = draws[np.isfinite(draws)]
    error = float(np.std(finite, ddof=1)) if finite.size > 1 else float("nan")
    return float(statistic(*columns)), error
