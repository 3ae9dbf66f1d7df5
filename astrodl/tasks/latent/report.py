"""Metrics and figures of the latent map."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from astrodl.metrics import latent as metrics_of
from astrodl.metrics.classification import balanced_accuracy
from astrodl.plots.images import sheet_of_rows
from astrodl.plots.latent import latent_mosaic, latent_nodes, latent_plane, nearest_objects
from astrodl.store import Reader
from astrodl.tasks.base import Arrays
from astrodl.tasks.colour import colour
from astrodl.tasks.metric import Metric, Metrics, bootstrap_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["METRICS", "describe_metrics", "draw_figures", "score"]

METRICS = (
    Metric("knn_recall", "high", "kNN class recall"),
    Metric("map_recall", "high", "kNN class recall, map"),
    Metric("rho_bt", "high", "rank correlation, B/T"),
    Metric("rho_sersic", "high", "rank correlation, Sérsic n"),
    Metric("hubble_rho_bt", "high", "rank correlation, B/T, Hubble coordinate", network_only=True),
    Metric("hubble_rho_sersic", "high", "rank correlation, Sérsic n, Hubble coordinate", network_only=True),
    Metric("chi2", 1.0, "χ² per pixel"),
)
"""Those of the default `properties`."""
_SPACES = {"knn_recall": "latent", "map_recall": "map"}
_N_STEPS, _N_EACH = 10, 4
"""Steps along the Hubble coordinate, and galaxies drawn at each."""


def describe_metrics(properties: Iterable[str], *, variational: bool) -> tuple[Metric, ...]:
    """Return the metrics, with rank correlations for each property."""
    known = {metric.name: metric for metric in METRICS}
    labels = {name: f"rank correlation, {name.replace('_', ' ')}" for name in properties}
    of_vectors = {f"rho_{name}": label for name, label in labels.items()}
    of_hubble = {f"hubble_rho_{name}": f"{label}, Hubble coordinate" for name, label in labels.items()}
    described = {"knn_recall": "", "map_recall": "", **of_vectors, **of_hubble, "chi2": ""}
    if variational:
        described["active_units"] = "active units"
    made = {name: Metric(name, "high", text, network_only=name in of_hubble) for name, text in described.items()}
    return tuple(known.get(name, metric) for name, metric in made.items())


def score(
    predictions: Arrays, truth: Arrays, reference: Arrays, properties: Iterable[str], *, variational: bool
) -> Metrics:
    """Score class recall of neighbours, rank correlations, chi^2 and active units; see `Task.score`.

    A metric for which too few objects of a split have a class or a value is left out.
    """
    train, test = reference["latent"], predictions["latent"]
    metrics: Metrics = {}
    if "class" in truth:
        metrics |= _score_classes(predictions, truth["class"], reference)
    for name in properties:
        if name in truth:
            of_train = reference[f"truth_{name}"]
            if _is_known(f"rho_{name}", np.isfinite(of_train), np.isfinite(truth[name]), least=2):
                projected = metrics_of.project(train, of_train, test)
                metrics |= bootstrap_metrics({f"rho_{name}": metrics_of.spearman}, projected, truth[name])
                if "hubble" in predictions:
                    pair = predictions["hubble"], truth[name]
                    metrics |= bootstrap_metrics({f"hubble_rho_{name}": metrics_of.spearman}, *pair)
    metrics |= bootstrap_metrics({"chi2": np.nanmedian}, predictions["chi2"])
    if variational:
        metrics |= bootstrap_metrics({"active_units": metrics_of.active_units}, test)
    return metrics


def _score_classes(predictions: Arrays, classes: np.ndarray, reference: Arrays) -> Metrics:
    """Score the class recall of nearest neighbours in the representation and in the map."""
    known, reference_known = classes != "", reference["truth_class"] != ""
    if not _is_known("knn_recall", reference_known, known, least=1):
        return {}
    of_train, of_test = reference["truth_class"][reference_known], classes[known]
    metrics: Metrics = {}
    for name, space in _SPACES.items():
        if space in predictions:
            voted = metrics_of.knn_predict(reference[space][reference_known], of_train, predictions[space][known])
            codes = np.unique(np.concatenate([voted, of_test]), return_inverse=True)[1]
            metrics |= bootstrap_metrics({name: balanced_accuracy}, *np.split(codes, 2))
    return metrics


def _is_known(metric: str, train: np.ndarray, test: np.ndarray, *, least: int) -> bool:
    """Return whether enough objects of both splits have the truth for a metric; say so where they have not."""
    if min(train.sum(), test.sum()) >= least:
        return True
    print(
        f"latent: {train.sum()} training and {test.sum()} test objects have the truth for {metric}, which needs "
        f"{least} of each; it is left out",
        file=sys.stderr,
    )
    return False


def draw_figures(store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays) -> "dict[str, Figure]":
    """Draw galaxies along the Hubble coordinate and on the map, and the map coloured by class and structure."""
    placed, drawn = predictions["map"], {}
    if not len(placed):
        return {}
    if store.has_images:
        rgb = colour(store, indices)
        drawn["hubble"] = _draw_hubble(predictions["hubble"], rgb)
        x, y = latent_nodes(placed)
        nearest = nearest_objects(placed, x, y)
        tiles = np.where((nearest >= 0)[..., None, None, None], rgb[nearest], np.nan)
        drawn["sequence"] = latent_mosaic(tiles, x, y, heading="Galaxies in the latent map")
    drawn["plane"] = latent_plane(
        placed,
        classes=list(truth["class"]) if "class" in truth else None,
        bt=truth.get("bt"),
        sersic_index=truth.get("sersic"),
    )
    return drawn


def _draw_hubble(hubble: np.ndarray, rgb: np.ndarray) -> "Figure":
    """Draw galaxies at equal steps of rank along the Hubble coordinate, spheroids on the left."""
    order = np.argsort(hubble, kind="stable")
    shares = (np.arange(_N_STEPS) + 0.5) / _N_STEPS
    middle = (shares * len(order)).astype(int)
    columns = [order[np.clip(np.arange(m - _N_EACH // 2, m + (_N_EACH + 1) // 2), 0, len(order) - 1)] for m in middle]
    tiles = np.stack(columns).T
    values = {int(i): f"{value:+.1f}" for i, value in zip(tiles[0], hubble[order[middle]], strict=True)}
    return sheet_of_rows(
        np.concatenate([rgb[row] for row in tiles]),
        [list(range(k, k + _N_STEPS)) for k in range(0, tiles.size, _N_STEPS)],
        title=lambda k: values[int(tiles[0, k])] if k < _N_STEPS else "",
        n_columns=_N_STEPS,
        heading="Galaxies along the Hubble coordinate, spheroids on the left",
    )
