"""What every task is: a network with losses, predictions, metrics, baselines, columns and figures."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from astrodl.config import AugmentSettings, TaskSettings
from astrodl.data.augment import degraded, moved, spared
from astrodl.data.batches import Batch, Cutouts, Resident
from astrodl.data.normalize import Normalization
from astrodl.metrics.bootstrap import bootstrap
from astrodl.photometry.measure import photometric_features, structural_features
from astrodl.products import Column
from astrodl.store import Reader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Arrays = dict[str, np.ndarray]
Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Context:
    """What a trained network must remember of the data it was trained on; plain values, saved with the model.

    Attributes
    ----------
    survey, unit, bands, size, pixel_scale_arcsec
        As in the store.
    normalization : Normalization
        Fitted on the training split.
    constants : dict
        What the task itself fitted on the training split: classes, bin edges, feature means, temperatures.
    sees_coverage : bool
        Whether image networks also see which pixels of each band have data: where training objects have gaps.
    """

    survey: str
    unit: str
    bands: tuple[str, ...]
    size: int
    pixel_scale_arcsec: float
    normalization: Normalization
    constants: dict[str, Any] = field(default_factory=dict)
    sees_coverage: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Context":
        """Rebuild from `to_dict`."""
        plain = dict(values)
        plain["bands"] = tuple(plain["bands"])
        plain["normalization"] = Normalization.from_dict(plain["normalization"])
        return cls(**plain)


@dataclass(frozen=True)
class Report:
    """What was measured, for figures that show it.

    Attributes
    ----------
    network : dict
        Metrics of the network.
    rivals : dict of dict of arrays
        What each baseline predicted for the test objects, as far as it is a number or a few per object.
    """

    network: Metrics
    rivals: dict[str, Arrays]

    def of(self, name: str) -> dict[str, np.ndarray]:
        """Give one prediction of every baseline that has it."""
        return {rival: arrays[name] for rival, arrays in self.rivals.items() if name in arrays}


class Task(ABC):
    """One job of the pipeline; a subclass per file.

    A task is made of its settings and a `Context`; it holds no data and no weights.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    Settings: ClassVar[type[TaskSettings]] = TaskSettings
    phases: Mapping[str, int] = {"main": 1}
    metric_names: ClassVar[tuple[str, ...]]
    uses_reference: ClassVar[bool] = False
    """Whether `score` needs the training objects (to fit a classifier or a direction)."""
    headline: ClassVar[tuple[str, ...]]
    """Metrics that stand in one-line summaries."""

    def __init__(self, settings: TaskSettings, context: Context):
        self.settings: Any = settings
        self.context = context
        self._on_device: dict[tuple[str, torch.device], Tensor] = {}

    # -- data ---------------------------------------------------------------------------------------------------------

    @classmethod
    def fit_constants(cls, settings: Any, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fit on the training objects what the task needs beside the normalisation; plain values."""
        return {}

    @classmethod
    def missing_truth(cls, settings: Any, store: Reader) -> str | None:
        """Say what the store lacks for training and scoring, or None; an unsupervised task lacks nothing."""
        return None

    @classmethod
    def labelled(cls, settings: Any, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Keep the objects that can be trained on and scored; an unsupervised task keeps all."""
        return indices

    @classmethod
    def unlabelled(cls, settings: Any, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Give objects without truth that are trained on as well, with a truth that is guessed: none, by default."""
        return indices[:0]

    @classmethod
    def models_used(cls, settings: Any) -> tuple[str, ...]:
        """List the model files that a training starts from or learns from."""
        return () if settings.init_from is None else (settings.init_from,)

    def sampling(self, store: Reader, indices: np.ndarray) -> np.ndarray | None:
        """Give the relative frequencies with which training objects are drawn, (n,); None: each once an epoch."""
        return None

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Turn images and measurements into what the network eats, objects first."""
        arrays = {"image": filled(self.context.normalization.apply(cutouts.images))}
        if self.context.sees_coverage:
            arrays["coverage"] = np.isfinite(cutouts.images).astype(np.float32)
        return arrays

    @property
    def n_channels(self) -> int:
        """Number of maps that `seen` gives."""
        return len(self.context.bands) * (2 if self.context.sees_coverage else 1)

    def constant(self, name: str, device: torch.device) -> Tensor:
        """Give numbers that were fitted before training as a float32 tensor, sent to the device once.

        Sending them anew for every batch would make the host wait for a GPU.
        """
        if (name, device) not in self._on_device:
            self._on_device[name, device] = torch.tensor(self.context.constants[name], device=device)
        return self._on_device[name, device]

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read what the network is trained towards, objects first."""
        return {}

    # -- training -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def build(self) -> nn.Module:
        """Make the network, initialised."""

    def parameters(self, network: nn.Module, phase: str) -> Iterable[nn.Parameter]:
        """Give the parameters that a phase updates: all that are not frozen, by default."""
        return (parameter for parameter in network.parameters() if parameter.requires_grad)

    def augment(self, batch: Batch) -> Batch:
        """Change the images of a batch at random, as the section `augment` says."""
        chosen: AugmentSettings = self.settings.augment
        batch = degraded(moved(batch, chosen), chosen, self.context.normalization.stretch)
        if not chosen.band_dropout:
            return batch
        seen_bands = batch.get("coverage", torch.ones_like(batch["image"])).flatten(2).amax(2)
        return self.without_bands(batch, spared(seen_bands, chosen.band_dropout))

    def without_bands(self, batch: Batch, kept: Tensor) -> Batch:
        """Take away the bands where `kept` (B, bands) is zero, as if they had not been observed."""
        maps = {name: batch[name] for name in ("image", "coverage") if name in batch}
        return {**batch, **{name: tensor * kept[..., None, None].to(tensor.dtype) for name, tensor in maps.items()}}

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss of a phase and its named terms, after the fraction `done` of all updates."""

    def validate(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Give named means over a validation batch; `loss` decides early stopping."""
        loss, terms = self.loss(network, batch, next(iter(self.phases)), 1.0)
        return {"loss": loss, **terms}

    def calibrate(self, network: nn.Module, train: Resident, validation: Resident | None) -> dict[str, Any]:
        """Fit constants after training, without gradients; they are added to the context.

        What must hold for unseen objects is fitted on the validation split; `train` serves unsupervised references.
        """
        return {}

    # -- prediction ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def predict(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Predict a batch, objects first, in physical units; the mean of these over models is meaningful."""

    def finish(self, predictions: Arrays) -> Arrays:
        """Derive point estimates and intervals from the averaged predictions."""
        return predictions

    @abstractmethod
    def columns(self, predictions: Arrays) -> list[Column]:
        """Give the task's columns of the value-added catalogue."""

    # -- evaluation ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read the truth that metrics and figures need."""

    @abstractmethod
    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Compute the metrics of test predictions.

        Parameters
        ----------
        predictions, truth : dict of arrays
            Of the same test objects.
        reference : dict of arrays
            `predictions` and `truth` of the labelled training objects, keys prefixed by ``truth_`` for the latter;
            for metrics that fit a classifier or a direction first (never on the test objects).
        """

    @abstractmethod
    def baselines(self, store: Reader, train: np.ndarray, test: np.ndarray) -> dict[str, tuple[Arrays, Arrays]]:
        """Give the rivals' predictions of the test objects and, where `score` needs them, of the training objects."""

    @abstractmethod
    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, report: Report
    ) -> "dict[str, Figure]":
        """Draw the diagnostic figures of the test objects, by name."""


def scale_free_features(names: Sequence[str]) -> tuple[str, ...]:
    """Pick magnitudes, colours and structure; raw fluxes span too many decades for distances and networks."""
    return (*photometric_features(names), *structural_features(names))


def filled(images: np.ndarray) -> np.ndarray:
    """Replace missing pixels of normalised images by zero, the sky level."""
    return np.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32, copy=False)


def seen(batch: Batch) -> Tensor:
    """Give what an image network looks at: the bands, and which of their pixels have data if that varies."""
    return torch.cat([batch["image"], batch["coverage"]], 1) if "coverage" in batch else batch["image"]


def picked(features: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Pick columns of features; NaN for those that a survey does not have (Galactic reddening, say)."""
    found = np.full((len(features), len(columns)), np.nan, np.float32)
    there = [number for number, column in enumerate(columns) if column < features.shape[1]]
    found[:, there] = features[:, [columns[number] for number in there]]
    return found


def present(images: np.ndarray) -> np.ndarray:
    """Tell which bands of which objects were observed at all: (N, bands) float32 of 0 and 1."""
    return np.isfinite(images).any((-2, -1)).astype(np.float32)


def measured(statistics: Mapping[str, Any], *arrays: np.ndarray) -> Metrics:
    """Bootstrap each statistic over the objects of `arrays`; errors are bootstrap standard errors."""
    metrics: Metrics = {}
    for name, statistic in statistics.items():
        value, error = bootstrap(statistic, *arrays)
        metrics[name] = {"value": float(value), "error": float(error)}
    return metrics


def missing_column(store: Reader, task: str, name: str) -> str | None:
    """Say that a column is missing, which exist, and what to do; None where it is there."""
    if store.has_column(name):
        return None
    return (
        f"{store.path}: task {task} needs the column '{name}' (has {', '.join(store.column_names) or 'none'}); "
        f"keep it with data.columns and ingest again, or leave out tasks.{task}"
    )


def standardize(features: np.ndarray, mean: Sequence[float], scale: Sequence[float]) -> np.ndarray:
    """Standardise features; what could not be measured becomes the mean, and an extra 0/1 column per feature says so.

    Only features that were missing somewhere in the training split would need the extra column; one per feature keeps
    the network independent of what happened to be missing.
    """
    scaled = (features - np.asarray(mean, np.float32)) / np.asarray(scale, np.float32)
    known = np.isfinite(scaled)
    return np.concatenate([np.where(known, scaled, 0.0).clip(-5, 5), ~known], axis=1).astype(np.float32)


def moments(features: np.ndarray) -> dict[str, list[float]]:
    """Give robust location and scale (median, half of the 16-84 % range) of each feature for `standardize`."""
    known = np.where(np.isfinite(features), features, np.nan)
    empty = ~np.isfinite(known).any(0)
    known[:, empty] = 0.0
    low, middle, high = np.nanpercentile(known, [16, 50, 84], axis=0)
    return {"mean": middle.tolist(), "scale": np.maximum((high - low) / 2, 1e-3).tolist()}
