"""Check the integrity of a store."""

import os

import numpy as np

from astrodl.errors import StoreError
from astrodl.store.layout import SPLITS, WITHOUT_FOLD, list_datasets
from astrodl.store.reader import Reader
from astrodl.store.writer import dataset_digest

__all__ = ["check"]


def check(path: str | os.PathLike[str]) -> list[str]:
    """Return a list of the problems of a store, one line each; empty if there are none."""
    try:
        reader = Reader(path)
    except StoreError as error:
        return [str(error)]
    with reader:
        file, n = reader._file, reader.n_objects
        problems = [
            f"{name}: has {dataset.shape[0]} rows, expected {n}"
            for name, dataset in list_datasets(file)
            if dataset.shape[0] != n
        ]
        if file["image"].shape[1:] != (len(reader.bands), reader.size, reader.size):
            problems.append(f"image: shape {file['image'].shape} does not fit {len(reader.bands)} bands")
        if file["features"].shape[1:] != (len(reader.feature_names),):
            problems.append(f"features: {file['features'].shape[1]} columns, {len(reader.feature_names)} names")
        if file["band_flags"].shape[1:] != (len(reader.bands),):
            problems.append(f"band_flags: shape {file['band_flags'].shape} does not fit {len(reader.bands)} bands")
        if len(np.unique(reader.object_id)) < n:
            problems.append("object_id: not unique")
        if not np.isin(reader.split, range(len(SPLITS))).all():
            problems.append(f"split: values other than 0 to {len(SPLITS) - 1}")
        if ((reader.fold < 0) != np.isin(reader.split, WITHOUT_FOLD)).any():
            problems.append("fold: does not agree with split")
        problems += [
            f"{name}: content differs from its checksum"
            for name, dataset in list_datasets(file)
            if dataset_digest(dataset) != dataset.attrs.get("sha256")
        ]
    return [f"{path}: {problem}; ingest again" for problem in problems]
