"""Metrics, baselines and figures of photometric redshifts."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from astrodl.baselines.photoz import forest, knn, trainz
from astrodl.baselines.photoz.mlp import mlp
from astrodl.baselines.photoz.svm import svm
from astrodl.metrics import pdf as pdf_metrics
from astrodl.metrics.photoz import tomographic_bias
from astrodl.photoz.report import list_statistics
from astrodl.plots.photoz.bins import tomographic_bins
from astrodl.plots.photoz.coverage import coverage_curve
from astrodl.plots.photoz.pdf import example_pdfs, pit_histogram, redshift_distribution
from astrodl.plots.photoz.scatter import redshift_scatter, redshift_trends
from astrodl.store import Reader
from astrodl.tasks.base import Arrays, Evaluation
from astrodl.tasks.colour import colour
from astrodl.tasks.metric import Metrics, bootstrap_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["METHODS", "baselines", "draw", "score", "summaries"]

METHODS: Mapping[str, Callable[..., Arrays]] = {"trainz": trainz, "knn": knn, "forest": forest, "svm": svm, "mlp": mlp}
"""Classical methods; `trainz` predicts n(z) for every object."""
AGAINST = {
    "magnitude": "magnitude (AB)",
    "snr": "signal-to-noise ratio",
    "inclination": "inclination (deg)",
    "bt": "bulge-to-total ratio",
}
"""Quantities against which bias and scatter are drawn, and their labels."""
N_EXAMPLES = 8


def summaries(pdf: np.ndarray, edges: np.ndarray) -> Arrays:
    """Compute point estimates and ODDS of p(z)."""
    return {
        "z_mean": pdf_metrics.mean(pdf, edges),
        "z_median": pdf_metrics.median(pdf, edges),
        "z_mode": pdf_metrics.mode(pdf, edges),
        "odds": pdf_metrics.odds(pdf, edges),
    }


def score(predictions: Arrays, z: np.ndarray, edges: np.ndarray) -> Metrics:
    """Score point estimates, p(z) and, where there are any, conformal intervals."""
    metrics: Metrics = {}
    for name, (metric, arrays) in list_statistics(z, predictions["pdf"], edges, "median").items():
        metrics |= bootstrap_metrics({name: metric}, *arrays)
    for share in (68, 95):
        if f"z_low{share}" in predictions:
            inside = (predictions[f"z_low{share}"] <= z) & (z <= predictions[f"z_high{share}"])
            metrics |= bootstrap_metrics({f"conformal_{share}": np.mean}, inside)
    return metrics | bootstrap_metrics(
        {"tomographic_bias": tomographic_bias}, predictions["z_median"], predictions["z_mean"], z
    )


def baselines(
    train_x: np.ndarray, z: np.ndarray, test_x: np.ndarray, edges: np.ndarray
) -> dict[str, tuple[Arrays, Arrays]]:
    """Fit the classical methods on the training objects and predict the test objects."""
    predicted = {name: method(train_x, z, test_x, edges) for name, method in METHODS.items()}
    return {name: ({"pdf": found["pdf"], **summaries(found["pdf"], edges)}, {}) for name, found in predicted.items()}


def draw(
    store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, edges: np.ndarray, evaluation: Evaluation
) -> "dict[str, Figure]":
    """Draw the diagnostic figures of the test objects."""
    z, pdf, point = truth["z"], predictions["pdf"], predictions["z_median"]
    pit, rival_points = pdf_metrics.pit(pdf, edges, z), _best(evaluation)
    conformal = {
        share / 100: (entry["value"], entry["error"])
        for share in (68, 95)
        if (entry := evaluation.network.get(f"conformal_{share}"))
    }
    chosen = np.argsort(z, kind="stable")[np.linspace(0, len(z) - 1, min(N_EXAMPLES, len(z))).astype(int)]
    rgb = colour(store, indices[chosen]) if store.has_images else None
    figures = {
        "scatter": redshift_scatter(z, point, baselines=rival_points),
        "trend_redshift": redshift_trends(z, point, baselines=rival_points),
        "pit": pit_histogram(pit, ks=evaluation.network["pit_ks"]["value"]),
        "coverage": coverage_curve(pit, conformal=conformal),
        "examples": example_pdfs(pdf[chosen], edges, z[chosen], rgb=rgb, z_phot=point[chosen], n_total=len(z)),
        "distribution": redshift_distribution(pdf, edges, z),
        "tomography": tomographic_bins(pdf, edges, z, point),
    }
    for name, label in AGAINST.items():
        if np.isfinite(truth.get(name, np.nan)).sum() > 1:
            figures[f"trend_{name}"] = redshift_trends(
                z, point, against=truth[name], label=label, baselines=rival_points
            )
    return figures


def _best(evaluation: Evaluation) -> Arrays:
    """Return the point estimates of the two baselines that figures show: `mlp` and `forest`."""
    points = evaluation.of("z_median")
    return {name: points[name] for name in ("mlp", "forest") if name in points}
