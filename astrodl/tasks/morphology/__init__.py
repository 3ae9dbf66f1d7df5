"""Morphological classes: a network averaged over the symmetries of the square, with calibrated probabilities."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from astrodl.baselines import morphology as classical
from astrodl.calibration import levels
from astrodl.data.augment import mirror_randomly, mixup
from astrodl.data.batches import Batch, Cutouts, Dataset
from astrodl.errors import ConfigError, DataError
from astrodl.explanation.target import Quantity
from astrodl.losses import focal_loss, pooled_mean, triplet_batch_hard
from astrodl.metrics import classification
from astrodl.models.hybrid import HybridNetwork
from astrodl.photometry.features import structural_features
from astrodl.plots.morphology import (
    accuracy_against_snr,
    class_gallery,
    confusion_matrix,
    prediction_set_sizes,
    reliability_diagram,
    roc_curves,
)
from astrodl.products import Column
from astrodl.store import SPLITS, Reader
from astrodl.tasks import image_network
from astrodl.tasks.bands import shared_features
from astrodl.tasks.base import Arrays, Evaluation, Task, missing_column
from astrodl.tasks.catalog_columns import class_names
from astrodl.tasks.colour import colour
from astrodl.tasks.inputs import network_input, scale_free_features
from astrodl.tasks.metric import Metric, Metrics, bootstrap_metrics
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.morphology.classes import list_classes, of_known_class
from astrodl.tasks.morphology.quantities import list_quantities
from astrodl.tasks.morphology.settings import MorphologySettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TASK", "Morphology"]

COVERAGES = (90, 95)
"""Coverage of the conformal sets in per cent of the objects."""
FLOOR = 1e-12
FAR = 3.0
"""Coordinate of the prototype of a class without training objects, far from all vectors of length one."""
MIXED = ("image", "coverage", "features", "target")


class Morphology(Task[MorphologySettings, HybridNetwork]):
    """CNN classes, averaged over flips and quarter turns (Dieleman et al. 2015, MNRAS 450, 1441)."""

    name = "morphology"
    title = "Morphology"
    Settings = MorphologySettings
    metrics = (
        Metric("accuracy", "high"),
        Metric("balanced_accuracy", "high"),
        Metric("macro_f1", "high", "macro F1"),
        Metric("auc", "high", "ROC AUC"),
        Metric("ece", "low", "ECE"),
        Metric("brier", "low", "Brier score"),
        *(Metric(f"conformal_{level}", level / 100, network_only=True) for level in COVERAGES),
        *(Metric(f"set_size_{level}", 1.0, network_only=True) for level in COVERAGES),
    )
    headline = ("accuracy",)
    page_figures: ClassVar = {"confusion": "Confusion matrix", "reliability": "Reliability diagram"}
    draft_columns = ("class",)
    small: ClassVar = {"widths": [8, 16], "joint": [16]}

    @classmethod
    def fit_constants(cls, settings: MorphologySettings, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fit the classes, their weights, and the scaling of the features."""
        used = cls.labelled(settings, store, np.flatnonzero(store.split != SPLITS.index("rest")))
        classes, counts = list_classes(settings, store, train, used)
        if unknown := (set(settings.mirror) | set(settings.mirror.values())) - set(classes):
            raise ConfigError(
                f"tasks.morphology.mirror: no class '{min(unknown)}'; the classes are {', '.join(classes)}"
            )
        rarity = counts[counts > 0].mean() / np.maximum(counts, 1)
        return {
            "classes": classes,
            "weights": (rarity**settings.balance).tolist(),
            "rarity": rarity.tolist(),
            **image_network.fit_features(settings, store, train),
        }

    @classmethod
    def missing_truth(cls, settings: MorphologySettings, store: Reader) -> str | None:
        """Return a message if the store has no classes."""
        return missing_column(store, cls.name, settings.target)

    @classmethod
    def labelled(cls, settings: MorphologySettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Select the objects of a known class."""
        labels = class_names(store.column(settings.target, indices))
        known = np.isin(labels, settings.classes) if settings.classes else labels != ""
        return indices[known]

    @classmethod
    def unlabelled(cls, settings: MorphologySettings, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Select the objects without a class, if there is a teacher."""
        if settings.teacher is None:
            return indices[:0]
        return indices[class_names(store.column(settings.target, indices)) == ""]

    @classmethod
    def models_used(cls, settings: MorphologySettings) -> tuple[str, ...]:
        """List the model that training starts from, and the teacher."""
        return (*super().models_used(settings), *([] if settings.teacher is None else [settings.teacher]))

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the probabilities."""
        return self.context.constants["classes"]

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Return normalised images and standardised features."""
        return {**super().inputs(cutouts), **image_network.features(self.context.constants, cutouts)}

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Return the probability of each class, (n, C): one for a known class, else the prediction of the teacher."""
        label = self.truth(store, indices)["label"]
        target = np.eye(len(self.classes), dtype=np.float32)[label]
        unknown = label < 0
        if unknown.any():
            target[unknown] = self._pseudo_labels(Cutouts.from_store(store, indices[unknown]))
        return {"target": target}

    def _pseudo_labels(self, cutouts: Cutouts) -> np.ndarray:
        """Predict with the teacher."""
        return self._teacher.raw(cutouts)["probability"]

    @cached_property
    def _teacher(self) -> Model:
        assert self.settings.teacher is not None
        teacher = load_model(self.settings.teacher, device="cpu")
        known, expected = (getattr(teacher.task, "classes", None), teacher.bands), (self.classes, self.context.bands)
        if known != expected:
            raise DataError(
                f"tasks.morphology.teacher: {self.settings.teacher} has classes {known[0]} and bands {known[1]}, "
                f"this survey {expected[0]} and {expected[1]}; give a morphology model of the same classes and bands"
            )
        return teacher

    def sampling(self, store: Reader, indices: np.ndarray) -> np.ndarray | None:
        """Return frequencies that favour rare classes, if `sampling` is set; unlabelled objects have the mean."""
        if not self.settings.sampling:
            return None
        rarity = np.array([*self.context.constants["rarity"], 1.0])  # label -1 is the last
        return rarity[self.truth(store, indices)["label"]] ** self.settings.sampling

    def build(self) -> HybridNetwork:
        """Build the network that the settings name, with a softmax over classes."""
        return image_network.build(self.settings, self.context, self.n_channels, len(self.classes))

    def augment(self, batch: Batch) -> Batch:
        """Augment images; exchange classes by reflection and mix pairs of objects where the settings say so."""
        if self.settings.mirror:
            batch = mirror_randomly(batch, self._reflected)
        changed, alpha = super().augment(batch), self.settings.augment.mixup
        return mixup(changed, alpha, MIXED) if alpha else changed

    def loss(self, network: HybridNetwork, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted cross-entropy with smoothed labels, or the loss that the settings name."""
        settings, target = self.settings, batch["target"]
        label = target.argmax(1)
        if settings.loss == "triplet":
            vectors = functional.normalize(network.represent(network_input(batch), batch.get("features")).float())
            each, valid = triplet_batch_hard(vectors, label, settings.margin)
            loss = pooled_mean(each, valid.float(), least=1.0)
            return loss, {"triplets": valid.float().mean()}
        logits = network(network_input(batch), batch.get("features")).float()
        weight = self.constant("weights", logits.device) * target
        if network.training:
            weight = torch.lerp(weight, weight.mean(1, keepdim=True), settings.label_smoothing)
        loss = pooled_mean(self._object_loss(logits, weight, target), weight.sum(1))
        return loss, {"accuracy": (logits.argmax(1) == label).float().mean()}

    def _object_loss(self, logits: Tensor, weight: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each object, (B,)."""
        if self.settings.loss in ("cross_entropy", "focal"):
            return focal_loss(logits, weight, self.settings.focal_gamma if self.settings.loss == "focal" else 0.0)
        error = logits.softmax(1) - target
        return weight.sum(1) * (error.square() if self.settings.loss == "mse" else error.abs()).sum(1)

    def calibrate(self, network: HybridNetwork, train: Dataset, validation: Dataset | None) -> dict[str, Any]:
        """Fit the prototypes on the training split, one temperature and the conformal sets on the validation split.

        The temperature (Guo et al. 2017) scales the averaged log-probabilities. The sets are those of the probabilities
        before it: a promise does not hold for what the same objects have fitted.
        """
        constants: dict[str, Any] = {}
        if self.settings.loss == "triplet":
            vectors = torch.cat([self.vectors(network, batch).mean(0) for batch in train.in_order(128)])
            label = train.tensors["target"].argmax(1)
            means = torch.stack(
                [
                    vectors[label == k].mean(0) if (label == k).any() else torch.full_like(vectors[0], FAR)
                    for k in range(len(self.classes))
                ]
            )
            constants["prototypes"] = means.tolist()
            self.context.constants.update(constants)
        if validation is None:
            return constants
        logits = torch.cat([self._mean_logits(network, batch) for batch in validation.in_order(128)])
        truth = validation.tensors["target"].argmax(1).cpu().numpy()
        temperature = levels.fit_temperature(logits.cpu().numpy(), truth)
        probability = logits.softmax(1).cpu().numpy()
        least = [levels.conformal_threshold(probability, truth, level / 100) for level in COVERAGES]
        return {**constants, "temperature": temperature, "least": least, "set_temperature": 1.0}

    def predict(self, network: HybridNetwork, batch: Batch) -> dict[str, Tensor]:
        """Predict probabilities from log-probabilities averaged over the views, and the thresholds of conformal sets.

        `excess_L` is the logarithm of the ratio of the probability before the temperature to the threshold of the set
        of L per cent. Its mean over models averages the thresholds, too.
        """
        logits = self._mean_logits(network, batch)
        temperature = self.context.constants.get("temperature", 1.0)
        probability = (logits / temperature).softmax(1)
        # the thresholds of older models are those of the probabilities after the temperature
        of_sets = (logits / self.context.constants.get("set_temperature", temperature)).softmax(1)
        least = self.context.constants.get("least", [0.0] * len(COVERAGES))
        predicted = {"probability": probability, "uncalibrated": logits.softmax(1)}
        for level, threshold in zip(COVERAGES, least, strict=True):
            predicted[f"excess_{level}"] = (of_sets + FLOOR).log() - math.log(threshold + FLOOR)
        return predicted

    def _mean_logits(self, network: HybridNetwork, batch: Batch) -> Tensor:
        """Return the mean log-probabilities of the views, or those of the mean vector after triplets: (B, C)."""
        if self.settings.loss == "triplet":
            prototypes = self.constant("prototypes", next(network.parameters()).device)
            # unit vectors are at most 2 apart; the temperature fits the scale
            return -10 * torch.cdist(self.vectors(network, batch).mean(0), prototypes).square()
        views = network.head(self._views(network, batch)).log_softmax(2)
        return torch.cat([views[:4], views[4:, :, self._reflected]]).mean(0)

    @cached_property
    def _reflected(self) -> list[int]:
        """Index of the class that each class becomes by reflection."""
        pairs = self.settings.mirror
        both = {name: name for name in self.classes} | pairs | {other: name for name, other in pairs.items()}
        return [self.classes.index(both[name]) for name in self.classes]

    def vectors(self, network: HybridNetwork, batch: Batch) -> Tensor:
        """Return the unit vector of each view, (views, B, D)."""
        return functional.normalize(self._views(network, batch), dim=2)

    def embed(self, network: HybridNetwork, batch: Batch) -> Tensor:
        """Return the mean over the views of the vectors before the head; of unit vectors after triplets."""
        views = self.vectors if self.settings.loss == "triplet" else self._views
        return views(network, batch).mean(0)

    def _views(self, network: HybridNetwork, batch: Batch) -> Tensor:
        maps = network_input(batch)
        with self.precision(maps):
            return network.views(maps, batch.get("features"), n_views=self.settings.views)

    def quantities(self) -> tuple[Quantity, ...]:
        """Return logit of the most probable class, and probability and logit of each class."""
        return list_quantities(self.classes, has_logits=self.settings.loss != "triplet")

    def finish(self, predictions: Arrays) -> Arrays:
        """Derive the conformal sets, which always contain the most probable class."""
        probability = predictions["probability"]
        best = probability.argmax(1)[:, None] == np.arange(probability.shape[1])
        sets = {f"set_{level}": ((predictions[f"excess_{level}"] >= 0) | best).astype(np.uint8) for level in COVERAGES}
        return {"probability": probability, "uncalibrated": predictions["uncalibrated"], **sets}

    def columns(self, predictions: Arrays) -> list[Column]:
        """Return the most probable class, its probability, the probability of each class, and the conformal sets."""
        probability = predictions["probability"]
        best = np.array(self.classes)[probability.argmax(1)]
        columns = [
            Column("morphology_class", best, None, "most probable morphological class", "src.morph.type"),
            Column(
                "morphology_confidence", probability.max(1), None, "its probability", "stat.probability;src.morph.type"
            ),
        ]
        columns += [
            Column(f"morphology_p_{name}", probability[:, i], None, f"probability of class {name}", "stat.probability")
            for i, name in enumerate(self.classes)
        ]
        for level in COVERAGES:
            about = f"set of classes that contains the true class of {level} % of objects"
            columns.append(Column(f"morphology_set{level}", self._named(predictions[f"set_{level}"]), None, about))
        return columns

    def _named(self, sets: np.ndarray) -> np.ndarray:
        """Return sets of classes (N, C) as text, with room for all classes."""
        separator = "; " if any(" " in name for name in self.classes) else " "
        texts = [separator.join(name for name, inside in zip(self.classes, row, strict=True) if inside) for row in sets]
        return np.array(texts, dtype=f"U{len(separator.join(self.classes))}")

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read the index of the class in `classes`, -1 where it is not known."""
        position = {name: i for i, name in enumerate(self.classes)}
        labels = class_names(store.column(self.settings.target, indices))
        return {"label": np.array([position.get(label, -1) for label in labels], dtype=np.int64)}

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Score accuracy, calibration and conformal sets of the objects of the classes that the network knows."""
        predictions, truth = of_known_class(predictions, truth)
        probability, label = predictions["probability"], truth["label"]
        if not len(label):
            return {}
        of_classes = {name: getattr(classification, name) for name in ("accuracy", "balanced_accuracy", "macro_f1")}
        of_probabilities = {name: getattr(classification, name) for name in ("auc", "ece", "brier")}
        metrics = bootstrap_metrics(of_classes, probability.argmax(1), label) | bootstrap_metrics(
            of_probabilities, probability, label
        )
        for level in COVERAGES:
            if f"set_{level}" in predictions:
                sets = predictions[f"set_{level}"] > 0
                metrics |= bootstrap_metrics({f"conformal_{level}": classification.set_coverage}, sets, label)
                metrics |= bootstrap_metrics({f"set_size_{level}": classification.set_size}, sets)
        return metrics

    def baselines(
        self, train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
    ) -> dict[str, tuple[Arrays, Arrays]]:
        """Predict with forest, SVM and MLP on magnitudes, colours and structure, and with a forest without colours."""
        label = self.truth(train_store, train)["label"]
        every, structure = (
            shared_features(select, train_store, train, test_store, test)
            for select in (scale_free_features, structural_features)
        )
        methods: dict[str, tuple[Callable[..., np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
            "forest": (classical.forest, every),
            "svm": (classical.svm, every),
            "mlp": (classical.mlp, every),
            "forest_no_colour": (classical.forest, structure),
        }
        results: dict[str, tuple[Arrays, Arrays]] = {}
        for name, (method, (x, y)) in methods.items():
            results[name] = ({"probability": method(x, label, y, n_classes=len(self.classes))}, {})
        return results

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
    ) -> "dict[str, Figure]":
        """Draw confusion matrix, reliability, ROC, conformal sets, accuracy against signal-to-noise ratio, gallery."""
        others = {name: values[truth["label"] >= 0] for name, values in evaluation.of("probability").items()}
        indices = indices[truth["label"] >= 0]
        predictions, truth = of_known_class(predictions, truth, quiet=True)
        probability, label = predictions["probability"], truth["label"]
        if not len(label):
            return {}
        uncalibrated, best = predictions["uncalibrated"], probability.argmax(1)
        right = {name: other.argmax(1) == label for name, other in others.items()}
        # the most accurate first: figures with one baseline show it
        others = {name: others[name] for name in sorted(others, key=lambda name: right[name].mean(), reverse=True)}
        names = [name.replace("_", " ") for name in self.classes]
        return {
            "confusion": confusion_matrix(
                classification.confusion(best, label, len(names)),
                names,
                baselines={
                    name: classification.confusion(other.argmax(1), label, len(names)) for name, other in others.items()
                },
            ),
            "reliability": reliability_diagram(
                probability.max(1),
                best == label,
                ece=evaluation.network["ece"]["value"],
                before=(uncalibrated.max(1), uncalibrated.argmax(1) == label),
                before_ece=classification.ece(uncalibrated, label),
                baselines={name: (other.max(1), right[name]) for name, other in others.items()},
            ),
            "roc": roc_curves(probability, label, names, baselines=others),
            "sets": prediction_set_sizes(predictions[f"set_{COVERAGES[0]}"], label, nominal=COVERAGES[0] / 100),
            "snr": accuracy_against_snr(
                store.features(["snr"], indices)[:, 0],
                best == label,
                baselines={name: right[name] for name in others},
            ),
            "gallery": class_gallery(colour(store, indices), probability, label, names),
        }


TASK = Morphology
