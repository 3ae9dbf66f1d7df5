"""Batches of tensors on a device, from a store or from arrays: resident in memory, or streamed from the disk."""

import os
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from astrodl.device import memory_bytes
from astrodl.errors import StoreError
from astrodl.store import Reader
from astrodl.store.indices import check_indices

__all__ = [
    "PREFETCH",
    "RESIDENT_SHARE",
    "Batch",
    "Cutouts",
    "Dataset",
    "DirectReader",
    "ResidentDataset",
    "StreamedDataset",
    "epoch_order",
    "load_splits",
]

Batch = dict[str, Tensor]
Prepare = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Returns the arrays of objects of a store, objects first, from their indices; no object's arrays depend on others."""

RESIDENT_SHARE = 0.5
"""Datasets that need more than this share of the device's memory are streamed."""
BLOCK_SIZE = 512
"""Objects that are prepared at a time, which limits the memory that preparing takes."""
PREFETCH = 3
"""Batches that are prepared ahead of the one in use."""


@dataclass(frozen=True)
class Cutouts:
    """Input data of the networks: images and the measurements made on them, objects first.

    Attributes
    ----------
    images : (N, bands, y, x) float32 array
        Linear fluxes, NaN where there is no data; without pixels for a survey without images.
    sky_sigma : (N, bands) float32 array
        Sky noise per pixel.
    features : (N, F) float32 array
        Photometric and structural measurements, NaN where a measurement failed.
    planes : mapping of str to array
        Optional planes by name, as in the store: `variance` and `mask` (N, bands, y, x), `psf` (N, bands, k, k).
    """

    images: np.ndarray
    sky_sigma: np.ndarray
    features: np.ndarray
    planes: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def slice(self, start: int, end: int) -> "Cutouts":
        """Return the objects from `start` up to `end`, as views."""
        planes = {name: plane[start:end] for name, plane in self.planes.items()}
        return Cutouts(self.images[start:end], self.sky_sigma[start:end], self.features[start:end], planes)

    @classmethod
    def from_store(cls, store: Reader, indices: np.ndarray, planes: Sequence[str] = ()) -> "Cutouts":
        """Read objects of a store, with those of the named optional planes that it has."""
        optional = {name: store.plane(name, indices) for name in planes if name in store.planes}
        if not store.has_images:
            no_pixels = np.empty((len(indices), len(store.bands), 0, 0), np.float32)
            return cls(no_pixels, store.sky_sigma[indices], store.features(indices=indices))
        return cls(store.images(indices), store.sky_sigma[indices], store.features(indices=indices), optional)


class DirectReader(Reader):
    """A store reader that reads rows directly from their offset in the file, from any thread.

    Nothing is memory-mapped: only the requested rows are in memory, and a truncated file raises an error instead of
    crashing the process. Small datasets (sky noise, catalogue columns) are read once and kept.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._descriptor = os.open(self.path, os.O_RDONLY)
        self._columns: dict[str, NDArray[Any]] = {}

    def close(self) -> None:
        """Close the file."""
        if self._file:
            os.close(self._descriptor)
        super().close()

    @cached_property
    def sky_sigma(self) -> NDArray[np.float32]:
        """Noise of a pixel, (N, bands), in the unit of the image."""
        return super().sky_sigma

    def column(self, name: str, indices: ArrayLike | None = None) -> NDArray[Any]:
        """Read a catalogue column as float64, int64 or text, (n,)."""
        if name not in self._columns:
            self._columns[name] = super().column(name)
        values = self._columns[name]
        return values.copy() if indices is None else values[check_indices(self.path, indices, self.n_objects)]

    def features(self, names: Sequence[str] | None = None, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Read photometric features, (n, number of names); all by default."""
        if names is not None or indices is None:
            return super().features(names, indices)
        return self._rows("features", indices)

    def _rows(self, name: str, indices: ArrayLike | None) -> NDArray[Any]:
        dataset = self._file[name]
        offset = dataset.id.get_offset()
        if offset is None or indices is None:  # chunked, or all rows
            return super()._rows(name, indices)
        rows = check_indices(self.path, indices, self.n_objects)
        out = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
        if not out.size:
            return out
        row_bytes = out[0].nbytes
        view = out.reshape(-1).data.cast("B")
        starts = np.flatnonzero(np.diff(rows, prepend=rows[0]) != 1)  # of runs of consecutive rows
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            self._read(view[start * row_bytes : end * row_bytes], offset + int(rows[start]) * row_bytes)
        return out

    def _read(self, target: memoryview, offset: int) -> None:
        """Fill `target` with the bytes of the file from `offset` on."""
        while target:
            n_bytes = os.preadv(self._descriptor, [target], offset)
            if not n_bytes:
                raise StoreError(f"{self.path}: ends before byte {offset}, damaged while in use; ingest again")
            target, offset = target[n_bytes:], offset + n_bytes


class Dataset(ABC):
    """Objects of one split, from which batches of tensors on a device are taken.

    Attributes
    ----------
    device : torch.device
        Device of the batches.
    tensors : mapping of str to Tensor
        All objects, by name.
    """

    device: torch.device
    tensors: Mapping[str, Tensor]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """Return the objects at `indices` (on the device)."""

    @abstractmethod
    def batches(self, parts: Iterable[Tensor]) -> Iterator[Batch]:
        """Yield the objects of each of `parts` (indices on the device)."""

    @abstractmethod
    def in_order(self, size: int) -> Iterator[Batch]:
        """Yield consecutive batches of `size` objects; the last one may be shorter."""


class ResidentDataset(Dataset):
    """Objects that stay on the device as tensors; a batch is a gather.

    Parameters
    ----------
    arrays : mapping of str to array
        Arrays with objects first, all of the same length.
    device : torch.device
        Device of the tensors.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], device: torch.device):
        self.tensors = {name: _as_tensor(array).to(device) for name, array in arrays.items()}
        lengths = {len(tensor) for tensor in self.tensors.values()}
        assert len(lengths) == 1, lengths
        self.device = device

    @classmethod
    def load(cls, prepare: Prepare, indices: np.ndarray, device: torch.device) -> "ResidentDataset":
        """Prepare objects of a store block by block, which takes little memory beside the tensors."""
        dataset = cls(prepare(indices[:BLOCK_SIZE]), device)
        if len(indices) > BLOCK_SIZE:
            block = dataset.tensors
            dataset.tensors = {name: t.new_empty((len(indices), *t.shape[1:])) for name, t in block.items()}
            for name, tensor in block.items():
                dataset.tensors[name][:BLOCK_SIZE] = tensor
            for start in range(BLOCK_SIZE, len(indices), BLOCK_SIZE):
                for name, array in prepare(indices[start : start + BLOCK_SIZE]).items():
                    dataset.tensors[name][start : start + BLOCK_SIZE] = _as_tensor(array)
        return dataset

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def batch(self, indices: Tensor) -> Batch:
        """Return the objects at `indices` (on the device)."""
        return {name: tensor.index_select(0, indices) for name, tensor in self.tensors.items()}

    def batches(self, parts: Iterable[Tensor]) -> Iterator[Batch]:
        """Yield the objects of each of `parts` (indices on the device)."""
        return (self.batch(indices) for indices in parts)

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yield consecutive batches of `size` objects; the last one may be shorter."""
        for start in range(0, len(self), size):
            yield {name: tensor[start : start + size] for name, tensor in self.tensors.items()}


class StreamedDataset(Dataset):
    """Objects that do not fit in memory: the same batches, prepared from the store while the device computes.

    A thread reads and prepares the next `PREFETCH` batches. For a CUDA device they are copied from pinned memory.

    Parameters
    ----------
    prepare : callable
        Returns the arrays of objects of the store.
    indices : (N,) array
        Rows of the objects in the store.
    device : torch.device
        Device of the batches.
    """

    def __init__(self, prepare: Prepare, indices: np.ndarray, device: torch.device):
        self.prepare, self.indices, self.device = prepare, indices, device
        self.tensors = _StreamedTensors(self)

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Tensor) -> Batch:
        """Return the objects at `indices`."""
        return next(self.batches([indices]))

    def batches(self, parts: Iterable[Tensor]) -> Iterator[Batch]:
        """Yield the objects of each of `parts`."""
        # always in the thread, which neither autocast nor gradient modes of the caller affect
        pool = ThreadPoolExecutor(1, "batches")
        pending: deque[Future[Batch]] = deque()
        try:
            # all at once, since a copy from a GPU waits for the updates before it
            for positions in [indices.cpu().numpy() for indices in parts]:
                pending.append(pool.submit(self._load, positions))
                if len(pending) > PREFETCH:
                    yield self._to_device(pending.popleft().result())
            while pending:
                yield self._to_device(pending.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yield consecutive batches of `size` objects; the last one may be shorter."""
        return self.batches(torch.arange(len(self)).split(size))

    def _load(self, positions: np.ndarray) -> Batch:
        batch = {name: _as_tensor(array) for name, array in self.prepare(self.indices[positions]).items()}
        return {name: t.pin_memory() for name, t in batch.items()} if self.device.type == "cuda" else batch

    def _to_device(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}


class _StreamedTensors(Mapping[str, Tensor]):
    """Tensors of all objects of a streamed dataset; each access reads the store, so use it for small arrays only."""

    def __init__(self, dataset: StreamedDataset):
        self._dataset = dataset

    def __getitem__(self, name: str) -> Tensor:
        return torch.cat([batch[name] for batch in self._dataset.in_order(BLOCK_SIZE)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._dataset.batch(torch.arange(1)))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _as_tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def load_splits(prepare: Prepare, splits: Mapping[str, np.ndarray], device: torch.device) -> dict[str, Dataset]:
    """Make each split resident if all of them together fit in `RESIDENT_SHARE` of the memory, else stream them.

    Parameters
    ----------
    prepare : callable
        Returns the arrays of objects of the store.
    splits : mapping of str to array
        Rows in the store by split.
    device : torch.device
        Device of the batches.
    """
    n_objects = sum(len(indices) for indices in splits.values())
    sample = next(indices for indices in splits.values() if len(indices))[:1]
    needed = n_objects * sum(np.asarray(array).nbytes for array in prepare(sample).values())
    available = memory_bytes(device)
    fits = needed <= RESIDENT_SHARE * available
    if not fits:
        print(
            f"{n_objects:,} objects need {needed / 1e9:.1f} GB, more than {RESIDENT_SHARE:.0%} of the memory "
            f"({available / 1e9:.1f} GB): batches are read from the store while training",
            file=sys.stderr,
        )
    return {
        name: ResidentDataset.load(prepare, indices, device) if fits else StreamedDataset(prepare, indices, device)
        for name, indices in splits.items()
    }


def epoch_order(
    n_objects: int, epoch: int, seed: int, device: torch.device, sampling: np.ndarray | None = None
) -> Tensor:
    """Draw the order in which an epoch visits the objects; it depends on (seed, epoch) only.

    Without `sampling` each object comes once. With it, (n_objects,), as many objects are drawn with replacement, with
    these relative frequencies.
    """
    rng = np.random.default_rng([seed, epoch])
    if sampling is None:
        order = rng.permutation(n_objects)
    else:
        order = rng.choice(n_objects, n_objects, p=sampling / sampling.sum())
    return torch.from_numpy(order).to(device)
