"""Find the columns that are no input of a task but measure its results: B/T, Sérsic index, kinds of oddities."""

import re
from collections.abc import Callable

import numpy as np

from astrodl.discover.catalogue import Catalogue

__all__ = ["find_measures", "ordinary_values"]

_ORDINARY = {"none", "normal", "ordinary", "regular", "no", "false", "f", "n", "-"}
"""Texts that stand for an object without oddity."""


def find_measures(catalogue: Catalogue) -> dict[str, str]:
    """Find the columns that measure results by their names and values: name in the store -> column."""
    measures: dict[str, str] = {}
    for measure, (patterns, check) in _MEASURES.items():
        free = [name for name in catalogue.names if name not in measures.values()]
        named = (name for pattern in patterns.split() for name in free if re.fullmatch(pattern, name.casefold()))
        taken = [column for role, column in catalogue.roles.items() if role != "class"]
        name = next((name for name in named if name not in taken and check(catalogue, name)), None)
        if name is not None:
            measures[measure] = name
    return measures


def ordinary_values(catalogue: Catalogue, name: str) -> dict[str, str]:
    """Return how to rename the values of a column of oddities: nothing for an ordinary object."""
    values = set(catalogue.text(name))
    if values <= {"0", "1", "True", "False", ""}:
        return {value: "odd" if value in ("1", "True") else "" for value in sorted(values - {""})}
    return {value: "" for value in sorted(values) if value.casefold() in _ORDINARY}


def _is_between(low: float, high: float, fractional: bool) -> Callable[[Catalogue, str], bool]:
    def check(catalogue: Catalogue, name: str) -> bool:
        values = catalogue.numbers(name)
        known = values[(values >= low) & (values <= high)]  # others stand for unknown
        varied = len(known) > 0.5 * len(values) and len(np.unique(known)) > 1
        return bool(varied and (not fractional or (known != np.trunc(known)).any()))

    return check


def _is_oddity(catalogue: Catalogue, name: str) -> bool:
    if name in catalogue.file_columns or not (catalogue.is_text(name) or set(catalogue.text(name)) <= {"0", "1"}):
        return set(catalogue.text(name)) <= {"True", "False"}
    return 2 <= len(set(catalogue.text(name))) <= 100


_MEASURES: dict[str, tuple[str, Callable[[Catalogue, str], bool]]] = {
    "bt": (
        "b_?/?t b_?to_?t b_?t_?ratio bulge_?(to_?total|fraction|frac|ratio).* bt_.* b_?t_(?!mag).* .*_b_?/?t",
        _is_between(0, 1, True),
    ),
    "sersic_index": (
        "sersic(_?(n|index|idx))? n_?sersic n_?ser ser(sic)?_?n(_.*)? n_galfit galfit_n .*_sersic_?(n|index)(_.*)? n",
        _is_between(0.05, 20, True),
    ),
    "oddity": (
        "oddity.* (is_?)?(anomaly|anomalous|outlier)(_?(type|kind|class|flag|label))?",
        _is_oddity,
    ),
}
"""Name in the store, which the settings of the tasks have -> patterns of column names, and a check of the values."""
