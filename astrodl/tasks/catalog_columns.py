"""Catalogue columns as tasks take them: names of classes, and numbers."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BeforeValidator

from astrodl.errors import DataError
from astrodl.store import Reader

__all__ = ["ClassName", "class_names", "name_kinds", "read_numbers"]


def class_names(values: ArrayLike) -> NDArray[np.str_]:
    """Return the names of classes: text as it is, whole numbers without a decimal point, "" for missing values.

    Parameters
    ----------
    values
        A column of a store, (N,): text, numbers or booleans (named 0 and 1), perhaps masked.
    """
    given: np.ma.MaskedArray[Any, Any] = np.ma.asarray(values)
    missing = np.ma.getmaskarray(given)
    plain = np.asarray(given.data)
    if plain.dtype.kind == "f":
        missing = missing | ~np.isfinite(plain)
        whole = np.trunc(plain) == plain
        known = zip(plain[~missing], whole[~missing], strict=True)
        names = np.array([str(int(value)) if is_whole else str(value) for value, is_whole in known], str)
        named = np.zeros(len(plain), names.dtype)
        named[~missing] = names
        return named
    plain = plain.astype(np.int64) if plain.dtype.kind == "b" else plain
    return np.where(missing, "", plain.astype(str)) if missing.any() else plain.astype(str)


def name_kinds(values: ArrayLike) -> NDArray[np.str_]:
    """Return the names of kinds, of which zero, too, means none."""
    names = class_names(values)
    return names if np.asarray(values).dtype.kind in "SUO" else np.where(names == "0", "", names)


def read_numbers(store: Reader, name: str, indices: NDArray[Any]) -> NDArray[np.float64]:
    """Read a column as numbers, (n,); NaN for missing values.

    Raises
    ------
    DataError
        The column holds text.
    """
    values = np.ma.asarray(store.column(name, indices))
    if values.dtype.kind not in "biuf":
        raise DataError(f"{store.path}: column '{name}' holds text, numbers are needed; correct the name of the column")
    return np.where(np.ma.getmaskarray(values), np.nan, np.asarray(values.data, np.float64))


def _to_name(value: Any) -> Any:
    return str(class_names([value])[0]) if isinstance(value, bool | int | float) else value


ClassName = Annotated[str, BeforeValidator(_to_name, json_schema_input_type=str | int | float | bool)]
"""Setting that names a class, also as a number or boolean."""
