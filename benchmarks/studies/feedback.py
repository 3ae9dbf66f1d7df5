"""Measure what labels add to the outlier list, with an oracle that knows the oddities of a simulated survey.

``python feedback.py RESULTS ...`` prints, for each survey, the precision in the top 1, 2 and 5 % of the order without
labels and of the orders that `astrodl rerank` learns from 10, 30 and 100 labels, and how many of the objects that the
oracle looked at are interesting (in brackets: of as many from the top of the list without labels). The oracle labels
ten objects at a time as the pages show them. Objects with a label stay in the order.

Who finds what interesting differs; so the oracle takes all oddities for interesting, some kinds, or one kind alone.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrodl import open_store
from astrodl.pipeline.page_columns import Source, open_sources
from astrodl.pipeline.rerank import choose_next, learn, read_score
from astrodl.pipeline.review import OUTLIER_LABELS, find_source, list_predictions
from astrodl.store import Reader

__all__ = ["main", "measure"]

N_LABELS = (10, 30, 100)
AT_ONCE = 10
TOPS = (0.01, 0.02, 0.05)


def main(folders: list[str]) -> None:
    """Print a table for each survey."""
    for folder in map(Path, folders):
        with open_store(folder / "store.h5") as reader:
            sources = open_sources(reader, list_predictions(folder, "outliers"))
            kinds = reader.column("oddity")
            print(f"\n{folder}: {len(reader)} objects, {np.count_nonzero(kinds != '')} oddities\n")
            print("| interesting | n | labels | top 1 % | top 2 % | top 5 % | found |")
            print("| --- | --- | --- | --- | --- | --- | --- |")
            for name, wanted in _tastes(kinds).items():
                for row in measure(reader, sources, wanted):
                    print(f"| {name} | {wanted.sum()} | {' | '.join(row)} |", flush=True)


def _tastes(kinds: NDArray[np.str_]) -> dict[str, NDArray[np.bool_]]:
    names = sorted(set(kinds.tolist()) - {""})
    disturbed = ("jellyfish", "lensed_arc", "ring")
    return {
        "all oddities": kinds != "",
        "all but satellite trails": (kinds != "") & (kinds != "satellite_trail"),
        "jellyfish, lensed arcs, rings": np.isin(kinds, disturbed),
        **{name.replace("_", " "): kinds == name for name in names},
    }


def measure(
    reader: Reader, sources: list[Source], wanted: NDArray[np.bool_], score: NDArray[np.float64] | None = None
) -> list[list[str]]:
    """Return a row for each number of labels: number, precision in each top, objects found.

    The order without labels is that of `score`, by default that of the predictions.
    """
    if score is None:
        score = read_score(find_source(sources, "outliers"))
    label = np.full(len(score), "", f"U{max(map(len, OUTLIER_LABELS))}")
    listed = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")
    rows, shown = [["0", *_precision(score, wanted), "–"]], listed[:AT_ONCE]
    for n_labels in range(AT_ONCE, max(N_LABELS) + 1, AT_ONCE):
        label[shown] = np.where(wanted[shown], "interesting", "boring")
        ranking = learn(reader, sources, score, label)
        shown = choose_next(ranking, label, AT_ONCE).indices
        if n_labels in N_LABELS:
            found = f"{wanted[label != ''].sum()} ({wanted[listed[:n_labels]].sum()})"
            rows.append([str(n_labels), *_precision(ranking.score, wanted), found])
    return rows


def _precision(score: NDArray[np.float64], wanted: NDArray[np.bool_]) -> list[str]:
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")
    texts = []
    for top in TOPS:
        n_top = max(1, round(top * len(score)))
        share = wanted[order[:n_top]].mean()
        texts.append(f"{share:.2f} ± {np.sqrt(share * (1 - share) / n_top):.2f}")
    return texts


if __name__ == "__main__":
    main(sys.argv[1:])
