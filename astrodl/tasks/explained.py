"""Numbers and images of a trained model, as explanations take them."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from astrodl.data.batches import Cutouts, ResidentDataset
from astrodl.errors import ConfigError, DataError
from astrodl.explanation.target import Explained, Inputs
from astrodl.tasks.base import AnyTask
from astrodl.tasks.model import Model

__all__ = ["find_quantity", "n_orientations", "prepare_inputs", "single_view"]


def find_quantity(model: Model, name: str | None = None) -> Explained:
    """Return a predicted number of a model, by default the first that its task declares.

    It is computed from the image in one orientation, in float32, with the unfolded network.

    Raises
    ------
    ConfigError
        The task does not have it.
    DataError
        The network takes no images.
    """
    task = single_view(model.task)
    if not task.context.size or getattr(task.settings, "network", "") == "none":
        raise DataError(f"{task.name}: the network takes no images, and explanations are maps; train one on images")
    known = {quantity.name: quantity for quantity in task.quantities()}
    if not known:
        raise ConfigError(f"task {task.name} declares no number that can be explained; choose another task")
    name = next(iter(known)) if name is None else name
    if name not in known:
        raise ConfigError(f"target '{name}' is not known; accepted by {task.name}: {', '.join(known)}")

    def predict(network: nn.Module, batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        return task.predict_with_gradients(network, batch)

    return Explained(model.network, predict, known[name])


def single_view(task: AnyTask) -> AnyTask:
    """Return the task with predictions from one orientation of the image, in float32."""
    train = task.settings.train.model_copy(update={"precision": "float32"})
    changes = {"train": train} | ({"views": 1} if hasattr(task.settings, "views") else {})
    return type(task)(task.settings.model_copy(update=changes), task.context)


def n_orientations(task: AnyTask) -> int:
    """Return the number of orientations that predictions of a task average."""
    return getattr(task.settings, "views", 1)


def prepare_inputs(model: Model, cutouts: Cutouts) -> Inputs:
    """Return images of cutouts as the network takes them, with their sky and what they are compared with."""
    (batch,) = ResidentDataset(model.task.inputs(cutouts), model.device).in_order(max(1, len(cutouts)))
    sigma = torch.from_numpy(np.require(cutouts.sky_sigma, np.float32, ["C", "W"])).to(model.device)
    with torch.no_grad():
        expected = model.task.expected_image(model.network, batch)
    return Inputs(batch, model.task.sky(batch, sigma), expected)
