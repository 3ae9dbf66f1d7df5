"""The split and fold of every object of a catalogue: read or assigned, and limited to a sample."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrodl.config import DataSettings, IngestSettings, SplitSettings
from astrodl.errors import DataError
from astrodl.ingestion.objects import Objects
from astrodl.splits.assign import REST, assign, check_splits, uniform_hash
from astrodl.store import SPLITS
from astrodl.store.layout import WITHOUT_FOLD

__all__ = ["sky_positions", "split_objects"]

_Splits = NDArray[np.int8]
_Folds = NDArray[np.int16]


def split_objects(objects: Objects, settings: IngestSettings, catalog: Path) -> tuple[_Splits, _Folds]:
    """Return the split and the fold of every object.

    Parameters
    ----------
    objects
        The catalogue.
    settings
        The survey: either `data.split_column` names the split, or `split` says how to assign it.
    catalog
        Name of the catalogue in messages.

    Returns
    -------
    split
        Codes of `SPLITS`, (N,).
    fold
        0 to ``split.folds - 1``; -1 for test and rest, (N,).

    Raises
    ------
    DataError
        If the catalogue has invalid splits or folds, or a requested split would be empty.
    """
    if settings.data.split_column is not None:
        split, fold = _read_splits(objects, settings, catalog)
    else:
        split, fold = assign(objects.object_id, *sky_positions(objects, settings.data), settings.split)
    return _draw_sample(objects.object_id, split, fold, settings)


def sky_positions(
    objects: Objects, data: DataSettings
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Return positions in degrees; mosaic pixels are converted as if the mosaic lay at the origin of the sky."""
    if objects.ra is not None or objects.pixel is None:
        return objects.ra, objects.dec
    degrees = objects.pixel * (data.pixel_scale_arcsec or 1.0) / data.rebin / 3600
    return degrees[:, 0], degrees[:, 1]


def _read_splits(objects: Objects, settings: IngestSettings, catalog: Path) -> tuple[_Splits, _Folds]:
    """Read the split, and the fold if there is one, from the catalogue."""
    assert objects.split is not None
    codes = {name: code for code, name in enumerate(SPLITS)} | {"": REST}
    split = np.fromiter((codes.get(name, -1) for name in objects.split), np.int8, len(objects))
    if (split < 0).any():
        unknown = objects.split[int(np.flatnonzero(split < 0)[0])]
        raise DataError(
            f"{catalog}: column '{settings.data.split_column}' holds '{unknown}', accepted are "
            f"{', '.join(SPLITS[:3])} or nothing (predicted only); correct the column or data.split_column"
        )
    fold = np.zeros(len(split)) if objects.fold is None else objects.fold
    has_fold = ~np.isin(split, WITHOUT_FOLD)
    valid = np.isin(fold[has_fold], np.arange(settings.split.folds))
    if not valid.all():
        row = int(np.flatnonzero(has_fold)[~valid][0])
        raise DataError(
            f"{catalog}: column '{settings.data.fold_column}' holds {fold[row]:g} in row {row + 1}, accepted are 0 to "
            f"{settings.split.folds - 1} for training and validation objects; correct the column or split.folds"
        )
    return split, np.where(has_fold, fold, -1).astype(np.int16)


def _draw_sample(
    object_id: Sequence[str], split: _Splits, fold: _Folds, settings: IngestSettings
) -> tuple[_Splits, _Folds]:
    """Keep about `split.sample` objects in their splits and move the others to the rest.

    An object is in the sample if a hash of its identifier, a number between 0 and 1, is below the requested share. A
    smaller sample is therefore a subset of a larger one, and the choice does not depend on other objects.
    """
    n_sample = settings.split.sample
    if n_sample is None:
        return split, fold
    candidates = np.flatnonzero(split != REST)
    share = n_sample / max(len(candidates), 1)
    if share >= 1:
        return split, fold
    seed = settings.split.seed
    names = (object_id[row] for row in map(int, candidates))
    is_out = np.fromiter((uniform_hash(seed, "sample", name) >= share for name in names), bool)
    out = candidates[is_out]
    split, fold = split.copy(), fold.copy()
    split[out], fold[out] = REST, -1
    if settings.data.split_column is None:
        _check_sample(split, fold, settings.split)
    return split, fold


def _check_sample(split: _Splits, fold: _Folds, settings: SplitSettings) -> None:
    inside = split != REST
    where = f"a sample of split.sample {settings.sample}, perhaps too few"
    check_splits(split[inside], fold[inside], settings, where)
