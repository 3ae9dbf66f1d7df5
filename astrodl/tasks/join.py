"""The verb catalog: one row per object with every task's columns, and the p(z) file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import astrodl
from astrodl.catalog import Column, write_catalog
from astrodl.errors import StoreError
from astrodl.pdfs import write_pdfs
from astrodl.store import BAND_FLAGS, FLAGS, SPLITS, Reader, open_store
from astrodl.tasks.predictions import Predictions

POSITION = {"ra": ("right ascension", "pos.eq.ra;meta.main"), "dec": ("declination", "pos.eq.dec;meta.main")}


def catalog(store: Path, predictions: Sequence[Path], out: Path, *, pdfs: Path | None = None) -> Path:
    """Join the predictions of all tasks into one FITS catalogue.

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
    with open_store(store) as reader:
        identifier = reader.object_id
        columns = _identity(reader)
        header = {"SURVEY": reader.survey, "ASTRODL": astrodl.__version__, "STORE": reader.fingerprint[:32]}
        densities = None
        for path in predictions:
            predicted = Predictions(path)
            if not np.array_equal(predicted.object_id, identifier):
                raise StoreError(f"{path}: made for other objects than {store} holds; predict again")
            task, arrays = predicted.task(), predicted.read(maps=False)
            columns += task.columns(arrays)
            header[task.name.upper()[:8]] = ",".join(str(model)[:8] for model in predicted.attributes["models"])
            if task.name == "photoz":
                densities = (np.asarray(task.context.constants["edges"]), arrays["pdf"])
        write_catalog(out, columns, header)
    if pdfs is not None:
        if densities is None:
            raise StoreError(f"{pdfs}: p(z) needs predictions of task photoz; give them, or leave out --pdfs")
        write_pdfs(pdfs, identifier, *densities)
    return out


def _identity(reader: Reader) -> list[Column]:
    columns = [Column("object_id", reader.object_id, None, "identifier in the survey", "meta.id;meta.main")]
    for name, (description, ucd) in POSITION.items():
        if reader.has_column(name):
            columns.append(Column(name, reader.column(name), "deg", f"{description} (ICRS)", ucd))
    split = np.array(SPLITS)[reader.split]
    return [
        *columns,
        Column(
            "split",
            split,
            None,
            "networks trained on this survey saw train and validation; rest is predicted only",
            "meta.code",
        ),
        Column("flags", reader.flags, None, f"bits: {_bits(FLAGS)}", "meta.code.qual"),
        Column(
            "band_flags",
            reader.band_flags.astype(np.int16),
            None,
            f"bits for bands {' '.join(reader.bands)}: {_bits(BAND_FLAGS)}",
            "meta.code.qual",
        ),
    ]


def _bits(flags: Mapping[str, int]) -> str:
    return ", ".join(f"{bit} {name.replace('_', ' ')}" for name, bit in flags.items())
