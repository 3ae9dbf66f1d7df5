"""Segmentation: star-forming clumps, and the light of bulge and disk, with the bulge-to-total ratio."""

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from astrodl.baselines import segmentation as rivals
from astrodl.config import Fraction, Name, TaskSettings, TrainSettings
from astrodl.data.augment import dihedral
from astrodl.data.batches import Batch, Resident
from astrodl.device import autocast
from astrodl.losses import gaussian_nll, pooled_mean, soft_dice
from astrodl.metrics import segmentation as metrics_of
from astrodl.models.unet import DecompositionUNet, summed_fractions
from astrodl.plots.segmentation import bulge_to_total, clump_detection, segmentation_gallery
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.base import Arrays, Metrics, Report, Task, measured, scale_free_features, seen
from astrodl.tasks.colour import colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPONENTS = ("bulge", "disk", "clump")


class SegmentationTraining(TrainSettings):
    """Training loop of segmentation."""

    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=2)] = 32
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
    """Channels of the U-Net, from full resolution downwards."""
    dropout: Fraction = 0.1
    """Dropout in the bulge-to-total head."""
    train: SegmentationTraining = SegmentationTraining()


class Segmentation(Task):
    """U-Net that tells clumps apart and divides each pixel's light among bulge, disk and clumps."""

    name = "segmentation"
    title = "Clumps, bulge and disk"
    Settings = SegmentationSettings
    metric_names = ("clump_dice", "clump_completeness", "clump_purity", "fraction_mae", "bt_rmse", "bt_within_01")
    headline = ("clump_dice", "bt_rmse")

    @classmethod
    def fit_constants(cls, settings: SegmentationSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fix the reference band."""
        band = settings.reference_band or store.bands[len(store.bands) // 2]
        return {"reference": store.band_indices([band])[0]}

    @classmethod
    def missing_truth(cls, settings: SegmentationSettings, store: Reader) -> str | None:
        """Pixel labels are needed."""
        missing = [name for name in COMPONENTS if name not in store.label_names]
        if not missing:
            return None
        return (
            f"{store.path}: task segmentation needs the pixel label '{missing[0]}' (has "
            f"{', '.join(store.label_names) or 'none'}); give data.labels, or leave out tasks.segmentation"
        )

    @classmethod
    def labelled(cls, settings: SegmentationSettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Keep the objects whose label maps are finite and hold light."""
        total = sum(store.label(name, indices).sum((-2, -1)) for name in COMPONENTS)
        return indices[np.isfinite(total) & (total > 0)]

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Clump mask, flux fractions, light in units of the sky noise as arsinh, bulge-to-total ratio."""
        flux = np.stack([store.label(name, indices) for name in COMPONENTS], axis=1)
        sigma = store.sky_sigma[indices][:, self.context.constants["reference"], None, None]
        sigma = np.where(sigma > 0, sigma, np.nan)
        total = flux.sum(1)
        return {
            "mask": self._clumps(flux, sigma).astype(np.float32),
            "fraction": (flux / np.maximum(total, 1e-12)[:, None]).astype(np.float32),
            "light": np.arcsinh(np.nan_to_num(total / sigma)).astype(np.float32),
            "bt": (flux[:, 0].sum((-2, -1)) / total.sum((-2, -1))).astype(np.float32),
        }

    def _clumps(self, flux: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        clump, smooth = flux[:, 2], flux[:, 0] + flux[:, 1]
        return (clump > self.settings.clump_sigma * sigma) & (clump > self.settings.clump_contrast * smooth)

    def build(self) -> nn.Module:
        """U-Net with five output maps and a bulge-to-total head."""
        settings = self.settings
        return DecompositionUNet(self.n_channels, widths=settings.widths, dropout=settings.dropout)

    def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of the terms of the clump mask, the fractions where there is light, the light, and the ratio."""
        output = network(seen(batch))
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

    def calibrate(self, network: nn.Module, train: Resident, validation: Resident | None) -> dict[str, Any]:
        """Choose on the validation split the clump threshold of the best Dice, and the scale of the ratio's error."""
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

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Average maps and ratio over the eight flips and quarter turns."""
        sums: dict[str, Tensor] = {}
        maps = seen(batch)
        for element in range(8):
            # in the precision of the training: eight views in float32 cost as much as several epochs
            with autocast(batch["image"].device, self.settings.train.precision):
                output = network(dihedral(maps, element))
            parts = {
                "clump": torch.sigmoid(output["clump"].float()),
                "fraction": output["fraction"].float().softmax(1),
                "light": output["light"].float(),
            }
            views = {name: _undo(value, element) for name, value in parts.items()}
            views["bt"] = output["bt"][:, 0]
            views["bt_variance"] = (2 * output["bt"][:, 1]).exp()
            for name, value in views.items():
                sums[name] = sums.get(name, 0.0) + value / 8
        summed = summed_fractions(sums["fraction"].clamp_min(1e-6).log(), sums["light"])
        scale = self.context.constants.get("bt_scale", 1.0)
        return {
            "clump": sums["clump"],
            "bulge_fraction": sums["fraction"][:, 0],
            "disk_fraction": sums["fraction"][:, 1],
            "bt": sums["bt"],
            "bt_error": scale * sums["bt_variance"].sqrt(),
            "clump_light": summed[:, 2],
        }

    def finish(self, predictions: Arrays) -> Arrays:
        """Count the clumps of the thresholded mask."""
        mask = predictions["clump"] > self._threshold
        counts = np.array([ndimage.label(image, np.ones((3, 3)))[1] for image in mask])
        return {**predictions, "n_clumps": counts}

    @property
    def _threshold(self) -> float:
        return self.context.constants.get("clump_threshold", 0.5)

    def columns(self, predictions: Arrays) -> list[Column]:
        """Bulge-to-total ratio with error, clumps and their share of the light."""
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
        """Masks, fractions, flux weights and ratio; pixels fainter than the sky noise have no weight."""
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
        """Dice, completeness and purity of clumps; fraction and ratio errors."""
        mask = predictions["clump"] > predictions.get("threshold", self._threshold)
        overlap = metrics_of.overlap(truth["mask"], mask)
        counts = metrics_of.match_clumps(truth["mask"], mask)
        error = metrics_of.fraction_mae(truth["bulge_fraction"], predictions["bulge_fraction"], truth["weight"])
        metrics = measured({"clump_dice": metrics_of.dice}, overlap.intersection, overlap.total)
        metrics |= measured({"clump_completeness": metrics_of.completeness}, counts.n_truth, counts.n_found)
        metrics |= measured({"clump_purity": metrics_of.purity}, counts.n_predicted, counts.n_matched)
        metrics |= measured({"fraction_mae": np.nanmean}, error)
        ratio = {"bt_rmse": metrics_of.bt_rmse, "bt_within_01": metrics_of.bt_within}
        return metrics | measured(ratio, truth["bt"], predictions["bt"])

    def baselines(self, store: Reader, train: np.ndarray, test: np.ndarray) -> dict[str, tuple[Arrays, Arrays]]:
        """Unsharp mask for clumps; mean or radial profile for the bulge; mean or forest for the ratio."""
        reference = self.context.constants["reference"]
        sky = store.sky_sigma[:, reference]
        images = {name: store.images(part)[:, reference] for name, part in (("train", train), ("test", test))}
        known = self.truth(store, train)
        fitted = rivals.fit_unsharp_mask(images["train"], sky[train], known["mask"])
        mask = rivals.unsharp_mask(images["test"], sky[test], fitted).astype(np.float32)
        profile = rivals.radial_fraction(known["bulge_fraction"], known["weight"])
        constant = np.average(known["bulge_fraction"], weights=known["weight"])
        features = scale_free_features(store.feature_names)
        forest = rivals.forest_bt(store.features(features, train), known["bt"], store.features(features, test))
        shape = images["test"].shape
        simple: Arrays = {
            "clump": mask,
            "threshold": np.array(0.5),
            "bulge_fraction": np.broadcast_to(constant, shape),
            "bt": rivals.constant_bt(known["bt"], len(test)),
        }
        better: Arrays = {**simple, "bulge_fraction": np.broadcast_to(profile, shape), "bt": forest}
        return {"unsharp_constant": (simple, {}), "unsharp_forest": (better, {})}

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, report: Report
    ) -> "dict[str, Figure]":
        """Gallery, bulge-to-total ratio, completeness and purity of clumps."""
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
            "bt": bulge_to_total(truth["bt"], predictions["bt"], baselines=report.of("bt")),
            "clumps": clump_detection(*real, *found, label="clump S/N"),
        }


def _examples(truth: Arrays) -> np.ndarray:
    """Choose galaxies to show: four from very to moderately clumpy, four bright ones from disk to bulge."""
    clumpy = truth["mask"].sum((1, 2)).argsort(kind="stable")[::-1][:: max(1, len(truth["bt"]) // 20)][:4]
    bright = truth["signal"].sum((1, 2)).argsort(kind="stable")[::-1][: max(4, len(truth["bt"]) // 4)]
    distance = np.abs(truth["bt"][bright] - np.array([0.2, 0.4, 0.6, 0.9])[:, None])
    return np.concatenate([clumpy, bright[distance.argmin(1)]])


def _undo(maps: Tensor, element: int) -> Tensor:
    """Undo `dihedral`: flip first, then turn back."""
    maps = maps.flip(-1) if element >= 4 else maps
    return torch.rot90(maps, -(element % 4), (-2, -1))


def _dice(predicted: Tensor, truth: Tensor) -> float:
    return float(2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()).clamp_min(1))


TASK = Segmentation
