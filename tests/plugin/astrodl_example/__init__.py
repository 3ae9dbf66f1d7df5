"""A task of another package: the magnitude of a galaxy from its image."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from astrodl.atomic import write_text
from astrodl.config import TaskSettings
from astrodl.data.batches import Batch
from astrodl.products import Column
from astrodl.store import Reader
from astrodl.tasks.base import Arrays, Evaluation, Task, missing_column
from astrodl.tasks.inputs import network_input
from astrodl.tasks.metric import Metric, Metrics, bootstrap_metrics
from astrodl_example.network import build


class BrightnessSettings(TaskSettings):
    """Magnitudes from images."""

    target: str = "magnitude"
    """Column with the magnitude."""


class Brightness(Task[BrightnessSettings, nn.Sequential]):
    """Magnitude by regression."""

    name = "brightness"
    title = "Magnitudes"
    Settings = BrightnessSettings
    metrics = (Metric("rmse", "low", "RMSE (mag)"), Metric("bias", 0.0))
    headline = ("rmse",)
    constant_baselines = ("mean",)
    priority = 3
    products: ClassVar = {"brightest.txt": "identifier of the brightest galaxy"}

    @classmethod
    def missing_truth(cls, settings: BrightnessSettings, store: Reader) -> str | None:
        return missing_column(store, cls.name, settings.target)

    def targets(self, store: Reader, indices: np.ndarray) -> Arrays:
        return {"magnitude": self.truth(store, indices)["magnitude"].astype(np.float32)}

    def build(self) -> nn.Sequential:
        trunk = build(self.n_channels, self.context.size)
        return nn.Sequential(trunk, nn.Linear(trunk.out_features, 1))

    def loss(self, network: nn.Sequential, batch: Batch, phase: str, done: float) -> tuple[Tensor, dict[str, Tensor]]:
        return (self._magnitude(network, batch) - batch["magnitude"]).square().mean(), {}

    def _magnitude(self, network: nn.Sequential, batch: Batch) -> Tensor:
        return 20 + network(network_input(batch)).float()[:, 0]

    def predict(self, network: nn.Sequential, batch: Batch) -> dict[str, Tensor]:
        return {"magnitude": self._magnitude(network, batch)}

    def columns(self, predictions: Arrays) -> list[Column]:
        return [Column("brightness_magnitude", predictions["magnitude"], "mag", "predicted magnitude", "phot.mag")]

    def write_product(self, name: str, path: Path, store: Reader, blocks: Iterator[tuple[np.ndarray, Arrays]]) -> None:
        pairs = (zip(arrays["magnitude"], names, strict=True) for names, arrays in blocks)
        best = min((float(magnitude), str(name)) for pair in pairs for magnitude, name in pair)
        write_text(path, best[1])

    def truth(self, store: Reader, indices: np.ndarray) -> Arrays:
        return {"magnitude": store.column(self.settings.target, indices).astype(float)}

    def score(self, predictions: Arrays, truth: Arrays, reference: Arrays) -> Metrics:
        statistics = {"rmse": lambda e: np.sqrt(np.mean(e**2)), "bias": np.mean}
        return bootstrap_metrics(statistics, predictions["magnitude"] - truth["magnitude"])

    def baselines(
        self, train_store: Reader, train: np.ndarray, test_store: Reader, test: np.ndarray
    ) -> dict[str, tuple[Arrays, Arrays]]:
        mean = self.truth(train_store, train)["magnitude"].mean()
        return {"mean": ({"magnitude": np.full(len(test), mean)}, {})}

    def figures(
        self, store: Reader, indices: np.ndarray, predictions: Arrays, truth: Arrays, evaluation: Evaluation
    ) -> "dict[str, Any]":
        figure = Figure()
        figure.subplots().plot(truth["magnitude"], predictions["magnitude"], ".")
        return {"scatter": figure}
