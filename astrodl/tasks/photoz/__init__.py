"""Photometric redshifts: a network that reads image and photometry and gives p(z), calibrated on unseen objects."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from astrodl import distributed
from astrodl.calibration import levels
from astrodl.data.augment import dihedral, spared
from astrodl.data.batches import Batch, Cutouts, Resident
from astrodl.data.normalize import N_SIGMA
from astrodl.losses import crps_bins, mixture_bins, mixture_nll, smeared_targets, soft_cross_entropy
from astrodl.metrics import pdf as pdf_metrics
from astrodl.models.apertures import LearnedApertures
from astrodl.models.cnn import CompactResNet
from astrodl.models.redshift import Branches, PasquetInception, RedshiftNetwork
from astrodl.photometry.measure import photometric_features
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.base import (
    Arrays,
    Metrics,
    Report,
    Task,
    missing_column,
    moments,
    picked,
    present,
    seen,
    standardize,
)
from astrodl.tasks.photoz.report import baselines, draw, score, summaries
from astrodl.tasks.photoz.settings import PhotozSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOOR = 1e-9
"""Least probability of a bin: no p(z) is zero everywhere, whatever is averaged."""
ODD = 0.01
"""Objects further out than all but this share of the validation objects are flagged."""
COVERAGES = (0.68, 0.95)
BALANCE_BINS = 20
LARGEST_WEIGHT = 10.0
SPACE_OBJECTS = 5000
"""Training objects from which the distribution in feature space is fitted."""
FLAGS = {"out_of_distribution": 1, "missing_band": 2}
"""Bits of `photoz_flags`."""
TRUTHS = ("magnitude", "inclination", "bt")


class Photoz(Task):
    """Redshifts from images in the tradition of Pasquet et al. 2019 (A&A 621, A26), with p(z) over bins."""

    name = "photoz"
    title = "Photometric redshifts"
    Settings = PhotozSettings
    metric_names = (
        *("bias_mean", "bias_median", "sigma_mad", "sigma_iqr", "eta_005", "eta_015", "eta_lsst"),
        *("crps", "cde_loss", "pit_ks", "pit_cvm", "pit_ad", "coverage_68", "coverage_95"),
        *("conformal_68", "conformal_95", "tomographic_bias"),
    )
    headline = ("sigma_mad",)

    @classmethod
    def fit_constants(cls, settings: PhotozSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fix the redshift bins, the weights against n(z), and the scaling of the photometric features."""
        # the bins must be the same in all folds, so that their PDFs can be averaged
        every_z = store.column(settings.target, cls.labelled(settings, store, np.flatnonzero(store.fold >= 0)))
        names = [name for name in photometric_features(store.feature_names) if settings.photometry or name == "ebv"]
        constants: dict[str, Any] = {
            "edges": _edges(settings, every_z),
            "features": [store.feature_names.index(name) for name in names],
        }
        if settings.balance:
            constants["balance"] = _weights(settings, store.column(settings.target, train), constants["edges"][-1])
        if names:
            constants |= moments(store.features(names, train))
            constants["needs"] = [[float(f"_{band}_" in f"{name}_") for band in store.bands] for name in names]
        return constants

    @classmethod
    def missing_truth(cls, settings: PhotozSettings, store: Reader) -> str | None:
        """Redshifts are needed."""
        return missing_column(store, cls.name, settings.target)

    @classmethod
    def labelled(cls, settings: PhotozSettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Keep the objects with a redshift."""
        z = store.column(settings.target, indices)
        return indices[np.isfinite(z) & (z >= 0)]

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Normalised image, and standardised photometry with the band-presence flags."""
        arrays, constants, flags = super().inputs(cutouts), self.context.constants, present(cutouts.images)
        if not constants["features"]:
            return {**arrays, "features": flags}
        photometry = standardize(picked(cutouts.features, constants["features"]), constants["mean"], constants["scale"])
        return {**arrays, "features": np.concatenate([photometry, flags], axis=1)}

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Redshift, and the weight against the imbalance of n(z)."""
        z = store.column(self.settings.target, indices).astype(np.float32)
        if "balance" not in self.context.constants:
            return {"z": z}
        weights = np.asarray(self.context.constants["balance"], np.float32)
        place = z / self.context.constants["edges"][-1] * len(weights)
        return {"z": z, "weight": weights[place.astype(int).clip(0, len(weights) - 1)]}

    def build(self) -> nn.Module:
        """Network by its name, with the head that was asked for."""
        settings, n_bands = self.settings, len(self.context.bands)
        n_features = 2 * len(self.context.constants["features"]) + n_bands
        n_outputs = settings.n_bins if settings.head == "bins" else 3 * settings.n_components
        return RedshiftNetwork(
            self._trunk(settings.network), n_features, n_outputs, widths=settings.joint, dropout=settings.dropout
        )

    def _trunk(self, name: str) -> nn.Module | None:
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
        return None

    def augment(self, batch: Batch) -> Batch:
        """Augment as usual; then take bands away, where the network is to learn to do without."""
        moved = super().augment(batch)
        if not self.settings.band_dropout:
            return moved
        there = batch["features"][:, -len(self.context.bands) :]
        return self.without_bands(moved, spared(there, self.settings.band_dropout))

    def without_bands(self, batch: Batch, kept: Tensor) -> Batch:
        """Take away the bands where `kept` (B, bands) is zero, as if they had not been observed."""
        batch = super().without_bands(batch, kept)
        features, n_bands, n = batch["features"], kept.shape[1], len(self.context.constants["features"])
        flags = features[:, -n_bands:] * kept
        if not n:
            return {**batch, "features": flags}
        lost = (1 - kept) @ self.constant("needs", kept.device).T > 0
        values, unknown = features[:, :n].masked_fill(lost, 0.0), features[:, n : 2 * n].masked_fill(lost, 1.0)
        return {**batch, "features": torch.cat([values, unknown, flags], dim=1)}

    def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy against smeared bins, or the likelihood of the mixture; and CRPS in units of redshift."""
        settings, features, z = self.settings, batch["features"], batch["z"]
        if network.training:
            features = features + settings.feature_noise * distributed.randn_like(features)
        outputs = network(seen(batch), features).float()
        edges = self.constant("edges", outputs.device)
        if settings.head == "bins":
            likelihood = soft_cross_entropy(outputs, smeared_targets(z, edges, settings.smear * (1 + z)))
        else:
            likelihood = mixture_nll(outputs, edges, z)
        crps = crps_bins(self._log_probability(outputs).exp(), edges, z)
        weight = batch.get("weight", torch.ones_like(z)) if network.training else torch.ones_like(z)
        likelihood, crps = (weight * likelihood).mean(), (weight * crps).mean()
        kind = "cross_entropy" if settings.head == "bins" else "nll"
        return settings.likelihood_weight * likelihood + settings.crps_weight * crps, {kind: likelihood, "crps": crps}

    def _log_probability(self, outputs: Tensor) -> Tensor:
        """Give the logarithm of the probability of each bin, (..., K)."""
        if self.settings.head == "bins":
            return outputs.log_softmax(-1)
        flat = mixture_bins(outputs.flatten(0, -2), self.constant("edges", outputs.device))
        return flat.view(*outputs.shape[:-1], -1)

    def calibrate(self, network: nn.Module, train: Resident, validation: Resident | None) -> dict[str, Any]:
        """Fit temperature, PIT map, conformal intervals and feature space to the validation split.

        The temperature minimises the CRPS of p(z) averaged over the views; the PIT map and the intervals start from it.
        """
        if validation is None:
            return {}
        views, vectors = zip(*(self._views(network, batch) for batch in validation.in_order(128)), strict=True)
        log_probability, z = torch.cat(views, dim=1), validation.tensors["z"]
        edges = self.constant("edges", z.device)
        some = torch.arange(len(train), device=train.device)[:: -(-len(train) // SPACE_OBJECTS)]
        trained = [network.represent(seen(batch), batch["features"]) for batch in train.batches(some.split(128))]  # type: ignore[operator]
        network.space.fit(torch.cat(trained), torch.cat(vectors, dim=1)[0])  # type: ignore[union-attr,operator]
        temperatures = np.geomspace(0.3, 3.0, 47)
        scores = [float(crps_bins(_tempered(log_probability, t), edges, z).mean()) for t in temperatures]
        temperature = float(temperatures[int(np.argmin(scores))])
        density = _tempered(log_probability, temperature) / (edges[1:] - edges[:-1])
        pit = pdf_metrics.pit(density.cpu().numpy(), edges.cpu().numpy(), z.cpu().numpy())
        return {
            "temperature": temperature,
            "pit_beta": list(levels.fit_pit(pit)),
            "levels": [level for share in COVERAGES for level in levels.conformal_levels(pit, share)],
        }

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Average p(z) over the eight flips and quarter turns and recalibrate it; intervals; distance in feature space.

        The mean of `log_pdf` over models is their logarithmic pool: unlike the mean of the densities it does not make
        the p(z) of calibrated models too wide (Gneiting & Ranjan 2013).
        """
        log_probability, vectors = self._views(network, batch)
        probability = _tempered(log_probability, self.context.constants.get("temperature", 1.0))
        edges = self.constant("edges", probability.device)
        cumulative = functional.pad(probability.cumsum(1), (1, 0)).clamp(0, 1)
        cumulative = cumulative / cumulative[:, -1:]
        flags = batch["features"][:, -len(self.context.bands) :]
        return {
            "log_pdf": (self._recalibrated(cumulative) + FLOOR).log(),
            "interval": _quantiles(cumulative, edges, self._levels(edges)),
            "ood": torch.stack([network.space(view) for view in vectors]).mean(0),  # type: ignore[operator]
            "missing": (flags < 1).any(1).float(),
        }

    def _views(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give log probabilities (8, B, K) and vectors before the head (8, B, D) of the eight views of each image."""
        maps = seen(batch)
        vectors = torch.stack(
            [network.represent(dihedral(maps, element), batch["features"]).float() for element in range(8)]  # type: ignore[operator]
        )
        return self._log_probability(network.head(vectors).float()), vectors  # type: ignore[operator]

    def _levels(self, like: Tensor) -> Tensor:
        halves = [0.5 + sign * share / 2 for share in COVERAGES for sign in (-1, 1)]
        return like.new_tensor(self.context.constants.get("levels", halves))

    def _recalibrated(self, cumulative: Tensor) -> Tensor:
        """Pass the cumulative distribution (B, K + 1) through the PIT map; gives the probability of each bin."""
        a, b = self.context.constants.get("pit_beta", (1.0, 1.0))
        mapping = cumulative.new_tensor(levels.pit_map(a, b))
        place = cumulative * (len(mapping) - 1)
        below = place.long().clamp_max(len(mapping) - 2)
        mapped = torch.lerp(mapping[below], mapping[below + 1], place - below)
        return (mapped[:, 1:] - mapped[:, :-1]).clamp_min(0)

    def finish(self, predictions: Arrays) -> Arrays:
        """Normalise p(z); add point estimates, intervals and flags."""
        edges = np.asarray(self.context.constants["edges"])
        probability = np.exp(predictions["log_pdf"].astype(np.float64))
        pdf = probability / probability.sum(1, keepdims=True) / np.diff(edges)
        low, high = predictions["interval"][:, 0::2], predictions["interval"][:, 1::2]
        flags = FLAGS["out_of_distribution"] * (predictions["ood"] < ODD) + FLAGS["missing_band"] * (
            predictions["missing"] > 0
        )
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
        """Point estimates, intervals, ODDS, flags."""
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
                "share of validation objects further out in feature space; small for odd objects",
                "stat.probability",
            ),
            "flags": (f"bits: {bits}", "meta.code.qual"),
        }
        return [
            Column(f"photoz_{name}", predictions[name], None, description, ucd)
            for name, (description, ucd) in described.items()
        ]

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Redshift; signal-to-noise ratio; and magnitude, inclination and B/T where the catalogue has them."""
        truth = {
            "z": store.column(self.settings.target, indices).astype(float),
            "snr": store.features(["snr"], indices)[:, 0].astype(float),
        }
        return truth | {name: store.column(name, indices).astype(float) for name in TRUTHS if store.has_column(name)}

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Metrics of the median, of p(z), of the intervals and of the mean redshift in tomographic bins."""
        return score(predictions, truth["z"], np.asarray(self.context.constants["edges"]))

    def baselines(self, store: Reader, train: np.ndarray, test: np.ndarray) -> dict[str, tuple[Arrays, Arrays]]:
        """Classical methods on magnitudes and colours, and the n(z) for everyone."""
        names, edges = photometric_features(store.feature_names), np.asarray(self.context.constants["edges"])
        z = store.column(self.settings.target, train)
        return baselines(store.features(names, train), z, store.features(names, test), edges)

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, report: Report
    ) -> "dict[str, Figure]":
        """Scatter, trends, calibration, example PDFs, n(z) as a whole and in tomographic bins."""
        return draw(store, indices, predictions, truth, np.asarray(self.context.constants["edges"]), report)


def _edges(settings: PhotozSettings, z: np.ndarray) -> list[float]:
    """Give the edges of the bins, from 0 to `z_max`."""
    z_max = settings.z_max or 1.05 * float(z.max())
    if settings.bins == "linear":
        return np.linspace(0.0, z_max, settings.n_bins + 1).tolist()
    # a tenth of the bins is spread evenly: none is too wide, and none narrower than redshifts are known
    grid = np.linspace(0.0, z_max, 20 * settings.n_bins + 1)
    share = 0.9 * np.searchsorted(np.sort(z), grid, side="right") / len(z) + 0.1 * grid / z_max
    share[0], share[-1] = 0.0, 1.0
    return np.interp(np.linspace(0, 1, settings.n_bins + 1), share, grid).tolist()


def _weights(settings: PhotozSettings, z: np.ndarray, z_max: float) -> list[float]:
    """Weight redshifts by the inverse of how often they occur, to the power that was asked for; mean one."""
    place = (z / z_max * BALANCE_BINS).astype(int).clip(0, BALANCE_BINS - 1)
    counts = np.bincount(place, minlength=BALANCE_BINS)
    weights = (1.0 + counts) ** -settings.balance
    weights /= weights[place].mean()
    return weights.clip(max=LARGEST_WEIGHT).tolist()


def _tempered(log_probability: Tensor, temperature: float) -> Tensor:
    """Average the probabilities of views (V, B, K) at a temperature: (B, K)."""
    return (log_probability / temperature).softmax(-1).mean(0)


def _quantiles(cumulative: Tensor, edges: Tensor, levels: Tensor) -> Tensor:
    """Give the redshifts (B, L) at which the cumulative distribution (B, K + 1) reaches each of `levels`."""
    wanted = levels.expand(len(cumulative), -1).contiguous()
    above = torch.searchsorted(cumulative.contiguous(), wanted).clamp(1, len(edges) - 1)
    low, high = cumulative.gather(1, above - 1), cumulative.gather(1, above)
    share = ((wanted - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return torch.lerp(edges[above - 1], edges[above], share)


TASK = Photoz
