"""Training, validation and test: by cell of the sky, so that no object has a neighbour in another split."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.config import SplitSettings
from astrodl.errors import DataError

TRAIN, VALIDATION, TEST = 0, 1, 2


def assign(
    object_id: Sequence[str], ra: ArrayLike | None, dec: ArrayLike | None, settings: SplitSettings
) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """Divide objects into training, validation and test, and what is not test into folds.

    Objects of one HEALPix cell stay together. A cell's place is a hash of the seed and its number, hence it never
    changes when the catalogue grows, and fractions are met on average. Objects without a position are placed by a hash
    of their identifier.

    Parameters
    ----------
    object_id
        Unique identifiers, (N,).
    ra, dec
        Position in degrees, (N,), NaN where unknown; None without positions.
    settings
        Fractions, number of folds, resolution and seed.

    Returns
    -------
    split
        0 train, 1 validation, 2 test, (N,).
    fold
        0 to ``settings.folds - 1``; -1 for test objects, (N,).

    Raises
    ------
    DataError
        A split or fold that was asked for is empty.
    """
    places = _places(object_id, ra, dec, settings.nside)
    unique, inverse = np.unique(np.asarray(places), return_inverse=True)
    uniform = np.array([_uniform(settings.seed, "split", place) for place in unique])
    split = np.full(len(unique), TRAIN, np.int8)
    split[uniform < settings.test + settings.validation] = VALIDATION
    split[uniform < settings.test] = TEST
    folds = np.array([int(settings.folds * _uniform(settings.seed, "fold", place)) for place in unique], np.int16)
    folds[split == TEST] = -1
    where = f"{len(unique)} cells of nside {settings.nside}" if ra is not None else f"{len(unique)} identifiers"
    require_all(split[inverse], folds[inverse], settings, where)
    return split[inverse], folds[inverse]


def _places(object_id: Sequence[str], ra: ArrayLike | None, dec: ArrayLike | None, nside: int) -> list[str]:
    names = [f"id {name}" for name in object_id]
    if ra is None or dec is None:
        return names
    longitude, latitude = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
    known = np.isfinite(longitude) & np.isfinite(latitude)
    if (np.abs(latitude[known]) > 90).any():
        raise DataError(
            f"declination reaches {latitude[known].max():g}, must lie in -90 to 90 degrees; correct dec_column"
        )
    import astropy.units as u
    from astropy_healpix import HEALPix

    grid = HEALPix(nside=nside, order="nested")
    cells = grid.lonlat_to_healpix(longitude[known] * u.deg, latitude[known] * u.deg)
    for row, cell in zip(np.flatnonzero(known), cells, strict=True):
        names[row] = f"cell {nside} {cell}"
    return names


def _uniform(seed: int, purpose: str, place: str) -> float:
    digest = hashlib.sha256(f"{purpose} {seed} {place}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def require_all(split: NDArray[np.int8], fold: NDArray[np.int16], settings: SplitSettings, where: str) -> None:
    """Refuse a division in which a split or fold that was asked for is empty.

    Raises
    ------
    DataError
        Names the empty ones; `where` tells what was divided.
    """
    asked = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    if not settings.test:
        del asked["test"]
    if settings.folds > 1 or not settings.validation:
        del asked["validation"]
    if settings.folds > 1 or settings.test == 1:
        del asked["train"]
    empty = [f"the {name} split" for name, number in asked.items() if not (split == number).any()]
    if settings.folds > 1 and settings.test < 1:
        empty += [f"fold {k}" for k in range(settings.folds) if not (fold == k).any()]
    if empty:
        raise DataError(
            f"{' and '.join(empty)} would be empty ({len(split)} objects in {where}); set a larger split.nside, "
            "larger fractions or another split.seed"
        )
