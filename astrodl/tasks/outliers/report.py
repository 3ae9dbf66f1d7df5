"""Metrics and figures of the outliers."""

from typing import TYPE_CHECKING

import numpy as np

from astrodl.metrics import outliers as metrics_of
from astrodl.plots.outliers import detection_curves, ranked_sheet, recall_by_kind, score_histogram, score_trend
from astrodl.store import Reader
from astrodl.tasks.base import Arrays, Evaluation
from astrodl.tasks.colour import colour
from astrodl.tasks.metric import Metrics, bootstrap_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_figures", "score_ranking"]


def score_ranking(predictions: Arrays, truth: Arrays) -> Metrics:
    """Score the ranking of known oddities."""
    if "oddity" not in truth or not (truth["oddity"] != "").any():
        return {}
    statistics = {
        "auc": metrics_of.auc,
        "average_precision": metrics_of.average_precision,
        "recall_top1": lambda s, t: metrics_of.recall_top(s, t, 0.01),
        "recall_top5": lambda s, t: metrics_of.recall_top(s, t, 0.05),
    }
    return bootstrap_metrics(statistics, predictions["score"], truth["oddity"] != "")


def draw_figures(
    store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
) -> "dict[str, Figure]":
    """Draw ranked sheet, score against signal-to-noise ratio, and histogram, curves and kinds of known oddities."""
    score, oddity = predictions["score"], truth.get("oddity")
    top = np.argsort(-score, kind="stable")[:30]
    kinds = None if oddity is None else oddity[top]
    drawn = {}
    if store.has_images:
        drawn["top"] = ranked_sheet(colour(store, indices[top]), score[top], kinds, n_total=len(score))
    if "snr" in store.feature_names:
        snr = store.features(["snr"], indices)[:, 0]
        drawn["score_snr"] = score_trend(score, snr, label="S/N", oddity=oddity, logarithmic=True)
    if oddity is not None and (oddity != "").any():
        drawn["histogram"] = score_histogram(score, oddity)
        drawn["curves"] = detection_curves(score, oddity != "", baselines=evaluation.of("score"))
        drawn["kinds"] = recall_by_kind(score, oddity, baselines=evaluation.of("score"))
    return drawn
