"""The file of a model: one safetensors file with JSON metadata and a checksum."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple, NoReturn

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

import astrodl
from astrodl import tasks
from astrodl.atomic import replacing
from astrodl.config import parse
from astrodl.errors import AstrodlError, DataError, StoreError
from astrodl.tasks.base import AnyTask
from astrodl.tasks.context import Context, explain, parse_json

__all__ = ["ModelFile", "fill", "read_model_file", "write_model_file"]

FORMAT = "astrodl-model"
FORMAT_VERSION = 3
_OWN = ("format", "format_version", "task", "settings", "context", "checksum")


class _Metadata(BaseModel):
    """Metadata that every model has; further entries tell where it comes from."""

    model_config = ConfigDict(extra="allow")

    task: str
    settings: str
    context: str
    fold: Annotated[str, Field(pattern=r"^\d{1,6}$")] = "0"
    checksum: str | None = None


class ModelFile(NamedTuple):
    """Content of a model file."""

    task: AnyTask
    weights: dict[str, Tensor]
    metadata: dict[str, str]
    """Provenance; `fingerprint` identifies the training, or where it is unknown the content."""
    has_checksum: bool


def write_model_file(path: Path, task: AnyTask, network: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write weights and metadata, atomically.

    Raises
    ------
    DataError
        A constant or a weight is not finite, so that the file could not be read.
    """
    described = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "task": task.name,
        "settings": json.dumps(task.settings.model_dump(mode="json"), sort_keys=True),
        "context": json.dumps(task.context.to_dict(), sort_keys=True),
        "astrodl_version": astrodl.__version__,
        "torch_version": torch.__version__,
        **metadata,
    }
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    try:
        Context.from_json(described["context"])
    except ValueError as error:
        raise DataError(f"{path}: {error}; check the training and validation objects, and train again") from None
    if wrong := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise DataError(f"{path}: weights '{wrong[0]}' are not finite; lower train.learning_rate and train again")
    described["checksum"] = _digest(described, weights)
    with replacing(path) as temporary:  # not `save_file`, whose file only its owner can read
        temporary.write_bytes(save(weights, described))


def read_model_file(path: Path) -> ModelFile:
    """Read and check a model file.

    Raises
    ------
    StoreError
        The file is missing, damaged or altered, or not an astrodl model.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file; give a model.safetensors written by 'astrodl train'")
    try:
        with safe_open(path, "pt") as file:
            found = dict(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except PermissionError:
        raise
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: not a readable safetensors file ({error}); train again") from None
    if found.get("format") != FORMAT or found.get("format_version") != str(FORMAT_VERSION):
        kind = f"{found.get('format', 'no format')} {found.get('format_version', '')}".strip()
        raise StoreError(
            f"{path}: holds {kind}, this version reads {FORMAT} {FORMAT_VERSION}; train again, or use another astrodl"
        )
    digest = _digest(found, weights)
    if found.get("checksum", digest) != digest:
        _refuse(path, "its content differs from its checksum")
    try:
        metadata = _Metadata.model_validate(found)
        context = Context.from_json(metadata.context)
        settings = parse_json(metadata.settings)
    except ValidationError as error:
        _refuse(path, explain(error))
    except ValueError as error:
        _refuse(path, str(error))
    try:
        task_class = tasks.get(metadata.task)
    except AstrodlError as error:
        raise StoreError(f"{path}: {error}") from None
    task = task_class(parse(task_class.Settings, settings, str(path)), context)
    provenance = {name: value for name, value in found.items() if name not in _OWN}
    return ModelFile(task, weights, {"fingerprint": digest, **provenance}, metadata.checksum is not None)


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a network after a check of their names, shapes, types and values.

    Raises
    ------
    StoreError
        They are not those of this network, or not finite.
    """
    own = network.state_dict()
    if different := sorted(own.keys() ^ weights.keys()):
        has, lacks = ("network", "file") if different[0] in own else ("file", "network")
        _refuse(path, f"the {has} has tensor '{different[0]}', which the {lacks} lacks")
    for name, tensor in own.items():
        given = weights[name]
        if given.shape != tensor.shape or given.dtype != tensor.dtype:
            expected = f"{_describe(tensor)}, as its settings say"
            _refuse(path, f"tensor '{name}' is {_describe(given)}, must be {expected}")
        if not torch.isfinite(given).all():
            _refuse(path, f"tensor '{name}' has values that are not finite")
    network.load_state_dict(dict(weights))


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _refuse(path: Path, reason: str) -> NoReturn:
    reason = " ".join(reason.split())
    raise StoreError(f"{path}: damaged or altered ({reason}); take an intact copy, or train again")


def _digest(metadata: Mapping[str, str], weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of metadata and tensors."""
    digest = hashlib.sha256()
    for name, text in sorted(metadata.items()):
        if name != "checksum":
            digest.update(f"{name}\0{text}\0".encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name}\0{tensor.dtype}{tuple(tensor.shape)}\0".encode())
        digest.update(np.ascontiguousarray(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()).data)
    return digest.hexdigest()
