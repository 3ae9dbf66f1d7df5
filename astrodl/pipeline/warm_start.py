"""Start from the weights of another model, band by band where the bands differ."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from astrodl.errors import ConfigError
from astrodl.models.blocks import ImageNetwork, freeze
from astrodl.pipeline.suitability import SCALE_TOLERANCE
from astrodl.tasks.base import AnyTask
from astrodl.tasks.model import load_model

__all__ = ["align_image_networks", "map_bands", "rearrange_bands", "warm_start"]


def warm_start(task: AnyTask, network: nn.Module) -> dict[str, str]:
    """Load the weights of `init_from` and freeze the parts in `freeze`; return provenance for the model file.

    Tensors with the same name and shape are copied. The image networks of the two correspond, wherever they are. Where
    the bands differ, or one network alone sees which pixels have data, the first convolution is rearranged: each band
    gets the weights of the band it is mapped to (`init_bands`, else that of the same name), and a band without
    counterpart gets the mean over all bands.

    Raises
    ------
    ConfigError
        No tensor fits, or a band or a part to freeze does not exist.
    """
    settings = task.settings
    provenance: dict[str, str] = {}
    if settings.init_from is not None:
        source = load_model(Path(settings.init_from), device="cpu")
        bands = task.context.bands
        _warn_of_differences(task, source.task, settings.init_from)
        mapping = map_bands(bands, source.bands, settings.init_bands, settings.init_from)
        weights = align_image_networks(network, source.network)
        first = _first_convolution(network)
        if first is not None and first in weights:
            n_channels = network.state_dict()[first].shape[1]
            if tuple(mapping[band] for band in bands) != source.bands or weights[first].shape[1] != n_channels:
                weights[first] = rearrange_bands(weights[first], bands, source.bands, mapping, n_channels)
        copied, missing = _copy_weights(network, weights)
        if not copied:
            raise ConfigError(
                f"init_from = {settings.init_from}: no weights of this {source.task.name} network fit; give a model "
                f"with the same tasks.{task.name}.network and widths"
            )
        mapped = ", ".join(f"{band} from {other or 'the mean'}" for band, other in mapping.items())
        print(
            f"{settings.init_from}: {len(copied)} of {len(copied) + len(missing)} tensors copied (bands: {mapped})"
            + (f"; initialised anew: {', '.join(missing)}" if missing else ""),
            file=sys.stderr,
        )
        provenance = {"init_from": source.metadata.get("fingerprint", ""), "init_bands": mapped}
    for part in settings.freeze:
        parts = dict(network.named_modules())
        if part not in parts or not part:
            known = ", ".join(name for name, _ in network.named_children())
            raise ConfigError(
                f"freeze: the network has no part '{part}'; accepted: {known} and their parts; correct it"
            )
        freeze(parts[part])
    return provenance


def _warn_of_differences(task: AnyTask, source: AnyTask, path: str) -> None:
    """Say where the weights were trained on images of another unit or pixel scale, or with other classes."""
    here, there = task.context, source.context
    differences = [f"unit {there.unit}, here {here.unit}"] if here.unit != there.unit else []
    scales = there.pixel_scale_arcsec, here.pixel_scale_arcsec
    if all(scales) and abs(scales[0] / scales[1] - 1) > SCALE_TOLERANCE:
        differences.append("{:.3f} arcsec per pixel, here {:.3f}".format(*scales))
    classes = [context.constants.get("classes", []) for context in (there, here)]
    if all(classes) and classes[0] != classes[1]:
        differences.append(f"classes {', '.join(classes[0])}, here {', '.join(classes[1])}")
    if differences:
        print(f"{path}: trained with other images ({'; '.join(differences)})", file=sys.stderr)


def map_bands(
    bands: Sequence[str], source_bands: Sequence[str], init_bands: Mapping[str, str], source: str
) -> dict[str, str | None]:
    """Map each band to the band of the other model whose weights it gets; None where there is none.

    Raises
    ------
    ConfigError
        `init_bands` names a band that does not exist.
    """
    for band, other in init_bands.items():
        if band not in bands or other not in source_bands:
            raise ConfigError(
                f"init_bands: {band}: {other}: this survey has {', '.join(bands)}, {source} has "
                f"{', '.join(source_bands)}; map bands of this survey to bands of that model"
            )
    return {band: init_bands.get(band, band if band in source_bands else None) for band in bands}


def rearrange_bands(
    weight: Tensor,
    bands: Sequence[str],
    source_bands: Sequence[str],
    mapping: Mapping[str, str | None],
    n_channels: int,
) -> Tensor:
    """Rearrange the input channels of a convolution (out, in, k, k) to other bands: (out, n_channels, k, k).

    The weights are scaled by the ratio of the numbers of bands, so that the output keeps its size. Channels after the
    bands (coverage, radius) are copied in order where both networks have them, and start at zero otherwise.
    """
    of_bands, others = weight[:, : len(source_bands)], weight[:, len(source_bands) :]
    parts = []
    for band in bands:
        other = mapping[band]
        parts.append(of_bands.mean(1) if other is None else of_bands[:, list(source_bands).index(other)])
    result = torch.zeros(len(weight), n_channels, *weight.shape[2:])
    result[:, : len(bands)] = torch.stack(parts, 1) * len(source_bands) / len(bands)
    n_others = min(others.shape[1], n_channels - len(bands))
    result[:, len(bands) : len(bands) + n_others] = others[:, :n_others]
    return result


def align_image_networks(network: nn.Module, source: nn.Module) -> dict[str, Tensor]:
    """Return the weights of `source`, where those of its image network have the names that they have in `network`.

    An image network is the outermost `ImageNetwork`: the part `trunk` of one network may be in an encoder in another.
    """
    weights = dict(source.state_dict())
    here, there = (_find_image_network(one) for one in (network, source))
    if here is None or there is None or here == there:
        return weights
    moved = {
        here + name.removeprefix(there): weights.pop(name) for name in list(weights) if name.startswith(f"{there}.")
    }
    return weights | moved


def _find_image_network(network: nn.Module) -> str | None:
    return next((name for name, part in network.named_modules() if name and isinstance(part, ImageNetwork)), None)


def _copy_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Copy the tensors with equal name and shape; return the names of those copied and of the others."""
    own = network.state_dict()
    copied = [name for name, tensor in own.items() if name in weights and weights[name].shape == tensor.shape]
    with torch.no_grad():
        for name in copied:
            own[name].copy_(weights[name])
    return copied, [name for name in own if name not in copied]


def _first_convolution(network: nn.Module) -> str | None:
    """Return the name of the weights of the first convolution."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            return f"{name}.weight"
    return None
