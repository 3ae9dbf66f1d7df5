"""Divide a catalogue into shards: parts of the sky that are ingested and predicted on their own.

Everything that depends on the whole survey is computed here, from the whole catalogue: the split and fold of each
object, the sample on which networks are trained and evaluated, and the properties that all images share. The shards
together therefore give the same result as the whole survey.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table
from numpy.typing import NDArray

from astrodl.atomic import FilePath, replacing, write_text
from astrodl.config import DataSettings, IngestSettings
from astrodl.errors import DataError
from astrodl.fits.bytes import UnreadableError
from astrodl.fits.counts import check_counts
from astrodl.healpix import MAX_ORDER, Tile, divide_sky, find_tiles, group_tiles, sky_pixels
from astrodl.ingestion.objects import CatalogPlan, Objects, list_columns, objects_from_table, plan_catalog
from astrodl.ingestion.properties import SurveyProperties, find_properties
from astrodl.ingestion.splits import sky_positions, split_objects
from astrodl.ingestion.tables import TextColumn, find_catalog, missing_entries, read_table
from astrodl.splits.assign import REST, uniform_hash
from astrodl.store import SPLITS

__all__ = [
    "FOLD_COLUMN",
    "ROW_COLUMN",
    "SPLIT_COLUMN",
    "read_shard_plan",
    "read_shard_properties",
    "shard",
    "shard_settings",
]

SPLIT_COLUMN, FOLD_COLUMN, ROW_COLUMN = "astrodl_split", "astrodl_fold", "astrodl_row"
_ID_COLUMN = "astrodl_id"
"""Columns that a shard has in addition to those of the catalogue."""

_MAX_TILE_ORDER = 18  # pixels of 0.8 arcsec
_TILES_PER_SHARD = 4  # smaller tiles make the shards more equal
_BLOCK = 100_000  # texts that are encoded at a time


def shard(settings: IngestSettings, out: FilePath, n_shards: int) -> dict[str, Any]:
    """Divide a survey into shards.

    The catalogue is read once. Equal input gives equal bytes. The folder gets ``0000/objects.fits`` and so on,
    `sample.fits` (the objects on which networks are trained, validated or tested) and finally `shards.json`.

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
        If the catalogue cannot be used, a band is in no file, or the survey is too small for this number of shards.
    """
    out, data = Path(out), settings.data
    root, catalog = find_catalog(data)
    table = read_table(catalog, data.id_column, list_columns(data))
    plan = plan_catalog(table, data, catalog)
    objects = objects_from_table(table, data.model_copy(update={"columns": {}}), catalog, plan, photometry=False)
    split, fold = split_objects(objects, settings, catalog)
    survey = find_properties(data, root, objects)
    pixels = _find_pixels(objects, data)
    shards = _group_tiles(pixels, n_shards, catalog)
    columns = _columns(table, data, split, fold)
    shard_of_tile = np.repeat(np.arange(len(shards), dtype=np.int32), [len(tiles) for tiles in shards])
    shard_of_object = shard_of_tile[find_tiles(pixels, [tile for tiles in shards for tile in tiles])]
    for number in range(n_shards):
        path = out / f"{number:04d}" / "objects.fits"
        _write_objects(path, columns, np.flatnonzero(shard_of_object == number), survey, plan)
    _write_objects(out / "sample.fits", columns, np.flatnonzero(split != REST), survey, plan)
    divided_by = "identifier" if sky_positions(objects, data)[0] is None else "position"
    summary = _summarize(settings, survey, split, shards, divided_by)
    write_text(out / "shards.json", json.dumps(summary, indent=1) + "\n")
    return summary


def shard_settings(settings: IngestSettings) -> IngestSettings:
    """Return the settings for a shard, whose file contains the splits, folds and array rows of its objects."""
    columns = {"split_column": SPLIT_COLUMN, "fold_column": FOLD_COLUMN}
    if settings.data.layout == "arrays" and settings.data.index_column is None:
        columns["index_column"] = ROW_COLUMN
    if settings.data.id_column is None:
        columns["id_column"] = _ID_COLUMN
    data = settings.data.model_copy(update=columns)
    return settings.model_copy(update={"data": data, "split": settings.split.model_copy(update={"sample": None})})


def read_shard_properties(path: Path, data: DataSettings, root: str) -> SurveyProperties:
    """Read the properties of the survey from the file of a shard.

    Raises
    ------
    DataError
        If `shard` did not write the file.
    """
    with _shard_header(path) as header:
        return SurveyProperties(data, root, **json.loads(header["PLAN"]))


def read_shard_plan(path: Path) -> CatalogPlan | None:
    """Read how the columns of a shard are read; None if an older version wrote the file.

    Raises
    ------
    DataError
        If `shard` did not write the file.
    """
    with _shard_header(path) as header:
        return CatalogPlan.from_dict(json.loads(header["COLUMNS"])) if "COLUMNS" in header else None


@contextmanager
def _shard_header(path: Path) -> Iterator[fits.Header]:
    """Read the header of the table of a shard; whatever is wrong with it or its content is a DataError."""
    try:
        check_counts(path)
        yield fits.getheader(path, 1)
    except (OSError, KeyError, IndexError, TypeError, ValueError, UnreadableError):
        raise DataError(f"{path}: not the file of a shard; give one that `astrodl shard` wrote") from None


def _find_pixels(objects: Objects, data: DataSettings) -> NDArray[np.int64]:
    """Return the HEALPix pixel of each object, (N,); objects without a position get one by a hash of the identifier."""
    ra, dec = sky_positions(objects, data)
    n_objects = len(objects)
    has_position = np.zeros(n_objects, bool) if ra is None or dec is None else np.isfinite(ra) & np.isfinite(dec)
    pixels = np.empty(n_objects, np.int64)
    if ra is not None and dec is not None:
        pixels[has_position] = sky_pixels(ra[has_position], dec[has_position])
    for row in map(int, np.flatnonzero(~has_position)):
        pixels[row] = int(uniform_hash(0, "shard", objects.object_id[row]) * (12 << 2 * MAX_ORDER))
    return pixels


def _group_tiles(pixels: NDArray[np.int64], n_shards: int, catalog: Path) -> list[list[Tile]]:
    """Divide the sky into shards of consecutive tiles with about equal numbers of objects."""
    occupied, counts = np.unique(pixels >> 2 * (MAX_ORDER - _MAX_TILE_ORDER), return_counts=True)
    if len(occupied) < n_shards:
        raise DataError(
            f"{catalog}: {len(pixels)} objects in {len(occupied)} pixels of 0.8 arcsec cannot be divided into "
            f"{n_shards} shards; set fewer `shards`"
        )
    max_objects = max(len(pixels) // (_TILES_PER_SHARD * n_shards), 1)
    return group_tiles(divide_sky(occupied, counts, _MAX_TILE_ORDER, max_objects), n_shards)


def _columns(table: Table, data: DataSettings, split: NDArray[np.int8], fold: NDArray[np.int16]) -> dict[str, Column]:
    """Return the columns of the shards: those that the ingestion reads, and split, fold and array row."""
    columns = {name: _to_fits(table[name]) for name in list_columns(data)}
    columns |= {SPLIT_COLUMN: Column(np.array(SPLITS, "S")[split], copy=False), FOLD_COLUMN: Column(fold, copy=False)}
    if data.layout == "arrays" and data.index_column is None:
        columns[ROW_COLUMN] = Column(np.arange(len(table)))
    if data.id_column is None:
        columns[_ID_COLUMN] = Column(np.arange(1, len(table) + 1))
    return columns


def _to_fits(column: Column) -> Column:
    """Convert a column to a type that FITS reads back with the same meaning: UTF-8 text, masks, no 8-bit integers."""
    if column.dtype.kind in "UO":
        texts = TextColumn(column)
        blocks = (np.array(texts[start : start + _BLOCK]) for start in range(0, max(len(texts), 1), _BLOCK))
        return Column(np.concatenate([np.char.encode(block, "utf-8") for block in blocks]), copy=False)
    missing, values = missing_entries(column), np.asarray(np.ma.getdata(column))
    if values.dtype == np.int8 or (values.dtype.kind == "b" and missing.any()):
        values = values.astype(np.int16)  # astropy writes int8 as logical, which have no mask there
    if not missing.any():
        return Column(values, copy=False)
    if values.dtype.kind == "S":
        return Column(np.where(missing, b"", values))
    if values.dtype.kind == "f":
        return Column(np.where(missing, np.nan, values))
    return MaskedColumn(values, mask=missing, fill_value=_unused(values[~missing]))


def _unused(values: NDArray[Any]) -> int:
    """Return an integer of the type of the values that none of them is."""
    limits = np.iinfo(values.dtype)
    ends = (limits.min, limits.max)
    return next((end for end in ends if end not in values), None) or next(
        number for number in range(limits.min, limits.max) if number not in values
    )


def _write_objects(
    path: Path, columns: Mapping[str, Column], rows: NDArray[np.int64], survey: SurveyProperties, plan: CatalogPlan
) -> None:
    """Write rows in the order of the catalogue, with the properties of the survey and its columns in the header."""
    table = Table({name: column[rows] for name, column in columns.items()}, copy=False)
    table.meta["PLAN"] = _card_json(_plain_properties(survey))
    table.meta["COLUMNS"] = _card_json(plan.to_dict())
    with replacing(path) as temporary:
        table.write(temporary, format="fits")


def _card_json(value: Any) -> str:
    """Return JSON for a card, without the quotes that astropy takes for the end of a value before a slash."""
    return json.dumps(value, separators=(",", ":")).replace("'", r"\u0027")


def _plain_properties(survey: SurveyProperties) -> dict[str, Any]:
    return {key: value for key, value in asdict(survey).items() if key not in ("data", "root")}


def _summarize(
    settings: IngestSettings,
    survey: SurveyProperties,
    split: NDArray[np.int8],
    shards: Sequence[Sequence[Tile]],
    divided_by: str,
) -> dict[str, Any]:
    data = settings.data.model_copy(update={"root": "."}).model_dump(mode="json")
    return {
        "survey": settings.survey,
        "n_objects": len(split),
        "n_shards": len(shards),
        "by": divided_by,
        "split": {name: int((split == code).sum()) for code, name in enumerate(SPLITS)},
        "plan": _plain_properties(survey),
        "settings": {"data": data, "split": settings.split.model_dump(mode="json")},
        "shards": [
            {
                "name": f"{number:04d}",
                "n_objects": sum(tile.n_objects for tile in tiles),
                "pixels": [[tile.order, tile.pixel, tile.n_objects] for tile in tiles],
            }
            for number, tiles in enumerate(shards)
        ],
    }
