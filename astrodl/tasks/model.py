"""Trained models: load, predict, save; one safetensors file, no pickle."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from astrodl.calibration.training_range import INPUT_FLAGS, TrainingRange, select_measurements
from astrodl.data.batches import Batch, Cutouts, ResidentDataset
from astrodl.device import choose_device, choose_memory_format, to_memory_format
from astrodl.errors import AstrodlError, StoreError
from astrodl.models.blocks import fold_batch_norm
from astrodl.photometry.features import feature_names
from astrodl.tasks.base import AnyTask, Arrays
from astrodl.tasks.image_arrays import prepare_cutouts
from astrodl.tasks.model_file import fill, read_model_file, write_model_file

__all__ = ["Model", "finish", "has_data", "load_model", "measured_in"]

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
        self._folded = self.network
        self._folded_state: list[tuple[int, int]] = []

    @property
    def predictor(self) -> nn.Module:
        """A copy of the network with folded batch norms, made anew where weights have changed or moved."""
        state = [(tensor.data_ptr(), tensor._version) for tensor in self.network.state_dict(keep_vars=True).values()]
        if state != self._folded_state:
            self._folded = fold_batch_norm(self.network).to(memory_format=self.layout)  # type: ignore[call-overload]
            self._folded_state = state
        return self._folded

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
        images: Any,
        *,
        bands: Sequence[str] | None = None,
        unit: Any = None,
        sky_sigma: Any = None,
        features: np.ndarray | None = None,
        ebv: np.ndarray | None = None,
        planes: Mapping[str, np.ndarray] | None = None,
    ) -> Arrays:
        """Predict from images in memory.

        Objects unlike the training objects are flagged in `input_flags` (bits of
        `astrodl.calibration.training_range.INPUT_FLAGS`), and a warning says what differs. An image without any data
        gets NaN.

        Parameters
        ----------
        images : (N, bands, y, x) or (bands, y, x) array or Quantity
            Linear fluxes, NaN where there is no data. Masked pixels have no data. A model of a survey without images
            takes (N, bands, 0, 0), and `features`.
        bands : sequence of str, optional
            Names of the bands of `images`, which are brought to those of the model; by default they are `model.bands`.
        unit : str or astropy unit, optional
            Unit of `images`, such as "nanomaggy"; by default that of a Quantity, or else that of the training survey
            (`model.task.context.unit`).
        sky_sigma : (N, bands) array or Quantity, optional
            Sky noise per pixel, in the unit of `images`; by default measured on their borders as ingestion does. Give
            that of the store for cutouts of larger images, whose noise was measured farther out.
        features : (N, F) array, optional
            As `astrodl.photometry.features.measure` gives them, or `catalogue_features` without images; measured by
            default.
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
            The images do not fit the model: size, bands, unit.
        """
        context = self.task.context
        cutouts = prepare_cutouts(
            context, images, bands=bands, unit=unit, sky_sigma=sky_sigma, features=features, ebv=ebv, planes=planes
        )
        raw = self.raw(cutouts)
        if sky_sigma is None and not context.sky_on_border:
            warnings.warn(
                f"{self.task.name}: the sky noise of the training objects was measured on larger images than their "
                "cutouts, and differs from that on the border; give sky_sigma, such as that of the store",
                stacklevel=2,
            )
        if context.training_range is not None:
            for line in context.training_range.describe(measured_in(self.task, cutouts), raw["input_flags"]):
                warnings.warn(f"{self.task.name}: {line}", stacklevel=2)
        return finish(self.task, raw, raw["input_flags"])

    def flag(self, measured: Mapping[str, np.ndarray], with_data: np.ndarray) -> np.ndarray:
        """Return bits of `INPUT_FLAGS` for objects unlike the training objects, (N,) int16.

        Parameters
        ----------
        measured : mapping of str to (N,) array
            What is compared, see `astrodl.calibration.training_range.select_measurements`.
        with_data : (N,) array of bool
            Whether an image has a pixel with data.
        """
        training_range = self.task.context.training_range or TrainingRange(0, {})
        return training_range.flags(measured, with_data)

    def raw(self, cutouts: Cutouts, *, batch_size: int = 128) -> Arrays:
        """Predict without `Task.finish`, in batches: the arrays that are averaged over models, and `input_flags`."""
        parts: list[Arrays] = []
        for start in range(0, len(cutouts), batch_size):
            part = cutouts.slice(start, start + batch_size)
            (batch,) = ResidentDataset(self.task.inputs(part), self.device).in_order(batch_size)
            parts.append({name: tensor.numpy() for name, tensor in self.predict_batch(batch).items()})
        arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        return {**arrays, "input_flags": self.flag(measured_in(self.task, cutouts), has_data(cutouts))}

    def embed(self, cutouts: Cutouts, *, batch_size: int = 128) -> np.ndarray:
        """Compute the vector of each object before the head, (N, d) float32; NaN for objects without any data."""
        parts = []
        for start in range(0, len(cutouts), batch_size):
            arrays = self.task.inputs(cutouts.slice(start, start + batch_size))
            (batch,) = ResidentDataset(arrays, self.device).in_order(batch_size)
            parts.append(self.embed_batch(batch).numpy())
        vectors = np.concatenate(parts)
        vectors[~has_data(cutouts)] = np.nan
        return vectors

    def predict_batch(self, batch: Batch) -> Batch:
        """Predict a batch on the device, without `Task.finish`.

        On a CUDA device the copy of the float32 results to the host is asynchronous: synchronise before reading them.
        """
        return self._compute(self.task.predict, batch)

    def embed_batch(self, batch: Batch) -> Tensor:
        """Compute the vectors of a batch on the device, and wait for the copy to the host: (B, d) float32."""
        copied = self._compute(lambda network, part: {"vector": self.task.embed(network, part)}, batch)["vector"]
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        return copied

    @torch.no_grad()
    def _compute(self, compute: Callable[[nn.Module, Batch], Batch], batch: Batch) -> Batch:
        """Run the network on a batch, on a CPU in parts that fit into its caches; start the copy to the host."""
        size = len(next(iter(batch.values())))
        step = max(1, CPU_PIXELS // max(1, batch["image"][0, 0].numel())) if self.device.type == "cpu" else size
        parts, network = [], self.predictor
        for start in range(0, size, step):
            part = {name: tensor[start : start + step] for name, tensor in batch.items()}
            parts.append(compute(network, to_memory_format(part, self.layout)))
        return {
            name: torch.cat([part[name] for part in parts]).float().to("cpu", non_blocking=True) for name in parts[0]
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and metadata, atomically.

        The metadata hold the resolved settings, the context (bands, scale, normalisation, constants) and versions.
        """
        write_model_file(Path(path), self.task, self.network, self.metadata)


def load_model(path: str | os.PathLike[str], *, device: str = "auto") -> Model:
    """Load a trained model.

    Raises
    ------
    StoreError
        The file is missing, damaged or altered, or not an astrodl model.
    """
    path = Path(path)
    task, weights, metadata, has_checksum = read_model_file(path)
    where = choose_device(device)
    try:
        network = task.build()
        fill(network, weights, path)
        if not has_checksum:
            _try_out(Model(task, network))
    except AstrodlError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise StoreError(
            f"{path}: settings and constants do not describe a network of {task.name} ({reason}); take an intact copy, "
            "or train again"
        ) from None
    return Model(task, network.to(where), metadata)


def _try_out(model: Model) -> None:
    """Predict an empty sky, which needs all constants; files of older versions have no checksum."""
    context = model.task.context
    noise = np.random.default_rng(0).standard_normal((2, len(context.bands), context.size, context.size))
    features = None if context.size else np.zeros((2, len(feature_names(context.bands, 0, None))), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        noise *= np.reshape(context.normalization.softening, (-1, 1, 1))
        predicted = model.predict(noise, unit=context.unit, features=features)
    model.task.columns(predicted)


def has_data(cutouts: Cutouts) -> np.ndarray:
    """Return which objects have a pixel with data, or a flux where there are no images, (N,) bool."""
    images = cutouts.images
    if not images.shape[-1]:
        return np.isfinite(cutouts.features[:, : images.shape[1]]).any(axis=1)
    found: np.ndarray = np.isfinite(images[:, :, ::8, ::8]).any(axis=(1, 2, 3))
    rest = np.flatnonzero(np.logical_not(found))
    found[rest] = np.isfinite(images[rest]).any(axis=(1, 2, 3))
    return found


def measured_in(task: AnyTask, cutouts: Cutouts) -> dict[str, np.ndarray]:
    """Select the measurements of cutouts that are compared with those of the training objects."""
    context = task.context
    scale = context.pixel_scale_arcsec or None
    names = feature_names(context.bands, context.size, scale)
    return select_measurements(cutouts.features, names, cutouts.sky_sigma, context.bands, scale)


def finish(task: AnyTask, predictions: Arrays, input_flags: np.ndarray) -> Arrays:
    """Finish averaged predictions, with `input_flags`; objects without any data get NaN, empty sets and zero counts."""
    finished = dict(task.finish({**predictions, "input_flags": input_flags}))
    empty = input_flags & INPUT_FLAGS["no_data"] > 0
    if empty.any():
        for name, values in finished.items():
            if not name.endswith("flags"):
                finished[name] = values = np.array(values)
                values[empty] = np.nan if values.dtype.kind == "f" else 0
    return {**finished, "input_flags": input_flags}
