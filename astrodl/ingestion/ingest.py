"""Make a store from a catalogue and its images: read, calibrate, cut out, measure, split.

Objects are processed in blocks, in one or more processes. Each process writes the rows of its blocks directly to the
file, so that no array travels between processes and the store has the same bytes for any number of them. An interrupted
ingestion resumes after the finished blocks. `quarantine.ecsv` beside the store lists the objects that cannot be used,
and `ingest.json` summarizes the ingestion.
"""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import astropy
import numpy as np
from numpy.typing import NDArray

from astrodl.atomic import FilePath
from astrodl.config import IngestSettings, canonical_json
from astrodl.errors import DataError
from astrodl.ingestion.blocks import BlockRecord, block_length, close_shared_files, ingest_block
from astrodl.ingestion.identity import identify_files
from astrodl.ingestion.objects import ObjectEntry, Objects, read_objects
from astrodl.ingestion.photometry import ingest_photometry
from astrodl.ingestion.properties import SurveyProperties, find_properties
from astrodl.ingestion.report import BlockRecords, require_enough_objects, summarize, write_quarantine, write_summary
from astrodl.ingestion.shard import read_shard_plan, read_shard_properties, shard_settings
from astrodl.ingestion.splits import split_objects
from astrodl.ingestion.tables import find_catalog
from astrodl.ingestion.workers import StartRule
from astrodl.photometry.features import feature_names
from astrodl.progress import progress_bar
from astrodl.splits.assign import check_splits
from astrodl.store import FORMAT_VERSION, RowLocation, Writer, write_rows
from astrodl.workers import WorkerPool

__all__ = ["ingest"]

_CATALOG_DATASETS = ("split", "fold", "catalog/")  # known before the images are read; blocks write all others


def ingest(
    settings: IngestSettings,
    store: FilePath,
    *,
    shard: FilePath | None = None,
    workers: int = 1,
    strict: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Make a store, `ingest.json` and `quarantine.ecsv` from a catalogue and its images.

    Parameters
    ----------
    settings
        The survey: data and split.
    store
        The HDF5 file to write.
    shard
        File from `astrodl shard`: ingest only its objects.
    workers
        Largest number of processes that ingest at the same time; a small survey is ingested in one.
    strict
        Raise an error if a single object cannot be used.
    progress
        Show a progress bar; by default if standard error is a terminal.

    Returns
    -------
    dict
        The content of `ingest.json`.

    Raises
    ------
    DataError
        If the catalogue cannot be used, a band is in no file, or too many objects cannot be used. No store is written.
    """
    store, shard = Path(store), None if shard is None else Path(shard)
    root, catalog = find_catalog(settings.data)
    if shard is not None:
        settings, catalog = shard_settings(settings), shard
    data = settings.data
    objects = read_objects(catalog, data, None if shard is None else read_shard_plan(shard))
    for output in (store, store.with_name("quarantine.ecsv"), store.with_name("ingest.json")):
        if output.exists() and output.samefile(catalog):
            raise DataError(f"{output}: is the catalogue and would be replaced; give the store another folder")
    split, fold = split_objects(objects, settings, catalog)
    survey = find_properties(data, root, objects) if shard is None else read_shard_properties(shard, data, root)
    with open(catalog, "rb") as file:
        content = hashlib.file_digest(file, "sha256")
    records = BlockRecords(content)
    close_shared_files()
    with (
        _open_writer(store, settings, survey, objects, content.hexdigest()) as writer,
        progress_bar("ingest", len(objects), progress, unit="objects") as show,
    ):
        writer.allocate(_row_types(survey, objects))
        _write_texts(writer, objects)
        _read_records(writer, records, survey, objects)
        show(records.n_rows)
        write_rows(writer.partial, writer.locations, 0, _catalog_datasets(objects, split, fold))
        if data.has_images:
            for record in _ingest_blocks(survey, objects, records, writer, workers):
                records.add(record)
                writer.record(record.to_dict())
                show(records.n_rows)
        else:
            records.add(ingest_photometry(survey, objects, catalog, writer.partial, writer.locations))
            show(records.n_rows)
        write_quarantine(store.with_name("quarantine.ecsv"), records.refused)
        with _discarding(writer):
            require_enough_objects(catalog, records, len(objects), data.max_bad_fraction, strict, labels=shard is None)
            rows = records.usable_rows
            if data.split_column is None:
                check_splits(split[rows], fold[rows], settings.split, "the survey without refused objects")
        writer.keep(rows)
        writer.zero_points = records.common_zero_points()
        writer.source_checksum = records.checksum
        summary = summarize(settings, survey, records, split, fold, objects.columns)
        write_summary(store.with_name("ingest.json"), summary)
    return summary


@contextmanager
def _discarding(writer: Writer) -> Iterator[None]:
    """Remove the partial store if its objects are refused as a whole; a repetition would refuse them, too."""
    try:
        yield
    except DataError:
        writer.discard()
        raise


def _read_records(writer: Writer, records: BlockRecords, survey: SurveyProperties, objects: Objects) -> None:
    """Add the blocks that an interrupted ingestion has finished, if their images are still the same."""
    kept, n_changed = [], 0
    for entry in writer.recorded:
        record = BlockRecord.from_dict(entry)
        if record is None or record.start + record.n_rows > len(objects):
            continue
        block = objects.entries(range(record.start, record.start + record.n_rows))
        if identify_files(survey.data, survey.root, block) == record.files:
            records.add(record)
            kept.append(entry)
        else:
            n_changed += 1
    if n_changed:
        warnings.warn(
            f"{writer.path}: image files of {n_changed} of {len(writer.recorded)} finished blocks have changed since "
            "the interruption; these blocks are ingested again",
            stacklevel=3,
        )
    if len(kept) < len(writer.recorded):
        writer.retain(kept)


def _row_types(survey: SurveyProperties, objects: Objects) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and type of a row of each dataset of numbers."""
    data, n_bands, size = survey.data, len(survey.data.bands), survey.data.size
    rows: dict[str, tuple[tuple[int, ...], str]] = {
        "features": ((len(_feature_names(survey)),), "<f4"),
        "sky_sigma": ((n_bands,), "<f4"),
        "background": ((n_bands,), "<f4"),
        "flags": ((), "<i4"),
        "band_flags": ((n_bands,), "u1"),
        "split": ((), "i1"),
        "fold": ((), "<i2"),
    }
    if data.has_images:
        rows = {"image": ((n_bands, size, size), "<f4"), **rows}
    if data.noise is not None:
        rows["variance"] = ((n_bands, size, size), "<f4")
    if data.noise is not None or data.masks:
        rows["mask"] = ((n_bands, size, size), "u1")
    if survey.psf_size is not None:
        rows["psf"] = ((n_bands, survey.psf_size, survey.psf_size), "<f4")
    for name in data.labels.extensions if data.labels else ():
        rows[f"label/{name}"] = ((size, size), "<f4")
    for name, values in objects.columns.items():
        if values.dtype != object:
            rows[f"catalog/{name}"] = ((), values.dtype.newbyteorder("<").str)
    return rows


def _catalog_datasets(objects: Objects, split: NDArray[np.int8], fold: NDArray[np.int16]) -> dict[str, NDArray[Any]]:
    """Return the datasets of numbers that are known before the images are read."""
    numbers = {f"catalog/{name}": values for name, values in objects.columns.items() if values.dtype != object}
    return {"split": split, "fold": fold, **numbers}


def _write_texts(writer: Writer, objects: Objects) -> None:
    """Write the datasets of text, and what each column was in the catalogue."""
    for name, description in objects.descriptions.items():
        writer.describe(name if name == "object_id" else f"catalog/{name}", description)
    writer.write_text("object_id", objects.object_id)
    for name, values in objects.columns.items():
        if values.dtype == object:
            writer.write_text(f"catalog/{name}", list(values))


def _feature_names(survey: SurveyProperties) -> tuple[str, ...]:
    data = survey.data
    size = data.size if data.has_images else 0
    names = feature_names([band.name for band in data.bands], size, survey.pixel_scale_arcsec)
    return names if data.ebv_column is None else (*names, "ebv")


def _ingest_blocks(
    survey: SurveyProperties, objects: Objects, records: BlockRecords, writer: Writer, workers: int
) -> Iterator[BlockRecord]:
    """Ingest the unfinished blocks and yield their records as they finish.

    This process ingests blocks itself until workers have started in the background, if they start at all.
    """
    length = block_length(survey.data)
    starts = [start for start in range(0, len(objects), length) if start not in records]
    locations = {name: rows for name, rows in writer.locations.items() if not name.startswith(_CATALOG_DATASETS)}
    blocks = (objects.entries(range(start, min(start + length, len(objects)))) for start in starts)
    pool: WorkerPool | None = None
    rule = StartRule()
    with ExitStack() as stack:
        for n_done, block in enumerate(blocks, start=1):
            yield ingest_block(survey, block, writer.partial, locations)
            n_left = len(starts) - n_done
            if pool is None and workers > 1 and rule.workers_pay(n_done, n_left):
                pool = WorkerPool(min(workers, n_left), ["astrodl.ingestion.blocks"])  # imports no torch
                stack.callback(pool.shutdown, cancel_futures=True)
            if pool is not None and pool.ready:
                yield from _ingest_in_pool(pool, survey, blocks, writer.partial, locations)


def _ingest_in_pool(
    pool: WorkerPool,
    survey: SurveyProperties,
    blocks: Iterable[Sequence[ObjectEntry]],
    partial: Path,
    locations: Mapping[str, RowLocation],
) -> Iterator[BlockRecord]:
    """Ingest blocks in worker processes and yield their records as they finish."""
    pending: set[Future[BlockRecord]] = set()
    try:
        for block in blocks:
            pending.add(pool.submit(ingest_block, survey, block, partial, locations))
            if len(pending) > 2 * pool.n_workers:  # bounds the memory of the queue
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool:
        raise DataError(
            "a process that read images died (out of memory, or killed); finished blocks are kept; use fewer workers"
        ) from None


def _open_writer(
    store: Path, settings: IngestSettings, survey: SurveyProperties, objects: Objects, catalog_digest: str
) -> Writer:
    # The folder of the data is not part of the identity of the store.
    portable = settings.model_copy(update={"data": settings.data.model_copy(update={"root": "."})})
    text = canonical_json(portable)
    # Finished blocks are of use only to an ingestion that finds the same properties, with the same versions.
    found = {name: value for name, value in vars(survey).items() if name not in ("data", "root")}
    found |= {"astropy": astropy.__version__, "numpy": np.__version__}
    identity = f"{FORMAT_VERSION} {block_length(survey.data)} {text} {catalog_digest} {found}"
    return Writer(
        store,
        n_objects=len(objects),
        bands=[band.name for band in settings.data.bands],
        size=settings.data.size,
        feature_names=_feature_names(survey),
        pixel_scale_arcsec=survey.pixel_scale_arcsec,
        unit="uJy" if survey.calibrated else "relative",
        survey=settings.survey,
        settings=text,
        resume=hashlib.sha256(identity.encode()).hexdigest(),
    )
