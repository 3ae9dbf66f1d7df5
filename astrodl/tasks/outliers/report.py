"""Metrics and figures of the outliers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from astrodl.metrics import outliers as metrics_of
from astrodl.photometry.artefacts import ARTEFACTS
from astrodl.plots.outliers import detection_curves, ranked_sheet, recall_by_kind, score_histogram, score_trend
from astrodl.splits.groups import friends_of_friends
from astrodl.store import Reader
from astrodl.tasks.base import Arrays, Evaluation
from astrodl.tasks.colour import colour
from astrodl.tasks.metric import Metrics, bootstrap_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["N_TOP", "choose_top", "draw_figures", "score_ranking"]

N_TOP = 50
"""Objects of highest score on the sheet."""
_SHORT = {"features_density": "feat. density", "structure_density": "struct. density"}


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
    store: Reader,
    indices: np.ndarray,
    predictions: Arrays,
    truth: Arrays,
    evaluation: Evaluation,
    parts: Sequence[str],
) -> "dict[str, Figure]":
    """Draw ranked sheet, score against signal-to-noise ratio, and histogram, curves and kinds of known oddities."""
    score, oddity = predictions["score"], truth.get("oddity")
    top, n_near = choose_top(store, indices, score)
    kinds = None if oddity is None else oddity[top]
    drawn = {}
    if store.has_images:
        drawn["top"] = ranked_sheet(
            colour(store, indices[top]),
            score[top],
            kinds,
            notes=_explain(predictions, top, n_near, parts),
            n_top=N_TOP,
            n_total=len(score),
        )
    if "snr" in store.feature_names:
        snr = store.features(["snr"], indices)[:, 0]
        drawn["score_snr"] = score_trend(score, snr, label="S/N", oddity=oddity, logarithmic=True)
    if oddity is not None and (oddity != "").any():
        drawn["histogram"] = score_histogram(score, oddity)
        drawn["curves"] = detection_curves(score, oddity != "", baselines=evaluation.of("score"))
        drawn["kinds"] = recall_by_kind(score, oddity, baselines=evaluation.of("score"))
    return drawn


def choose_top(store: Reader, indices: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose the objects of highest score, one of those that lie in one another's cutouts.

    An outlier is often cut into several catalogue entries, or seen at the edge of the cutouts of its neighbours.
    Objects closer than half a cutout are one group, if the store has positions; of each the highest score is listed.

    Returns
    -------
    top, n_near : (n,) arrays
        Places in `score`, best first, at most `N_TOP`; and how many more of its group are among the top four `N_TOP`.
    """
    order = np.argsort(-score, kind="stable")
    order = order[np.isfinite(score[order])][: 4 * N_TOP]
    scale, size = store.pixel_scale_arcsec, store.size
    if not (store.has_column("ra") and store.has_column("dec") and scale and size) or len(order) < 2:
        return order[:N_TOP], np.zeros(min(len(order), N_TOP), int)
    ra, dec = (np.asarray(store.column(name, indices[order]), float) for name in ("ra", "dec"))
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    rows, near = friends_of_friends(ra[known], dec[known], scale * size / 2)
    group = np.arange(len(order))
    group[known[rows]] = len(order) + near
    best = np.sort(np.unique(group, return_index=True)[1])[:N_TOP]
    return order[best], np.array([np.count_nonzero(group == group[place]) - 1 for place in best])


def _explain(predictions: Arrays, top: np.ndarray, n_near: np.ndarray, parts: Sequence[str]) -> list[str]:
    """Write the part that raised each score, its artefacts, and how many objects near it are left out."""
    flags = predictions.get("artefact", np.zeros(len(predictions["score"]), int))[top]
    texts = []
    for reason, flag, near in zip(predictions["reason"][top], flags, n_near, strict=True):
        name = parts[reason]
        lines = [_SHORT.get(name, name), *(kind for kind, bit in ARTEFACTS.items() if flag & bit)]
        texts.append("\n".join([*lines, *([f"+{near} near"] if near else [])]))
    return texts
