"""The predictions file: the predictions of a task for every object of a store."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn

import h5py
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from astrodl import tasks
from astrodl.calibration.training_range import INPUT_FLAGS
from astrodl.config import parse
from astrodl.errors import AstrodlError, StoreError
from astrodl.hdf5 import has_sound_texts, open_hdf5, replacing_hdf5
from astrodl.store import Reader
from astrodl.store.layout import content_bytes, dataset_digest, row_ranges
from astrodl.tasks.base import AnyTask, Arrays
from astrodl.tasks.context import Context, explain, parse_json

__all__ = ["Predictions", "PredictionsWriter", "writing"]

FORMAT = "astrodl-predictions"


class _Attributes(BaseModel):
    """Root attributes; `arrays` holds type and row shape of each dataset as JSON."""

    model_config = ConfigDict(extra="allow", strict=True)

    format: Literal["astrodl-predictions"]
    task: str
    settings: str
    context: str
    models: list[str]
    store: str
    astrodl_version: str
    arrays: str | None = None


class PredictionsWriter:
    """Write the datasets of a predictions file, block by block, with their checksums; maps are stored as float16."""

    def __init__(self, file: h5py.File, n_objects: int):
        self._file, self._n_objects = file, n_objects
        self._digests: dict[str, Any] = {}

    def write(self, start: int, arrays: Arrays) -> None:
        """Write the objects from `start` on; float16 keeps three digits of a probability."""
        for name, values in arrays.items():
            if name not in self._file:
                dtype = np.float16 if values.ndim >= 3 else h5py.string_dtype() if values.dtype.kind in "UO" else None
                shape = (self._n_objects, *values.shape[1:])
                self._file.create_dataset(name, shape, dtype or values.dtype, track_times=False)
                self._digests[name] = hashlib.sha256()
            dataset = self._file[name]
            stored = values.astype(object if dataset.dtype == object else dataset.dtype)
            dataset[start : start + len(values)] = stored
            self._digests[name].update(content_bytes(stored))

    def finish(self) -> None:
        """Write the checksums and the table of the datasets."""
        for name, digest in self._digests.items():
            self._file[name].attrs["sha256"] = digest.hexdigest()
        self._file.attrs["arrays"] = json.dumps(_describe(self._file), sort_keys=True)


@contextmanager
def writing(path: Path, attributes: dict[str, Any], n_objects: int) -> Iterator[PredictionsWriter]:
    """Write a new predictions file under a temporary name; rename it when the context ends without error."""
    with replacing_hdf5(path) as file:
        file.attrs.update({"format": FORMAT, **attributes})
        writer = PredictionsWriter(file, n_objects)
        yield writer
        writer.finish()


class Predictions:
    """Predictions of one task for all objects of a store.

    Opening checks attributes, names, shapes and types of the datasets, and the checksums of all but the maps.

    Raises
    ------
    StoreError
        The file is missing, damaged, altered or of another kind.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        with self._open(check=True) as file:
            if file.attrs.get("format") != FORMAT:
                raise StoreError(f"{self.path}: not a predictions file; give one written by 'astrodl predict'")
            if "unseen" not in file:
                raise StoreError(f"{self.path}: written by an older astrodl; predict again")
            self.attributes = self._read_attributes(file)
            self._check_datasets(file)
            self.names = tuple(name for name in file if name not in ("object_id", "unseen"))
            self._n_objects = len(file["object_id"])
            self._verify(file, maps=False)
        self._task = self._build_task()
        self._require_arrays()

    def __len__(self) -> int:
        return self._n_objects

    @contextmanager
    def _open(self, *, check: bool = False) -> Iterator[h5py.File]:
        if not self.path.exists():
            raise StoreError(f"{self.path}: no such file; run 'astrodl predict' first")
        try:
            with open_hdf5(self.path) if check else h5py.File(self.path, "r", locking=False) as file:
                yield file
        except (OSError, RuntimeError, KeyError, TypeError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise StoreError(f"{self.path}: not a readable HDF5 file ({reason}); predict again") from None

    def _refuse(self, reason: str) -> NoReturn:
        raise StoreError(f"{self.path}: damaged or altered ({' '.join(reason.split())}); predict again")

    def _read_attributes(self, file: h5py.File) -> dict[str, Any]:
        found = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in file.attrs.items()}
        try:
            return _Attributes.model_validate(found).model_dump()
        except ValidationError as error:
            self._refuse(f"attribute {explain(error)}")

    def _check_datasets(self, file: h5py.File) -> None:
        """Check that all datasets are in the file itself, with a row per object, and of a known type."""
        for name in file:
            item = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
            if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
                self._refuse(f"'{name}' is not an array of this file")
            is_text = h5py.check_string_dtype(item.dtype) is not None
            if item.ndim == 0 or (is_text if name != "object_id" else not is_text or item.ndim != 1):
                self._refuse(f"'{name}' has type {item.dtype} and shape {item.shape}")
            if is_text and (item.chunks is not None or not has_sound_texts(item)):
                self._refuse(f"a text of '{name}' is damaged")
            if not is_text and item.dtype.kind not in "fiub":
                self._refuse(f"'{name}' has type {item.dtype}")
        if "object_id" not in file:
            self._refuse("'object_id' is missing")
        n_objects = len(file["object_id"])
        if wrong := [name for name in file if len(file[name]) != n_objects]:
            self._refuse(f"'{wrong[0]}' has {len(file[wrong[0]])} rows, object_id {n_objects}")
        if file["unseen"].dtype != bool or file["unseen"].ndim != 1:
            self._refuse("'unseen' is not one truth value per object")
        if "input_flags" in file and (file["input_flags"].dtype.kind not in "iu" or file["input_flags"].ndim != 1):
            self._refuse("'input_flags' is not one integer per object")
        if self.attributes["arrays"] is not None:
            try:
                expected = parse_json(self.attributes["arrays"])
            except ValueError as error:
                self._refuse(f"attribute arrays: {error}")
            found = _describe(file)
            for name in sorted(expected.keys() | found.keys()):
                if expected.get(name) != found.get(name):
                    self._refuse(f"'{name}' is {found.get(name, 'missing')}, must be {expected.get(name, 'absent')}")

    def _verify(self, file: h5py.File, *, maps: bool) -> None:
        """Compare the checksums of all arrays but the maps, or of the maps; older files have none."""
        if self.attributes["arrays"] is None:
            return
        for name, dataset in file.items():
            if (dataset.ndim >= 3) == maps and dataset_digest(dataset) != dataset.attrs.get("sha256"):
                self._refuse(f"the content of '{name}' differs from its checksum")

    def _build_task(self) -> AnyTask:
        try:
            context, settings = Context.from_json(self.attributes["context"]), parse_json(self.attributes["settings"])
            task_class = tasks.get(self.attributes["task"])
            return task_class(parse(task_class.Settings, settings, str(self.path)), context)
        except ValueError as error:
            self._refuse(str(error))
        except AstrodlError as error:
            raise StoreError(str(error) if str(self.path) in str(error) else f"{self.path}: {error}") from None

    def _require_arrays(self) -> None:
        """Refuse predictions of another version that lack what the columns are made of."""
        try:
            self._task.columns(self.block(0, 1))
        except KeyError as error:
            name = error.args[0]
            raise StoreError(f"{self.path}: has no array '{name}', which this astrodl needs; predict again") from None

    def check(self) -> None:
        """Check the maps, too; in files of older versions, which have no checksums, that the values are finite.

        Raises
        ------
        StoreError
            The first problem.
        """
        with self._open() as file:
            self._verify(file, maps=True)
            for name in self.names if self.attributes["arrays"] is None else ():
                dataset = file[name]
                if dataset.dtype.kind != "f":
                    continue
                for start, stop in row_ranges(dataset, len(self)):
                    finite = np.isfinite(dataset[start:stop]).reshape(stop - start, -1).all(1)
                    if not (finite | self._empty(file, start, stop)).all():
                        self._refuse(f"'{name}' has values that are not finite")

    def _empty(self, file: h5py.File, start: int, stop: int) -> np.ndarray:
        """Return which objects from `start` to `stop` have no data, and hence no prediction."""
        if "input_flags" not in file:
            return np.zeros(stop - start, bool)
        return file["input_flags"][start:stop] & INPUT_FLAGS["no_data"] > 0

    @cached_property
    def object_id(self) -> np.ndarray:
        """Identifiers of all objects, (N,)."""
        return self.identifiers(0, len(self))

    @cached_property
    def empty(self) -> np.ndarray:
        """Return which objects have no data in the bands of the networks, and hence no prediction, (N,) bool."""
        with self._open() as file:
            return self._empty(file, 0, len(self))

    def identifiers(self, start: int, stop: int) -> np.ndarray:
        """Read the identifiers of the objects from `start` to `stop`."""
        with self._open() as file:
            return file["object_id"].asstr()[start:stop]

    def held_out(self, start: int, stop: int) -> np.ndarray:
        """Return which objects from `start` to `stop` were predicted by networks not trained on them, (n,) bool."""
        with self._open() as file:
            return file["unseen"][start:stop]

    def block(self, start: int, stop: int) -> Arrays:
        """Read all arrays but the maps, for the objects from `start` to `stop`."""
        with self._open() as file:
            return {name: _single(file[name][start:stop]) for name in self.names if file[name].ndim < 3}

    def checked_block(self, reader: Reader, start: int, stop: int) -> tuple[np.ndarray, Arrays]:
        """Read identifiers and arrays but the maps, for the objects from `start` to `stop`.

        Raises
        ------
        StoreError
            They were made from another store.
        """
        identifiers = reader.block("object_id", start, stop)
        if len(self) != len(reader) or not np.array_equal(self.identifiers(start, stop), identifiers):
            raise StoreError(f"{self.path}: made for other objects than {reader.path} holds; predict again")
        if start == 0:
            self.require_store(reader)
        return identifiers, self.block(start, stop)

    def require_store(self, reader: Reader) -> None:
        """Check that the predictions were made from this very store.

        Raises
        ------
        StoreError
            They were made from another one, or from an older ingestion.
        """
        if len(self) != len(reader) or not np.array_equal(reader.object_id, self.object_id):
            raise StoreError(
                f"{self.path}: made for other objects than {reader.path} holds ({len(self)} and {len(reader)}); "
                "predict again"
            )
        if self.attributes["store"] != reader.fingerprint:
            raise StoreError(
                f"{self.path}: made from another store, or from an older version of {reader.path} with the same "
                f"objects (fingerprint {self.attributes['store'][:8]}, not {reader.fingerprint[:8]}); run "
                f"'astrodl predict {self.attributes['task']}' again"
            )

    def task(self) -> AnyTask:
        """Return the task that predicted, with the context of its first model."""
        return self._task

    def read(self, indices: np.ndarray | None = None, *, maps: bool = True) -> Arrays:
        """Read all arrays, or all but the maps, of all objects or of those at sorted indices."""
        with self._open() as file:
            return {name: _rows(file[name], indices) for name in self.names if maps or file[name].ndim < 3}


def _describe(file: h5py.File) -> dict[str, list[Any]]:
    """Return type and row shape of each dataset."""
    return {
        name: ["text" if item.dtype == object else item.dtype.str, list(item.shape[1:])] for name, item in file.items()
    }


def _rows(dataset: h5py.Dataset, indices: np.ndarray | None) -> np.ndarray:
    if indices is None or dataset.ndim < 3:
        values = dataset[:] if indices is None else dataset[:][indices]
    else:
        values = np.stack([dataset[int(i)] for i in indices]) if len(indices) else dataset[:0]
    return _single(values)


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype == np.float16 else values
