"""Photometric redshifts: p(z) from images and photometry, calibrated on the validation split."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from astrodl import distributed
from astrodl.calibration import levels
from astrodl.calibration.training_range import INPUT_FLAGS
from astrodl.data.augment import draw_kept_bands
from astrodl.data.batches import Batch, Cutouts, Dataset
from astrodl.data.normalize import N_SIGMA
from astrodl.explanation.target import Quantity
from astrodl.losses import crps_bins, mixture_bins, mixture_nll, smear_targets, soft_cross_entropy
from astrodl.metrics import pdf as pdf_metrics
from astrodl.models.apertures import LearnedApertures
from astrodl.models.blocks import ImageNetwork
from astrodl.models.cnn import CompactResNet
from astrodl.models.redshift import Branches, PasquetInception, RedshiftNetwork
from astrodl.photometry.features import photometric_features
from astrodl.products import Column
from astrodl.products.pdfs import stream_pdfs
from astrodl.store import Reader
from astrodl.tasks.bands import shared_features
from astrodl.tasks.base import Arrays, Evaluation, Task, missing_column, refuse_augmentation
from astrodl.tasks.image_network import build_plugin
from astrodl.tasks.inputs import band_presence, fit_standardization, network_input, select_columns, standardize
from astrodl.tasks.metric import Metric, Metrics
from astrodl.tasks.photoz.bins import average_views, balance_weights, bin_edges, cumulate, quantiles
from astrodl.tasks.photoz.quantities import list_quantities
from astrodl.tasks.photoz.report import baselines, draw, score, summaries
from astrodl.tasks.photoz.settings import PhotozSettings, take_photometry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FLAGS", "TASK", "Photoz"]

FLOOR = 1e-9
"""Smallest probability of a bin, so that no average of p(z) is zero everywhere."""
ODD = 0.01
"""Objects farther out in feature space than all but this share of the validation objects are flagged."""
COVERAGES = (0.68, 0.95)
SPACE_OBJECTS = 5000
"""Number of training objects for the fit of the distribution in feature space."""
FLAGS = {"out_of_distribution": 1, "missing_band": 2, "outside_training_range": 4}
"""Bits of `photoz_flags`: far from the training objects in feature space; a band without data; magnitude, colour or S/N
outside the range of the training objects."""
_UNLIKE = INPUT_FLAGS["magnitude"] | INPUT_FLAGS["colour"] | INPUT_FLAGS["snr"]
TRUTHS = ("magnitude", "inclination", "bt")


class Photoz(Task[PhotozSettings, RedshiftNetwork]):
    """Redshifts from images in the tradition of Pasquet et al. 2019 (A&A 621, A26), with p(z) over bins."""

    name = "photoz"
    explained_by = ("smooth_gradient",)
    title = "Photometric redshifts"
    Settings = PhotozSettings
    metrics = (
        Metric("bias_mean", 0.0),
        Metric("bias_median", 0.0),
        Metric("sigma_mad", "low", "σ MAD"),
        Metric("sigma_iqr", "low", "σ IQR"),
        Metric("eta_005", "low", "outliers |Δz| > 0.05"),
        Metric("eta_015", "low", "outliers |Δz| > 0.15"),
        Metric("eta_lsst", "low", "outliers, LSST"),
        Metric("crps", "low", "CRPS"),
        Metric("cde_loss", "low", "CDE loss"),
        Metric("pit_ks", "low", "PIT, KS distance"),
        Metric("pit_cvm", "low", "PIT, CvM"),
        Metric("pit_ad", "low", "PIT, AD"),
        Metric("coverage_68", 0.68, "68 % coverage"),
        Metric("coverage_95", 0.95, "95 % coverage"),
        Metric("conformal_68", 0.68, network_only=True),
        Metric("conformal_95", 0.95, network_only=True),
        Metric("tomographic_bias", "low", "bias of tomographic bins"),
    )
    headline = ("sigma_mad",)
    constant_baselines = ("trainz",)
    products: ClassVar = {"photoz_pdf.hdf5": "redshift PDFs"}
    page_figures: ClassVar = {
        "scatter": "Photometric against true redshift",
        "pit": "Probability integral transform",
        "examples": "Examples of p(z)",
    }
    draft_columns = ("z",)
    small: ClassVar = {"n_bins": 20, "widths": [8, 16], "joint": [32, 16]}

    @classmethod
    def fit_constants(cls, settings: PhotozSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fit the redshift bins, the weights against n(z), and the scaling of the photometric features."""
        # the bins must be the same in all folds, so that their PDFs can be averaged
        every_z = store.column(settings.target, cls.labelled(settings, store, np.flatnonzero(store.fold >= 0)))
        names = [name for name in photometric_features(store.feature_names) if settings.photometry or name == "ebv"]
        constants: dict[str, Any] = {
            "edges": bin_edges(settings, every_z),
            "features": [store.feature_names.index(name) for name in names],
        }
        if settings.balance:
            constants["balance"] = balance_weights(
                settings, store.column(settings.target, train), constants["edges"][-1]
            )
        if names:
            constants |= fit_standardization(store.features(names, train))
            constants["needs"] = [[float(f"_{band}_" in f"{name}_") for band in store.bands] for name in names]
        return constants

    @classmethod
    def without_images(cls, settings: PhotozSettings, n_bands: int) -> PhotozSettings:
        """Return the settings of a network that takes the photometry alone."""
        refuse_augmentation(cls.name, settings)
        return take_photometry(settings)

    @classmethod
    def missing_truth(cls, settings: PhotozSettings, store: Reader) -> str | None:
        """Return a message if the store has no redshifts."""
        return missing_column(store, cls.name, settings.target)

    @classmethod
    def labelled(cls, settings: PhotozSettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Select the objects with a redshift."""
        z = store.column(settings.target, indices)
        return indices[np.isfinite(z) & (z >= 0)]

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Return normalised images, and standardised photometry with the flags of bands that have data."""
        arrays, constants, flags = super().inputs(cutouts), self.context.constants, band_presence(cutouts)
        if not constants["features"]:
            return {**arrays, "features": flags}
        photometry = standardize(
            select_columns(cutouts.features, constants["features"]), constants["mean"], constants["scale"]
        )
        return {**arrays, "features": np.concatenate([photometry, flags], axis=1)}

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read redshifts, and weights against the imbalance of n(z)."""
        z = store.column(self.settings.target, indices).astype(np.float32)
        if "balance" not in self.context.constants:
            return {"z": z}
        weights = np.asarray(self.context.constants["balance"], np.float32)
        place = z / self.context.constants["edges"][-1] * len(weights)
        return {"z": z, "weight": weights[place.astype(int).clip(0, len(weights) - 1)]}

    def build(self) -> RedshiftNetwork:
        """Build the network and the head that the settings name."""
        settings, n_bands = self.settings, len(self.context.bands)
        n_features = 2 * len(self.context.constants["features"]) + n_bands
        n_outputs = settings.n_bins if settings.head == "bins" else 3 * settings.n_components
        return RedshiftNetwork(
            self._trunk(settings.network), n_features, n_outputs, widths=settings.joint, dropout=settings.dropout
        )

    def _trunk(self, name: str) -> ImageNetwork | None:
        settings, n_bands = self.settings, len(self.context.bands)
        if name == "apertures":
            stretch = self.context.normalization.stretch
            return LearnedApertures(
                self.n_channels,
                n_bands,
                n_apertures=settings.apertures,
                width=settings.widths[0],
                stretch=stretch,
                noise=1 / N_SIGMA,
            )
        if name == "resnet":
            return CompactResNet(self.n_channels, widths=settings.widths, dropout=settings.dropout)
        if name == "branches":
            return Branches(
                self.n_channels, n_bands, subset=settings.band_subset, widths=settings.widths, dropout=settings.dropout
            )
        if name == "inception":
            return PasquetInception(self.n_channels, size=self.context.size, share=settings.inception_share)
        return None if name == "none" else build_plugin(name, self.n_channels, self.context.size)

    def augment(self, batch: Batch) -> Batch:
        """Augment images; then drop bands at random where `band_dropout` is set."""
        batch = super().augment(batch)
        if not self.settings.band_dropout:
            return batch
        presence = batch["features"][:, -len(self.context.bands) :]
        return self.without_bands(batch, draw_kept_bands(presence, self.settings.band_dropout))

    def without_bands(self, batch: Batch, kept: Tensor) -> Batch:
        """Remove the bands where `kept` (B, bands) is zero, and the features measured in them."""
        batch = super().without_bands(batch, kept)
        features, n_bands, n = batch["features"], kept.shape[1], len(self.context.constants["features"])
        flags = features[:, -n_bands:] * kept
        if not n:
            return {**batch, "features": flags}
        lost = (1 - kept) @ self.constant("needs", kept.device).T > 0
        values, unknown = features[:, :n].masked_fill(lost, 0.0), features[:, n : 2 * n].masked_fill(lost, 1.0)
        return {**batch, "features": torch.cat([values, unknown, flags], dim=1)}

    def loss(self, network: RedshiftNetwork, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy of smeared bins, or the likelihood of the mixture, plus the CRPS in redshift."""
        settings, features, z = self.settings, batch["features"], batch["z"]
        if network.training:
            features = features + settings.feature_noise * distributed.randn_like(features)
        outputs = network(network_input(batch), features).float()
        edges = self.constant("edges", outputs.device)
        if settings.head == "bins":
            likelihood = soft_cross_entropy(outputs, smear_targets(z, edges, settings.smear * (1 + z)))
        else:
            likelihood = mixture_nll(outputs, edges, z)
        crps = crps_bins(self._log_probability(outputs).exp(), edges, z)
        weight = batch.get("weight", torch.ones_like(z)) if network.training else torch.ones_like(z)
        likelihood, crps = (weight * likelihood).mean(), (weight * crps).mean()
        name = "cross_entropy" if settings.head == "bins" else "nll"
        return settings.likelihood_weight * likelihood + settings.crps_weight * crps, {name: likelihood, "crps": crps}

    def _log_probability(self, outputs: Tensor) -> Tensor:
        """Return the logarithm of the probability of each bin, (..., K)."""
        if self.settings.head == "bins":
            return outputs.log_softmax(-1)
        flat = mixture_bins(outputs.flatten(0, -2), self.constant("edges", outputs.device))
        return flat.view(*outputs.shape[:-1], -1)

    def calibrate(self, network: RedshiftNetwork, train: Dataset, validation: Dataset | None) -> dict[str, Any]:
        """Fit temperature, PIT map, conformal intervals and feature space on the validation split.

        The temperature minimises the CRPS of p(z) averaged over the views, and the PIT map is fitted after it. The
        intervals are those of p(z) before both: a promise does not hold for what the same objects have fitted.
        """
        if validation is None:
            return {}
        views, vectors = zip(*(self._views(network, batch) for batch in validation.in_order(128)), strict=True)
        log_probability, z = torch.cat(views, dim=1), validation.tensors["z"]
        edges = self.constant("edges", z.device)
        sample = torch.arange(len(train), device=train.device)[:: -(-len(train) // SPACE_OBJECTS)]
        trained = [
            network.represent(network_input(batch), batch["features"]) for batch in train.batches(sample.split(128))
        ]
        network.space.fit(torch.cat(trained), torch.cat(vectors, dim=1)[0])
        temperatures = np.geomspace(0.3, 3.0, 47)
        scores = [float(crps_bins(average_views(log_probability, t), edges, z).mean()) for t in temperatures]
        temperature = float(temperatures[int(np.argmin(scores))])
        pit, pit_before = (
            pdf_metrics.pit(
                (average_views(log_probability, t) / (edges[1:] - edges[:-1])).cpu().numpy(),
                edges.cpu().numpy(),
                z.cpu().numpy(),
            )
            for t in (temperature, 1.0)
        )
        return {
            "temperature": temperature,
            "pit_beta": list(levels.fit_pit(pit)),
            "levels": [level for share in COVERAGES for level in levels.conformal_levels(pit_before, share)],
            "level_temperature": 1.0,
        }

    def predict(self, network: RedshiftNetwork, batch: Batch) -> dict[str, Tensor]:
        """Predict recalibrated p(z) averaged over the eight symmetries, intervals, and distance in feature space.

        The mean of `log_pdf` over models is the logarithmic pool. The mean of the densities would make the p(z) of
        calibrated models too wide (Gneiting & Ranjan 2013).
        """
        log_probability, vectors = self._views(network, batch)
        temperature = self.context.constants.get("temperature", 1.0)
        edges = self.constant("edges", log_probability.device)
        cumulative = cumulate(average_views(log_probability, temperature))
        # the levels of older models are those of p(z) after the temperature
        of_levels = cumulate(
            average_views(log_probability, self.context.constants.get("level_temperature", temperature))
        )
        flags = batch["features"][:, -len(self.context.bands) :]
        return {
            "log_pdf": (self._recalibrated(cumulative) + FLOOR).log(),
            "interval": quantiles(of_levels, edges, self._levels(edges)),
            "ood": torch.stack([network.space(view) for view in vectors]).mean(0),
            "missing": (flags < 1).any(1).float(),
        }

    def _views(self, network: RedshiftNetwork, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log probabilities (8, B, K) and vectors before the head (8, B, D) of the eight views of each image."""
        maps = network_input(batch)
        with self.precision(maps):
            vectors = network.views(maps, batch["features"], n_views=self.settings.views)
        return self._log_probability(network.head(vectors)), vectors

    def embed(self, network: RedshiftNetwork, batch: Batch) -> Tensor:
        """Return the mean over the views of the vectors before the head."""
        return self._views(network, batch)[1].mean(0)

    def _levels(self, like: Tensor) -> Tensor:
        halves = [0.5 + sign * share / 2 for share in COVERAGES for sign in (-1, 1)]
        return like.new_tensor(self.context.constants.get("levels", halves))

    def _recalibrated(self, cumulative: Tensor) -> Tensor:
        """Return the probability of each bin after the cumulative distribution (B, K + 1) passes the PIT map."""
        a, b = self.context.constants.get("pit_beta", (1.0, 1.0))
        mapping = cumulative.new_tensor(levels.pit_map(a, b))
        place = cumulative * (len(mapping) - 1)
        below = place.long().clamp_max(len(mapping) - 2)
        mapped = torch.lerp(mapping[below], mapping[below + 1], place - below)
        return (mapped[:, 1:] - mapped[:, :-1]).clamp_min(0)

    def quantities(self) -> tuple[Quantity, ...]:
        """Return mean, median, width and ODDS of p(z)."""
        return list_quantities(self.context.constants["edges"])

    def finish(self, predictions: Arrays) -> Arrays:
        """Normalise p(z); add point estimates, intervals and flags."""
        edges = np.asarray(self.context.constants["edges"])
        probability = np.exp(predictions["log_pdf"].astype(np.float64))
        pdf = probability / probability.sum(1, keepdims=True) / np.diff(edges)
        low, high = predictions["interval"][:, 0::2], predictions["interval"][:, 1::2]
        flags = FLAGS["out_of_distribution"] * (predictions["ood"] < ODD) + FLAGS["missing_band"] * (
            predictions["missing"] > 0
        )
        if "input_flags" in predictions:
            flags = flags + FLAGS["outside_training_range"] * (predictions["input_flags"] & _UNLIKE > 0)
        return {
            "pdf": pdf.astype(np.float32),
            **summaries(pdf, edges),
            "z_low68": low[:, 0],
            "z_high68": high[:, 0],
            "z_low95": low[:, 1],
            "z_high95": high[:, 1],
            "ood": predictions["ood"],
            "flags": flags.astype(np.int16),
        }

    def columns(self, predictions: Arrays) -> list[Column]:
        """Return point estimates, intervals, ODDS and flags."""
        bits = ", ".join(f"{bit} {name.replace('_', ' ')}" for name, bit in FLAGS.items())
        described = {
            "z_mean": ("mean of p(z)", "src.redshift.phot"),
            "z_median": ("median of p(z), the reference point estimate", "src.redshift.phot;meta.main"),
            "z_mode": ("mode of p(z)", "src.redshift.phot"),
            "z_low68": ("lower end of the conformal 68 % interval", "src.redshift.phot;stat.min"),
            "z_high68": ("upper end of the conformal 68 % interval", "src.redshift.phot;stat.max"),
            "z_low95": ("lower end of the conformal 95 % interval", "src.redshift.phot;stat.min"),
            "z_high95": ("upper end of the conformal 95 % interval", "src.redshift.phot;stat.max"),
            "odds": ("probability within 0.06 (1 + z) of the mode of p(z)", "stat.probability;src.redshift.phot"),
            "ood": (
                "share of validation objects farther out in feature space; small for unusual objects",
                "stat.probability",
            ),
            "flags": (f"bits: {bits}", "meta.code.qual"),
        }
        return [
            Column(f"photoz_{name}", predictions[name], None, description, ucd)
            for name, (description, ucd) in described.items()
        ]

    def write_product(self, name: str, path: Path, store: Reader, blocks: Iterator[tuple[np.ndarray, Arrays]]) -> None:
        """Write p(z) in the HDF5 layout of qp."""
        edges = self.context.constants["edges"]
        with stream_pdfs(path, len(store), edges, width=store.identifier_width) as file:
            for object_id, predictions in blocks:
                file.write(object_id, predictions["pdf"])

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read redshift and signal-to-noise ratio; magnitude, inclination and B/T where the catalogue has them."""
        truth = {
            "z": store.column(self.settings.target, indices).astype(float),
            "snr": store.features(["snr"], indices)[:, 0].astype(float),
        }
        return truth | {name: store.column(name, indices).astype(float) for name in TRUTHS if store.has_column(name)}

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Score the median, p(z), the intervals and the mean redshift in tomographic bins."""
        return score(predictions, truth["z"], np.asarray(self.context.constants["edges"]))

    def baselines(
        self, train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
    ) -> dict[str, tuple[Arrays, Arrays]]:
        """Predict with classical methods on magnitudes and colours, and with n(z) for every object."""
        x, y = shared_features(photometric_features, train_store, train, test_store, test)
        z = train_store.column(self.settings.target, train)
        return baselines(x, z, y, np.asarray(self.context.constants["edges"]))

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
    ) -> "dict[str, Figure]":
        """Draw scatter, trends, calibration, example PDFs, and n(z) of all objects and of tomographic bins."""
        return draw(store, indices, predictions, truth, np.asarray(self.context.constants["edges"]), evaluation)


TASK = Photoz
