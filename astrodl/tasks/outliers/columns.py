"""Columns of the catalogue."""

from collections.abc import Sequence

import numpy as np

from astrodl.photometry.artefacts import ARTEFACTS
from astrodl.products import Column
from astrodl.tasks.base import Arrays
from astrodl.tasks.outliers.settings import PARTS, Part

__all__ = ["make_columns"]


def make_columns(predictions: Arrays, parts: Sequence[Part], counted: Sequence[Part]) -> list[Column]:
    """Return score, rank, reason, all parts and the artefact flag; `counted` are the parts that the score adds up."""
    score = predictions["score"]
    reasons = np.where(np.isfinite(score), np.array(parts)[predictions["reason"]], "")
    summed = f"sum of the surprise (nats) of {', '.join(counted)}"
    ranked = "fraction of validation objects with a lower score"
    columns = [
        Column("outliers_score", score, None, summed, "stat.value"),
        Column("outliers_percentile", predictions["percentile"], None, ranked, "stat.rank"),
        Column("outliers_reason", reasons, None, "part of the score with the largest surprise", "meta.code"),
    ]
    for part in parts:
        about = f"surprise (nats) of the {PARTS[part]}"
        columns.append(Column(f"outliers_{part}", predictions[part], None, about, "stat.value"))
    if "artefact" in predictions:
        bits = ", ".join(f"{bit} ({name})" for name, bit in ARTEFACTS.items())
        about = f"artefact, sum of {bits}; 0 for none"
        columns.append(Column("outliers_artefact", predictions["artefact"], None, about, "meta.code.qual"))
    return columns
