"""Assign objects to training, validation and test by cell of the sky, and keep close neighbours together."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.config import SplitSettings
from astrodl.errors import DataError
from astrodl.healpix import sky_pixels
from astrodl.splits.groups import friends_of_friends
from astrodl.store import SPLITS

__all__ = ["REST", "TEST", "TRAIN", "VALIDATION", "assign", "check_splits", "uniform_hash"]

TRAIN, VALIDATION, TEST, REST = range(len(SPLITS))

_MAX_CHAIN_FRACTION = 0.5
"""A chain of neighbours with more than this fraction of all objects cannot be divided sensibly."""
_MIN_CHAIN = 20
"""Groups of up to this many objects are accepted even in a small survey."""

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


def assign(
    object_id: Sequence[str], ra: ArrayLike | None, dec: ArrayLike | None, settings: SplitSettings
) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """Divide objects into training, validation and test, and all but the test objects into folds.

    All objects in a HEALPix cell get the same split. So do objects closer than `settings.separation_arcsec`, in chains
    and across cell borders: such a group gets the split of one of its cells, while the other objects of these cells are
    unaffected. The split of a cell is a hash of the seed and its number. It does not depend on other objects, and the
    fractions are met on average. Objects without a position are assigned by a hash of their identifier.

    Parameters
    ----------
    object_id
        Unique identifiers, (N,).
    ra, dec
        Positions in degrees, (N,), NaN where unknown; None without positions.
    settings
        Fractions, number of folds, resolution, separation and seed.

    Returns
    -------
    split
        0 train, 1 validation, 2 test, (N,).
    fold
        0 to ``settings.folds - 1``; -1 for test objects, (N,).

    Raises
    ------
    DataError
        A requested split or fold would be empty because there are too few cells, or a chain of neighbours contains more
        than half of the objects.

    Notes
    -----
    If the hashes leave a split or fold empty although there are enough cells (as in a survey of a dozen objects), it
    gets the cell with the nearest hash.
    """
    units = _find_units(object_id, ra, dec, settings)
    split = _split_by_hash(units.hash(settings.seed, "split"), settings)
    not_test = split != TEST
    fold = np.full(len(units), -1, np.int16)
    hashes = units.hash(settings.seed, "fold", not_test)
    fold[not_test] = _fill_intervals(hashes, np.arange(1, settings.folds) / settings.folds, [1] * settings.folds)
    where = f"{len(units)} cells of nside {settings.nside}" if ra is not None else f"{len(units)} identifiers"
    split, fold = split[units.unit], fold[units.unit]
    check_splits(split, fold, settings, where)
    return split, fold


@dataclass(frozen=True)
class _Units:
    """What is not divided: cells, then single objects without a position.

    Attributes
    ----------
    cells
        Numbers of the cells, increasing, (C,).
    nside
        Resolution of the cells.
    alone
        Identifiers of the objects without a position, in the order of the catalogue.
    unit
        Unit of each object, (N,).
    """

    cells: _Integers
    nside: int
    alone: Sequence[str]
    unit: _Integers

    def __len__(self) -> int:
        return len(self.cells) + len(self.alone)

    def hash(self, seed: int, purpose: str, chosen: NDArray[np.bool_] | None = None) -> _Floats:
        """Return a number in 0 to 1 for each unit, or for the chosen ones, (U,)."""
        names = self._names() if chosen is None else compress(self._names(), chosen)
        return np.fromiter((uniform_hash(seed, purpose, name) for name in names), np.float64)

    def _names(self) -> Iterator[str]:
        for cell in self.cells:
            yield f"cell {self.nside} {cell}"
        for name in self.alone:
            yield f"id {name}"


def _find_units(
    object_id: Sequence[str], ra: ArrayLike | None, dec: ArrayLike | None, settings: SplitSettings
) -> _Units:
    n_objects = len(object_id)
    if ra is None or dec is None:
        return _Units(np.empty(0, np.int64), settings.nside, object_id, np.arange(n_objects))
    longitude, latitude = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
    known = np.isfinite(longitude) & np.isfinite(latitude)
    if not known.all():
        longitude, latitude = longitude[known], latitude[known]
    cells = _find_cells(longitude, latitude, settings)
    unique = np.unique(cells)
    alone = [object_id[int(row)] for row in np.flatnonzero(~known)]
    unit = np.empty(n_objects, np.int64)
    unit[known] = np.searchsorted(unique, cells)
    unit[~known] = np.arange(len(unique), len(unique) + len(alone))
    return _Units(unique, settings.nside, alone, unit)


def _find_cells(ra: _Floats, dec: _Floats, settings: SplitSettings) -> _Integers:
    """Return the cell whose split each object gets: its own, or another one of its group."""
    if len(dec) and np.abs(dec).max() > 90:
        wrong = dec[np.abs(dec).argmax()]
        raise DataError(f"declination reaches {wrong:g}, must lie in -90 to 90 degrees; correct dec_column")
    cells = sky_pixels(ra, dec, order=settings.nside.bit_length() - 1)
    if not settings.separation_arcsec:
        return cells
    rows, group = friends_of_friends(ra, dec, settings.separation_arcsec)
    crossing = _crosses_cells(group, cells[rows])
    rows, group = rows[crossing], group[crossing]
    _check_chains(ra, dec, group, settings.separation_arcsec)
    cells[rows] = _merge_cells(cells[rows], group, settings)
    return cells


def _crosses_cells(group: _Integers, cells: _Integers) -> NDArray[np.bool_]:
    """Return whether the group of each object lies in more than one cell."""
    order = np.lexsort((cells, group))
    border = (np.diff(group[order]) == 0) & (np.diff(cells[order]) != 0)
    return np.isin(group, group[order][1:][border])


def _merge_cells(cells: _Integers, group: _Integers, settings: SplitSettings) -> _Integers:
    """Return for objects of groups that cross cells the one of the cells of its group with the smallest hash, (M,)."""
    involved, inverse = np.unique(cells, return_inverse=True)
    hashes = np.array([uniform_hash(settings.seed, "group", f"cell {settings.nside} {cell}") for cell in involved])
    order = np.lexsort((hashes[inverse], group))
    _, first, member = np.unique(group[order], return_index=True, return_inverse=True)
    chosen = np.empty_like(cells)
    chosen[order] = cells[order][first][member]
    return chosen


def _check_chains(ra: _Floats, dec: _Floats, group: _Integers, separation: float) -> None:
    """Refuse a group across cells that contains most of the survey, and suggest a separation that avoids it."""
    largest = np.bincount(group).max(initial=0)
    limit = _MAX_CHAIN_FRACTION * len(ra)
    if largest <= max(_MIN_CHAIN, limit):
        return
    smaller = separation
    while np.bincount(friends_of_friends(ra, dec, smaller)[1]).max(initial=1) > limit and smaller > 1e-3:
        smaller /= 2
    raise DataError(
        f"{largest} of {len(ra)} objects form one chain of neighbours closer than {separation:g} arcsec, which "
        f"cannot be divided; set split.separation_arcsec to {smaller:.2g} or less (0: cells only)"
    )


def _split_by_hash(hashes: _Floats, settings: SplitSettings) -> NDArray[np.int8]:
    """Split units by their hashes in 0 to 1: the lowest are test, then validation, then training."""
    requested = [settings.test > 0, settings.folds == 1 and settings.validation > 0, settings.test < 1]
    needed = [int(part) for part in requested]
    if settings.folds > 1:  # The validation split is one of the folds: only these must not be empty.
        needed[2] *= settings.folds
        not_test = _fill_intervals(hashes, [settings.test], [needed[0], needed[2]]) == 1
        labels = np.where(hashes < settings.test + settings.validation, VALIDATION, TRAIN)
        return np.where(not_test, labels, TEST).astype(np.int8)
    part = _fill_intervals(hashes, [settings.test, settings.test + settings.validation], needed)
    return np.array([TEST, VALIDATION, TRAIN], np.int8)[part]


def _fill_intervals(values: _Floats, ends: ArrayLike, needed: Sequence[int]) -> _Integers:
    """Return the interval of 0 to 1 that each value falls into; an interval with too few gets the nearest others.

    Parameters
    ----------
    values
        Numbers in 0 to 1, (P,).
    ends
        End of each interval but the last, (K - 1,).
    needed
        Smallest number of values in each interval, (K,); ignored where there are too few values in total.

    Returns
    -------
    ndarray
        0 to K - 1, (P,).
    """
    interval = np.searchsorted(np.asarray(ends), values, side="right")
    if len(values) < sum(needed):
        return interval
    edges = np.concatenate([[0.0], np.asarray(ends), [1.0]])
    for number, count in enumerate(needed):
        if (interval == number).sum() >= count:
            continue
        distance = np.maximum(edges[number] - values, values - edges[number + 1])
        for candidate in np.argsort(distance, kind="stable"):
            if (interval == number).sum() >= count:
                break
            donor = interval[candidate]
            if donor != number and (interval == donor).sum() > needed[donor]:
                interval[candidate] = number
    return interval


def uniform_hash(seed: int, purpose: str, name: str) -> float:
    """Return a number in 0 to 1 that depends only on a seed and two texts."""
    digest = hashlib.sha256(f"{purpose} {seed} {name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def check_splits(split: NDArray[np.int8], fold: NDArray[np.int16], settings: SplitSettings, where: str) -> None:
    """Check that no requested split or fold is empty.

    Raises
    ------
    DataError
        Lists the empty ones; `where` says what was divided.
    """
    requested = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    if not settings.test:
        del requested["test"]
    if settings.folds > 1 or not settings.validation:
        del requested["validation"]
    if settings.folds > 1 or settings.test == 1:
        del requested["train"]
    empty = [f"the {name} split" for name, number in requested.items() if not (split == number).any()]
    if settings.folds > 1 and settings.test < 1:
        empty += [f"fold {k}" for k in range(settings.folds) if not (fold == k).any()]
    if empty:
        raise DataError(
            f"{' and '.join(empty)} would be empty ({len(split)} objects in {where}); set a larger split.nside, "
            "a smaller split.separation_arcsec, larger fractions or another split.seed"
        )
