"""The verb catalog: one row per object with every task's columns, and the p(z) file, block by block."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import astrodl
from astrodl.errors import StoreError
from astrodl.pipeline.predictions import Predictions
from astrodl.products import Column, writing_catalog
from astrodl.products.pdfs import PdfFile, writing_pdfs
from astrodl.store import BAND_FLAGS, FLAGS, SPLITS, Reader, open_store
from astrodl.tasks.base import Task

POSITION = {"ra": ("right ascension", "pos.eq.ra;meta.main"), "dec": ("declination", "pos.eq.dec;meta.main")}
BLOCK = 4096
"""Objects that are in memory at a time."""


def catalog(store: Path, predictions: Sequence[Path], out: Path, *, pdfs: Path | None = None) -> Path:
    """Join the predictions of all tasks into one FITS catalogue, in memory for some thousand objects.

    Parameters
    ----------
    store : Path
        The store that was predicted.
    predictions : sequence of Path
        One predictions file per task.
    out : Path
        Catalogue to write.
    pdfs : Path, optional
        Where to write p(z), when photo-z is among the predictions.

    Returns
    -------
    Path
        The catalogue.

    Raises
    ------
    StoreError
        Predictions of other objects than the store's, or p(z) asked for without photo-z predictions.
    """
    with open_store(store) as reader, ExitStack() as files:
        sources = [(predicted, predicted.task()) for predicted in map(Predictions, predictions)]
        width = max((_longest(reader, start) for start in _starts(reader)), default=1)
        header = _provenance(reader, sources)
        table = files.enter_context(writing_catalog(out, len(reader), header, widths={"object_id": width}))
        distributions = None if pdfs is None else files.enter_context(_pdf_file(pdfs, reader, sources, width))
        for start in _starts(reader):
            table.write(_columns(reader, sources, start, distributions))
    return out


def _starts(reader: Reader) -> range:
    """Give the first object of each block; an empty store has an empty block."""
    return range(0, max(len(reader), 1), BLOCK)


def _longest(reader: Reader, start: int) -> int:
    return int(np.char.str_len(reader.block("object_id", start, start + BLOCK)).max(initial=1))


def _provenance(reader: Reader, sources: Sequence[tuple[Predictions, Task]]) -> dict[str, str]:
    header = {"SURVEY": reader.survey, "ASTRODL": astrodl.__version__, "STORE": reader.fingerprint[:32]}
    for predicted, task in sources:
        header[task.name.upper()[:8]] = ",".join(str(model)[:8] for model in predicted.attributes["models"])
    return header


def _pdf_file(path: Path, reader: Reader, sources: Sequence[tuple[Predictions, Task]], width: int) -> Any:
    for _, task in sources:
        if task.name == "photoz":
            return writing_pdfs(path, len(reader), task.context.constants["edges"], width=width)
    raise StoreError(f"{path}: p(z) needs predictions of task photoz; give them, or leave out --pdfs")


def _columns(
    reader: Reader, sources: Sequence[tuple[Predictions, Task]], start: int, pdfs: PdfFile | None
) -> list[Column]:
    """Give the rows of a block, and write its p(z)."""
    stop = min(start + BLOCK, len(reader))
    columns = _identity(reader, start, stop)
    identifier = columns[0].values
    for predicted, task in sources:
        if len(predicted) != len(reader) or not np.array_equal(predicted.identifiers(start, stop), identifier):
            raise StoreError(f"{predicted.path}: made for other objects than {reader.path} holds; predict again")
        arrays = predicted.block(start, stop)
        columns += task.columns(arrays)
        unseen = "whether no network that predicted the object had been trained on it"
        columns.append(Column(f"{task.name}_unseen", predicted.unseen(start, stop), None, unseen, "meta.code.qual"))
        if task.name == "photoz" and pdfs is not None:
            pdfs.write(identifier, arrays["pdf"])
    return columns


def _identity(reader: Reader, start: int, stop: int) -> list[Column]:
    def rows(name: str) -> np.ndarray:
        return reader.block(name, start, stop)

    columns = [Column("object_id", rows("object_id"), None, "identifier in the survey", "meta.id;meta.main")]
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
