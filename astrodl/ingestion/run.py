"""From a catalogue and its images to a store: read, calibrate, cut out, measure, split.

Objects go through in blocks, in one or several processes. Each process writes the rows of its blocks to their place in
the file, hence no array travels between processes and the store has the same bytes whatever their number. An ingestion
that was interrupted goes on from the blocks that are complete. Objects that cannot be used are listed in
`quarantine.ecsv` beside the store, and what was done is told in `ingest.json`.
"""

import hashlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.config import IngestSettings, canonical_json
from astrodl.errors import DataError
from astrodl.ingestion.division import divide
from astrodl.ingestion.layout import Plan, make_plan
from astrodl.ingestion.quarantine import Tally, require_enough, summarize, write_quarantine, write_summary
from astrodl.ingestion.shard import plan_of_shard, settings_of_shard
from astrodl.ingestion.table import Objects, read_objects
from astrodl.ingestion.table_file import find_catalog
from astrodl.ingestion.worker import BlockRecord, block_length, close_sources, read_block
from astrodl.photometry.measure import feature_names
from astrodl.splits.assign import require_all
from astrodl.store import FORMAT_VERSION, Writer, write_rows

_KNOWN_BEFORE = ("split", "fold", "catalog/")
"""Datasets that come from the catalogue; blocks hold all others."""


def ingest(
    settings: IngestSettings,
    store: Path,
    *,
    shard: Path | None = None,
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
        File that `astrodl shard` wrote: ingest these objects of the survey alone.
    workers
        Number of processes.
    strict
        Refuse the survey if a single object cannot be used.
    progress
        Show a progress bar; by default where the standard error is a terminal.

    Returns
    -------
    dict
        The content of `ingest.json`.

    Raises
    ------
    DataError
        The catalogue is unusable, a band is nowhere to be found, or too many objects cannot be used. No store is left.
    """
    store = Path(store)
    root, catalog = find_catalog(settings.data)
    if shard is not None:
        settings, catalog = settings_of_shard(settings), shard
    data = settings.data
    objects = read_objects(catalog, data)
    parts, folds = divide(objects, settings, catalog)
    plan = make_plan(data, root, objects) if shard is None else plan_of_shard(shard, data, root)
    with open(catalog, "rb") as file:
        content = hashlib.file_digest(file, "sha256")
    tally = Tally(content)
    close_sources()
    with (
        _writer(store, settings, plan, objects, content.hexdigest()) as writer,
        _bar(len(objects), progress) as advance,
    ):
        for entry in writer.recorded:
            tally.add(BlockRecord.from_dict(entry))
        writer.allocate(_rows(plan, objects))
        advance(sum(record.n_rows for record in tally.records))
        write_rows(writer.partial, writer.places, 0, _known_before(objects, parts, folds))
        for record in _read(plan, objects, tally, writer, workers):
            tally.add(record)
            writer.record(record.to_dict())
            advance(record.n_rows)
        write_quarantine(store.with_name("quarantine.ecsv"), tally.refused)
        try:
            require_enough(catalog, tally, len(objects), data.max_bad_fraction, strict, labels=shard is None)
            if data.split_column is None:
                require_all(parts[tally.rows], folds[tally.rows], settings.split, "the survey without those refused")
        except DataError:
            writer.discard()
            raise
        _name_texts(writer, objects)
        writer.keep(tally.rows)
        writer.zero_points = tally.common_zero_points()
        writer.source_checksum = tally.checksum
        summary = summarize(settings, plan, tally, parts, folds, objects.columns)
        write_summary(store.with_name("ingest.json"), summary)
    return summary


def _rows(plan: Plan, objects: Objects) -> dict[str, tuple[tuple[int, ...], str]]:
    """Announce the datasets of numbers: shape of a row and type."""
    data, n_bands, size = plan.data, len(plan.data.bands), plan.data.size
    rows: dict[str, tuple[tuple[int, ...], str]] = {
        "image": ((n_bands, size, size), "<f4"),
        "features": ((len(_feature_names(plan)),), "<f4"),
        "sky_sigma": ((n_bands,), "<f4"),
        "background": ((n_bands,), "<f4"),
        "flags": ((), "<i4"),
        "band_flags": ((n_bands,), "u1"),
        "split": ((), "i1"),
        "fold": ((), "<i2"),
    }
    if data.noise is not None:
        rows["variance"] = ((n_bands, size, size), "<f4")
    if data.noise is not None or data.masks:
        rows["mask"] = ((n_bands, size, size), "u1")
    if plan.psf_size is not None:
        rows["psf"] = ((n_bands, plan.psf_size, plan.psf_size), "<f4")
    for name in data.labels.extensions if data.labels else ():
        rows[f"label/{name}"] = ((size, size), "<f4")
    for name, values in objects.columns.items():
        if values.dtype != object:
            rows[f"catalog/{name}"] = ((), "<f8" if values.dtype.kind == "f" else "<i8")
    return rows


def _known_before(objects: Objects, parts: NDArray[np.int8], folds: NDArray[np.int16]) -> dict[str, NDArray[Any]]:
    """Give the numbers that are known before an image is read."""
    numbers = {f"catalog/{name}": values for name, values in objects.columns.items() if values.dtype != object}
    return {"split": parts, "fold": folds, **numbers}


def _name_texts(writer: Writer, objects: Objects) -> None:
    writer.write_text("object_id", objects.object_id)
    for name, values in objects.columns.items():
        if values.dtype == object:
            writer.write_text(f"catalog/{name}", list(values))


def _feature_names(plan: Plan) -> tuple[str, ...]:
    names = feature_names([band.name for band in plan.data.bands], plan.data.size, plan.pixel_scale_arcsec)
    return names if plan.data.ebv_column is None else (*names, "ebv")


def _read(plan: Plan, objects: Objects, tally: Tally, writer: Writer, workers: int) -> Iterator[BlockRecord]:
    """Read the blocks that are not done, in this or several processes, and give their records as they come."""
    length = block_length(plan.data)
    starts = [start for start in range(0, len(objects), length) if start not in tally]
    places = {name: place for name, place in writer.places.items() if not name.startswith(_KNOWN_BEFORE)}
    sources = (objects.sources(range(start, min(start + length, len(objects)))) for start in starts)
    if workers <= 1 or len(starts) <= 1:
        for block in sources:
            yield read_block(plan, block, writer.partial, places)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(starts)), context, initializer=_end_with_parent)
    waiting: set[Future[BlockRecord]] = set()
    try:
        for block in sources:
            waiting.add(pool.submit(read_block, plan, block, writer.partial, places))
            if len(waiting) > 2 * workers:  # bounds what waits to be done
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool:
        raise DataError(
            "a process that read images died (out of memory, or killed); what is done is kept; use fewer workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Make a worker end when its parent was killed; otherwise it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _writer(store: Path, settings: IngestSettings, plan: Plan, objects: Objects, catalog: str) -> Writer:
    # Where the survey lies on this machine is not part of what was ingested.
    identity = settings.model_copy(update={"data": settings.data.model_copy(update={"root": "."})})
    text = canonical_json(identity)
    return Writer(
        store,
        n_objects=len(objects),
        bands=[band.name for band in settings.data.bands],
        size=settings.data.size,
        feature_names=_feature_names(plan),
        pixel_scale_arcsec=plan.pixel_scale_arcsec,
        unit="uJy" if plan.calibrated else "relative",
        survey=settings.survey,
        settings=text,
        resume=hashlib.sha256(f"{FORMAT_VERSION} {block_length(plan.data)} {text} {catalog}".encode()).hexdigest(),
    )


@contextmanager
def _bar(n_objects: int, progress: bool | None) -> Iterator[Callable[[int], None]]:
    """Show objects done, rate and time left; gives the function that advances it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:,.0f} objects/s")

    console = Console(stderr=True)
    shown = console.is_terminal if progress is None else progress
    columns = (BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress("ingest", *columns, console=console, disable=not shown) as bar:
        task = bar.add_task("ingest", total=n_objects)
        yield lambda done: bar.update(task, advance=done)
