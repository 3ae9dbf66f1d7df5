"""Vectors of ordinary training objects, from which distances are measured."""

import torch
from torch import Tensor

from astrodl.data.batches import Batch, Dataset
from astrodl.data.structure import count_numbers, fit_scaling
from astrodl.models.gan import N_COMPONENTS, EncoderGAN
from astrodl.models.neighbours import MAX_REFERENCES, choose_ordinary, fit_components

__all__ = ["fit_references", "measure_distances"]


def fit_references(network: EncoderGAN, train: Dataset, n_bands: int) -> int:
    """Keep the vectors of ordinary training objects in the network; return their number."""
    step = -(-len(train) // MAX_REFERENCES)
    batches = [
        {name: tensor[::step] for name, tensor in batch.items() if name in ("features", "structure")}
        for batch in train.in_order(128 * step)
    ]
    chosen = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    if "structure" in chosen:
        structure = chosen["structure"]
        centre, scale = fit_scaling(structure, count_numbers(n_bands))
        network.structure_centre.copy_(centre)
        network.structure_axes.copy_(fit_components(structure, centre, scale, N_COMPONENTS))
    spaces = _find_spaces(network, chosen)
    kept = choose_ordinary(spaces)
    network.neighbours.fill([vectors[kept] for vectors in spaces])
    network.ellipsoid.fill(spaces[0][kept])
    return len(kept)


def measure_distances(network: EncoderGAN, batch: Batch) -> Tensor:
    """Measure what follows the residual in `settings.PARTS`, without images that of the features, (B, Q)."""
    spaces = _find_spaces(network, batch)
    return torch.cat([network.neighbours(spaces), network.ellipsoid(spaces[0])], dim=1)


def _find_spaces(network: EncoderGAN, batch: Batch) -> list[Tensor]:
    """Return the vectors in which neighbours are sought: features, and components of the structure numbers."""
    if "structure" not in batch:
        return [batch["features"]]
    return [batch["features"], (batch["structure"] - network.structure_centre) @ network.structure_axes]
