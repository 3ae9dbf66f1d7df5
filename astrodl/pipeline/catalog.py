"""The verb catalog: one row per object with the columns of every task."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import astrodl
from astrodl.atomic import FilePath
from astrodl.pipeline.predictions import Predictions
from astrodl.products import Column, stream_catalog
from astrodl.store import BAND_FLAGS, FLAGS, SPLITS, Reader, open_store
from astrodl.tasks.base import AnyTask

__all__ = ["catalog"]

POSITION = {"ra": ("right ascension", "pos.eq.ra;meta.main"), "dec": ("declination", "pos.eq.dec;meta.main")}
BLOCK = 4096
"""Objects in memory at a time."""


def catalog(store: FilePath, predictions: Sequence[FilePath], out: FilePath) -> Path:
    """Join the predictions of all tasks into one FITS catalogue, block by block.

    Parameters
    ----------
    store : path
        The store that was predicted.
    predictions : sequence of path
        One predictions file per task.
    out : path
        Catalogue to write.

    Returns
    -------
    Path
        The catalogue.

    Raises
    ------
    StoreError
        The predictions were made for other objects than the store holds.

    Examples
    --------
    >>> astrodl.catalog("store.h5", ["photoz.h5", "morphology.h5"], "catalog.fits")  # doctest: +SKIP
    """
    with open_store(store) as reader:
        sources = [(predicted, predicted.task()) for predicted in map(Predictions, map(Path, predictions))]
        header = _provenance(reader, sources)
        widths = {"object_id": reader.identifier_width}
        with stream_catalog(Path(out), len(reader), header, widths=widths) as table:
            for start in range(0, max(len(reader), 1), BLOCK):
                table.write(_columns(reader, sources, start, min(start + BLOCK, len(reader))))
    return Path(out)


def _provenance(reader: Reader, sources: Sequence[tuple[Predictions, AnyTask]]) -> dict[str, str]:
    header = {"SURVEY": reader.survey, "ASTRODL": astrodl.__version__, "STORE": reader.fingerprint[:32]}
    for predicted, task in sources:
        header[task.name.upper()[:8]] = ",".join(str(model)[:8] for model in predicted.attributes["models"])
    return header


def _columns(reader: Reader, sources: Sequence[tuple[Predictions, AnyTask]], start: int, stop: int) -> list[Column]:
    """Return the columns of the objects from `start` to `stop`."""
    columns = _identity(reader, start, stop)
    for predicted, task in sources:
        columns += task.columns(predicted.checked_block(reader, start, stop)[1])
        held_out = "whether no network that predicted the object had been trained on it"
        values = predicted.held_out(start, stop)
        columns.append(Column(f"{task.name}_unseen", values, None, held_out, "meta.code.qual"))
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
