"""Training, validation and test: by cell of the sky, and neighbours stay together across the borders of cells."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.config import SplitSettings
from astrodl.errors import DataError
from astrodl.splits.groups import friends, unit_vectors
from astrodl.store import SPLITS

TRAIN, VALIDATION, TEST, REST = range(len(SPLITS))

LARGEST_SHARE = 0.5
"""A chain of neighbours with more than this share of all objects leaves no sensible division."""
LEAST_CHAIN = 20
"""Groups up to this many objects are no such chain, however small the survey."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def assign(
    object_id: Sequence[str], ra: ArrayLike | None, dec: ArrayLike | None, settings: SplitSettings
) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """Divide objects into training, validation and test, and what is not test into folds.

    Objects of one HEALPix cell stay together. So do objects closer than `settings.separation_arcsec`, in chains and
    across the borders of cells: such a group shares the lot of one of its cells, while its other cells keep theirs. The
    lot of a cell is a hash of the seed and its number: it does not depend on the other objects, and fractions are met
    on average. Objects without a position are placed by a hash of their identifier.

    Parameters
    ----------
    object_id
        Unique identifiers, (N,).
    ra, dec
        Position in degrees, (N,), NaN where unknown; None without positions.
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
        A split or fold that was asked for is empty, because there are too few cells; or neighbours form a chain of more
        than half of the objects.

    Notes
    -----
    Where the hashes leave a split or fold empty although there are cells enough, as happens with a dozen objects, it
    gets the cell whose hash lies nearest.
    """
    names, place = _places(object_id, ra, dec, settings)
    drawn = np.array([uniform(settings.seed, "split", name) for name in names])
    split = _divide(drawn, settings)
    rest = split != TEST
    folds = np.full(len(names), -1, np.int16)
    drawn = np.array([uniform(settings.seed, "fold", name) for name in np.asarray(names)[rest]])
    folds[rest] = _fill(drawn, np.arange(1, settings.folds) / settings.folds, [1] * settings.folds)
    where = f"{len(names)} cells of nside {settings.nside}" if ra is not None else f"{len(names)} identifiers"
    require_all(split[place], folds[place], settings, where)
    return split[place], folds[place]


def _places(
    object_id: Sequence[str], ra: ArrayLike | None, dec: ArrayLike | None, settings: SplitSettings
) -> tuple[list[str], Integers]:
    """Give the names of all places (cells, or identifiers without position), and the place of each object (N,)."""
    n_objects = len(object_id)
    if ra is None or dec is None:
        return [f"id {name}" for name in object_id], np.arange(n_objects)
    longitude, latitude = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
    known = np.isfinite(longitude) & np.isfinite(latitude)
    cells = _cells(longitude[known], latitude[known], settings)
    unique, inverse = np.unique(cells, return_inverse=True)
    names = [f"cell {settings.nside} {cell}" for cell in unique]
    names += [f"id {object_id[int(row)]}" for row in np.flatnonzero(~known)]
    place = np.empty(n_objects, np.int64)
    place[known] = inverse
    place[~known] = np.arange(len(unique), len(names))
    return names, place


def _cells(ra: Floats, dec: Floats, settings: SplitSettings) -> Integers:
    """Give the cell whose lot each object shares: its own, or one of its group's."""
    if len(dec) and np.abs(dec).max() > 90:
        wrong = dec[np.abs(dec).argmax()]
        raise DataError(f"declination reaches {wrong:g}, must lie in -90 to 90 degrees; correct dec_column")
    import astropy.units as u
    from astropy_healpix import HEALPix

    cells = HEALPix(nside=settings.nside, order="nested").lonlat_to_healpix(ra * u.deg, dec * u.deg)
    if not settings.separation_arcsec:
        return cells
    points = unit_vectors(ra, dec)
    group = friends(points, settings.separation_arcsec)
    torn = _torn(group, cells)
    _refuse_chains(points, group, torn, settings.separation_arcsec)
    return _united(cells, group, torn, settings)


def _torn(group: Integers, cells: Integers) -> NDArray[np.bool_]:
    """Tell which objects belong to a group that lies in more than one cell."""
    order = np.lexsort((cells, group))
    border = (np.diff(group[order]) == 0) & (np.diff(cells[order]) != 0)
    return np.isin(group, group[order][1:][border])


def _united(cells: Integers, group: Integers, torn: NDArray[np.bool_], settings: SplitSettings) -> Integers:
    """Give all objects of a torn group that cell of the group whose hash is the smallest, whatever the order."""
    involved, inverse = np.unique(cells[torn], return_inverse=True)
    lot = np.array([uniform(settings.seed, "group", f"cell {settings.nside} {cell}") for cell in involved])
    order = np.lexsort((lot[inverse], group[torn]))
    _, first, member = np.unique(group[torn][order], return_index=True, return_inverse=True)
    chosen = np.empty_like(order)
    chosen[order] = cells[torn][order][first][member]
    united = cells.copy()
    united[torn] = chosen
    return united


def _refuse_chains(points: Floats, group: Integers, torn: NDArray[np.bool_], separation: float) -> None:
    """Refuse a group over several cells that swallows the survey, and say which separation would not make one."""
    largest = np.bincount(group[torn]).max(initial=0)
    if largest <= max(LEAST_CHAIN, LARGEST_SHARE * len(points)):
        return
    smaller = separation
    while np.bincount(friends(points, smaller)).max() > LARGEST_SHARE * len(points) and smaller > 1e-3:
        smaller /= 2
    raise DataError(
        f"{largest} of {len(points)} objects form one chain of neighbours closer than {separation:g} arcsec, which "
        f"cannot be divided; set split.separation_arcsec to {smaller:.2g} or less (0: cells alone)"
    )


def _divide(drawn: Floats, settings: SplitSettings) -> NDArray[np.int8]:
    """Divide places by their numbers in 0 to 1: the lowest are test, then validation, then training."""
    asked = [settings.test > 0, settings.folds == 1 and settings.validation > 0, settings.test < 1]
    needed = [int(part) for part in asked]
    if settings.folds > 1:  # validation is one of the folds: what counts is that all of them can be filled
        needed[2] *= settings.folds
        ends = [settings.test]
        rest = _fill(drawn, ends, [needed[0], needed[2]]) == 1
        labels = np.where(drawn < settings.test + settings.validation, VALIDATION, TRAIN)
        return np.where(rest, labels, TEST).astype(np.int8)
    part = _fill(drawn, [settings.test, settings.test + settings.validation], needed)
    return np.array([TEST, VALIDATION, TRAIN], np.int8)[part]


def _fill(drawn: Floats, ends: ArrayLike, needed: Sequence[int]) -> Integers:
    """Tell into which interval of 0 to 1 each number falls; one with too few of them gets the nearest others.

    Parameters
    ----------
    drawn
        Numbers in 0 to 1, (P,).
    ends
        Where each interval but the last ends, (K - 1,).
    needed
        Least count of each interval, (K,); met where there are enough numbers in all.

    Returns
    -------
    (P,) array
        0 to K - 1.
    """
    part = np.searchsorted(np.asarray(ends), drawn, side="right")
    if len(drawn) < sum(needed):
        return part
    edges = np.concatenate([[0.0], np.asarray(ends), [1.0]])
    for number, count in enumerate(needed):
        distance = np.maximum(edges[number] - drawn, drawn - edges[number + 1])
        for candidate in np.argsort(distance, kind="stable"):
            if (part == number).sum() >= count:
                break
            donor = part[candidate]
            if donor != number and (part == donor).sum() > needed[donor]:
                part[candidate] = number
    return part


def uniform(seed: int, purpose: str, place: str) -> float:
    """Give a number in 0 to 1 that depends on nothing but a seed and two texts."""
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
            "a smaller split.separation_arcsec, larger fractions or another split.seed"
        )
