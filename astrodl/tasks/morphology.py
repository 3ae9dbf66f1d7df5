"""Morphological classes: a network averaged over the symmetries of the square, with calibrated probabilities."""

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astrodl.augment import dihedral
from astrodl.baselines import morphology as rivals
from astrodl.catalog import Column
from astrodl.config import Fraction, TaskSettings, TrainSettings
from astrodl.dataset import Batch, Cutouts, Resident
from astrodl.errors import DataError
from astrodl.losses import pooled_mean
from astrodl.metrics import classification
from astrodl.models.cnn import HybridNetwork
from astrodl.plots.morphology import class_gallery, confusion_matrix, reliability_diagram, roc_curves
from astrodl.store import Reader
from astrodl.survey.photometry import structural_features
from astrodl.tasks.base import (
    Arrays,
    Metrics,
    Report,
    Task,
    measured,
    missing_column,
    moments,
    picked,
    scale_free_features,
    seen,
    standardize,
)
from astrodl.tasks.colour import colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class MorphologyTraining(TrainSettings):
    """Training loop of morphology."""

    epochs: Annotated[int, Field(ge=1)] = 30
    weight_decay: Annotated[float, Field(ge=0)] = 5e-2
    ema: Fraction = 0.99


class MorphologySettings(TaskSettings):
    """Morphological classes."""

    target: str = "class"
    """Column with the class name; objects with an empty name, or one not in `classes`, are predicted only."""
    classes: tuple[str, ...] | None = None
    """Class names in order; by default all that the training split has, sorted."""
    widths: tuple[int, ...] = (24, 48, 96)
    """Channels of the residual trunk."""
    photometry: bool = True
    """Give the network the measured features (colours and structure) beside the image."""
    dropout: Fraction = 0.3
    """Dropout before the last layers."""
    label_smoothing: Fraction = 0.05
    """Share of the target spread over the other classes."""
    balance: Fraction = 0.5
    """Exponent of the inverse class frequency in the loss; 0: no weights."""
    train: MorphologyTraining = MorphologyTraining()


class Morphology(Task):
    """CNN classes, averaged over flips and quarter turns (Dieleman et al. 2015, MNRAS 450, 1441)."""

    name = "morphology"
    title = "Morphology"
    Settings = MorphologySettings
    metric_names = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "ece", "brier")
    headline = ("accuracy",)

    @classmethod
    def fit_constants(cls, settings: MorphologySettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fix the classes, their weights, and the scaling of the features."""
        labels = store.column(settings.target, train)
        classes = list(settings.classes or sorted(set(labels)))
        counts = np.array([(labels == name).sum() for name in classes])
        if len(classes) < 2 or (counts == 0).any():
            absent = [name for name, count in zip(classes, counts, strict=True) if count == 0]
            raise DataError(
                f"{store.path}: column '{settings.target}' has classes {sorted(set(labels))} in the training split"
                + (f", none of '{absent[0]}'" if absent else "")
                + "; at least two classes with training objects are needed: correct tasks.morphology.classes"
            )
        weights = (counts.mean() / counts) ** settings.balance
        names = scale_free_features(store.feature_names) if settings.photometry else ()
        constants: dict[str, Any] = {
            "classes": classes,
            "weights": weights.tolist(),
            "features": [store.feature_names.index(name) for name in names],
        }
        return constants | moments(store.features(names, train)) if names else constants

    @classmethod
    def missing_truth(cls, settings: MorphologySettings, store: Reader) -> str | None:
        """Classes are needed."""
        return missing_column(store, cls.name, settings.target)

    @classmethod
    def labelled(cls, settings: MorphologySettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Keep the objects of a known class."""
        labels = store.column(settings.target, indices)
        known = np.isin(labels, settings.classes) if settings.classes else labels != ""
        return indices[known]

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the probabilities."""
        return self.context.constants["classes"]

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Normalised image, and standardised features."""
        arrays = super().inputs(cutouts)
        constants = self.context.constants
        if constants["features"]:
            chosen = picked(cutouts.features, constants["features"])
            arrays["features"] = standardize(chosen, constants["mean"], constants["scale"])
        return arrays

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Index of the class."""
        return {"label": self.truth(store, indices)["label"]}

    def build(self) -> nn.Module:
        """Residual trunk beside a feature branch, softmax over classes."""
        constants, settings = self.context.constants, self.settings
        n_features = 2 * len(constants["features"])
        return HybridNetwork(
            self.n_channels, n_features, len(self.classes), widths=settings.widths, dropout=settings.dropout
        )

    def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted cross-entropy with smoothed labels."""
        logits = network(seen(batch), batch.get("features")).float()
        weights = self.constant("weights", logits.device)
        smoothing = self.settings.label_smoothing if network.training else 0.0
        each = functional.cross_entropy(logits, batch["label"], weights, reduction="none", label_smoothing=smoothing)
        loss = pooled_mean(each, weights[batch["label"]])
        return loss, {"accuracy": (logits.argmax(1) == batch["label"]).float().mean()}

    def calibrate(self, network: nn.Module, train: Resident, validation: Resident | None) -> dict[str, Any]:
        """Fit one temperature to the averaged log-probabilities on the validation split (Guo et al. 2017)."""
        if validation is None:
            return {}
        logits = torch.cat([_mean_log_probability(network, batch) for batch in validation.in_order(128)])
        labels = validation.tensors["label"]
        temperatures = np.geomspace(0.2, 5.0, 65)
        losses = [float(functional.cross_entropy(logits / t, labels)) for t in temperatures]
        return {"temperature": float(temperatures[int(np.argmin(losses))])}

    def predict(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Average log-probabilities over the eight views, then apply the temperature."""
        logits = _mean_log_probability(network, batch)
        return {"probability": (logits / self.context.constants.get("temperature", 1.0)).softmax(1)}

    def columns(self, predictions: Arrays) -> list[Column]:
        """Best class, its probability, and the probability of each class."""
        probability = predictions["probability"]
        best = np.array(self.classes)[probability.argmax(1)]
        columns = [
            Column("morphology_class", best, None, "most probable morphological class", "src.morph.type"),
            Column(
                "morphology_confidence", probability.max(1), None, "its probability", "stat.probability;src.morph.type"
            ),
        ]
        return columns + [
            Column(f"morphology_p_{name}", probability[:, i], None, f"probability of class {name}", "stat.probability")
            for i, name in enumerate(self.classes)
        ]

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Index of the class in `classes`."""
        position = {name: i for i, name in enumerate(self.classes)}
        labels = store.column(self.settings.target, indices)
        return {"label": np.array([position[label] for label in labels], dtype=np.int64)}

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Accuracy and calibration."""
        probability, label = predictions["probability"], truth["label"]
        of_classes = {name: getattr(classification, name) for name in ("accuracy", "balanced_accuracy", "macro_f1")}
        of_probabilities = {name: getattr(classification, name) for name in ("auc", "ece", "brier")}
        return measured(of_classes, probability.argmax(1), label) | measured(of_probabilities, probability, label)

    def baselines(self, store: Reader, train: np.ndarray, test: np.ndarray) -> dict[str, tuple[Arrays, Arrays]]:
        """Random forest on concentration, asymmetry, Gini, M20 and colours."""
        label = self.truth(store, train)["label"]
        results: dict[str, tuple[Arrays, Arrays]] = {}
        for name, pick in {"forest": scale_free_features, "forest_no_colour": structural_features}.items():
            features = pick(store.feature_names)
            x, y = store.features(features, train), store.features(features, test)
            results[name] = ({"probability": rivals.forest(x, label, y, n_classes=len(self.classes))}, {})
        return results

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, report: Report
    ) -> "dict[str, Figure]":
        """Confusion matrix, reliability, ROC, gallery."""
        probability, label = predictions["probability"], truth["label"]
        best, rivals = probability.argmax(1), report.of("probability")
        names = [name.replace("_", " ") for name in self.classes]
        return {
            "confusion": confusion_matrix(
                classification.confusion(best, label, len(names)),
                names,
                baselines={
                    name: classification.confusion(other.argmax(1), label, len(names)) for name, other in rivals.items()
                },
            ),
            "reliability": reliability_diagram(
                probability.max(1),
                best == label,
                ece=report.network["ece"]["value"],
                baselines={name: (other.max(1), other.argmax(1) == label) for name, other in rivals.items()},
            ),
            "roc": roc_curves(probability, label, names, baselines=rivals),
            "gallery": class_gallery(colour(store, indices), probability, label, names),
        }


def _mean_log_probability(network: nn.Module, batch: Batch) -> Tensor:
    """Average the log-probabilities of the eight views: (B, C)."""
    maps = seen(batch)
    views = [network(dihedral(maps, element), batch.get("features")) for element in range(8)]
    return torch.stack([view.float().log_softmax(1) for view in views]).mean(0)


TASK = Morphology
