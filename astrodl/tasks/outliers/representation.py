"""Vectors of another model as a space in which neighbours are sought."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from astrodl import tasks
from astrodl.config import parse
from astrodl.data.batches import Batch, Cutouts
from astrodl.errors import ConfigError
from astrodl.store import Reader
from astrodl.tasks.base import AnyTask, Arrays
from astrodl.tasks.context import Context
from astrodl.tasks.model import load_model

__all__ = ["Representation", "describe_model", "leave_out_inputs"]

_PREFIX = "representation_"


def describe_model(path: str, store: Reader) -> dict[str, Any]:
    """Describe a model whose vectors are used, in plain values that `Representation` rebuilds it from.

    Raises
    ------
    ConfigError
        It is of other images than those of the store, or makes no vectors.
    """
    model = load_model(Path(path), device="cpu")
    context, setting = model.task.context, f"tasks.outliers.representation = {path}"
    for name, there, here in (
        ("bands", ", ".join(context.bands), ", ".join(store.bands)),
        ("unit", context.unit, store.unit),
        ("size", context.size, store.size),
    ):
        if there != here:
            raise ConfigError(f"{setting}: is of {name} {there}, {store.path} has {here}; give a model of this survey")
    if model.task.planes:
        raise ConfigError(f"{setting}: a model of task {model.task.name} needs more than images; give a latent map")
    return {
        "task": model.task.name,
        "settings": model.task.settings.model_dump(mode="json"),
        "context": context.to_dict(),
        "fingerprint": model.metadata["fingerprint"],
        "dimensions": model.embed(model.task.read(store, store.select("train")[:2])).shape[1],
    }


class Representation:
    """Task of the model that was described: inputs and vectors.

    Parameters
    ----------
    described
        Result of `describe_model`.
    """

    def __init__(self, described: Mapping[str, Any]):
        task_class = tasks.get(described["task"])
        context = Context.from_dict(described["context"])
        self.task: AnyTask = task_class(parse(task_class.Settings, described["settings"]), context)
        self.dimensions: int = described["dimensions"]
        self._fingerprint: str = described["fingerprint"]

    def inputs(self, cutouts: Cutouts) -> Arrays:
        """Return the inputs of its network, under names of their own."""
        return {f"{_PREFIX}{name}": array for name, array in self.task.inputs(cutouts).items()}

    def fill(self, network: nn.Module, path: str) -> None:
        """Take the weights from the file.

        Raises
        ------
        ConfigError
            The file has been replaced during the training.
        """
        model = load_model(Path(path), device="cpu")
        if model.metadata["fingerprint"] != self._fingerprint:
            raise ConfigError(f"tasks.outliers.representation = {path}: has been replaced; train again")
        network.load_state_dict(model.network.state_dict())

    def add_vectors(self, network: nn.Module, batch: Batch) -> Batch:
        """Return a batch with the vectors, (B, D), in place of the inputs of the network."""
        chosen = {name.removeprefix(_PREFIX): batch[name] for name in batch if name.startswith(_PREFIX)}
        with torch.no_grad():
            vectors: Tensor = self.task.embed(network, chosen)
        return {**leave_out_inputs(batch), "vector": vectors.float()}


def leave_out_inputs(batch: Batch) -> Batch:
    """Return a batch without the inputs of the network of a `Representation`."""
    return {name: batch[name] for name in batch if not name.startswith(_PREFIX)}
