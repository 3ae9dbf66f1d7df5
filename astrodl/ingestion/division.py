"""The split and fold of every object of a catalogue: computed or given, and which objects are the sample."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrodl.config import DataSettings, IngestSettings, SplitSettings
from astrodl.errors import DataError
from astrodl.ingestion.table import Objects
from astrodl.splits.assign import REST, assign, require_all, uniform
from astrodl.store import SPLITS
from astrodl.store.layout import WITHOUT_FOLD

Parts = NDArray[np.int8]
Folds = NDArray[np.int16]


def divide(objects: Objects, settings: IngestSettings, catalog: Path) -> tuple[Parts, Folds]:
    """Give the split and the fold of every object.

    Parameters
    ----------
    objects
        The catalogue.
    settings
        The survey: where the split is given (`data.split_column`) or how it is made (`split`).
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
        The catalogue gives splits or folds that are none, or a split that was asked for would be empty.
    """
    if settings.data.split_column is not None:
        parts, folds = _given(objects, settings, catalog)
    else:
        parts, folds = assign(objects.object_id, *positions(objects, settings.data), settings.split)
    return _sampled(objects.object_id, parts, folds, settings)


def positions(objects: Objects, data: DataSettings) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Give positions in degrees: on the sky, else on the mosaic as if it lay at the origin of the sky."""
    if objects.ra is not None or objects.pixel is None:
        return objects.ra, objects.dec
    degrees = objects.pixel * (data.pixel_scale_arcsec or 1.0) / data.rebin / 3600
    return degrees[:, 0], degrees[:, 1]


def _given(objects: Objects, settings: IngestSettings, catalog: Path) -> tuple[Parts, Folds]:
    """Read the split, and the fold where there is one, from the catalogue."""
    assert objects.split is not None
    names, codes = np.unique(np.array([name or "rest" for name in objects.split]), return_inverse=True)
    unknown = [name for name in names if name not in SPLITS]
    if unknown:
        raise DataError(
            f"{catalog}: column '{settings.data.split_column}' holds '{unknown[0]}', accepted are "
            f"{', '.join(SPLITS[:3])} or nothing (predicted only); correct the column or data.split_column"
        )
    parts = np.array([SPLITS.index(name) for name in names], np.int8)[codes]
    folds = np.zeros(len(parts)) if objects.fold is None else objects.fold
    folded = ~np.isin(parts, WITHOUT_FOLD)
    good = np.isin(folds[folded], np.arange(settings.split.folds))
    if not good.all():
        row = int(np.flatnonzero(folded)[~good][0])
        raise DataError(
            f"{catalog}: column '{settings.data.fold_column}' holds {folds[row]:g} in row {row + 1}, accepted are 0 to "
            f"{settings.split.folds - 1} for training and validation objects; correct the column or split.folds"
        )
    return parts, np.where(folded, folds, -1).astype(np.int16)


def _sampled(object_id: list[str], parts: Parts, folds: Folds, settings: IngestSettings) -> tuple[Parts, Folds]:
    """Leave about `split.sample` objects in their splits and make the others the rest.

    An object is in the sample where a hash of its identifier, a number in 0 to 1, is below the share that is asked for:
    samples of two sizes are nested, and an object's lot depends on no other.
    """
    split = settings.split
    if split.sample is None:
        return parts, folds
    divided = np.flatnonzero(parts != REST)
    share = split.sample / max(len(divided), 1)
    if share >= 1:
        return parts, folds
    out = divided[[uniform(split.seed, "sample", object_id[row]) >= share for row in divided.tolist()]]
    parts, folds = parts.copy(), folds.copy()
    parts[out], folds[out] = REST, -1
    if settings.data.split_column is None:
        _require_all_in_sample(parts, folds, split)
    return parts, folds


def _require_all_in_sample(parts: Parts, folds: Folds, split: SplitSettings) -> None:
    inside = parts != REST
    require_all(parts[inside], folds[inside], split, f"a sample of split.sample {split.sample}, perhaps too few")
