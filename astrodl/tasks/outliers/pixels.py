"""What of the score depends on the pixels."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from astrodl.data.batches import Batch
from astrodl.data.normalize import Normalization
from astrodl.data.structure import measure_structure
from astrodl.data.views import SOFTENING, canonicalize
from astrodl.explanation.target import Quantity
from astrodl.tasks.outliers.settings import PARTS, PARTS_OF_IMAGES, Part

__all__ = ["make_quantities", "structure_of_images"]


def structure_of_images(batch: Batch, normalization: Normalization, units: Sequence[float] | None) -> Tensor:
    """Measure the structure numbers of the images of a batch, with gradients; they are in units of the softening."""
    softening = batch["sky"].new_tensor(normalization.softening)
    linear = (batch["image"] * normalization.stretch).sinh() * softening[:, None, None]
    views, _ = canonicalize(linear, batch["sky"] * softening, units=units)
    return torch.cat(list(measure_structure(torch.arcsinh(views / SOFTENING)).values()), 1)


def make_quantities(parts: Sequence[Part], weights: np.ndarray) -> tuple[Quantity, ...]:
    """Return the parts that depend on the pixels, and the score.

    The residual is the first: it depends on the weights of the network, and is a part of the score by default.
    """
    counted = torch.from_numpy(weights)

    def part(i: int) -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
        return lambda predicted, fixed: predicted["parts"][:, i]

    seen = {i: name for i, name in enumerate(parts) if name in ("residual", "flow", *PARTS_OF_IMAGES)}
    of_parts = [Quantity(name, "nats", f"surprise of the {PARTS[name]}", part(i)) for i, name in seen.items()]
    if not any(weights[i] for i in seen):
        return tuple(of_parts)  # measurements are no function of the image here
    score = Quantity("score", "nats", "outlier score", lambda p, fixed: p["parts"] @ counted.to(p["parts"]))
    return *of_parts, score
