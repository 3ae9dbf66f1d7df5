"""From a store or from arrays in memory to dict batches of tensors on a device: resident, or streamed from the disk."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from astrodl.device import memory_bytes
from astrodl.errors import StoreError
from astrodl.store import Reader

Batch = dict[str, Tensor]
Prepare = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Gives the arrays of some objects of a store (by their indices), objects first, each object's from its own alone."""

RESIDENT_SHARE = 0.5
"""Tensors that need more than this share of the device's memory are streamed."""
BLOCK = 512
"""Objects that are prepared at a time, which bounds the memory that preparing takes."""
AHEAD = 3
"""Batches that are prepared ahead of the one in use."""


@dataclass(frozen=True)
class Cutouts:
    """What a network may look at: images and what was measured on them, objects first.

    Attributes
    ----------
    images : (N, bands, y, x) float32 array
        Linear fluxes, NaN where there is no data.
    sky_sigma : (N, bands) float32 array
        Sky noise per pixel.
    features : (N, F) float32 array
        Photometric and structural measurements, NaN where not measurable.
    """

    images: np.ndarray
    sky_sigma: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def part(self, start: int, end: int) -> "Cutouts":
        """Give the objects from `start` up to `end`, as views."""
        return Cutouts(self.images[start:end], self.sky_sigma[start:end], self.features[start:end])

    @classmethod
    def from_store(cls, store: Reader, indices: np.ndarray) -> "Cutouts":
        """Read objects of a store."""
        return cls(store.images(indices), store.sky_sigma[indices], store.features(indices=indices))


class Direct(Reader):
    """A store whose rows are read straight from their place in the file, from any thread.

    Nothing is mapped: memory is what is asked for, and a file that is cut short is an error instead of a crash. Small
    datasets (sky noise, catalogue columns) are read once and kept.
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
        return values.copy() if indices is None else values[self._valid(indices)]

    def features(self, names: Sequence[str] | None = None, indices: ArrayLike | None = None) -> NDArray[np.float32]:
        """Read photometric features, (n, number of names); all by default."""
        if names is not None or indices is None:
            return super().features(names, indices)
        return self._rows("features", indices)

    def _rows(self, name: str, indices: ArrayLike | None) -> NDArray[Any]:
        dataset = self._file[name]
        offset = dataset.id.get_offset()
        if offset is None or indices is None:  # chunked, or all of it
            return super()._rows(name, indices)
        rows = self._valid(indices)
        out = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
        if not out.size:
            return out
        row_bytes = out[0].nbytes
        view = out.reshape(-1).data.cast("B")
        starts = np.flatnonzero(np.diff(rows, prepend=rows[0]) != 1)  # of runs of consecutive rows
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            place = offset + int(rows[start]) * row_bytes
            self._read(view[start * row_bytes : end * row_bytes], place)
        return out

    def _read(self, target: memoryview, place: int) -> None:
        """Fill `target` with what the file holds from `place` on."""
        while target:
            n_bytes = os.preadv(self._descriptor, [target], place)
            if not n_bytes:
                raise StoreError(f"{self.path}: ends before byte {place}, damaged while in use; ingest again")
            target, place = target[n_bytes:], place + n_bytes


class Resident:
    """All objects of one split as tensors that stay on the device; a batch is an index.

    Parameters
    ----------
    arrays : mapping of str to array
        Arrays with objects first, all of the same length.
    device : torch.device
        Where the tensors live.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], device: torch.device):
        self.tensors: Mapping[str, Tensor] = {
            name: torch.from_numpy(np.ascontiguousarray(a)).to(device) for name, a in arrays.items()
        }
        lengths = {len(tensor) for tensor in self.tensors.values()}
        assert len(lengths) == 1, lengths
        self.device = device
        self._length = lengths.pop()

    @classmethod
    def prepared(cls, prepare: Prepare, indices: np.ndarray, device: torch.device) -> "Resident":
        """Prepare the objects of a store block by block, so that little memory is needed beside the tensors."""
        resident = cls(prepare(indices[:BLOCK]), device)
        if len(indices) > BLOCK:
            resident._length = len(indices)
            first = resident.tensors
            resident.tensors = {name: t.new_empty((len(indices), *t.shape[1:])) for name, t in first.items()}
            for name, tensor in first.items():
                resident.tensors[name][:BLOCK] = tensor
            for start in range(BLOCK, len(indices), BLOCK):
                for name, array in prepare(indices[start : start + BLOCK]).items():
                    resident.tensors[name][start : start + BLOCK] = torch.from_numpy(np.ascontiguousarray(array))
        return resident

    def __len__(self) -> int:
        return self._length

    def batch(self, indices: Tensor) -> Batch:
        """Gather the objects at `indices` (on the device)."""
        return {name: tensor.index_select(0, indices) for name, tensor in self.tensors.items()}

    def batches(self, parts: Iterable[Tensor]) -> Iterator[Batch]:
        """Yield the objects of each of `parts` (indices on the device)."""
        return (self.batch(indices) for indices in parts)

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yield consecutive batches of `size` objects, the last one shorter."""
        for start in range(0, len(self), size):
            yield {name: tensor[start : start + size] for name, tensor in self.tensors.items()}


class Streamed(Resident):
    """A split that does not fit in memory: the same batches, prepared from the store while the device computes.

    A thread reads and prepares a few batches ahead; on a CUDA device they are copied from pinned memory.

    Parameters
    ----------
    prepare
        Gives the arrays of objects of the store.
    indices
        Rows of the split in the store, (N,).
    device
        Where batches are wanted.
    """

    def __init__(self, prepare: Prepare, indices: np.ndarray, device: torch.device):
        self.prepare, self.indices, self.device = prepare, indices, device
        self._length = len(indices)

    @property
    def tensors(self) -> "Mapping[str, Tensor]":  # type: ignore[override]
        """All objects at once, one name at a time: for what is small, such as labels."""
        return _Whole(self)

    def batch(self, indices: Tensor) -> Batch:
        """Prepare the objects at `indices`."""
        return next(self.batches([indices]))

    def batches(self, parts: Iterable[Tensor]) -> Iterator[Batch]:
        """Yield the objects of each of `parts`."""
        # always in the thread: there neither autocast nor a mode of the caller reaches
        pool = ThreadPoolExecutor(1, "batches")
        waiting: deque[Future[Batch]] = deque()
        try:
            for indices in parts:
                waiting.append(pool.submit(self._load, indices.cpu().numpy()))
                if len(waiting) > AHEAD:
                    yield self._sent(waiting.popleft().result())
            while waiting:
                yield self._sent(waiting.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yield consecutive batches of `size` objects, the last one shorter."""
        return self.batches(torch.arange(len(self)).split(size))

    def _load(self, positions: np.ndarray) -> Batch:
        arrays = self.prepare(self.indices[positions])
        batch = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return {name: t.pin_memory() for name, t in batch.items()} if self.device.type == "cuda" else batch

    def _sent(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}


class _Whole(Mapping[str, Tensor]):
    """The tensors of a streamed split, read again for each name that is asked for."""

    def __init__(self, streamed: Streamed):
        self._streamed = streamed

    def __getitem__(self, name: str) -> Tensor:
        return torch.cat([batch[name] for batch in self._streamed.in_order(BLOCK)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._streamed.batch(torch.arange(1)))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def load(prepare: Prepare, splits: Mapping[str, np.ndarray], device: torch.device) -> dict[str, Resident]:
    """Make each split resident where all of them together fit in `RESIDENT_SHARE` of the memory, else stream them.

    Parameters
    ----------
    prepare
        Gives the arrays of objects of the store.
    splits
        Rows in the store by split.
    device
        Where batches are wanted.
    """
    n_objects = sum(len(indices) for indices in splits.values())
    some = next(indices for indices in splits.values() if len(indices))[:1]
    needed = n_objects * sum(np.asarray(array).nbytes for array in prepare(some).values())
    available = memory_bytes(device)
    fits = needed <= RESIDENT_SHARE * available
    if not fits:
        print(
            f"{n_objects:,} objects need {needed / 1e9:.1f} GB, more than {RESIDENT_SHARE:.0%} of the memory "
            f"({available / 1e9:.1f} GB): batches are read from the store while training",
            file=sys.stderr,
        )
    return {
        name: Resident.prepared(prepare, indices, device) if fits else Streamed(prepare, indices, device)
        for name, indices in splits.items()
    }


def order_of_epoch(
    n_objects: int, epoch: int, seed: int, device: torch.device, sampling: np.ndarray | None = None
) -> Tensor:
    """Give the order in which an epoch visits the objects: a function of (seed, epoch) alone.

    Each once, or with `sampling` (n_objects,) as many drawn with these relative frequencies, with replacement.
    """
    rng = np.random.default_rng([seed, epoch])
    if sampling is None:
        order = rng.permutation(n_objects)
    else:
        order = rng.choice(n_objects, n_objects, p=sampling / sampling.sum())
    return torch.from_numpy(order).to(device)
