"""The predictions file: the predictions of a task for every object of a store."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from astrodl import tasks
from astrodl.atomic import replacing
from astrodl.config import parse
from astrodl.errors import StoreError
from astrodl.store import Reader
from astrodl.tasks.base import AnyTask, Arrays, Context

__all__ = ["Predictions", "write_block", "writing"]

FORMAT = "astrodl-predictions"


@contextmanager
def writing(path: Path, attributes: dict[str, Any]) -> Iterator[h5py.File]:
    """Write a new predictions file under a temporary name; rename it when the context ends without error."""
    # a fixed format, so that other versions of the HDF5 library write the same bytes
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
        file.attrs.update({"format": FORMAT, **attributes})
        yield file


def write_block(file: h5py.File, start: int, n_objects: int, arrays: Arrays) -> None:
    """Write the objects from `start` on; maps are stored as float16, which keeps three digits of a probability."""
    for name, values in arrays.items():
        if name not in file:
            dtype = np.float16 if values.ndim >= 3 else values.dtype
            file.create_dataset(name, (n_objects, *values.shape[1:]), dtype, track_times=False)
        file[name][start : start + len(values)] = values


class Predictions:
    """Predictions of one task for all objects of a store.

    Raises
    ------
    StoreError
        The file is missing, damaged or of another kind.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT:
                    raise StoreError(f"{path}: not a predictions file; give one written by 'astrodl predict'")
                if "unseen" not in file:
                    raise StoreError(f"{path}: written by an older astrodl; predict again")
                self.attributes = dict(file.attrs)
                self.names = tuple(name for name in file if name not in ("object_id", "unseen"))
                self._n_objects = len(file["object_id"])
        except FileNotFoundError:
            raise StoreError(f"{path}: no such file; run 'astrodl predict' first") from None
        except OSError as error:
            raise StoreError(f"{path}: not a readable HDF5 file ({error}); predict again") from None

    def __len__(self) -> int:
        return self._n_objects

    @cached_property
    def object_id(self) -> np.ndarray:
        """Identifiers of all objects, (N,)."""
        return self.identifiers(0, len(self))

    def identifiers(self, start: int, stop: int) -> np.ndarray:
        """Read the identifiers of the objects from `start` to `stop`."""
        with h5py.File(self.path, "r") as file:
            return file["object_id"].asstr()[start:stop]

    def held_out(self, start: int, stop: int) -> np.ndarray:
        """Return which objects from `start` to `stop` were predicted by networks not trained on them, (n,) bool."""
        with h5py.File(self.path, "r") as file:
            return file["unseen"][start:stop]

    def block(self, start: int, stop: int) -> Arrays:
        """Read all arrays but the maps, for the objects from `start` to `stop`."""
        with h5py.File(self.path, "r") as file:
            return {name: _single(file[name][start:stop]) for name in self.names if file[name].ndim < 3}

    def checked_block(self, reader: Reader, start: int, stop: int) -> tuple[np.ndarray, Arrays]:
        """Read identifiers and arrays but the maps, for the objects from `start` to `stop`.

        Raises
        ------
        StoreError
            The store holds other objects.
        """
        identifiers = reader.block("object_id", start, stop)
        if len(self) != len(reader) or not np.array_equal(self.identifiers(start, stop), identifiers):
            raise StoreError(f"{self.path}: made for other objects than {reader.path} holds; predict again")
        return identifiers, self.block(start, stop)

    def task(self) -> AnyTask:
        """Rebuild the task that predicted, with the context of its first model."""
        task_class = tasks.get(str(self.attributes["task"]))
        settings = parse(task_class.Settings, json.loads(self.attributes["settings"]), str(self.path))
        return task_class(settings, Context.from_dict(json.loads(self.attributes["context"])))

    def read(self, indices: np.ndarray | None = None, *, maps: bool = True) -> Arrays:
        """Read all arrays, or all but the maps, of all objects or of those at sorted indices."""
        with h5py.File(self.path, "r") as file:
            return {name: _rows(file[name], indices) for name in self.names if maps or file[name].ndim < 3}


def _rows(dataset: h5py.Dataset, indices: np.ndarray | None) -> np.ndarray:
    if indices is None or dataset.ndim < 3:
        values = dataset[:] if indices is None else dataset[:][indices]
    else:
        values = np.stack([dataset[int(i)] for i in indices]) if len(indices) else dataset[:0]
    return _single(values)


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype == np.float16 else values
