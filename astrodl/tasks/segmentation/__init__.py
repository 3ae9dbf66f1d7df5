"""Segmentation of star-forming clumps and of bulge and disk light, with the bulge-to-total ratio."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from astrodl.config import Name
from astrodl.data.batches import Batch, Cutouts, Dataset
from astrodl.errors import DataError
from astrodl.explanation.target import Quantity
from astrodl.losses import binary_focal, crps_bins, pooled_mean, smear_targets, soft_cross_entropy, soft_dice, tversky
from astrodl.models.symmetries import apply_symmetry, undo_symmetry
from astrodl.models.unet import COMPONENTS, DecompositionUNet, sum_fractions
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.base import Arrays, Evaluation, Task
from astrodl.tasks.inputs import fit_standardization, network_input, scale_free_features, select_columns, standardize
from astrodl.tasks.metric import Metric, Metrics
from astrodl.tasks.segmentation import clumps, ratio, scoring, shape
from astrodl.tasks.segmentation.columns import describe_columns
from astrodl.tasks.segmentation.labels import MASKS, Labels, draw_centres, labelled_bands, missing_label, read_masks
from astrodl.tasks.segmentation.point_spread import describe_psf, fit_psf_scaling
from astrodl.tasks.segmentation.quantities import list_quantities
from astrodl.tasks.segmentation.settings import SegmentationSettings, SegmentationTraining

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TASK", "Segmentation", "SegmentationSettings", "SegmentationTraining"]


class Segmentation(Task[SegmentationSettings, DecompositionUNet]):
    """U-Net that detects clumps and divides the light of each pixel among bulge, disk and clumps."""

    name = "segmentation"
    explained_by = ("input_x_gradient",)
    title = "Clumps, bulge and disk"
    Settings = SegmentationSettings
    metrics = (
        Metric("clump_dice", "high"),
        Metric("clump_iou", "high", "clump IoU"),
        Metric("clump_completeness", "high"),
        Metric("clump_purity", "high"),
        Metric("clump_f1", "high", "clump F1"),
        Metric("bright_completeness", "high", "completeness of bright clumps"),
        *scoring.MASK_METRICS,
        Metric("fraction_mae", "low", "bulge fraction MAE"),
        Metric("bt_bias", 0.0, "B/T bias"),
        Metric("bt_rmse", "low", "B/T RMSE"),
        Metric("bt_within_01", "high", "B/T within 0.1"),
        Metric("bt_coverage_68", 0.6827, "B/T coverage", network_only=True),
        *shape.METRICS,
    )
    headline = ("clump_dice", "bt_rmse")
    priority = 1
    planes = ("psf",)
    needs_unit = True
    products: ClassVar = {"clumps.fits": "clumps"}
    page_figures: ClassVar = {
        "gallery": "Clumps and bulge light, true and predicted",
        "bt": "Bulge-to-total ratio",
        "clumps": "Completeness and purity of clumps",
    }
    small: ClassVar = {"widths": [8, 16], "n_bins": 8}

    @classmethod
    def fit_constants(cls, settings: SegmentationSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Choose the bands; fit the scaling of features and point-spread function, and the width of clumps."""
        band = settings.reference_band or store.bands[len(store.bands) // 2]
        bands = labelled_bands(store, band)
        names = scale_free_features(store.feature_names) if settings.photometry else ()
        constants: dict[str, Any] = {
            "reference": store.band_indices([band])[0],
            "fraction_bands": [int(number) for number in store.band_indices(bands)],
            "features": [store.feature_names.index(name) for name in names],
            "psf": fit_psf_scaling(store, train) if settings.psf else None,
            "shape": shape.fit(settings, store, train),
        }
        if names:
            constants |= fit_standardization(store.features(names, train))
        masks = [name for name in MASKS if name in store.label_names and getattr(settings.losses, name)]
        if masks:
            constants["masks"] = masks
        return constants | clumps.fit_photometry(settings, store, train, band)

    @classmethod
    def missing_truth(cls, settings: SegmentationSettings, store: Reader) -> str | None:
        """Return a message if the store lacks a pixel label."""
        missing = missing_label(store)
        if missing is None:
            return None
        return (
            f"{store.path}: task segmentation needs the pixel label '{missing}' (has "
            f"{', '.join(store.label_names) or 'none'}); give data.labels, or leave out tasks.segmentation"
        )

    @classmethod
    def labelled(cls, settings: SegmentationSettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Select the objects whose label maps are finite and have flux."""
        total = sum(store.label(name, indices).sum((-2, -1)) for name in COMPONENTS)
        return indices[np.isfinite(total) & (total > 0)]

    # -- data ---------------------------------------------------------------------------------------------------------

    @property
    def reference_band(self) -> Name:
        """Band of clumps and of the bulge-to-total ratio."""
        band: Name = self.context.bands[self.context.constants["reference"]]
        return band

    @property
    def fraction_bands(self) -> list[Name]:
        """Bands of the flux fractions, the reference among them."""
        return [self.context.bands[number] for number in self.context.constants["fraction_bands"]]

    @property
    def masks(self) -> list[str]:
        """Further masks that the network predicts: the galaxy against its neighbours, bar, arms."""
        return list(self.context.constants.get("masks", []))

    @property
    def _reference(self) -> int:
        """Position of the reference band among the bands of the fractions."""
        return self.fraction_bands.index(self.reference_band)

    def labels(self, store: Reader, indices: np.ndarray, *, all_bands: bool = False) -> Labels:
        """Read the labels in the reference band, or in all bands of the fractions."""
        if all_bands:
            return Labels.read(store, indices, self.fraction_bands, self._reference)
        return Labels.read(store, indices, [self.reference_band], 0)

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Return images, standardised features, and the description of the point-spread function."""
        arrays, constants = super().inputs(cutouts), self.context.constants
        if constants["features"]:
            selected = select_columns(cutouts.features, constants["features"])
            arrays["features"] = standardize(selected, constants["mean"], constants["scale"])
        if constants["psf"] is not None:
            if "psf" not in cutouts.planes:
                raise DataError(
                    "segmentation: the network takes the point-spread function, and the images have none; give "
                    "data.psf or planes={'psf': ...}, or train with psf: false"
                )
            arrays["psf"] = describe_psf(cutouts.planes["psf"], constants["psf"])
        return arrays

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Return clump mask and centres, flux fractions, arsinh of the light over the sky noise, and ratios."""
        labels = self.labels(store, indices, all_bands=True)
        mask, shapes = labels.mask(self.settings), self.context.constants["shape"]
        known: Arrays = {"shape": shape.targets(shapes, store, indices)} if shapes else {}
        if self.masks:
            known["masks"] = np.stack([*read_masks(self.masks, store, indices, labels).values()], axis=1).astype(
                np.float32
            )
        return {
            **known,
            "mask": mask.astype(np.float32),
            "centre": draw_centres(labels.clumps(mask), len(indices), mask.shape[-1]),
            "fraction": labels.fraction,
            "light": labels.light,
            "bt": labels.bt,
        }

    # -- training -----------------------------------------------------------------------------------------------------

    def build(self) -> DecompositionUNet:
        """Build a U-Net with maps per band and a head for the bulge-to-total ratio."""
        settings, constants = self.settings, self.context.constants
        return DecompositionUNet(
            self.n_channels,
            ratio.bin_centres(settings.n_bins),
            n_bands=len(constants["fraction_bands"]),
            reference=self._reference,
            n_features=2 * len(constants["features"]),
            n_condition=len(constants["psf"]["mean"]) if constants["psf"] is not None else 0,
            n_shapes=len(constants["shape"]),
            n_masks=len(self.masks),
            widths=settings.widths,
            dropout=settings.dropout,
            options=settings.unet.model_dump(),
        )

    def loss(
        self, network: DecompositionUNet, batch: Batch, phase: str, done: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the losses of `losses`, and those with a weight."""
        output = network(network_input(batch), batch.get("features"), batch.get("psf"))
        terms = {name: term() for name, term in self._terms(output, batch).items() if self._weight(name)}
        loss: Tensor = sum((self._weight(name) * term for name, term in terms.items()), torch.zeros(()))
        return loss, terms

    def _weight(self, name: str) -> float:
        absent = (name == "shape" and not self.context.constants["shape"]) or (name in MASKS and name not in self.masks)
        return 0.0 if absent else float(getattr(self.settings.losses, name))

    def _terms(self, output: dict[str, Tensor], batch: Batch) -> dict[str, Any]:
        """Return the losses by name, each to be called."""
        clump, mask, light = output["clump"].float(), batch["mask"], batch["light"]
        edges = self._edges(clump.device)
        place = ratio.place(batch["bt"][:, self._reference], edges)

        def centre() -> Tensor:
            height = batch["centre"]
            entropy = functional.binary_cross_entropy_with_logits(output["centre"].float(), height, reduction="none")
            return pooled_mean(entropy, height, least=1.0)

        def fraction() -> Tensor:
            weight = light.clamp(0, 3)
            share = functional.log_softmax(output["fraction"].float(), dim=2)
            return pooled_mean(-weight * (batch["fraction"] * share).sum(2), weight, least=1.0)

        def extra(name: str) -> Tensor:
            logits, known = (maps["masks"][:, self.masks.index(name)].float() for maps in (output, batch))
            entropy = functional.binary_cross_entropy_with_logits(logits, known, reduction="none")
            weight = torch.ones_like(entropy) if name == "segment" else light[:, self._reference].clamp(0, 3)
            return pooled_mean(weight * entropy, weight, least=1.0)

        def likelihood() -> Tensor:
            sigma = torch.full_like(place, ratio.SMEAR)
            return soft_cross_entropy(output["bt"], smear_targets(place, edges, sigma)).mean()

        return {
            "bce": lambda: functional.binary_cross_entropy_with_logits(clump, mask),
            "dice": lambda: soft_dice(clump, mask),
            "focal": lambda: binary_focal(clump, mask),
            "tversky": lambda: tversky(clump, mask),
            "centre": centre,
            "fraction": fraction,
            "light": lambda: functional.smooth_l1_loss(output["light"].float(), light, beta=0.2),
            "summed": lambda: (output["summed"][:, :, 0] - batch["bt"]).abs().mean(),
            "likelihood": likelihood,
            "crps": lambda: crps_bins(output["bt"].softmax(1), edges, place).mean(),
            "shape": lambda: shape.likelihood(output["shape"], batch["shape"]),
            **{name: partial(extra, name) for name in MASKS},
        }

    def calibrate(self, network: DecompositionUNet, train: Dataset, validation: Dataset | None) -> dict[str, Any]:
        """Fit thresholds of mask and clumps, and the distribution of the ratio, on the validation split."""
        if validation is None:
            return {}
        outputs = [self.predict(network, batch) for batch in validation.in_order(64)]
        names = ("clump", "centre", "bt_bins", "shape", "shape_sigma")
        found = {name: torch.cat([o[name] for o in outputs]).cpu().numpy() for name in names if name in outputs[0]}
        truth = {name: validation.tensors[name].cpu().numpy() for name in ("mask", "fraction", "light", "bt")}
        light = truth["fraction"][:, self._reference, 2] * np.sinh(truth["light"][:, self._reference])
        fitted: dict[str, Any] = {}
        if "shape" in found:
            target = validation.tensors["shape"].cpu().numpy()
            fitted["shape_factor"] = shape.calibrate(found["shape"], found["shape_sigma"], target)
        return {
            **fitted,
            "clump_threshold": clumps.best_mask_threshold(found["clump"], truth["mask"] > 0),
            **clumps.fit_detection(self.settings, found["centre"], light, truth["mask"] > 0),
            **ratio.calibrate(found["bt_bins"], truth["bt"][:, self._reference], self.settings.n_bins),
        }

    # -- prediction ---------------------------------------------------------------------------------------------------

    def predict(self, network: DecompositionUNet, batch: Batch) -> dict[str, Tensor]:
        """Predict maps and the distribution of the ratio, averaged over the views."""
        sums: dict[str, Tensor] = {}
        maps = network_input(batch)
        for element in range(self.settings.views):
            with self.precision(maps):
                output = network(apply_symmetry(maps, element), batch.get("features"), batch.get("psf"))
            views = {name: undo_symmetry(value, element) for name, value in self.to_maps(output).items()}
            views["bt_bins"] = output["bt"].softmax(1)
            if self.context.constants["shape"]:
                views |= {"shape": output["shape"][..., 0], "shape_sigma": output["shape"][..., 1].exp()}
            for name, value in views.items():
                sums[name] = sums.get(name, 0.0) + value / self.settings.views
        k = self._reference
        fraction = ratio.match_ratio(sums["fraction"], sums["light"], sums["bt_bins"] @ network.centres, k)
        summed = sum_fractions(fraction.clamp_min(1e-6).log(), sums["light"])
        shapes: dict[str, Tensor] = {name: sums[name] for name in ("shape", "shape_sigma") if name in sums}
        predicted: dict[str, Tensor] = {
            "clump": sums["clump"],
            "centre": sums["centre"],
            "bulge_fraction": fraction[:, k, 0],
            "disk_fraction": fraction[:, k, 1],
            "bt_bins": sums["bt_bins"],
            "clump_light": summed[:, k, 2],
            **shapes,
        }
        predicted |= {name: sums[name] for name in self.masks}
        if len(self.fraction_bands) > 1:
            predicted |= {"fraction": fraction[:, :, :2], "band_fraction": summed[:, :, [0, 2]].flatten(1)}
        return predicted

    def predict_maps(self, network: DecompositionUNet, maps: Tensor, psf: Tensor | None) -> dict[str, Tensor]:
        """Predict the maps alone, averaged over the views, for images (B, channels, y, x) of any size."""
        sums: dict[str, Tensor] = {}
        for element in range(self.settings.views):
            with self.precision(maps):
                output = network.maps(apply_symmetry(maps, element), psf)
            for name, value in self.to_maps(output).items():
                sums[name] = sums.get(name, 0.0) + undo_symmetry(value, element) / self.settings.views
        return sums

    def embed(self, network: DecompositionUNet, batch: Batch) -> Tensor:
        """Return the mean over position and views of the deepest map."""
        maps, vectors = network_input(batch), []
        for element in range(self.settings.views):
            with self.precision(maps):
                unet = network.unet(apply_symmetry(maps, element), batch.get("psf"))
            vectors.append(unet.bottleneck.float())
        return torch.stack(vectors).mean(0)

    def to_maps(self, output: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn the logits of the network into probabilities, fractions that sum to one, and light."""
        return {
            "clump": torch.sigmoid(output["clump"].float()),
            "centre": torch.sigmoid(output["centre"].float()),
            **{name: torch.sigmoid(output["masks"][:, k].float()) for k, name in enumerate(self.masks)},
            "fraction": output["fraction"].float().softmax(2),
            "light": output["light"].float(),
        }

    def _edges(self, device: torch.device) -> Tensor:
        """Return the edges of the bins of the ratio; they are sent to the device once."""
        if ("bt_edges", device) not in self._on_device:
            self._on_device["bt_edges", device] = torch.tensor(ratio.bin_edges(self.settings.n_bins), device=device)
        return self._on_device["bt_edges", device]

    def predict_with_gradients(self, network: DecompositionUNet, batch: Batch) -> dict[str, Tensor]:
        """Predict one orientation, with the logits of the clump mask: probabilities close to one have no gradient."""
        outputs: list[dict[str, Tensor]] = []
        hook = network.register_forward_hook(lambda module, arguments, output: outputs.append(output))
        try:
            predicted = self.predict(network, batch)
        finally:
            hook.remove()
        return {**predicted, "clump_logit": outputs[0]["clump"].float()}

    def quantities(self) -> tuple[Quantity, ...]:
        """Return bulge-to-total ratio, logit of the most probable clump pixel, number and area of the clumps."""
        return list_quantities(ratio.bin_centres(self.settings.n_bins), self.context.constants)

    def finish(self, predictions: Arrays) -> Arrays:
        """Find the clumps; summarise the distribution of the ratio."""
        constants = self.context.constants
        found = clumps.detect(self.settings, constants, predictions["clump"], predictions["centre"])
        summary = ratio.summarize(predictions["bt_bins"], self.settings.n_bins, constants)
        # the map of centres has served its purpose
        kept = {name: values for name, values in predictions.items() if name != "centre"}
        shapes = shape.summarize(predictions, constants) if constants["shape"] else {}
        return {**kept, **found, **summary, **shapes}

    def columns(self, predictions: Arrays) -> list[Column]:
        """Return the bulge-to-total ratio with its interval, the number of clumps and their share of the light."""
        return describe_columns(predictions, self.fraction_bands, self.context.constants["shape"])

    def write_product(self, name: str, path: Path, store: Reader, blocks: Iterator[tuple[np.ndarray, Arrays]]) -> None:
        """Write the table of clumps."""
        clumps.write(path, self, store, blocks)

    # -- evaluation ---------------------------------------------------------------------------------------------------

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Return masks, fractions, flux weights, ratio, and the list of clumps of all objects."""
        shapes = shape.read(self.context.constants["shape"], store, indices)
        known = {f"true_{name}": values for name, values in shapes.items()}
        labels = self.labels(store, indices)
        return scoring.truth(self.settings, labels) | read_masks(self.masks, store, indices, labels) | known

    def describe_metrics(self) -> tuple[Metric, ...]:
        """Return the metrics, those of masks, radius, index and axis ratio where these are predicted."""
        absent = {
            metric for metric in shape.METRICS if metric.name.rsplit("_", 1)[0] not in self.context.constants["shape"]
        }
        absent |= {metric for metric in scoring.MASK_METRICS if metric.name.rsplit("_", 1)[0] not in self.masks}
        return tuple(metric for metric in self.metrics if metric not in absent)

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Score masks, clumps as objects, fractions, ratio and its interval."""
        return scoring.score(predictions, truth, self.context.constants.get("clump_threshold", 0.5))

    def baselines(
        self, train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
    ) -> dict[str, tuple[Arrays, Arrays]]:
        """Find clumps with three classical methods, the bulge with a radial profile, the ratio with a forest."""
        return scoring.baselines(self, train_store, train, test_store, test)

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
    ) -> "dict[str, Figure]":
        """Draw gallery, bulge-to-total ratio, completeness and purity of clumps."""
        threshold = self.context.constants.get("clump_threshold", 0.5)
        return scoring.figures(store, indices, predictions, truth, evaluation, threshold)


TASK = Segmentation
