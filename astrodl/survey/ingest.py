"""From a catalogue and its images to a store: read, calibrate, cut out, measure, split.

Objects go through in blocks, in one or several processes; blocks are written in the order of the catalogue, hence the
store has the same bytes whatever the number of processes. Objects that cannot be used are listed in `quarantine.ecsv`
beside the store, and what was done is told in `ingest.json`.
"""

import hashlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from astrodl.config import IngestSettings, canonical_json, expand
from astrodl.errors import DataError
from astrodl.store import Writer
from astrodl.survey import split
from astrodl.survey.block import Block, read_block
from astrodl.survey.plan import Plan, make_plan
from astrodl.survey.table import Objects, read_objects
from astrodl.survey.tally import Tally, require_enough, summarize, write_quarantine, write_summary

BLOCK = 256


def ingest(
    settings: IngestSettings, store: Path, *, workers: int = 1, strict: bool = False, progress: bool | None = None
) -> dict[str, Any]:
    """Make a store, `ingest.json` and `quarantine.ecsv` from a catalogue and its images.

    Parameters
    ----------
    settings
        The survey: data and split.
    store
        The HDF5 file to write.
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
    data = settings.data
    root = os.path.realpath(expand(data.root))
    if not os.path.isdir(root):
        raise DataError(f"{expand(data.root)}: no such folder; correct data.root")
    catalog = _inside(root, data.catalog)
    objects = read_objects(catalog, data)
    parts, folds = split.assign(objects.object_id, objects.ra, objects.dec, settings.split)
    plan = make_plan(data, root, objects)
    writer = _writer(store, settings, plan, len(objects))
    tally = Tally(hashlib.sha256(catalog.read_bytes()))
    with writer, _bar(len(objects), progress) as advance:
        for block in _blocks(plan, objects, workers):
            tally.add(block)
            if block.rows:
                writer.feature_names = block.feature_names
                arrays = block.arrays | {"split": parts[block.rows], "fold": folds[block.rows]}
                arrays |= {f"catalog/{name}": values[block.rows] for name, values in objects.columns.items()}
                writer.write_block(writer.n_written, arrays)
            advance(len(block.rows) + len(block.refused))
        write_quarantine(store.with_name("quarantine.ecsv"), tally.refused)
        require_enough(catalog, tally, len(objects), data.max_bad_fraction, strict)
        split.require_all(parts[tally.rows], folds[tally.rows], settings.split, "the survey without those refused")
        writer.zero_points = tally.common_zero_points()
        writer.source_checksum = tally.checksum.hexdigest()
        writer.keep_written()
        summary = summarize(settings, plan, tally, parts, folds)
        write_summary(store.with_name("ingest.json"), summary)
    return summary


def _inside(root: str, name: str) -> Path:
    path = os.path.realpath(os.path.join(root, name))
    if not path.startswith(root.rstrip("/") + "/"):
        raise DataError(f"data.catalog '{name}' leads out of data.root {root}; move the catalogue or correct data.root")
    return Path(path)


def _blocks(plan: Plan, objects: Objects, workers: int) -> Iterator[Block]:
    ranges = [range(start, min(start + BLOCK, len(objects))) for start in range(0, len(objects), BLOCK)]
    if workers <= 1 or len(ranges) == 1:
        for rows in ranges:
            yield read_block(plan, objects.sources(rows))
        return
    waiting: deque[Future[Block]] = deque()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(ranges)), context, initializer=_end_with_parent)
    try:
        for rows in ranges:
            waiting.append(pool.submit(read_block, plan, objects.sources(rows)))
            if len(waiting) > 2 * workers:  # bounds the blocks that wait in memory to be written
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            "a process that read images died (out of memory, or killed); try again with fewer workers"
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


def _writer(store: Path, settings: IngestSettings, plan: Plan, n_objects: int) -> Writer:
    # Where the survey lies on this machine is not part of what was ingested.
    identity = settings.model_copy(update={"data": settings.data.model_copy(update={"root": "."})})
    return Writer(
        store,
        n_objects=n_objects,
        bands=[band.name for band in settings.data.bands],
        size=settings.data.size,
        pixel_scale_arcsec=plan.pixel_scale_arcsec,
        unit="uJy" if plan.calibrated else "relative",
        survey=settings.survey,
        settings=canonical_json(identity),
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
