"""Check the integrity of a store."""

import os

import h5py
import numpy as np

from astrodl.errors import StoreError
from astrodl.store.damage import explain_damage
from astrodl.store.layout import dataset_digest, list_datasets, row_ranges
from astrodl.store.reader import Reader

__all__ = ["check"]

_MAY_BE_INFINITE = "catalog/"  # what the input holds


def check(path: str | os.PathLike[str]) -> list[str]:
    """Return a list of the problems of a store, one line each; empty if there are none.

    Opening the store checks names, shapes, types and attributes; this function also reads all data.
    """
    try:
        with Reader(path) as reader:
            problems = [*_identifier_problems(reader), *_content_problems(reader)]
    except StoreError as error:
        return [str(error)]
    return [f"{path}: {problem}; ingest again" for problem in problems]


def _identifier_problems(reader: Reader) -> list[str]:
    object_id = reader.object_id
    problems = []
    if len(np.unique(object_id)) < len(object_id):
        problems.append("object_id: not unique")
    if (object_id == "").any():
        problems.append("object_id: an identifier is empty")
    return problems


def _content_problems(reader: Reader) -> list[str]:
    """List datasets that differ from their checksums, or hold infinite values."""
    problems = []
    for name, dataset in list_datasets(reader._file):
        with explain_damage(reader.path, name):
            reader._check_texts(name)
            if dataset_digest(dataset) != dataset.attrs.get("sha256"):
                problems.append(f"{name}: content differs from its checksum")
            if dataset.dtype.kind == "f" and not name.startswith(_MAY_BE_INFINITE) and _holds_infinity(dataset):
                problems.append(f"{name}: holds infinite values")
    return problems


def _holds_infinity(dataset: h5py.Dataset) -> bool:
    return any(np.isinf(dataset[start:stop]).any() for start, stop in row_ranges(dataset, dataset.shape[0]))
