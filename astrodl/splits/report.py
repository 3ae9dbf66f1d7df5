"""What landed where: classes and redshifts of each split and fold, and whether a division was unlucky."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp

from astrodl.store import SPLITS

REST = SPLITS.index("rest")
UNLIKELY = 1e-3
"""Probability below which a part is called unlike the rest: some ten comparisons are made of a survey."""
MOST_CLASSES = 30
"""Text with more distinct values is a name, not a class."""
REDSHIFT = "z"
QUANTILES = (5, 16, 50, 84, 95)
"""Percentiles of the redshifts that are given."""
N_BINS = 20
"""Number of bins of the redshift histograms, the same in all parts."""

Bools = NDArray[np.bool_]


def landed(split: NDArray[np.int8], fold: NDArray[np.int16], columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Report what landed in each split and fold, as plain values for JSON.

    Each part is compared with all other objects of the parts: class counts by Pearson's chi-squared test of
    independence, redshifts by the two-sample test of Kolmogorov and Smirnov. Objects that are predicted only (`rest`)
    are in no part; they are counted. Both tests take objects for independent draws. Objects that share a cell
    are alike in redshift (they belong to one structure of the universe), so that a low probability is a reason to look,
    not proof of an error.

    Parameters
    ----------
    split
        Codes of `SPLITS`, (N,).
    fold
        Fold, -1 for test and rest, (N,).
    columns
        Catalogue columns, (N,) each. Used are those of text with at most `MOST_CLASSES` distinct values, where an empty
        text is unknown, and the redshift `z`, unknown where it is not finite.

    Returns
    -------
    dict
        ``parts`` {part: {"n_objects", "fraction", column: ...}} with the parts train, validation, test, and fold0 ...
        where there are several; for a text column {"counts", "fractions", "p_value"}, for the redshift {"n_known",
        "quantiles", "histogram", "p_value"}, a p-value being null where there is nothing to compare; ``n_rest``, where
        there are any; ``edges`` of the histograms, if any; ``unlucky``, a sentence per comparison below `UNLIKELY`.
    """
    divided = split != REST
    n_rest = int(len(split) - divided.sum())
    split, fold, columns = split[divided], fold[divided], {name: values[divided] for name, values in columns.items()}
    texts = {name: values.astype(str) for name, values in columns.items() if _is_class(values)}
    z = np.asarray(columns[REDSHIFT], np.float64) if REDSHIFT in columns else np.full(len(split), np.nan)
    edges = _edges(z)
    report: dict[str, Any] = {"parts": {}} | ({"n_rest": n_rest} if n_rest else {})
    for part, inside in _parts(split, fold).items():
        entry: dict[str, Any] = {"n_objects": int(inside.sum()), "fraction": float(inside.mean()) if len(inside) else 0}
        entry |= {name: _classes(values, inside) for name, values in texts.items()}
        if edges is not None:
            entry[REDSHIFT] = _redshifts(z, inside, edges)
        report["parts"][part] = entry
    if edges is not None:
        report["edges"] = edges.tolist()
    report["unlucky"] = [
        f"{part}: '{column}' is unlike the rest of the survey (p = {value['p_value']:.1g})"
        for part, entry in report["parts"].items()
        for column, value in entry.items()
        if isinstance(value, dict) and value["p_value"] is not None and value["p_value"] < UNLIKELY
    ]
    return report


def _parts(split: NDArray[np.int8], fold: NDArray[np.int16]) -> dict[str, Bools]:
    """Tell which objects belong to each part; with several folds, a fold instead of the one validation split."""
    parts = {name: split == number for number, name in enumerate(SPLITS) if number != REST}
    n_folds = int(fold.max(initial=0)) + 1
    if n_folds > 1:
        parts = {"test": parts["test"]} | {f"fold{number}": fold == number for number in range(n_folds)}
    return parts


def _is_class(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "UO" and 1 < len(np.unique(values.astype(str))) <= MOST_CLASSES


def _classes(values: NDArray[np.str_], inside: Bools) -> dict[str, Any]:
    """Count the classes of a part and compare them with the rest."""
    names, codes = np.unique(values, return_inverse=True)
    table = np.stack([np.bincount(codes[part], minlength=len(names)) for part in (inside, ~inside)])
    known = names != ""
    names, table = names[known], table[:, known]
    total = max(int(table[0].sum()), 1)
    return {
        "counts": {str(name): int(count) for name, count in zip(names, table[0], strict=True)},
        "fractions": {str(name): float(count / total) for name, count in zip(names, table[0], strict=True)},
        "p_value": _chi2(table),
    }


def _chi2(table: NDArray[np.int64]) -> float | None:
    """Give the probability of a table (2, classes) if both rows are drawn alike; None without two rows and classes."""
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2 or not table.sum(1).all():
        return None
    return float(chi2_contingency(table, correction=False).pvalue)


def _edges(z: NDArray[np.float64]) -> NDArray[np.float64] | None:
    known = z[np.isfinite(z)]
    if not len(known):
        return None
    return np.histogram_bin_edges(known, N_BINS)


def _redshifts(z: NDArray[np.float64], inside: Bools, edges: NDArray[np.float64]) -> dict[str, Any]:
    """Describe the redshifts of a part and compare them with the rest."""
    known = np.isfinite(z)
    mine, others = z[known & inside], z[known & ~inside]
    quantiles = np.percentile(mine, QUANTILES).tolist() if len(mine) else [None] * len(QUANTILES)
    return {
        "n_known": len(mine),
        "quantiles": {f"{level}": value for level, value in zip(QUANTILES, quantiles, strict=True)},
        "histogram": np.histogram(mine, edges)[0].tolist(),
        "p_value": _kolmogorov(mine, others),
    }


def _kolmogorov(mine: NDArray[np.float64], others: NDArray[np.float64]) -> float | None:
    if not len(mine) or not len(others):
        return None
    with warnings.catch_warnings():
        # scipy tells when it turns from the exact to the asymptotic distribution, which is near enough
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(ks_2samp(mine, others).pvalue)
