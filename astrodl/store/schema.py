"""What a store must hold: names, shapes, types and attributes; checked whenever a store is opened."""

import json
import math
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from astrodl.hdf5 import has_sound_texts
from astrodl.store.layout import (
    FORMAT,
    FORMAT_VERSION,
    REQUIRED,
    SPLITS,
    WITHOUT_FOLD,
    SchemaError,
    list_datasets,
    row_ranges,
)

__all__ = ["check_schema", "check_values"]

_NUMBERS = ("<f8", "<i8", "<u8")
_DATASETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "image": (("objects", "bands", "pixels", "pixels"), ("<f4",)),
    "object_id": (("objects",), ("text",)),
    "features": (("objects", "features"), ("<f4",)),
    "sky_sigma": (("objects", "bands"), ("<f4",)),
    "background": (("objects", "bands"), ("<f4",)),
    "flags": (("objects",), ("<i4",)),
    "band_flags": (("objects", "bands"), ("|u1",)),
    "split": (("objects",), ("|i1",)),
    "fold": (("objects",), ("<i2",)),
    "variance": (("objects", "bands", "pixels", "pixels"), ("<f4",)),
    "mask": (("objects", "bands", "pixels", "pixels"), ("|u1",)),
    "psf": (("objects", "bands", "psf pixels", "psf pixels"), ("<f4",)),
    "catalog/": (("objects",), (*_NUMBERS, "text")),
    "label/": (("objects", "pixels", "pixels"), ("<f4",)),
}
"""Axes and accepted types of each dataset, or of all datasets of a group."""

_TEXT_ATTRIBUTES = ("unit", "survey", "version", "source_checksum", "settings")
_COLUMN_ATTRIBUTES = ("sha256", "source", "type", "unit", "description")
_MAX_FOLDS = np.iinfo(np.int16).max
_UNITS = ("uJy", "relative")


def check_schema(file: h5py.File) -> None:
    """Check names, shapes, types and attributes of a store, and the values of its splits and folds.

    Raises
    ------
    SchemaError
        If anything is missing or not as it must be; the message is the problem.
    """
    _check_identity(file)
    datasets = dict(list_datasets(file))
    has_images = "image" in datasets or not _has_no_images(file.attrs)
    missing = [name for name in (*REQUIRED, *(["image"] if has_images else [])) if name not in datasets]
    if missing:
        raise SchemaError(f"damaged, has no {', '.join(missing)}")
    if has_images and len(datasets["image"].shape or ()) != 4:
        raise SchemaError(f"image: shape {datasets['image'].shape}, expected (objects, bands, pixels, pixels)")
    bands = _texts(file.attrs, "bands")
    n_objects, *_, size = datasets["image"].shape if has_images else (*datasets["object_id"].shape[:1], 0)
    lengths = {"objects": n_objects, "bands": len(bands), "pixels": size}
    n_columns = (*(datasets["features"].shape or ()), 0, 0)[1]
    # A store that was not ingested may leave its measurements without names.
    lengths["features"] = len(_texts(datasets["features"].attrs, "names", "features: ")) or n_columns
    if "psf" in datasets:
        lengths["psf pixels"] = (datasets["psf"].shape or (0,))[-1]
    for name, dataset in datasets.items():
        if not has_images and "pixels" in _rule(name)[0]:
            raise SchemaError(f"{name}: belongs to images, which the store has none of; remove it")
        _check_dataset(name, dataset, lengths)
    if not (n_objects and bands and (size or not has_images)):
        raise SchemaError("holds no objects, bands or pixels")
    _check_attributes(file.attrs, len(bands))
    for start, stop in row_ranges(datasets["split"], n_objects):
        _check_splits(datasets["split"][start:stop], datasets["fold"][start:stop])


def check_values(name: str, values: NDArray[Any]) -> None:
    """Check values of a dataset after they have been read.

    Raises
    ------
    SchemaError
        If values are impossible: infinite, or a negative noise.
    """
    if name in ("sky_sigma", "background", "features") and np.isinf(values).any():
        raise SchemaError(f"{name}: holds infinite values")
    if name == "sky_sigma" and (values < 0).any():
        raise SchemaError("sky_sigma: holds negative values")


def _check_identity(file: h5py.File) -> None:
    if not isinstance(file.attrs.get("format"), str) or file.attrs["format"] != FORMAT:
        raise SchemaError("not an astrodl store; give a file made by `astrodl ingest`")
    version = _attribute(file.attrs, "format_version")
    if not _is_integer(version) or version != FORMAT_VERSION:
        raise SchemaError(f"store format {version!s:.20}, this astrodl reads {FORMAT_VERSION}")


def _rule(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    rule = _DATASETS.get(name) or _DATASETS.get(name[: name.find("/") + 1])
    if rule is None:
        raise SchemaError(f"{name}: is not part of a store; remove it")
    return rule


def _has_no_images(attributes: h5py.AttributeManager) -> bool:
    """Return whether the store was made from a catalogue alone."""
    try:
        return bool(json.loads(attributes["settings"])["data"]["layout"] == "table")
    except (LookupError, TypeError, ValueError, RecursionError):
        return False


def _check_dataset(name: str, dataset: h5py.Dataset, lengths: dict[str, int]) -> None:
    """Check that a dataset has its shape and type, and that all of its data are in the file."""
    axes, types = _rule(name)
    expected = tuple(lengths[axis] for axis in axes)
    if dataset.shape != expected:
        raise SchemaError(f"{name}: shape {dataset.shape}, expected {expected} ({', '.join(axes)})")
    text = h5py.check_string_dtype(dataset.dtype)
    kind = "text" if text is not None and text.length is None else dataset.dtype.str
    if kind not in types:
        raise SchemaError(f"{name}: type {kind}, expected {' or '.join(types)}")
    if dataset.is_virtual or dataset.external:
        raise SchemaError(f"{name}: its data are in other files; copy them into the store")
    if not _is_complete(dataset) or (kind == "text" and not has_sound_texts(dataset, heaps=False)):
        raise SchemaError(f"{name}: a part of its data is missing")
    for attribute in _COLUMN_ATTRIBUTES:
        if not isinstance(dataset.attrs.get(attribute, ""), str):
            raise SchemaError(f"{name}: attribute '{attribute}' is not text")
    if "null" in dataset.attrs and not _is_integer(dataset.attrs["null"]):
        raise SchemaError(f"{name}: attribute 'null' is not an integer")


def _is_complete(dataset: h5py.Dataset) -> bool:
    """Return whether all data of a dataset are stored; otherwise a small file can have arrays of any size."""
    n_bytes = math.prod(dataset.shape) * dataset.id.get_type().get_size()
    if dataset.chunks is not None:
        grid = (-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        return bool(dataset.id.get_num_chunks() == math.prod(grid))
    offset = dataset.id.get_offset()
    is_inside = offset is None or offset + n_bytes <= dataset.file.id.get_filesize()
    return bool(dataset.id.get_storage_size() >= n_bytes and is_inside)


def _check_attributes(attributes: h5py.AttributeManager, n_bands: int) -> None:
    texts = {name: _attribute(attributes, name) for name in _TEXT_ATTRIBUTES}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise SchemaError(f"attribute '{name}' is not text")
    if texts["unit"] not in _UNITS:
        raise SchemaError(f"attribute 'unit' is '{texts['unit']:.20}', expected {' or '.join(_UNITS)}")
    _check_settings(texts["settings"])
    scale = _attribute(attributes, "pixel_scale_arcsec")
    if not isinstance(scale, float | np.floating) or not (math.isnan(scale) or 1e-9 < scale < 1e9):
        raise SchemaError(f"attribute 'pixel_scale_arcsec' is {scale!s:.20}, expected 1e-9 to 1e9, or NaN if unknown")
    points = _attribute(attributes, "zero_points")
    is_array = isinstance(points, np.ndarray) and points.dtype.kind == "f" and points.shape == (n_bands,)
    if not is_array or np.isinf(points).any():
        raise SchemaError(f"attribute 'zero_points' does not hold {n_bands} finite numbers or NaN")


def _check_settings(text: str) -> None:
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise SchemaError("attribute 'settings' is not JSON text with the settings of an ingestion")
    split = settings.get("split")
    folds = split.get("folds", 1) if isinstance(split, dict) else 1
    if not isinstance(folds, int) or not 1 <= folds <= _MAX_FOLDS:
        raise SchemaError(
            f"attribute 'settings' has split.folds {folds!s:.20}, accepted are 1 to {_MAX_FOLDS}; ingest again"
        )


def _check_splits(split: NDArray[np.int8], fold: NDArray[np.int16]) -> None:
    if not np.isin(split, range(len(SPLITS))).all():
        raise SchemaError(f"split: values other than 0 to {len(SPLITS) - 1}")
    if ((fold < 0) != np.isin(split, WITHOUT_FOLD)).any() or (fold < -1).any():
        raise SchemaError("fold: does not agree with split")


def _texts(attributes: h5py.AttributeManager, name: str, where: str = "") -> tuple[str, ...]:
    """Read an attribute that is a list of different texts."""
    values = _attribute(attributes, name)
    texts = list(values) if isinstance(values, np.ndarray) and values.ndim == 1 else [None]
    if not all(isinstance(text, str) and text for text in texts) or len(set(texts)) < len(texts):
        raise SchemaError(f"{where}attribute '{name}' is not a list of different names")
    return tuple(str(text) for text in texts)


def _attribute(attributes: h5py.AttributeManager, name: str) -> Any:
    if name not in attributes:
        raise SchemaError(f"damaged, lacks an attribute ({name})")
    return attributes[name]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) or (
        isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "iu"
    )
