"""The interface of a task: network and losses, predictions, metrics, baselines, catalogue columns, figures."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from astrodl.config import AugmentSettings, TaskSettings
from astrodl.data.augment import degrade, draw_kept_bands, transform_maps
from astrodl.data.batches import Batch, Cutouts, Dataset
from astrodl.device import autocast
from astrodl.errors import ConfigError
from astrodl.explanation.target import Quantity, Sky
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.bands import read_in_bands
from astrodl.tasks.context import Context
from astrodl.tasks.inputs import fill_missing
from astrodl.tasks.metric import Metric, Metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astrodl.tasks.model import Model

__all__ = [
    "AnyTask",
    "Arrays",
    "Context",
    "Evaluation",
    "Task",
    "missing_column",
    "refuse_augmentation",
    "refuse_settings",
]

Arrays = dict[str, np.ndarray]
SettingsT = TypeVar("SettingsT", bound=TaskSettings)
NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True)
class Evaluation:
    """Results on the test split that figures show.

    Attributes
    ----------
    network : dict
        Metrics of the network.
    baselines : dict of dict of arrays
        Predictions of each baseline for the test objects: arrays with at most a few numbers per object.
    models : tuple of Model
        The models that made the predictions, or none where only predictions are at hand.
    """

    network: Metrics
    baselines: dict[str, Arrays]
    models: "tuple[Model, ...]" = ()

    def of(self, name: str) -> dict[str, np.ndarray]:
        """Return one prediction of every baseline that has it."""
        return {baseline: arrays[name] for baseline, arrays in self.baselines.items() if name in arrays}


class Task(ABC, Generic[SettingsT, NetworkT]):
    """One task of the pipeline; a subclass per file.

    A task consists of its settings and a `Context`; it holds no data and no weights. The class attributes below are all
    that the rest of the package, the workflow and the documentation know of a task.
    """

    name: ClassVar[str]
    """Key in the configuration, folder of results, prefix of catalogue columns."""
    title: ClassVar[str]
    """Heading on pages and figures."""
    Settings: ClassVar[type[TaskSettings]] = TaskSettings
    phases: Mapping[str, int] = {"main": 1}
    """Phases of the training loop: number of consecutive updates of each in a cycle."""
    metrics: ClassVar[tuple[Metric, ...]]
    headline: ClassVar[tuple[str, ...]]
    """Metrics of one-line summaries."""
    constant_baselines: ClassVar[tuple[str, ...]] = ()
    """Baselines that predict the same for every object; they are never the best one."""
    priority: ClassVar[int] = 0
    """Workflow priority of its trainings: the longest start first."""
    products: ClassVar[Mapping[str, str]] = {}
    """Files of a survey that the task writes beside the catalogue: name -> title. See `write_product`."""
    page_figures: ClassVar[Mapping[str, str]] = {}
    """Figures that its documentation page shows: name -> caption."""
    draft_columns: ClassVar[tuple[str, ...] | None] = None
    """Kinds of catalogue columns (`z`, `class`) for which `astrodl init` drafts the task; None: never."""
    small: ClassVar[Mapping[str, Any]] = {}
    """Settings of a network small enough for tests."""
    planes: ClassVar[tuple[str, ...]] = ()
    """Optional planes (`variance`, `mask`, `psf`) that `inputs` takes where the store has them."""
    needs_unit: ClassVar[bool] = False
    """Whether a store in another unit than that of the training is refused, and not only warned of."""
    uses_reference: ClassVar[bool] = False
    """Whether `score` needs the training objects, to fit a classifier or a direction."""
    explained_by: ClassVar[tuple[str, ...]] = ("deeplift", "integrated_gradients")
    """Attribution methods by the tables in docs/explain.md, best first; `astrodl explain` takes the first that the
    network allows."""

    def __init__(self, settings: SettingsT, context: Context):
        self.settings = settings
        self.context = context
        self._on_device: dict[tuple[str, torch.device], Tensor] = {}

    @classmethod
    def needs_images(cls) -> bool:
        """Return whether the task cannot run on a survey without images, whatever its settings."""
        return cls.without_images.__func__ is Task.without_images.__func__  # type: ignore[attr-defined]

    @classmethod
    def without_images(cls, settings: Any, n_bands: int) -> Any:
        """Return the settings with which the task runs on a survey of `n_bands` without images.

        Raises
        ------
        ConfigError
            The task, or a setting, needs pixels.
        """
        raise ConfigError(
            f"tasks.{cls.name}: needs pixels, and the survey has no images (data.layout table); remove this task, or "
            "list the others in the survey's `tasks`"
        )

    # -- data ---------------------------------------------------------------------------------------------------------

    @classmethod
    def fit_constants(cls, settings: Any, store: Reader, train: np.ndarray) -> dict[str, Any]:
        """Fit on the training objects the constants of the task; plain values."""
        return {}

    @classmethod
    def missing_truth(cls, settings: Any, store: Reader) -> str | None:
        """Return what the store lacks for training and scoring, or None; an unsupervised task lacks nothing."""
        return None

    @classmethod
    def labelled(cls, settings: Any, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Select the objects that can be trained on and scored; an unsupervised task keeps all."""
        return indices

    @classmethod
    def unlabelled(cls, settings: Any, store: Reader, indices: np.ndarray) -> np.ndarray:
        """Select objects without labels that are trained on with pseudo-labels: none by default."""
        return indices[:0]

    @classmethod
    def models_used(cls, settings: Any) -> tuple[str, ...]:
        """List the model files that a training starts from or learns from."""
        return () if settings.init_from is None else (settings.init_from,)

    def sampling(self, store: Reader, indices: np.ndarray) -> np.ndarray | None:
        """Return the relative frequencies with which training objects are drawn, (n,); None: each once an epoch."""
        return None

    def read(self, store: Reader, indices: np.ndarray) -> Cutouts:
        """Read objects of a store in the bands of the network, with the optional planes of the task."""
        return read_in_bands(store, self.context.bands, indices, self.planes)

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Turn images and measurements into the arrays that the network takes, objects first."""
        arrays = {"image": fill_missing(self.context.normalization.apply(cutouts.images))}
        if self.context.sees_coverage:
            arrays["coverage"] = np.isfinite(cutouts.images).astype(np.float32)
        return arrays

    @property
    def n_channels(self) -> int:
        """Number of maps in `network_input`."""
        return len(self.context.bands) * (2 if self.context.sees_coverage else 1)

    def constant(self, name: str, device: torch.device) -> Tensor:
        """Return a fitted constant as a float32 tensor; it is sent to the device once.

        Sending it for every batch would make the host wait for a GPU.
        """
        if (name, device) not in self._on_device:
            self._on_device[name, device] = torch.tensor(self.context.constants[name], device=device)
        return self._on_device[name, device]

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read the targets of the training, objects first."""
        return {}

    # -- training -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def build(self) -> NetworkT:
        """Make the network, initialised."""

    def parameters(self, network: NetworkT, phase: str) -> Iterable[nn.Parameter]:
        """Return the parameters that a phase updates: by default all that are not frozen."""
        return (parameter for parameter in network.parameters() if parameter.requires_grad)

    def augment(self, batch: Batch) -> Batch:
        """Augment the images of a batch as the section `augment` says; without images nothing changes."""
        if not self.context.size:
            return batch
        chosen: AugmentSettings = self.settings.augment
        batch = degrade(transform_maps(batch, chosen), chosen, self.context.normalization.stretch)
        if not chosen.band_dropout:
            return batch
        bands_with_data = batch.get("coverage", torch.ones_like(batch["image"])).flatten(2).amax(2)
        return self.without_bands(batch, draw_kept_bands(bands_with_data, chosen.band_dropout))

    def without_bands(self, batch: Batch, kept: Tensor) -> Batch:
        """Remove the bands where `kept` (B, bands) is zero, as if they had not been observed."""
        maps = {name: batch[name] for name in ("image", "coverage") if name in batch}
        return {**batch, **{name: tensor * kept[..., None, None].to(tensor.dtype) for name, tensor in maps.items()}}

    def start(self, network: NetworkT, train: Dataset) -> None:
        """Set weights from the training objects before the first update; by default none.

        The weights of `init_from` come after it. Each process of a distributed training does the same.
        """

    @abstractmethod
    def loss(self, network: NetworkT, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a phase and its named terms, after the fraction `done` of all updates."""

    def validate(self, network: NetworkT, batch: Batch) -> dict[str, Tensor]:
        """Return named means over a validation batch; `loss` decides early stopping."""
        loss, terms = self.loss(network, batch, next(iter(self.phases)), 1.0)
        return {"loss": loss, **terms}

    def draw_progress(self, network: NetworkT, held_out: Dataset) -> "Figure | None":
        """Draw what the network makes of held-out objects, from time to time during the training; None for nothing."""
        return None

    def calibrate(self, network: NetworkT, train: Dataset, validation: Dataset | None) -> dict[str, Any]:
        """Fit constants after training, without gradients; they are added to the context.

        Calibration of predictions uses the validation split; `train` serves unsupervised references.
        """
        return {}

    # -- prediction ---------------------------------------------------------------------------------------------------

    def precision(self, like: Tensor) -> AbstractContextManager:
        """Return the autocast of the training on the device of a tensor."""
        return autocast(like.device, self.settings.train.precision)

    @abstractmethod
    def predict(self, network: NetworkT, batch: Batch) -> dict[str, Tensor]:
        """Predict a batch, objects first, in physical units; models are combined by the mean of these arrays."""

    def embed(self, network: NetworkT, batch: Batch) -> Tensor:
        """Return the vector of each object before the head, (B, d), averaged over the views that `predict` averages.

        Raises
        ------
        ConfigError
            The networks of the task make no vectors.
        """
        raise ConfigError(f"task {self.name}: its networks make no vectors; give a model of another task")

    def finish(self, predictions: Arrays) -> Arrays:
        """Derive point estimates and intervals from the averaged predictions."""
        return predictions

    @abstractmethod
    def columns(self, predictions: Arrays) -> list[Column]:
        """Return the columns of the value-added catalogue."""

    def write_product(self, name: str, path: Path, store: Reader, blocks: Iterator[tuple[np.ndarray, Arrays]]) -> None:
        """Write one of `products`.

        Parameters
        ----------
        name : str
            Key of `products`.
        path : Path
            File to write, atomically.
        store : Reader
            The store that was predicted.
        blocks : iterator of (array, dict of arrays)
            Identifiers and predictions of consecutive objects, from the first of the store to the last.
        """
        raise NotImplementedError(f"task {self.name} does not write {name}")

    # -- explanation --------------------------------------------------------------------------------------------------

    def quantities(self) -> tuple[Quantity, ...]:
        """Return the predicted numbers that `astrodl explain` can explain, the default first."""
        return ()

    def predict_with_gradients(self, network: NetworkT, batch: Batch) -> dict[str, Tensor]:
        """Predict a batch as `predict` does, so that gradients reach the image."""
        return self.predict(network, batch)

    def expected_image(self, network: NetworkT, batch: Batch) -> Tensor | None:
        """Return the noise-free images (B, bands, y, x) that images are compared with, or None for empty sky."""
        return None

    def sky(self, batch: Batch, sky_sigma: Tensor) -> Sky:
        """Return the noise of the sky in the images of a batch, from that of the cutouts (B, bands)."""
        softening = sky_sigma.new_tensor(self.context.normalization.softening)
        sigma = torch.where((sky_sigma > 0) & sky_sigma.isfinite(), sky_sigma, softening) / softening
        known = batch["coverage"] > 0 if "coverage" in batch else batch["image"] != 0
        return Sky(sigma[..., None, None], self.context.normalization.stretch, known)

    # -- evaluation ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        """Read the truth that metrics and figures need."""

    def describe_metrics(self) -> tuple[Metric, ...]:
        """Return the metrics that `score` may give: `metrics`, unless they depend on the settings."""
        return self.metrics

    @abstractmethod
    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        """Compute the metrics of test predictions.

        Parameters
        ----------
        predictions, truth : dict of arrays
            Of the same test objects.
        reference : dict of arrays
            Predictions of the labelled training objects, and their truth with the prefix ``truth_``, for metrics that
            first fit a classifier or a direction.
        """

    @abstractmethod
    def baselines(
        self, train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
    ) -> dict[str, tuple[Arrays, Arrays]]:
        """Fit the baselines on training objects; they are of the store of the test objects, or of another survey.

        Parameters
        ----------
        train_store, train : Reader, array
            Labelled training objects.
        test_store, test : Reader, array
            Objects to predict.

        Returns
        -------
        dict
            Predictions of each baseline for the test and, where `score` needs it, the training objects.
        """

    @abstractmethod
    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
    ) -> "dict[str, Figure]":
        """Draw the diagnostic figures of the test objects, by name."""


AnyTask = Task[Any, Any]


def refuse_settings(task: str, settings: TaskSettings, names: Iterable[str]) -> None:
    """Check that no setting is given that has a meaning for images alone, where there are none.

    Raises
    ------
    ConfigError
        One is.
    """
    for name in names:
        if name in settings.model_fields_set:
            raise ConfigError(
                f"tasks.{task}.{name}: belongs to images, and the survey has none (data.layout table); leave it out"
            )


def refuse_augmentation(task: str, settings: TaskSettings) -> None:
    """Check that no augmentation of images is asked for, where there are none.

    Raises
    ------
    ConfigError
        One is.
    """
    for name, value in settings.augment:
        if name in settings.augment.model_fields_set and value:
            raise ConfigError(
                f"tasks.{task}.augment.{name}: changes images, and the survey has none (data.layout table); remove it"
            )


def missing_column(store: Reader, task: str, name: str) -> str | None:
    """Return a message that a column is missing, which exist, and what to do; None where it exists."""
    if store.has_column(name):
        return None
    return (
        f"{store.path}: task {task} needs the column '{name}' (has {', '.join(store.column_names) or 'none'}); "
        f"keep it with data.columns and ingest again, or leave out tasks.{task}"
    )
