"""Start from the weights of another network: what fits is taken over, band by band where the bands differ."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from astrodl.errors import ConfigError
from astrodl.models.blocks import freeze
from astrodl.tasks.base import Task
from astrodl.tasks.model import load_model


def warm_start(task: Task, network: nn.Module) -> dict[str, str]:
    """Take over the weights that the settings name, and freeze what they name; gives provenance for the model file.

    A tensor is taken where name and shape agree. Where the bands differ, the first convolution is rearranged: each band
    gets the weights of the one it is mapped to (`init_bands`, else that of the same name), and a band without
    counterpart the mean over all.

    Raises
    ------
    ConfigError
        Nothing fits, a band is not there, or a part to freeze is not there.
    """
    settings = task.settings
    provenance: dict[str, str] = {}
    if settings.init_from is not None:
        source = load_model(Path(settings.init_from), device="cpu")
        mapping = band_mapping(task.context.bands, source.bands, settings.init_bands, settings.init_from)
        given = source.network.state_dict()
        first = _first_convolution(network)
        if first is not None and first in given and tuple(mapping[band] for band in task.context.bands) != source.bands:
            wanted = network.state_dict()[first].shape[1]
            given[first] = rearranged(given[first], task.context.bands, source.bands, mapping, wanted)
        taken, fresh = take_over(network, given)
        if not taken:
            raise ConfigError(
                f"init_from = {settings.init_from}: no weights of this {source.task.name} network fit; give a model "
                f"with the same tasks.{task.name}.network and widths"
            )
        bands = ", ".join(f"{band} from {theirs or 'the mean'}" for band, theirs in mapping.items())
        print(
            f"{settings.init_from}: {len(taken)} of {len(taken) + len(fresh)} tensors taken over (bands: {bands})"
            + (f"; fresh: {', '.join(fresh)}" if fresh else ""),
            file=sys.stderr,
        )
        provenance = {"init_from": source.metadata.get("fingerprint", ""), "init_bands": bands}
    for part in settings.freeze:
        parts = dict(network.named_modules())
        if part not in parts or not part:
            known = ", ".join(name for name, _ in network.named_children())
            raise ConfigError(
                f"freeze: the network has no part '{part}'; accepted: {known} and their parts; correct it"
            )
        freeze(parts[part])
    return provenance


def band_mapping(
    ours: Sequence[str], theirs: Sequence[str], given: Mapping[str, str], source: str
) -> dict[str, str | None]:
    """Tell for each of our bands which of theirs it takes its weights from; None where there is none.

    Raises
    ------
    ConfigError
        `given` names a band that is not there.
    """
    for own, other in given.items():
        if own not in ours or other not in theirs:
            raise ConfigError(
                f"init_bands: {own}: {other}: this survey has {', '.join(ours)}, {source} has {', '.join(theirs)}; "
                "map bands of this survey to bands of that model"
            )
    return {band: given.get(band, band if band in theirs else None) for band in ours}


def rearranged(
    weight: Tensor, ours: Sequence[str], theirs: Sequence[str], mapping: Mapping[str, str | None], wanted: int
) -> Tensor:
    """Rearrange the input channels of a convolution (out, in, k, k) to our bands: (out, wanted, k, k).

    With more or fewer bands the weights are scaled, so that what comes out keeps its size.
    Channels after the bands (coverage, radius) are taken over in order as far as both have them, else start at zero.
    """
    bands, others = weight[:, : len(theirs)], weight[:, len(theirs) :]
    parts = []
    for band in ours:
        other = mapping[band]
        parts.append(bands.mean(1) if other is None else bands[:, list(theirs).index(other)])
    result = torch.zeros(len(weight), wanted, *weight.shape[2:])
    result[:, : len(ours)] = torch.stack(parts, 1) * len(theirs) / len(ours)
    n_others = min(others.shape[1], wanted - len(ours))
    result[:, len(ours) : len(ours) + n_others] = others[:, :n_others]
    return result


def take_over(network: nn.Module, given: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Copy the tensors that fit by name and shape; gives the names of those that did, and of those that did not."""
    own = network.state_dict()
    taken = [name for name, tensor in own.items() if name in given and given[name].shape == tensor.shape]
    with torch.no_grad():
        for name in taken:
            own[name].copy_(given[name])
    return taken, [name for name in own if name not in taken]


def _first_convolution(network: nn.Module) -> str | None:
    """Name the weights of the convolution that looks at the image."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            return f"{name}.weight"
    return None
