"""The verb catalog: one row per object with the columns of every task."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import astrodl
from astrodl.atomic import FilePath
from astrodl.calibration.training_range import INPUT_FLAGS
from astrodl.errors import StoreError
from astrodl.pipeline.input_columns import input_columns, object_identifiers, text_widths
from astrodl.pipeline.predictions import Predictions
from astrodl.pipeline.shares import Shares, open_shares
from astrodl.pipeline.suitability import list_files, require_other_output
from astrodl.products import FITS_SUFFIXES, Column, name_safely, require_suffix, stream_catalog
from astrodl.products.write import RESERVED
from astrodl.store import BAND_FLAGS, FLAGS, SPLITS, Reader, open_store
from astrodl.tasks.base import AnyTask, Arrays

__all__ = ["BLOCK", "catalog", "check_sources", "join_columns"]

POSITION = {"ra": ("right ascension", "pos.eq.ra;meta.main"), "dec": ("declination", "pos.eq.dec;meta.main")}
BLOCK = 4096
"""Objects in memory at a time."""


def catalog(
    store: FilePath,
    predictions: Sequence[FilePath] | FilePath,
    out: FilePath,
    *,
    shares: Sequence[FilePath] | FilePath = (),
) -> Path:
    """Join the predictions of all tasks into one FITS catalogue, block by block.

    Parameters
    ----------
    store : path
        The store that was predicted.
    predictions : path, or sequence of path
        One predictions file per task.
    out : path
        Catalogue to write.
    shares : path, or sequence of path
        Tables of `astrodl explain --shares`, at most one per task, whose shares of bands and annuli become columns.

    Returns
    -------
    Path
        The catalogue.

    Raises
    ------
    StoreError
        Predictions or shares were made from another store, or two are of one task.

    Examples
    --------
    >>> astrodl.catalog("store.h5", ["photoz.h5", "morphology.h5"], "catalog.fits")  # doctest: +SKIP
    """
    predictions, shares = list_files(predictions), list_files(shares)
    require_other_output(out, store, *predictions, *shares)
    require_suffix(out, FITS_SUFFIXES)
    with open_store(store) as reader:
        sources = [(predicted, predicted.task()) for predicted in map(Predictions, map(Path, predictions))]
        check_sources(reader, sources)
        explained = open_shares(reader, shares)
        header = _provenance(reader, sources)
        widths = text_widths(reader, BLOCK)
        with stream_catalog(Path(out), len(reader), header, widths={"object_id": widths["object_id"]}) as table:
            for start in range(0, max(len(reader), 1), BLOCK):
                table.write(join_columns(reader, sources, widths, start, min(start + BLOCK, len(reader)), explained))
    return Path(out)


def check_sources(reader: Reader, sources: Sequence[tuple[Predictions, AnyTask]]) -> None:
    """Check that all predictions were made from the store, and at most one by each task."""
    seen: dict[str, Path] = {}
    for predicted, task in sources:
        if task.name in seen:
            raise StoreError(
                f"{predicted.path}: predictions of task {task.name}, as in {seen[task.name]}; give one file per task"
            )
        seen[task.name] = predicted.path
        predicted.require_store(reader)


def _provenance(reader: Reader, sources: Sequence[tuple[Predictions, AnyTask]]) -> dict[str, str]:
    header = {"SURVEY": reader.survey, "ASTRODL": astrodl.__version__, "STORE": reader.fingerprint[:32]}
    for predicted, task in sources:
        keyword = task.name.upper()[:8]
        is_taken = keyword in header or RESERVED.fullmatch(keyword)
        models = ",".join(str(model)[:8] for model in predicted.attributes["models"])
        header[f"models of {task.name}" if is_taken else keyword] = models
    return header


def join_columns(
    reader: Reader,
    sources: Sequence[tuple[Predictions, AnyTask]],
    widths: Mapping[str, int],
    start: int,
    stop: int,
    shares: Sequence[Shares] = (),
) -> list[Column]:
    """Return the columns of the objects from `start` to `stop`; those of the input give way to equal names.

    Parameters
    ----------
    reader
        The store.
    sources
        Predictions of each task, made from the store.
    widths
        Number of characters of each column of text, as `text_widths` returns it.
    start, stop
        Range of objects.
    shares
        Shares of bands and annuli of tasks.

    Raises
    ------
    StoreError
        Predictions were made from another store.
    """
    columns = _identity(reader, start, stop)
    n_own = len(columns)
    for predicted, task in sources:
        arrays = predicted.checked_block(reader, start, stop)[1]
        columns += _without_empty(task.columns(arrays), arrays)
        columns += _input_flags(task, arrays)
        held_out = "whether no network that predicted the object had been trained on it"
        values = predicted.held_out(start, stop)
        columns.append(Column(f"{task.name}_unseen", values, None, held_out, "meta.code.qual"))
    for explained in shares:
        columns += explained.columns(reader.block("object_id", start, stop))
    named = name_safely([*columns, *input_columns(reader, widths, start, stop)])
    return [*named[:n_own], *named[len(columns) :], *named[n_own : len(columns)]]


def _without_empty(columns: Sequence[Column], arrays: Arrays) -> list[Column]:
    """Return columns with no value for objects that have no data: NaN, empty text."""
    empty = arrays["input_flags"] & INPUT_FLAGS["no_data"] > 0 if "input_flags" in arrays else np.zeros(1, bool)
    if not empty.any():
        return list(columns)
    blanked = []
    for column in columns:
        values = np.array(column.values)
        if values.dtype.kind in "fU":
            values[empty] = np.nan if values.dtype.kind == "f" else ""
        blanked.append(replace(column, values=values))
    return blanked


def _input_flags(task: AnyTask, arrays: Arrays) -> list[Column]:
    """Return the flags of objects unlike the training objects; predictions of older versions have none."""
    if "input_flags" not in arrays:
        return []
    about = f"unlike the training objects, bits: {_bits(INPUT_FLAGS)}"
    return [Column(f"{task.name}_input_flags", arrays["input_flags"], None, about, "meta.code.qual")]


def _identity(reader: Reader, start: int, stop: int) -> list[Column]:
    def rows(name: str) -> np.ndarray:
        return reader.block(name, start, stop)

    identifiers = object_identifiers(reader, start, stop)
    columns = [Column("object_id", identifiers, None, "identifier in the survey", "meta.id;meta.main")]
    for name, (description, ucd) in POSITION.items():
        if reader.has_column(name):
            columns.append(Column(name, rows(f"catalog/{name}"), "deg", f"{description} (ICRS)", ucd))
    return [
        *columns,
        Column(
            "split",
            np.array(SPLITS)[rows("split")],
            None,
            "networks trained on this survey saw train and validation; rest is predicted only",
            "meta.code",
        ),
        Column("flags", rows("flags"), None, f"bits: {_bits(FLAGS)}", "meta.code.qual"),
        Column(
            "band_flags",
            rows("band_flags").astype(np.int16),
            None,
            f"bits for bands {' '.join(reader.bands)}: {_bits(BAND_FLAGS)}",
            "meta.code.qual",
        ),
    ]


def _bits(flags: Mapping[str, int]) -> str:
    return ", ".join(f"{bit} {name.replace('_', ' ')}" for name, bit in flags.items())
