"""Vectors of ordinary training objects, from which distances are measured."""

from collections.abc import Mapping

import torch
from torch import Tensor

from astrodl.data.batches import Batch, Dataset
from astrodl.data.structure import count_numbers, fit_scaling
from astrodl.models.flow import fit_flow
from astrodl.models.gan import N_COMPONENTS, EncoderGAN
from astrodl.models.neighbours import MAX_REFERENCES, choose_ordinary, fit_components
from astrodl.tasks.outliers.representation import Representation

__all__ = ["fit_references", "measure_distances"]

_SPACES = ("features", "structure", "vector", "code")


def fit_references(network: EncoderGAN, train: Dataset, n_bands: int, representation: Representation | None) -> int:
    """Keep the vectors of ordinary training objects in the network; return their number."""
    step = -(-len(train) // MAX_REFERENCES)
    thinned = ({name: tensor[::step] for name, tensor in batch.items()} for batch in train.in_order(128 * step))
    batches = [_select(network, batch, representation) for batch in thinned]
    chosen = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    if "structure" in chosen:
        structure = chosen["structure"]
        centre, scale = fit_scaling(structure, count_numbers(n_bands))
        network.structure_centre.copy_(centre)
        network.structure_axes.copy_(fit_components(structure, centre, scale, N_COMPONENTS))
    spaces = _find_spaces(network, chosen)
    kept = choose_ordinary(_measured(spaces))
    spaces = {name: vectors[kept] for name, vectors in spaces.items()}
    network.neighbours.fill(list(spaces.values()))
    network.ellipsoid.fill(spaces["features"])
    if network.flow is not None:
        fit_flow(network.flow, torch.cat(_measured(spaces), 1))
    return len(kept)


def measure_distances(network: EncoderGAN, batch: Batch, representation: Representation | None) -> Tensor:
    """Measure what follows the residual in `settings.PARTS`, as far as there is a space for it, (B, Q)."""
    spaces = _find_spaces(network, _select(network, batch, representation))
    measured = [network.neighbours(list(spaces.values())), network.ellipsoid(spaces["features"])]
    if network.flow is not None:
        measured.append(-network.flow(torch.cat(_measured(spaces), 1))[:, None])
    return torch.cat(measured, dim=1)


def _select(network: EncoderGAN, batch: Batch, representation: Representation | None) -> Batch:
    """Return what the spaces are made of."""
    if representation is not None:
        assert network.representation is not None
        batch = representation.add_vectors(network.representation, batch)
    if "structure" in batch:  # there are images
        batch = {**batch, "code": network.encoder(batch["image"]).float()}
    return {name: batch[name] for name in _SPACES if name in batch}


def _measured(spaces: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the vectors of all spaces but that of the code, which has no say in what is ordinary."""
    return [vectors for name, vectors in spaces.items() if name != "code"]


def _find_spaces(network: EncoderGAN, batch: Batch) -> dict[str, Tensor]:
    """Return the vectors in which neighbours are sought: features, components of the structure, other vectors, code."""
    spaces = dict(batch)
    if "structure" in batch:
        spaces["structure"] = (batch["structure"] - network.structure_centre) @ network.structure_axes
    return {name: spaces[name] for name in _SPACES if name in spaces}
