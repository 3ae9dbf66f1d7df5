"""Placeholders: numbers and texts that catalogues write where a value is not known, such as -99, 9999, 1e20 or N/A."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["find_placeholders", "is_missing_text", "may_be_placeholder"]

_TEXTS = {"", "-", "--", "---", "n/a", "#n/a", "na", "<na>", "nan", "nat", "null", "none", "masked", "indef", "undef"}
_NINES: list[float] = [9.99, 9.999, 9.9999, 99, 99.9, 99.99, 99.999, 99.9999, 999, 999.9, 999.99, 999.999]
_NINES += [9999, 9999.9, 9999.99, 99999, 99999.9, 999999, 9999999, 99999999, 999999999, 9999999999]
_NINES += [-9, -9.9, *(-nine for nine in _NINES)]
_LIMITS: list[float] = [
    *(sign * 10**power for sign in (1, -1) for power in range(10, 19)),
    *(sign * 10.0**power for sign in (1, -1) for power in (*range(19, 39), 99, 300, 308)),
    *(sign * float(np.finfo(kind).max) for sign in (1, -1) for kind in (np.float32, np.float64)),
    *(np.iinfo(kind).min for kind in (np.int16, np.int32, np.int64)),
    *(np.iinfo(kind).max for kind in (np.int16, np.int32, np.int64, np.uint16, np.uint32, np.uint64)),
    -1.6375e30,  # HEALPix (UNSEEN)
    9.969209968386869e36,  # netCDF
    float(np.float32(9.969209968386869e36)),
]
_HUGE = 1e3
"""A limit of a number type or a power of ten is a placeholder if it is this many times as large as all other values."""


def is_missing_text(text: str) -> bool:
    """Return whether a text stands for a missing value: nothing, N/A, nan, null, -- and the like."""
    return text.strip().casefold() in _TEXTS


def may_be_placeholder(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which numbers look like placeholders: nines, powers of ten, limits of number types; (n,)."""
    return np.isin(values, _of_type([*_NINES, *_LIMITS], values.dtype))


def find_placeholders(values: NDArray[Any], *, least: float = 9.0) -> tuple[list[float], list[float]]:
    """Find the values of a column that stand for a missing value.

    A candidate (nines such as -99 or 99.9, a power of ten from 1e10, a limit of a number type) is a placeholder if it
    lies apart from all other values: a negative one below numbers that are not negative; otherwise farther away than
    their range and size; a limit a thousand times as large as they are.

    Parameters
    ----------
    values
        Finite numbers, (n,).
    least
        Smallest absolute value of a candidate.

    Returns
    -------
    placeholders, doubtful
        Sorted values. Positive nines among whole numbers are doubtful: they may be counts.
    """
    is_candidate = may_be_placeholder(values) & (np.abs(values.astype(np.float64)) >= least)
    if not is_candidate.any():
        return [], []
    others, limits = values[~is_candidate], _of_type(_LIMITS, values.dtype)
    low, high = (float(others.min()), float(others.max())) if len(others) else (0.0, 0.0)
    largest = max(abs(low), abs(high), 1.0)
    apart = max(high - low, largest)
    whole = values.dtype.kind != "f" or bool((others == np.trunc(others)).all())
    found: list[float] = []
    doubtful: list[float] = []
    for value in np.unique(values[is_candidate]):
        number = value.item()
        is_limit = value in limits and abs(number) >= _HUGE * largest
        if is_limit or (number < 0 and (low >= 0 or number < low - apart)):
            found.append(number)
        elif number > high + apart and len(others):
            (doubtful if whole else found).append(number)
    return found, doubtful


def _of_type(numbers: list[float], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the numbers that a column of a type can hold, as it holds them: 99.9 in float32 is 99.90000153."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.asarray(numbers, np.float64).astype(dtype)
    limits = np.iinfo(dtype)
    whole = {int(number) for number in numbers if float(number).is_integer()}
    if dtype.itemsize == 1:  # too common a number elsewhere
        whole.add(int(limits.max if limits.min == 0 else limits.min))
    return np.array(sorted(number for number in whole if limits.min <= number <= limits.max), dtype)
