"""Photometric redshifts: an image network with a photometry branch that gives p(z) over bins."""

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from astrodl import ranks
from astrodl.augment import dihedral
from astrodl.baselines import photoz as rivals
from astrodl.catalog import Column
from astrodl.config import Fraction, TaskSettings, TrainSettings
from astrodl.dataset import Batch, Cutouts, Resident
from astrodl.losses import crps_bins, smeared_targets, soft_cross_entropy
from astrodl.metrics import pdf as pdf_metrics
from astrodl.models.cnn import HybridNetwork
from astrodl.photoz import OF_POINTS
from astrodl.plots.photoz import redshift_scatter, redshift_trends
from astrodl.plots.photoz_pdf import example_pdfs, pit_histogram, redshift_distribution
from astrodl.store import Reader
from astrodl.survey.photometry import photometric_features
from astrodl.tasks.base import (
    Arrays,
    Metrics,
    Report,
    Task,
    measured,
    missing_column,
    moments,
    picked,
    present,
    seen,
    standardize,
)
from astrodl.tasks.colour import colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PhotozTraining(TrainSettings):
    """Training loop of photo-z."""

    epochs: Annotated[int, Field(ge=1)] = 30
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 5e-2
    ema: Fraction = 0.99


class PhotozSettings(TaskSettings):
    """Photometric redshifts."""

    target: str = "z"
    """Column with the spectroscopic (or true) redshift; objects without one are predicted only."""
    n_bins: Annotated[int, Field(ge=2)] = 150
    """Number of redshift bins of p(z)."""
    z_max: Annotated[float, Field(gt=0)] | None = None
    """Upper end of the bins; by default 5 % above the largest redshift outside the test split."""
    smear: Annotated[float, Field(ge=0)] = 0.01
    """Width of the training targets, in units of 1 + z."""
    crps_weight: Annotated[float, Field(ge=0)] = 5.0
    """Weight of the CRPS beside the cross-entropy."""
    widths: tuple[int, ...] = (24, 48, 96)
    """Channels of the residual trunk."""
    photometry: bool = True
    """Give the network the aperture magnitudes and colours beside the image."""
    dropout: Fraction = 0.2
    """Dropout before the last layers."""
    feature_noise: Annotated[float, Field(ge=0)] = 0.02
    """Gaussian noise on the standardised features while training."""
    train: PhotozTraining = PhotozTraining()


class Photoz(Task):
    """CNN photo-z in the tradition of Pasquet et al. 2019 (A&A 621, A26), with a photometry branch."""

    name = "photoz"
    title = "Photometric redshifts"
    Settings = PhotozSettings
    metric_names = (
        *("bias_mean", "bias_median", "sigma_mad", "eta_005", "eta_015", "eta_lsst"),
        *("crps", "pit_ks", "cde_loss", "coverage_68"),
    )
    headline = ("sigma_mad",)

    @classmethod
    def fit_constants(cls, settings: PhotozSettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fix the redshift bins and the scaling of the photometric features."""
        # the bins must be the same in all folds, so that their PDFs can be averaged
        seen = cls.labelled(settings, store, np.flatnonzero(store.fold >= 0))
        z_max = settings.z_max or 1.05 * float(store.column(settings.target, seen).max())
        names = photometric_features(store.feature_names) if settings.photometry else ()
        constants: dict[str, Any] = {
            "edges": np.linspace(0.0, z_max, settings.n_bins + 1).tolist(),
            "features": [store.feature_names.index(name) for name in names],
        }
        if names:
            constants |= moments(store.features(names, train))
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
        arrays = super().inputs(cutouts)
        constants = self.context.constants
        if constants["features"]:
            features = standardize(
                picked(cutouts.features, constants["features"]), constants["mean"], constants["scale"]
            )
            arrays["features"] = np.concatenate([features, present(cutouts.images)], axis=1)
        return arrays

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Redshift."""
        return {"z": store.column(self.settings.target, indices).astype(np.float32)}

    def build(self) -> nn.Module:
        """Residual trunk beside a photometry branch, softmax over bins."""
        constants, settings = self.context.constants, self.settings
        n_features = 2 * len(constants["features"]) + len(self.context.bands) if constants["features"] else 0
        return HybridNetwork(
            self.n_channels, n_features, settings.n_bins, widths=settings.widths, dropout=settings.dropout
        )

    def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy against smeared bins, and CRPS in units of redshift."""
        features = batch.get("features")
        if features is not None and network.training:
            features = features + self.settings.feature_noise * ranks.randn_like(features)
        logits = network(seen(batch), features).float()
        edges = self.constant("edges", logits.device)
        target = smeared_targets(batch["z"], edges, self.settings.smear * (1 + batch["z"]))
        cross_entropy = soft_cross_entropy(logits, target).mean()
        crps = crps_bins(logits.softmax(1), edges, batch["z"]).mean()
        return cross_entropy + self.settings.crps_weight * crps, {"cross_entropy": cross_entropy, "crps": crps}

    def calibrate(self, network: nn.Module, train: Resident, validation: Resident | None) -> dict[str, Any]:
        """Fit the temperature that minimises the CRPS of the averaged PDF on the validation split."""
        if validation is None:
            return {}
        all_logits = torch.cat([_views(network, batch) for batch in validation.in_order(128)], dim=1)
        all_z = validation.tensors["z"]
        edges = self.constant("edges", all_logits.device)
        temperatures = np.geomspace(0.3, 3.0, 47)
        scores = [float(crps_bins((all_logits / t).softmax(2).mean(0), edges, all_z).mean()) for t in temperatures]
        return {"temperature": float(temperatures[int(np.argmin(scores))])}

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Average the PDF over the eight flips and quarter turns."""
        logits = _views(network, batch) / self.context.constants.get("temperature", 1.0)
        edges = self.constant("edges", logits.device)
        return {"pdf": logits.softmax(2).mean(0) / (edges[1:] - edges[:-1])}

    def finish(self, predictions: Arrays) -> Arrays:
        """Add point estimates and intervals of p(z)."""
        return {**predictions, **self._summaries(predictions["pdf"])}

    def _summaries(self, pdf: np.ndarray) -> Arrays:
        edges = np.asarray(self.context.constants["edges"])
        low, high = pdf_metrics.interval(pdf, edges, 0.68)
        return {
            "z_mean": pdf_metrics.mean(pdf, edges),
            "z_median": pdf_metrics.median(pdf, edges),
            "z_mode": pdf_metrics.mode(pdf, edges),
            "z_low": low,
            "z_high": high,
            "odds": pdf_metrics.odds(pdf, edges),
        }

    def columns(self, predictions: Arrays) -> list[Column]:
        """Point estimates, interval, ODDS."""
        described = {
            "z_mean": ("mean of p(z)", "src.redshift.phot"),
            "z_median": ("median of p(z), the reference point estimate", "src.redshift.phot;meta.main"),
            "z_mode": ("mode of p(z)", "src.redshift.phot"),
            "z_low": ("16th percentile of p(z)", "src.redshift.phot;stat.min"),
            "z_high": ("84th percentile of p(z)", "src.redshift.phot;stat.max"),
            "odds": ("probability within 0.06 (1 + z) of the mode of p(z)", "stat.probability;src.redshift.phot"),
        }
        return [
            Column(f"photoz_{name}", predictions[name], None, description, ucd)
            for name, (description, ucd) in described.items()
        ]

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Redshift, and the magnitude where there is one."""
        truth = {"z": store.column(self.settings.target, indices).astype(float)}
        if store.has_column("magnitude"):
            truth["magnitude"] = store.column("magnitude", indices).astype(float)
        return truth

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Point metrics of the median and metrics of p(z)."""
        z, pdf, edges = truth["z"], predictions["pdf"], np.asarray(self.context.constants["edges"])
        point = {name: OF_POINTS[name] for name in self.metric_names if name in OF_POINTS}
        metrics = measured(point, predictions["z_median"], z)
        metrics |= measured({"crps": np.mean}, pdf_metrics.crps(pdf, edges, z))
        metrics |= measured({"pit_ks": pdf_metrics.pit_ks}, pdf_metrics.pit(pdf, edges, z))
        metrics |= measured({"cde_loss": np.mean}, pdf_metrics.cde_terms(pdf, edges, z))
        return metrics | measured({"coverage_68": np.mean}, pdf_metrics.covered(pdf, edges, z, 0.68))

    def baselines(self, store: Reader, train: np.ndarray, test: np.ndarray) -> dict[str, tuple[Arrays, Arrays]]:
        """Nearest neighbours and a random forest on magnitudes and colours."""
        names = photometric_features(store.feature_names)
        train_x, test_x = store.features(names, train), store.features(names, test)
        z, edges = store.column(self.settings.target, train), np.asarray(self.context.constants["edges"])
        results: dict[str, tuple[Arrays, Arrays]] = {}
        for name, predicted in {
            "knn": rivals.knn(train_x, z, test_x, edges),
            "forest": rivals.forest(train_x, z, test_x, edges),
        }.items():
            summaries = self._summaries(predicted["pdf"])
            results[name] = ({**summaries, "pdf": predicted["pdf"], "z_median": predicted["z"]}, {})
        return results

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, report: Report
    ) -> "dict[str, Figure]":
        """Scatter, bias and scatter against redshift and magnitude, PIT, example PDFs, n(z)."""
        z, pdf, edges = truth["z"], predictions["pdf"], np.asarray(self.context.constants["edges"])
        ks = report.network["pit_ks"]["value"]
        chosen = np.argsort(z, kind="stable")[np.linspace(0, len(z) - 1, min(8, len(z))).astype(int)]
        drawn = {
            "scatter": redshift_scatter(z, predictions["z_median"], baselines=report.of("z_median")),
            "trend_redshift": redshift_trends(z, predictions["z_median"], baselines=report.of("z_median")),
            "pit": pit_histogram(pdf_metrics.pit(pdf, edges, z), ks=ks),
            "examples": example_pdfs(
                pdf[chosen],
                edges,
                z[chosen],
                rgb=colour(store, indices[chosen]),
                z_phot=predictions["z_median"][chosen],
                n_total=len(z),
            ),
            "distribution": redshift_distribution(pdf, edges, z),
        }
        if "magnitude" in truth:
            drawn["trend_magnitude"] = redshift_trends(
                z,
                predictions["z_median"],
                against=truth["magnitude"],
                label="magnitude (AB)",
                baselines=report.of("z_median"),
            )
        return drawn


def _views(network: nn.Module, batch: Batch) -> Tensor:
    """Give the logits of the eight views of each image: (8, B, K) in float32."""
    maps = seen(batch)
    return torch.stack([network(dihedral(maps, element), batch.get("features")).float() for element in range(8)])


TASK = Photoz
