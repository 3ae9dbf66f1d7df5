"""Truth, metrics, baselines and figures of segmentation."""

from typing import TYPE_CHECKING, Any

import numpy as np

from astrodl.baselines import clumps as finders
from astrodl.baselines import segmentation as classical
from astrodl.metrics import clumps as objects
from astrodl.metrics import segmentation as metrics_of
from astrodl.photometry.clumps import Clumps
from astrodl.plots.segmentation import bulge_to_total, clump_detection, segmentation_gallery
from astrodl.store import Reader
from astrodl.tasks.bands import shared_features
from astrodl.tasks.base import Arrays, Evaluation
from astrodl.tasks.colour import colour
from astrodl.tasks.inputs import scale_free_features
from astrodl.tasks.metric import Metric, Metrics, bootstrap_metrics
from astrodl.tasks.segmentation import shape
from astrodl.tasks.segmentation.clumps import MATCH_PIXELS, is_real, listed, pad
from astrodl.tasks.segmentation.labels import Labels, read_segment
from astrodl.tasks.segmentation.ratio import is_open
from astrodl.tasks.segmentation.settings import SegmentationSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astrodl.tasks.segmentation import Segmentation

__all__ = ["BRIGHT_CONTRAST", "BRIGHT_SNR", "MASK_METRICS", "baselines", "figures", "match", "score", "truth"]

BRIGHT_SNR = 5.0
"""Bright clumps have this signal-to-noise ratio ..."""
BRIGHT_CONTRAST = 0.03
"""... and this share of the flux of the galaxy."""
MASK_METRICS = (
    Metric("segment_iou", "high", "galaxy IoU"),
    Metric("bar_mae", "low", "bar MAE", network_only=True),
    Metric("arm_mae", "low", "arm MAE", network_only=True),
)
"""Mean over galaxies: of the intersection over union of their segments, and of the error of shares of the light."""
_TUNED = 1000
"""Training objects on which the finders of clumps are tuned."""
_TUNED_SEGMENTS = 100
"""Those on which the threshold of segments is tuned."""
_MOST_CLUMPS = 64
"""True clumps per object, and those of a baseline."""


def truth(settings: SegmentationSettings, labels: Labels) -> Arrays:
    """Return masks, fractions, flux weights, ratio, and the clumps of each object, the brightest first.

    Pixels fainter than the sky noise have weight zero. `clumps` is (n, 64, 6): row, column, signal-to-noise ratio,
    flux, share of the galaxy's flux, and whether the clump is detectable; NaN where there are fewer.
    """
    k = labels.reference
    light, mask = np.sinh(labels.light[:, k]), labels.mask(settings)
    listing = labels.clumps(mask)
    real = is_real(listing)
    found = listing.clumps.select(real)._replace(value=listing.snr[real])
    flux = listing.flux[real]
    share = flux / np.maximum(labels.total[:, k].sum((-2, -1)), 1e-30)[found.image]
    columns = (flux, share, listing.is_detectable[real].astype(float))
    return {
        "mask": mask,
        "bulge_fraction": labels.fraction[:, k, 0],
        "weight": np.where(light > 1, light, 0.0),
        "bt": labels.bt[:, k],
        "signal": light,
        "clumps": np.stack(pad(found, len(mask), _MOST_CLUMPS, *columns), axis=-1),
    }


def match(predictions: Arrays, truth: Arrays) -> tuple[np.ndarray, np.ndarray, Clumps, np.ndarray]:
    """Match the clumps: true rows (k, 7) with the image last, their partners, predicted clumps, their partners."""
    image, column = np.nonzero(np.isfinite(truth["clumps"][:, :, 0]))
    rows = np.column_stack([truth["clumps"][image, column], image])
    found = listed(*(predictions[f"clump_{name}"] for name in ("y", "x", "probability")))
    partners = objects.match_positions(
        image, rows[:, :2], found.image, np.column_stack([found.y, found.x]), MATCH_PIXELS
    )  # fmt: skip
    return rows, partners[0], found, partners[1]


def score(predictions: Arrays, truth: Arrays, threshold: float) -> Metrics:
    """Score masks, clumps as objects, the fraction of the bulge, and the ratio with its interval."""
    mask = predictions["clump"] > predictions.get("threshold", threshold)
    overlap = metrics_of.overlap(truth["mask"], mask)
    metrics = bootstrap_metrics({"clump_dice": metrics_of.dice, "clump_iou": metrics_of.iou}, *overlap)
    rows, of_truth, found, of_found = match(predictions, truth)
    n, image = len(mask), rows[:, 6].astype(int)
    detectable = rows[:, 5] > 0
    counts = objects.count_clumps(n, image, detectable, found.image, of_truth, of_found)
    bright = detectable & (rows[:, 2] >= BRIGHT_SNR) & (rows[:, 4] >= BRIGHT_CONTRAST)
    of_bright = objects.count_clumps(n, image, bright, found.image, of_truth, of_found)
    metrics |= bootstrap_metrics({"clump_completeness": objects.completeness}, counts.n_truth, counts.n_found)
    metrics |= bootstrap_metrics({"clump_purity": objects.purity}, counts.n_predicted, counts.n_matched)
    metrics |= bootstrap_metrics({"clump_f1": objects.f1}, *counts)
    metrics |= bootstrap_metrics({"bright_completeness": objects.completeness}, of_bright.n_truth, of_bright.n_found)
    error = metrics_of.fraction_mae(truth["bulge_fraction"], predictions["bulge_fraction"], truth["weight"])
    metrics |= bootstrap_metrics({"fraction_mae": np.nanmean}, error)
    ratio = {"bt_bias": metrics_of.bt_bias, "bt_rmse": metrics_of.bt_rmse, "bt_within_01": metrics_of.bt_within}
    metrics |= bootstrap_metrics(ratio, truth["bt"], predictions["bt"])
    if "bt_low68" in predictions:
        inside = (predictions["bt_low68"] <= truth["bt"]) & (truth["bt"] <= predictions["bt_high68"])
        open_ones = is_open(predictions)
        metrics |= bootstrap_metrics({"bt_coverage_68": np.mean}, (inside[open_ones] if open_ones.any() else inside))
    if "segment" in predictions and "segment" in truth:
        image_iou = metrics_of.iou_per_image(truth["segment"], predictions["segment"] > 0.5)
        metrics |= bootstrap_metrics({"segment_iou": np.nanmean}, image_iou)
    for name in ("bar", "arm"):
        if name in predictions and name in truth:
            error = metrics_of.fraction_mae(truth[name], predictions[name], truth["weight"])
            metrics |= bootstrap_metrics({f"{name}_mae": np.nanmean}, error)
    return metrics | shape.score(predictions, truth)


def baselines(
    task: "Segmentation", train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
) -> dict[str, tuple[Arrays, Arrays]]:
    """Find clumps by three finders and the mask by the first; the ratio by mean, forest and gradient boosting."""
    known = truth(task.settings, task.labels(train_store, train))
    images, sky = _read_reference(task, train_store, train)
    fitted = classical.fit_unsharp_mask(images, sky, known["mask"])
    new, new_sky = _read_reference(task, test_store, test)
    mask = classical.unsharp_mask(new, new_sky, fitted).astype(np.float32)
    some = slice(None, None, -(-len(train) // _TUNED))
    rows = known["clumps"][some]
    image, column = np.nonzero(np.isfinite(rows[:, :, 0]))
    y, x, snr, *_, detectable = rows[image, column].T
    positions = Clumps(image, y, x, snr)
    found = {}
    for name in finders.FINDERS:
        tuned = finders.tune_finder(name, images[some], sky[some], positions, detectable > 0)
        arrays = pad(finders.find_clumps(new, new_sky, tuned), len(test), _MOST_CLUMPS)
        found[name] = dict(zip(("clump_y", "clump_x", "clump_probability"), arrays, strict=True))
    profile = classical.radial_fraction(known["bulge_fraction"], known["weight"])
    constant = np.average(known["bulge_fraction"], weights=known["weight"])
    features = shared_features(scale_free_features, train_store, train, test_store, test)
    forest = classical.forest_bt(features[0], known["bt"], features[1])
    shared: Arrays = {"clump": mask, "threshold": np.array(0.5)}
    if "segment" in task.masks and "segment" in train_store.label_names:
        few = slice(None, None, -(-len(train) // _TUNED_SEGMENTS))
        threshold = classical.fit_central_segment(images[few], sky[few], read_segment(train_store, train[few]))
        shared["segment"] = classical.central_segment(new, new_sky, threshold)
    flat, radial = np.broadcast_to(constant, new.shape), np.broadcast_to(profile, new.shape)
    mean = classical.constant_bt(known["bt"], len(test))
    boosted = classical.boosted_bt(features[0], known["bt"], features[1])
    shapes = shape.boost(task.context.constants["shape"], train_store, train, *features)
    return {
        "unsharp_constant": ({**shared, **found["unsharp"], "bulge_fraction": flat, "bt": mean}, {}),
        "residual_forest": ({**shared, **found["residual"], "bulge_fraction": radial, "bt": forest}, {}),
        "dog_boosting": ({**shared, **found["dog"], "bulge_fraction": radial, "bt": boosted, **shapes}, {}),
    }


def _read_reference(task: "Segmentation", store: Reader, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read images (n, y, x) and sky noise (n,) in the reference band, wherever the store has it."""
    band = store.band_indices([task.reference_band])[0]
    return store.images(indices)[:, band], store.sky_sigma[indices, band]


def figures(
    store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation, threshold: float
) -> "dict[str, Figure]":
    """Draw gallery, bulge-to-total ratio, completeness and purity of clumps."""
    mask = predictions["clump"] > threshold
    chosen = _examples(truth)
    lit = truth["weight"] > 0
    rows, of_truth, found, of_found = match(predictions, truth)
    detectable = rows[:, 5] > 0
    return {
        "gallery": segmentation_gallery(
            colour(store, indices[chosen]),
            clump_truth=truth["mask"][chosen],
            clump_predicted=mask[chosen],
            bulge_truth=np.where(lit, truth["bulge_fraction"], np.nan)[chosen],
            bulge_predicted=np.where(lit, predictions["bulge_fraction"], np.nan)[chosen],
            titles=[
                f"{store.object_id[indices[row]]}: B/T {truth['bt'][row]:.2f}, predicted {predictions['bt'][row]:.2f}"
                for row in chosen
            ],
            n_total=len(indices),
            positions=[_positions(truth, predictions, row) for row in chosen],
        ),
        "bt": bulge_to_total(truth["bt"], predictions["bt"], baselines=evaluation.of("bt")),
        "clumps": clump_detection(
            [rows[detectable, 2], rows[detectable, 4]],
            of_truth[detectable] >= 0,
            found.value,
            of_found >= 0,
            labels=["S/N of the true clump", "share of the galaxy's flux"],
        ),
    }


def _positions(truth: Arrays, predictions: Arrays, row: int) -> tuple[Any, Any]:
    """Return the positions of the detectable true clumps and of the predicted ones of an object, (k, 2)."""
    rows = truth["clumps"][row]
    predicted = np.column_stack([predictions["clump_y"][row], predictions["clump_x"][row]])
    return rows[rows[:, 5] > 0, :2], predicted[np.isfinite(predicted[:, 0])]


def _examples(truth: Arrays) -> np.ndarray:
    """Choose galaxies to show: four with decreasing clump area, four bright ones with increasing bulge."""
    clumpy = truth["mask"].sum((1, 2)).argsort(kind="stable")[::-1][:: max(1, len(truth["bt"]) // 20)][:4]
    bright = truth["signal"].sum((1, 2)).argsort(kind="stable")[::-1][: max(4, len(truth["bt"]) // 4)]
    distance = np.abs(truth["bt"][bright] - np.array([0.2, 0.4, 0.6, 0.9])[:, None])
    return np.concatenate([clumpy, bright[distance.argmin(1)]])
