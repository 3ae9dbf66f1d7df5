"""The split report: classes and redshifts in each split and fold, and tests of whether the splits are alike."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp

from astrodl.store import SPLITS

__all__ = ["split_report"]

_REST = SPLITS.index("rest")
_MIN_P_VALUE = 1e-3
"""A part with a smaller p-value is reported; a survey takes about ten comparisons."""
_MAX_CLASSES = 30
"""Text columns with more distinct values are names, not classes."""
_REDSHIFT = "z"
_PERCENTILES = (5, 16, 50, 84, 95)
"""Reported percentiles of the redshifts."""
_N_BINS = 20
"""Number of bins of the redshift histograms, the same in all parts."""

_Bools = NDArray[np.bool_]


def split_report(
    split: NDArray[np.int8], fold: NDArray[np.int16], columns: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """Compare the classes and redshifts of the splits and folds; return plain values for JSON.

    Each part is compared with all other objects: class counts by Pearson's chi-squared test of independence, redshifts
    by the two-sample Kolmogorov-Smirnov test. Objects that are only predicted (`rest`) belong to no part and are
    counted. Both tests assume independent objects, but objects in the same cell have similar redshifts (large-scale
    structure), so that a low p-value is a reason to check, not proof of an error.

    Parameters
    ----------
    split
        Codes of `SPLITS`, (N,).
    fold
        Fold, -1 for test and rest, (N,).
    columns
        Catalogue columns, (N,) each. Text columns with at most 30 distinct values are used (empty: unknown), and the
        redshift `z` (not finite: unknown).

    Returns
    -------
    dict
        ``parts`` {part: {"n_objects", "fraction", column: ...}} with the parts train, validation, test, or test, fold0,
        ... with several folds; for a text column {"counts", "fractions", "p_value"}, for the redshift {"n_known",
        "quantiles", "histogram", "p_value"}, where a p-value is null if there is nothing to compare; ``n_rest``, if
        there are any; ``edges`` of the histograms, if any; ``unlucky``, a sentence per comparison with p < 0.001.
    """
    in_parts = split != _REST
    n_rest = int(len(split) - in_parts.sum())
    split, fold, columns = split[in_parts], fold[in_parts], {name: values[in_parts] for name, values in columns.items()}
    texts = {name: values.astype(str) for name, values in columns.items() if _is_class(values)}
    z = np.asarray(columns[_REDSHIFT], np.float64) if _REDSHIFT in columns else np.full(len(split), np.nan)
    edges = _histogram_edges(z)
    report: dict[str, Any] = {"parts": {}} | ({"n_rest": n_rest} if n_rest else {})
    for part, inside in _find_parts(split, fold).items():
        entry: dict[str, Any] = {"n_objects": int(inside.sum()), "fraction": float(inside.mean()) if len(inside) else 0}
        entry |= {name: _compare_classes(values, inside) for name, values in texts.items()}
        if edges is not None:
            entry[_REDSHIFT] = _compare_redshifts(z, inside, edges)
        report["parts"][part] = entry
    if edges is not None:
        report["edges"] = edges.tolist()
    report["unlucky"] = [
        f"{part}: '{column}' is unlike the rest of the survey (p = {value['p_value']:.1g})"
        for part, entry in report["parts"].items()
        for column, value in entry.items()
        if isinstance(value, dict) and value["p_value"] is not None and value["p_value"] < _MIN_P_VALUE
    ]
    return report


def _find_parts(split: NDArray[np.int8], fold: NDArray[np.int16]) -> dict[str, _Bools]:
    """Return which objects belong to each part: the splits, or test and the folds where there are several."""
    parts = {name: split == number for number, name in enumerate(SPLITS) if number != _REST}
    n_folds = int(fold.max(initial=0)) + 1
    if n_folds > 1:
        parts = {"test": parts["test"]} | {f"fold{number}": fold == number for number in range(n_folds)}
    return parts


def _is_class(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "UO" and 1 < len(np.unique(values.astype(str))) <= _MAX_CLASSES


def _compare_classes(values: NDArray[np.str_], inside: _Bools) -> dict[str, Any]:
    """Count the classes of a part and compare them with the other objects."""
    names, codes = np.unique(values, return_inverse=True)
    table = np.stack([np.bincount(codes[part], minlength=len(names)) for part in (inside, ~inside)])
    known = names != ""
    names, table = names[known], table[:, known]
    total = max(int(table[0].sum()), 1)
    return {
        "counts": {str(name): int(count) for name, count in zip(names, table[0], strict=True)},
        "fractions": {str(name): float(count / total) for name, count in zip(names, table[0], strict=True)},
        "p_value": _chi2_p_value(table),
    }


def _chi2_p_value(table: NDArray[np.int64]) -> float | None:
    """Return the p-value of a table (2, classes); None with fewer than two rows or classes."""
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2 or not table.sum(1).all():
        return None
    return float(chi2_contingency(table, correction=False).pvalue)


def _histogram_edges(z: NDArray[np.float64]) -> NDArray[np.float64] | None:
    known = z[np.isfinite(z)]
    return np.histogram_bin_edges(known, _N_BINS) if len(known) else None


def _compare_redshifts(z: NDArray[np.float64], inside: _Bools, edges: NDArray[np.float64]) -> dict[str, Any]:
    """Summarize the redshifts of a part and compare them with the other objects."""
    known = np.isfinite(z)
    in_part, others = z[known & inside], z[known & ~inside]
    quantiles = np.percentile(in_part, _PERCENTILES).tolist() if len(in_part) else [None] * len(_PERCENTILES)
    return {
        "n_known": len(in_part),
        "quantiles": {f"{level}": value for level, value in zip(_PERCENTILES, quantiles, strict=True)},
        "histogram": np.histogram(in_part, edges)[0].tolist(),
        "p_value": _ks_p_value(in_part, others),
    }


def _ks_p_value(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    if not len(first) or not len(second):
        return None
    with warnings.catch_warnings():
        # scipy warns when it uses the asymptotic instead of the exact distribution, which is accurate enough here.
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(ks_2samp(first, second).pvalue)
