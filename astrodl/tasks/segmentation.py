"""Segmentation of star-forming clumps and of bulge and disk light, with the bulge-to-total ratio."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from astrodl.baselines import segmentation as classical
from astrodl.config import Fraction, Name, TaskSettings, TrainSettings
from astrodl.data.batches import Batch, Dataset
from astrodl.explanation.target import Quantity
from astrodl.losses import gaussian_nll, pooled_mean, soft_dice
from astrodl.metrics import segmentation as metrics_of
from astrodl.models.symmetries import apply_symmetry, undo_symmetry
from astrodl.models.unet import DecompositionUNet, sum_fractions
from astrodl.plots.segmentation import bulge_to_total, clump_detection, segmentation_gallery
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.bands import shared_features
from astrodl.tasks.base import Arrays, Evaluation, Task
from astrodl.tasks.colour import colour
from astrodl.tasks.inputs import network_input, scale_free_features
from astrodl.tasks.metric import Metric, Metrics, bootstrap_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TASK", "Segmentation", "SegmentationSettings", "SegmentationTraining"]

COMPONENTS = ("bulge", "disk", "clump")


class SegmentationTraining(TrainSettings):
    """Training loop of segmentation."""

    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=2)] = 16
    ema: Fraction = 0.99


class SegmentationSettings(TaskSettings):
    """Clumps, bulge and disk."""

    reference_band: Name | None = None
    """Band of the pixel labels; by default the middle band."""
    clump_sigma: Annotated[float, Field(ge=0)] = 1.0
    """A pixel belongs to a clump where the clumps' flux exceeds this many times the sky noise ..."""
    clump_contrast: Annotated[float, Field(ge=0)] = 0.3
    """... and this many times the flux of bulge and disk below it."""
    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of the U-Net, from half the resolution downwards."""
    dropout: Fraction = 0.1
    """Dropout in the bulge-to-total head."""
    views: Literal[8, 4, 1] = 8
    """Number of views that a prediction averages: flips and quarter turns (8), quarter turns (4), or the image alone
    (1)."""
    train: SegmentationTraining = SegmentationTraining()


class Segmentation(Task[SegmentationSettings, DecompositionUNet]):
    """U-Net that detects clumps and divides the light of each pixel among bulge, disk and clumps."""

    name = "segmentation"
    title = "Clumps, bulge and disk"
    Settings = SegmentationSettings
    metrics = (
        Metric("clump_dice", "high"),
        Metric("clump_iou", "high", "clump IoU"),
        Metric("clump_completeness", "high"),
        Metric("clump_purity", "high"),
        Metric("fraction_mae", "low", "bulge fraction MAE"),
        Metric("bt_rmse", "low", "B/T RMSE"),
        Metric("bt_within_01", "high", "B/T within 0.1"),
    )
    headline = ("clump_dice", "bt_rmse")
    priority = 1
    needs_unit = True
    page_figures: ClassVar = {
        "gallery": "Clumps and bulge light, true and predicted",
        "bt": "Bulge-to-total ratio",
        "clumps": "Completeness and purity of clumps",
    }
    small: ClassVar = {"widths": [8, 16]}

    @classmethod
    def fit_constants(cls, settings: SegmentationSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Choose the reference band."""
        band = settings.reference_band or store.bands[len(store.bands) // 2]
        return {"reference": store.band_indices([band])[0]}

    @classmethod
    def missing_truth(cls, settings: SegmentationSettings, store: Reader) -> str | None:
        """Return a message if the store lacks a pixel label."""
        missing = [name for name in COMPONENTS if name not in store.label_names]
        if not missing:
            return None
        return (
            f"{store.path}: task segmentation needs the pixel label '{missing[0]}' (has "
            f"{', '.join(store.label_names) or 'none'}); give data.labels, or leave out tasks.segmentation"
        )

    @classmethod
    def labelled(cls, settings: SegmentationSettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Select the objects whose label maps are finite and have flux."""
        total = sum(store.label(name, indices).sum((-2, -1)) for name in COMPONENTS)
        return indices[np.isfinite(total) & (total > 0)]

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Return clump mask, flux fractions, arsinh of the flux in units of the sky noise, bulge-to-total ratio."""
        flux = np.stack([store.label(name, indices) for name in COMPONENTS], axis=1)
        sigma = store.sky_sigma[indices][:, self._find_reference(store), None, None]
        sigma = np.where(sigma > 0, sigma, np.nan)
        total = flux.sum(1)
        return {
            "mask": self._clumps(flux, sigma).astype(np.float32),
            "fraction": (flux / np.maximum(total, 1e-12)[:, None]).astype(np.float32),
            "light": np.arcsinh(np.nan_to_num(total / sigma)).astype(np.float32),
            "bt": (flux[:, 0].sum((-2, -1)) / total.sum((-2, -1))).astype(np.float32),
        }

    def _find_reference(self, store: Reader) -> int:
        """Return the position of the reference band, which differs where a store has the bands in another order."""
        return store.band_indices([self.context.bands[self.context.constants["reference"]]])[0]

    def _read_reference(self, store: Reader, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read images (n, y, x) and sky noise (n,) in the reference band."""
        band = self._find_reference(store)
        return store.images(indices)[:, band], store.sky_sigma[indices, band]

    def _clumps(self, flux: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        clump, smooth = flux[:, 2], flux[:, 0] + flux[:, 1]
        return (clump > self.settings.clump_sigma * sigma) & (clump > self.settings.clump_contrast * smooth)

    def build(self) -> DecompositionUNet:
        """Build a U-Net with five output maps and a bulge-to-total head."""
        settings = self.settings
        return DecompositionUNet(self.n_channels, widths=settings.widths, dropout=settings.dropout)

    def loss(
        self, network: DecompositionUNet, batch: Batch, phase: str, done: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the losses of clump mask, flux fractions, light and ratio."""
        output = network(network_input(batch))
        clump = output["clump"].float()
        light = batch["light"]
        weight = light.clamp(0, 3)
        share = functional.log_softmax(output["fraction"].float(), dim=1)
        cross_entropy = -(batch["fraction"] * share).sum(1)
        terms = {
            "clump": functional.binary_cross_entropy_with_logits(clump, batch["mask"]),
            "dice": soft_dice(clump, batch["mask"]),
            "fraction": pooled_mean(weight * cross_entropy, weight, least=1.0),
            "light": functional.smooth_l1_loss(output["light"].float(), light, beta=0.2),
            "bt": gaussian_nll(output["bt"][:, 0], output["bt"][:, 1], batch["bt"]).mean(),
            "summed": (output["summed"][:, 0] - batch["bt"]).abs().mean(),
        }
        loss = 5 * terms["clump"] + terms["dice"] + terms["fraction"] + 2 * terms["light"]
        return loss + 0.2 * terms["bt"] + terms["summed"], terms

    def calibrate(self, network: DecompositionUNet, train: Dataset, validation: Dataset | None) -> dict[str, Any]:
        """Fit the clump threshold with the best Dice and the error scale of the ratio on the validation split."""
        if validation is None:
            return {}
        outputs = [self.predict(network, batch) for batch in validation.in_order(64)]
        probability = torch.cat([o["clump"] for o in outputs])
        mask = validation.tensors["mask"].bool()
        thresholds = np.linspace(0.1, 0.9, 33)
        scores = [_dice(probability > t, mask) for t in thresholds]
        bt, error = (torch.cat([o[name] for o in outputs]) for name in ("bt", "bt_error"))
        ratio = (bt - validation.tensors["bt"]).abs() / error
        return {
            "clump_threshold": float(thresholds[int(np.argmax(scores))]),
            "bt_scale": float(ratio.quantile(0.6827).clamp(0.1, 10)),
        }

    def predict(self, network: DecompositionUNet, batch: Batch) -> dict[str, Tensor]:
        """Predict maps and ratio, averaged over the views."""
        sums: dict[str, Tensor] = {}
        maps = network_input(batch)
        for element in range(self.settings.views):
            with self.precision(maps):
                output = network(apply_symmetry(maps, element))
            parts = {
                "clump": torch.sigmoid(output["clump"].float()),
                "fraction": output["fraction"].float().softmax(1),
                "light": output["light"].float(),
            }
            views = {name: undo_symmetry(value, element) for name, value in parts.items()}
            views["bt"] = output["bt"][:, 0]
            views["bt_variance"] = (2 * output["bt"][:, 1]).exp()
            for name, value in views.items():
                sums[name] = sums.get(name, 0.0) + value / self.settings.views
        summed = sum_fractions(sums["fraction"].clamp_min(1e-6).log(), sums["light"])
        scale = self.context.constants.get("bt_scale", 1.0)
        return {
            "clump": sums["clump"],
            "bulge_fraction": sums["fraction"][:, 0],
            "disk_fraction": sums["fraction"][:, 1],
            "bt": sums["bt"],
            "bt_error": scale * sums["bt_variance"].sqrt(),
            "clump_light": summed[:, 2],
        }

    def quantities(self) -> tuple[Quantity, ...]:
        """Return bulge-to-total ratio, logit of the most probable clump pixel, and expected area of the clumps."""
        return (
            Quantity("bt", "B/T", "bulge-to-total flux ratio", lambda p, fixed: p["bt"]),
            Quantity(
                "clump",
                "nats",
                "logit of the most probable clump pixel",
                lambda p, fixed: torch.logit((p["clump"] * fixed[:, 0]).sum((-2, -1)), 1e-6),
                fix=lambda p: (p["clump"] == p["clump"].amax((-2, -1), keepdim=True)).float()[:, None],
            ),
            Quantity("clump_area", "pixels", "expected area of the clumps", lambda p, fixed: p["clump"].sum((-2, -1))),
        )

    def finish(self, predictions: Arrays) -> Arrays:
        """Count the clumps of the thresholded mask."""
        mask = predictions["clump"] > self._threshold
        counts = np.array([ndimage.label(image, np.ones((3, 3)))[1] for image in mask])
        return {**predictions, "n_clumps": counts}

    @property
    def _threshold(self) -> float:
        return self.context.constants.get("clump_threshold", 0.5)

    def columns(self, predictions: Arrays) -> list[Column]:
        """Return the bulge-to-total ratio with its error, the number of clumps and their share of the light."""
        return [
            Column("segmentation_bt", predictions["bt"], None, "bulge-to-total flux ratio", "phot.flux;arith.ratio"),
            Column("segmentation_bt_error", predictions["bt_error"], None, "its 68 % error", "stat.error;arith.ratio"),
            Column("segmentation_n_clumps", predictions["n_clumps"], None, "number of clumps", "meta.number"),
            Column(
                "segmentation_clump_light",
                predictions["clump_light"],
                None,
                "share of the clumps in the light of the galaxy",
                "phot.flux;arith.ratio",
            ),
        ]

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Return masks, fractions, flux weights and ratio; pixels fainter than the sky noise have weight zero."""
        targets = self.targets(store, indices)
        light = np.sinh(targets["light"])
        return {
            "mask": targets["mask"] > 0,
            "bulge_fraction": targets["fraction"][:, 0],
            "weight": np.where(light > 1, light, 0.0),
            "bt": targets["bt"],
            "signal": light,
        }

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Score Dice, IoU, completeness and purity of clumps, and the errors of fraction and ratio."""
        mask = predictions["clump"] > predictions.get("threshold", self._threshold)
        overlap = metrics_of.overlap(truth["mask"], mask)
        counts = metrics_of.match_clumps(truth["mask"], mask)
        error = metrics_of.fraction_mae(truth["bulge_fraction"], predictions["bulge_fraction"], truth["weight"])
        pooled = {"clump_dice": metrics_of.dice, "clump_iou": metrics_of.iou}
        metrics = bootstrap_metrics(pooled, overlap.intersection, overlap.total)
        metrics |= bootstrap_metrics({"clump_completeness": metrics_of.completeness}, counts.n_truth, counts.n_found)
        metrics |= bootstrap_metrics({"clump_purity": metrics_of.purity}, counts.n_predicted, counts.n_matched)
        metrics |= bootstrap_metrics({"fraction_mae": np.nanmean}, error)
        ratio = {"bt_rmse": metrics_of.bt_rmse, "bt_within_01": metrics_of.bt_within}
        return metrics | bootstrap_metrics(ratio, truth["bt"], predictions["bt"])

    def baselines(
        self, train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
    ) -> dict[str, tuple[Arrays, Arrays]]:
        """Predict clumps by unsharp mask, the bulge by mean or radial profile, the ratio by mean or forest."""
        known = self.truth(train_store, train)
        fitted = classical.fit_unsharp_mask(*self._read_reference(train_store, train), known["mask"])
        images, sky = self._read_reference(test_store, test)
        mask = classical.unsharp_mask(images, sky, fitted).astype(np.float32)
        profile = classical.radial_fraction(known["bulge_fraction"], known["weight"])
        constant = np.average(known["bulge_fraction"], weights=known["weight"])
        x, y = shared_features(scale_free_features, train_store, train, test_store, test)
        forest, shape = classical.forest_bt(x, known["bt"], y), images.shape
        simple: Arrays = {
            "clump": mask,
            "threshold": np.array(0.5),
            "bulge_fraction": np.broadcast_to(constant, shape),
            "bt": classical.constant_bt(known["bt"], len(test)),
        }
        better: Arrays = {**simple, "bulge_fraction": np.broadcast_to(profile, shape), "bt": forest}
        return {"unsharp_constant": (simple, {}), "unsharp_forest": (better, {})}

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
    ) -> "dict[str, Figure]":
        """Draw gallery, bulge-to-total ratio, completeness and purity of clumps."""
        mask = predictions["clump"] > self._threshold
        chosen = _examples(truth)
        lit = truth["weight"] > 0
        signal = truth["signal"]
        real = metrics_of.clump_list(truth["mask"], mask, signal * truth["mask"])
        found = metrics_of.clump_list(mask, truth["mask"], signal * mask)
        return {
            "gallery": segmentation_gallery(
                colour(store, indices[chosen]),
                clump_truth=truth["mask"][chosen],
                clump_predicted=mask[chosen],
                bulge_truth=np.where(lit, truth["bulge_fraction"], np.nan)[chosen],
                bulge_predicted=np.where(lit, predictions["bulge_fraction"], np.nan)[chosen],
                titles=[str(name) for name in store.object_id[indices[chosen]]],
                n_total=len(indices),
            ),
            "bt": bulge_to_total(truth["bt"], predictions["bt"], baselines=evaluation.of("bt")),
            "clumps": clump_detection(*real, *found, label="clump S/N"),
        }


def _examples(truth: Arrays) -> np.ndarray:
    """Choose galaxies to show: four with decreasing clump area, four bright ones with increasing bulge."""
    clumpy = truth["mask"].sum((1, 2)).argsort(kind="stable")[::-1][:: max(1, len(truth["bt"]) // 20)][:4]
    bright = truth["signal"].sum((1, 2)).argsort(kind="stable")[::-1][: max(4, len(truth["bt"]) // 4)]
    distance = np.abs(truth["bt"][bright] - np.array([0.2, 0.4, 0.6, 0.9])[:, None])
    return np.concatenate([clumpy, bright[distance.argmin(1)]])


def _dice(predicted: Tensor, truth: Tensor) -> float:
    return float(2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()).clamp_min(1))


TASK = Segmentation
