"""From one catalogue to shards: files of the objects of a part of the sky each, that are ingested and predicted alone.

What depends on the whole survey is settled here, on the whole catalogue: the split and fold of each object, the sample
on which networks are trained and measured, and what is the same for all images (the plan). The shards together then
give what the survey as one gives.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Column, Table
from numpy.typing import NDArray

from astrodl.atomic import replacing, write_text
from astrodl.config import DataSettings, IngestSettings
from astrodl.errors import DataError
from astrodl.ingestion.division import divide, positions
from astrodl.ingestion.layout import Plan, make_plan
from astrodl.ingestion.table import Objects, masked, named_columns, objects_of, require_columns, texts_of
from astrodl.ingestion.table_file import find_catalog, read_table
from astrodl.splits.assign import REST, uniform
from astrodl.splits.tiling import FINEST, Tile, grouped, pixels, tiles, which
from astrodl.store import SPLITS

SPLIT, FOLD, ROW = "astrodl_split", "astrodl_fold", "astrodl_row"
"""Columns that a shard has beside those of the catalogue."""
ORDER = 18
"""Finest pixels that are told apart, 0.8 arcsec."""
TILES_PER_SHARD = 4
"""The finer the tiles, the nearer shards come to equal numbers."""


def shard(settings: IngestSettings, out: Path, n_shards: int) -> dict[str, Any]:
    """Divide a survey into shards.

    Writes ``0000/objects.fits`` and so on, `sample.fits` (all objects that networks are trained, validated or measured
    on) and, when all of them are there, `shards.json`. The catalogue is read once. Equal input gives equal bytes.

    Parameters
    ----------
    settings
        The survey: data and split.
    out
        Folder of the shards.
    n_shards
        Number of shards.

    Returns
    -------
    dict
        The content of `shards.json`.

    Raises
    ------
    DataError
        The catalogue is unusable, a band is nowhere to be found, or the survey cannot be divided so often.
    """
    data = settings.data
    root, catalog = find_catalog(data)
    table = read_table(catalog, data.id_column, named_columns(data))
    require_columns(table, data, catalog)
    objects = objects_of(table, data.model_copy(update={"columns": {}}), catalog)
    parts, folds = divide(objects, settings, catalog)
    plan = make_plan(data, root, objects)
    numbers = _places(objects, data)
    shards = _shards(numbers, n_shards, catalog)
    columns = _columns(table, data, parts, folds)
    owner = _owners(numbers, shards)
    for number in range(n_shards):
        _write_objects(_file(out, number), columns, np.flatnonzero(owner == number), plan)
    _write_objects(out / "sample.fits", columns, np.flatnonzero(parts != REST), plan)
    by = "identifier" if positions(objects, data)[0] is None else "position"
    summary = _summary(settings, plan, parts, shards, by)
    write_text(out / "shards.json", json.dumps(summary, indent=1) + "\n")
    return summary


def settings_of_shard(settings: IngestSettings) -> IngestSettings:
    """Give the settings with which a shard is ingested: its file says of each object what a whole survey works out."""
    columns = {"split_column": SPLIT, "fold_column": FOLD}
    if settings.data.layout == "arrays" and settings.data.index_column is None:
        columns["index_column"] = ROW
    data = settings.data.model_copy(update=columns)
    return settings.model_copy(update={"data": data, "split": settings.split.model_copy(update={"sample": None})})


def plan_of_shard(path: Path, data: DataSettings, root: str) -> Plan:
    """Read what holds for all images of the survey from the file of a shard.

    Raises
    ------
    DataError
        Not a file that `shard` wrote.
    """
    try:
        header = fits.getheader(path, 1)
        return Plan(data, root, **json.loads(header["PLAN"]))
    except (OSError, KeyError, IndexError, TypeError, ValueError):
        raise DataError(f"{path}: not the file of a shard; give one that `astrodl shard` wrote") from None


def _places(objects: Objects, data: DataSettings) -> NDArray[np.int64]:
    """Give the pixel of each object, (N,); where there is no position, one that a hash of the identifier chooses."""
    ra, dec = positions(objects, data)
    n_objects = len(objects)
    known = np.zeros(n_objects, bool) if ra is None or dec is None else np.isfinite(ra) & np.isfinite(dec)
    numbers = np.empty(n_objects, np.int64)
    if ra is not None and dec is not None:
        numbers[known] = pixels(ra[known], dec[known])
    for row in np.flatnonzero(~known).tolist():
        numbers[row] = int(uniform(0, "shard", objects.object_id[row]) * (12 << 2 * FINEST))
    return numbers


def _shards(numbers: NDArray[np.int64], n_shards: int, catalog: Path) -> list[list[Tile]]:
    """Divide the sky into shards of consecutive tiles with about as many objects each."""
    found, counts = np.unique(numbers >> 2 * (FINEST - ORDER), return_counts=True)
    if len(found) < n_shards:
        raise DataError(
            f"{catalog}: {len(numbers)} objects in {len(found)} pixels of 0.8 arcsec cannot be divided into {n_shards} "
            "shards; set fewer `shards`"
        )
    n_most = max(len(numbers) // (TILES_PER_SHARD * n_shards), 1)
    some = tiles(found, counts, ORDER, n_most)
    return grouped(some, n_shards)


def _owners(numbers: NDArray[np.int64], shards: Sequence[Sequence[Tile]]) -> NDArray[np.int32]:
    """Give the shard of each object, (N,)."""
    of_tile = np.repeat(np.arange(len(shards), dtype=np.int32), [len(group) for group in shards])
    return of_tile[which(numbers, [tile for group in shards for tile in group])]


def _columns(
    table: Table, data: DataSettings, parts: NDArray[np.int8], folds: NDArray[np.int16]
) -> dict[str, NDArray[Any]]:
    """Give what the ingestion needs of the catalogue, so that it reads the same from FITS, and what was worked out."""
    columns = {name: _in_fits(table[name]) for name in named_columns(data)}
    columns |= {SPLIT: np.array(SPLITS, "S")[parts], FOLD: folds}
    if data.layout == "arrays" and data.index_column is None:
        columns[ROW] = np.arange(len(table))
    return columns


def _in_fits(column: Column) -> NDArray[Any]:
    """Give a column in a type that FITS stores and that means the same there: UTF-8 text, NaN for a missing number."""
    if column.dtype.kind in "UO":
        return np.char.encode(np.array(texts_of(column)), "utf-8")
    missing = masked(column)
    values = np.asarray(np.ma.getdata(column))
    if not missing.any():
        return values
    return np.where(missing, b"", values) if column.dtype.kind == "S" else np.where(missing, np.nan, values)


def _file(out: Path, number: int) -> Path:
    return out / f"{number:04d}" / "objects.fits"


def _write_objects(path: Path, columns: Mapping[str, NDArray[Any]], rows: NDArray[np.int64], plan: Plan) -> None:
    """Write the rows of a shard, in the order of the catalogue, with the plan of the survey in the header."""
    table = Table({name: values[rows] for name, values in columns.items()}, copy=False)
    table.meta["PLAN"] = json.dumps(_plan(plan), separators=(",", ":"))
    with replacing(path) as temporary:
        table.write(temporary, format="fits")


def _plan(plan: Plan) -> dict[str, Any]:
    return {key: value for key, value in asdict(plan).items() if key not in ("data", "root")}


def _summary(
    settings: IngestSettings, plan: Plan, parts: NDArray[np.int8], shards: Sequence[Sequence[Tile]], by: str
) -> dict[str, Any]:
    data = settings.data.model_copy(update={"root": "."}).model_dump(mode="json")
    return {
        "survey": settings.survey,
        "n_objects": len(parts),
        "n_shards": len(shards),
        "by": by,
        "split": {name: int((parts == number).sum()) for number, name in enumerate(SPLITS)},
        "plan": _plan(plan),
        "settings": {"data": data, "split": settings.split.model_dump(mode="json")},
        "shards": [
            {
                "name": f"{number:04d}",
                "n_objects": sum(tile.n_objects for tile in group),
                "pixels": [[tile.order, tile.pixel, tile.n_objects] for tile in group],
            }
            for number, group in enumerate(shards)
        ],
    }
