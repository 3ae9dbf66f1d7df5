"""Simulate a survey: cutouts of galaxies with known truth, as an observatory would deliver them.

The bytes on disk do not depend on the number of workers, nor on how often the run was interrupted.
"""

import functools
import json
import multiprocessing
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.atomic import replacing, write_text
from astrodl.config import BandSettings, DataSettings, LabelSettings, NoiseSettings, SimulateSettings
from astrodl.simulator.draw import LABELS, Simulator, object_id, truth_band
from astrodl.simulator.instruments import bands_of
from astrodl.simulator.truth import Column, clump_columns, columns

FORMAT_VERSION = 2
"""Raise it whenever the same settings give other pixels: existing simulations are then made anew."""
BLOCK = 50
"""Objects per unit of work; an interrupted run repeats at most this many per worker."""


def simulate(settings: SimulateSettings, out: Path, *, workers: int = 1, progress: bool | None = None) -> Path:
    """Simulate a survey.

    Writes `images/{object_id}.fits` (an extension per band, `VAR_{band}` on demand, then `PSF_{band}`),
    `truth/{object_id}.fits` (BULGE, DISK, CLUMP: noise-free, PSF-convolved, in counts of the truth band; SEGMENTATION:
    0 sky, 1 the galaxy, 2 and up other sources), `clumps.fits` and at last `catalog.fits`. What a former run with the
    same settings completed is kept. Memory does not grow with the number of objects but for the two tables.

    Parameters
    ----------
    settings
        The survey.
    out
        Folder to write to; made where it does not exist.
    workers
        Number of processes; the result does not depend on it.
    progress
        Show a progress bar; by default on a terminal.

    Returns
    -------
    Path
        The catalogue.

    Raises
    ------
    ConfigError
        Unknown band, unreadable throughput, or a truth band that is not among the bands.
    """
    for band in bands_of(settings):
        band.throughput()
    truth_band(settings)
    catalog = out / "catalog.fits"
    kept = _has_same_settings(settings, out)
    if kept and catalog.exists() and not _missing(settings, out):
        return catalog
    _prepare(settings, out, kept)
    n_blocks = -(-settings.n_objects // BLOCK)
    todo = [block for block in range(n_blocks) if not _is_complete(settings, out, block)]
    with _progress(settings.n_objects, progress) as advance:
        advance(settings.n_objects - sum(len(_block_range(settings, block)) for block in todo))
        for block in _run(settings, out, todo, workers):
            advance(len(_block_range(settings, block)))
    _write_table(settings, out, "clumps", clump_columns(settings))
    _write_table(settings, out, "catalog", columns(settings))
    _clean_up(out)
    return catalog


def data_settings(settings: SimulateSettings, out: Path) -> DataSettings:
    """Say how to ingest what `simulate` wrote to `out`."""
    kept = [name for name in columns(settings) if name not in ("object_id", "ra", "dec")]
    return DataSettings(
        root=str(out),
        catalog="catalog.fits",
        layout="extensions",
        path="images/{object_id}.fits",
        bands=tuple(BandSettings(name=name) for name in settings.bands),
        ra_column="ra",
        dec_column="dec",
        columns={name: name for name in kept},
        labels=LabelSettings(path="truth/{object_id}.fits", extensions={label: label.upper() for label in LABELS}),
        noise=NoiseSettings(extension="VAR_{band}") if settings.variance else None,
        size=settings.size,
        pixel_scale_arcsec=settings.pixel_scale_arcsec,
    )


@functools.lru_cache(maxsize=2)
def _simulator(settings: str) -> Simulator:
    return Simulator(SimulateSettings.model_validate_json(settings))


def _write_block(settings: SimulateSettings, out: Path, block: int) -> int:
    """Make a block of objects; its list of rows comes last and says that the block is complete."""
    simulator = _simulator(settings.model_dump_json())
    tables: dict[str, dict[str, list[Any]]] = {
        "catalog": {name: [] for name in columns(settings)},
        "clumps": {name: [] for name in clump_columns(settings)},
    }
    for number in _block_range(settings, block):
        made = simulator.write(number, out)
        clumps = {"object_id": [made.row["object_id"]] * made.row["n_clumps"], **made.clumps}
        for name, values in tables["catalog"].items():
            values.append(made.row[name])
        for name, values in tables["clumps"].items():
            values.extend(clumps[name])
    write_text(_block_file(out, block), json.dumps(tables))
    return block


def _run(settings: SimulateSettings, out: Path, blocks: list[int], workers: int) -> Iterator[int]:
    work = functools.partial(_write_block, settings, out)
    if workers <= 1 or len(blocks) <= 1:
        yield from map(work, blocks)
        return
    # spawn: a forked child of a process that runs threads (torch, BLAS) may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(blocks)), mp_context=context) as pool:
        try:
            yield from pool.map(work, blocks)
        except BaseException:
            # Ctrl-C must not wait for the blocks that nobody wants any more.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _identity(settings: SimulateSettings) -> dict[str, Any]:
    # The bands too: a table of throughput may change though its name does not.
    bands = [[band.name, band.zero_point, band.wavelength] for band in bands_of(settings)]
    # And the columns: a folder half made by an older version lacks the newer ones.
    return {
        "format_version": FORMAT_VERSION,
        "settings": settings.model_dump(mode="json"),
        "bands": bands,
        "columns": list(columns(settings)),
    }


def _has_same_settings(settings: SimulateSettings, out: Path) -> bool:
    """Tell whether what lies in the folder was made with these settings."""
    try:
        return bool(json.loads((out / "simulate.json").read_text("utf-8")) == _identity(settings))
    except (OSError, json.JSONDecodeError):
        return False


def _prepare(settings: SimulateSettings, out: Path, kept: bool) -> None:
    """Make the folders; remove what other settings left there unless it is to be kept."""
    for name in ("catalog.fits", "clumps.fits"):
        (out / name).unlink(missing_ok=True)
    if not kept:
        for pattern in ("blocks/*.json", "images/SIM*.fits", "truth/SIM*.fits"):
            for path in out.glob(pattern):
                path.unlink()
    for folder in ("blocks", "images", "truth"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    if not kept:
        write_text(out / "simulate.json", json.dumps(_identity(settings), indent=1, sort_keys=True) + "\n")


def _clean_up(out: Path) -> None:
    """Remove the lists of rows, which the tables now hold, and what killed runs left half-written."""
    shutil.rmtree(out / "blocks")
    for folder in ("images", "truth"):
        for path in (out / folder).glob(".SIM*.tmp"):
            path.unlink()


def _block_range(settings: SimulateSettings, block: int) -> range:
    return range(block * BLOCK, min((block + 1) * BLOCK, settings.n_objects))


def _block_file(out: Path, block: int) -> Path:
    return out / "blocks" / f"{block:06d}.json"


def _files(out: Path, number: int) -> tuple[Path, Path]:
    name = f"{object_id(number)}.fits"
    return out / "images" / name, out / "truth" / name


def _is_complete(settings: SimulateSettings, out: Path, block: int) -> bool:
    numbers = _block_range(settings, block)
    return _block_file(out, block).exists() and all(path.exists() for n in numbers for path in _files(out, n))


def _missing(settings: SimulateSettings, out: Path) -> bool:
    files = (path for number in range(settings.n_objects) for path in _files(out, number))
    return not (out / "clumps.fits").exists() or not all(path.exists() for path in files)


def _write_table(settings: SimulateSettings, out: Path, name: str, described: dict[str, Column]) -> None:
    """Join what the blocks say into a FITS table, block by block."""
    from astropy.table import Table

    parts: dict[str, list[NDArray[Any]]] = {column: [] for column in described}
    for block in range(-(-settings.n_objects // BLOCK)):
        rows = json.loads(_block_file(out, block).read_text("utf-8"))[name]
        for column, values in rows.items():
            parts[column].append(_column(values))
    table = Table({column: np.concatenate(arrays) for column, arrays in parts.items()})
    for column, (unit, description) in described.items():
        table[column].unit = unit
        table[column].description = description
    table.meta = {"EXTNAME": name.upper(), "SURVEY": settings.survey, "TRUBAND": truth_band(settings)}
    table.meta["SEED"] = settings.seed
    with replacing(out / f"{name}.fits") as temporary:
        table.write(temporary, format="fits")


def _column(values: list[Any]) -> NDArray[Any]:
    if values and isinstance(values[0], str):
        # FITS has no text of zero width, which a survey without oddities would ask for.
        return np.array(values, dtype="U24")
    return np.array(values)


@contextmanager
def _progress(total: int, show: bool | None) -> Iterator[Any]:
    """Give a function that moves a progress bar with objects per second."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    hidden = not (sys.stderr.isatty() if show is None else show)
    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("simulate"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=console, disable=hidden) as bar:
        task = bar.add_task("simulate", total=total, rate="")

        def advance(n: int) -> None:
            bar.advance(task, n)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.0f} objects/s" if speed else "")

        yield advance
