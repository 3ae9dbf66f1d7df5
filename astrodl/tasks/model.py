"""Trained models: load, predict, save; one safetensors file, no pickle."""

import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

import astrodl
from astrodl import tasks
from astrodl.atomic import replacing
from astrodl.config import parse
from astrodl.data.batches import Batch, Cutouts, ResidentDataset
from astrodl.device import choose_device, choose_memory_format, to_memory_format
from astrodl.errors import DataError, StoreError
from astrodl.models.blocks import fold_batch_norm
from astrodl.photometry.features import measure
from astrodl.tasks.base import AnyTask, Arrays, Context

__all__ = ["Model", "load_model"]

FORMAT = "astrodl-model"
FORMAT_VERSION = 3
CPU_PIXELS = 32 * 64**2
"""Pixels of a band that a CPU predicts at a time: the maps of more do not fit into its caches."""


class Model:
    """A trained network with its task.

    Parameters
    ----------
    task : Task
        Settings and context.
    network : nn.Module
        Trained weights.
    metadata : mapping of str to str
        Provenance from the file.
    """

    def __init__(self, task: AnyTask, network: nn.Module, metadata: Mapping[str, str] | None = None):
        self.task = task
        self.layout = choose_memory_format(network)
        self.network = network.eval().to(memory_format=self.layout)  # type: ignore[call-overload]
        self.metadata = dict(metadata or {})

    @cached_property
    def _predictor(self) -> nn.Module:
        return fold_batch_norm(self.network).to(memory_format=self.layout)  # type: ignore[call-overload]

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that `predict` expects, in order."""
        return self.task.context.bands

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.network.parameters()).device

    def predict(
        self,
        images: np.ndarray,
        *,
        sky_sigma: np.ndarray | None = None,
        features: np.ndarray | None = None,
        ebv: np.ndarray | None = None,
        planes: Mapping[str, np.ndarray] | None = None,
    ) -> Arrays:
        """Predict from images in memory.

        Parameters
        ----------
        images : (N, bands, y, x) or (bands, y, x) array
            Linear fluxes in the unit of the training survey (`model.task.context.unit`), NaN where there is no data.
        sky_sigma : (N, bands) array, optional
            Sky noise per pixel; measured on the border of the images by default.
        features : (N, F) array, optional
            As `astrodl.photometry.features.measure` gives them; measured by default.
        ebv : (N,) array, optional
            Galactic reddening E(B-V) in magnitudes, for networks trained with it; unknown by default.
        planes : mapping of str to array, optional
            Planes for tasks that take them (`model.task.planes`): `variance` and `mask` (N, bands, y, x), `psf`
            (N, bands, k, k).

        Returns
        -------
        dict of arrays
            Objects first; keys as in `predictions.h5`.

        Raises
        ------
        DataError
            Wrong number of bands or wrong size.
        """
        images = np.asarray(images, dtype=np.float32)
        images = images[None] if images.ndim == 3 else images
        self._check(images.shape)
        if sky_sigma is None:
            sky_sigma = border_noise(images)
        if features is None:
            features, _ = measure(images, sky_sigma=sky_sigma, pixel_scale_arcsec=self.task.context.pixel_scale_arcsec)
            reddening = np.full(len(images), np.nan) if ebv is None else np.broadcast_to(ebv, len(images))
            features = np.column_stack([features, reddening.astype(np.float32)])
        return self.task.finish(self.raw(Cutouts(images, sky_sigma, features, planes or {})))

    def raw(self, cutouts: Cutouts, *, batch_size: int = 128) -> Arrays:
        """Predict without `Task.finish`, in batches: the arrays that are averaged over models."""
        parts: list[Arrays] = []
        for start in range(0, len(cutouts), batch_size):
            part = cutouts.slice(start, start + batch_size)
            (batch,) = ResidentDataset(self.task.inputs(part), self.device).in_order(batch_size)
            parts.append({name: tensor.numpy() for name, tensor in self.predict_batch(batch).items()})
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    @torch.no_grad()
    def predict_batch(self, batch: Batch) -> Batch:
        """Predict a batch on the device, without `Task.finish`.

        On a CUDA device the copy of the float32 results to the host is asynchronous: synchronise before reading them.
        """
        size = len(next(iter(batch.values())))
        step = max(1, CPU_PIXELS // batch["image"][0, 0].numel()) if self.device.type == "cpu" else size
        parts = []
        for start in range(0, size, step):
            part = {name: tensor[start : start + step] for name, tensor in batch.items()}
            parts.append(self.task.predict(self._predictor, to_memory_format(part, self.layout)))
        return {
            name: torch.cat([part[name] for part in parts]).float().to("cpu", non_blocking=True) for name in parts[0]
        }

    def save(self, path: Path) -> None:
        """Write weights and metadata, atomically.

        The metadata hold the resolved settings, the context (bands, scale, normalisation, constants) and versions.
        """
        metadata = {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "task": self.task.name,
            "settings": json.dumps(self.task.settings.model_dump(mode="json"), sort_keys=True),
            "context": json.dumps(self.task.context.to_dict(), sort_keys=True),
            "astrodl_version": astrodl.__version__,
            "torch_version": torch.__version__,
            **self.metadata,
        }
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        with replacing(path) as temporary:
            save_file(state, temporary, metadata)

    def _check(self, shape: Sequence[int]) -> None:
        context = self.task.context
        expected = (len(context.bands), context.size, context.size)
        if len(shape) != 4 or tuple(shape[1:]) != expected:
            raise DataError(
                f"images have shape {tuple(shape)}, this model takes (N, {', '.join(map(str, expected))}) with bands "
                f"{', '.join(context.bands)}; crop or reorder them"
            )


def load_model(path: str | os.PathLike[str], *, device: str = "auto") -> Model:
    """Load a trained model.

    Raises
    ------
    StoreError
        The file is missing, damaged, or not an astrodl model.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path}: no such file; give a model.safetensors written by 'astrodl train'")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise StoreError(f"{path}: not a readable safetensors file ({error}); train again") from None
    if metadata.get("format") != FORMAT or metadata.get("format_version") != str(FORMAT_VERSION):
        found = f"{metadata.get('format', 'no format')} {metadata.get('format_version', '')}".strip()
        raise StoreError(
            f"{path}: holds {found}, this version reads {FORMAT} {FORMAT_VERSION}; train again, or use another astrodl"
        )
    task_class = tasks.get(metadata["task"])
    task = task_class(
        parse(task_class.Settings, json.loads(metadata["settings"]), str(path)),
        Context.from_dict(json.loads(metadata["context"])),
    )
    network = task.build()
    network.load_state_dict(state)
    own = {"format", "format_version", "task", "settings", "context"}
    return Model(task, network.to(choose_device(device)), {k: v for k, v in metadata.items() if k not in own})


def border_noise(images: np.ndarray, width: int = 4) -> np.ndarray:
    """Measure the sky noise (N, bands) as 1.4826 MAD of the pixels in a frame of `width` pixels."""
    frame = np.ones(images.shape[-2:], dtype=bool)
    frame[width:-width, width:-width] = False
    border = images[..., frame]
    finite = np.isfinite(border).any(-1, keepdims=True)
    border = np.where(finite, border, 0.0)
    deviation = np.abs(border - np.nanmedian(border, axis=-1, keepdims=True))
    return np.where(finite[..., 0], 1.4826 * np.nanmedian(deviation, axis=-1), np.nan).astype(np.float32)
