"""Simulate a survey: cutouts of galaxies with known truth, written as FITS files with a catalogue.

The files do not depend on the number of workers or on interruptions.
"""

import functools
import json
import shutil
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.atomic import FilePath, exclusive_lock, replacing, write_text
from astrodl.config import BandSettings, DataSettings, LabelSettings, NoiseSettings, SimulateSettings
from astrodl.errors import DataError
from astrodl.progress import progress_bar
from astrodl.simulator.instruments import survey_bands
from astrodl.simulator.objects import FEATURES, LABELS, Simulator, object_id, truth_band
from astrodl.simulator.truth import Column, catalog_columns, clump_columns
from astrodl.workers import WorkerPool

__all__ = ["BLOCK", "data_settings", "simulate"]

_OPTIONAL = ("band_truth", "structure_truth")
"""Settings that leave the simulation as it is where they are not given, also for earlier versions."""
_FORMAT_VERSION = 2
"""To be increased when the same settings give other pixels: existing simulations are then made again."""
BLOCK = 50
"""Objects per unit of work; after an interruption each worker repeats at most this many."""


def simulate(settings: SimulateSettings, out: FilePath, *, workers: int = 1, progress: bool | None = None) -> Path:
    """Simulate a survey.

    Writes `images/{object_id}.fits` (an extension per band, optionally `VAR_{band}`, then `PSF_{band}`),
    `truth/{object_id}.fits` (BULGE, DISK, CLUMP: noise-free, PSF-convolved, in counts of the truth band, and with
    `band_truth` those of the other bands as `BULGE_{band}` and so on; SEGMENTATION: 0 sky, 1 the galaxy, 2 and up
    other sources), `clumps.fits` and finally `catalog.fits`. Blocks that an earlier run with the same settings
    completed are kept. Only the two tables grow in memory with the number of objects.

    Parameters
    ----------
    settings
        The survey.
    out
        Folder to write to; created if it does not exist.
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
        A band is unknown, a throughput cannot be read, or the truth band is not one of the bands.
    """
    out = Path(out)
    for band in survey_bands(settings):
        band.throughput()
    truth_band(settings)
    if not _is_finished(settings, out):
        with exclusive_lock(out / ".lock", "simulates"):
            if not _is_finished(settings, out):  # another process may have simulated it meanwhile
                _simulate(settings, out, workers, progress)
    return out / "catalog.fits"


def _simulate(settings: SimulateSettings, out: Path, workers: int, progress: bool | None) -> None:
    """Write the missing blocks, and then the tables."""
    _prepare_folder(settings, out, keep=_has_same_settings(settings, out))
    blocks = [block for block in range(_n_blocks(settings)) if not _is_complete(settings, out, block)]
    done = settings.n_objects - sum(len(_block_numbers(settings, block)) for block in blocks)
    with progress_bar("simulate", settings.n_objects, progress, unit="objects") as show:
        show(done)
        for block in _run_blocks(settings, out, blocks, workers):
            done += len(_block_numbers(settings, block))
            show(done)
    _write_table(settings, out, "clumps", clump_columns(settings))
    _write_table(settings, out, "catalog", catalog_columns(settings))
    shutil.rmtree(out / "blocks")


def data_settings(settings: SimulateSettings, out: Path) -> DataSettings:
    """Return the settings that ingest the survey that `simulate` wrote to `out`."""
    labels: dict[str, str | int] = {label: label.upper() for label in LABELS}
    if settings.band_truth:
        others = [band for band in settings.bands if band != truth_band(settings)]
        labels |= {f"{label}_{band}": f"{label.upper()}_{band}" for band in others for label in LABELS}
    if settings.structure_truth:
        labels |= {**{name: name.upper() for name in FEATURES}, "segment": "SEGMENTATION"}
    kept = [name for name in catalog_columns(settings) if name not in ("object_id", "ra", "dec")]
    return DataSettings(
        root=str(out),
        catalog="catalog.fits",
        layout="extensions",
        path="images/{object_id}.fits",
        bands=tuple(BandSettings(name=name) for name in settings.bands),
        ra_column="ra",
        dec_column="dec",
        columns={name: name for name in kept},
        labels=LabelSettings(path="truth/{object_id}.fits", extensions=labels),
        noise=NoiseSettings(extension="VAR_{band}") if settings.variance else None,
        size=settings.size,
        pixel_scale_arcsec=settings.pixel_scale_arcsec,
    )


@functools.lru_cache(maxsize=2)
def _simulator(settings: str) -> Simulator:
    return Simulator(SimulateSettings.model_validate_json(settings))


def _write_block(settings: SimulateSettings, out: Path, block: int) -> int:
    """Write the files of a block of objects, and last its table rows, which mark the block as complete."""
    simulator = _simulator(settings.model_dump_json())
    tables: dict[str, dict[str, list[Any]]] = {
        "catalog": {name: [] for name in catalog_columns(settings)},
        "clumps": {name: [] for name in clump_columns(settings)},
    }
    for number in _block_numbers(settings, block):
        observation = simulator.write(number, out)
        row = observation.row
        clumps = {"object_id": [row["object_id"]] * row["n_clumps"], **observation.clumps}
        for name, values in tables["catalog"].items():
            values.append(row[name])
        for name, values in tables["clumps"].items():
            values.extend(clumps[name])
    write_text(_block_file(out, block), json.dumps(tables))
    return block


def _run_blocks(settings: SimulateSettings, out: Path, blocks: list[int], workers: int) -> Iterator[int]:
    work = functools.partial(_write_block, settings, out)
    if workers <= 1 or len(blocks) <= 1:
        yield from map(work, blocks)
        return
    with WorkerPool(min(workers, len(blocks)), [__name__]) as pool:
        try:
            yield from pool.map(work, blocks)
        except BrokenProcessPool:
            raise DataError(
                f"{out}: a process that simulates died (out of memory, or killed); finished blocks are kept; "
                "use fewer workers"
            ) from None
        except BaseException:
            # After Ctrl-C do not wait for the remaining blocks.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _identity(settings: SimulateSettings) -> dict[str, Any]:
    """Return everything that the files depend on."""
    return {
        "format_version": _FORMAT_VERSION,
        # simulations from before this setting stay valid
        "settings": settings.model_dump(
            mode="json", exclude={name for name in _OPTIONAL if not getattr(settings, name)}
        ),
        # A table of throughputs may change under the same name.
        "bands": [[band.name, band.zero_point, band.wavelength] for band in survey_bands(settings)],
        # Blocks of an older version lack newer columns.
        "columns": list(catalog_columns(settings)),
    }


def _is_finished(settings: SimulateSettings, out: Path) -> bool:
    """Return whether the folder holds the complete survey."""
    written = (out / "catalog.fits").exists() and _has_same_settings(settings, out)
    return written and not _has_missing_files(settings, out)


def _has_same_settings(settings: SimulateSettings, out: Path) -> bool:
    """Return whether the folder was written with these settings."""
    try:
        return bool(json.loads((out / "simulate.json").read_text("utf-8")) == _identity(settings))
    except (OSError, json.JSONDecodeError):
        return False


def _prepare_folder(settings: SimulateSettings, out: Path, keep: bool) -> None:
    """Create the folders; remove the files of other settings unless `keep`."""
    for name in ("catalog.fits", "clumps.fits"):
        (out / name).unlink(missing_ok=True)
    if not keep:
        for pattern in ("blocks/*.json", "images/SIM*.fits", "truth/SIM*.fits"):
            for path in out.glob(pattern):
                path.unlink()
    for folder in ("blocks", "images", "truth"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    if not keep:
        write_text(out / "simulate.json", json.dumps(_identity(settings), indent=1, sort_keys=True) + "\n")


def _n_blocks(settings: SimulateSettings) -> int:
    return -(-settings.n_objects // BLOCK)


def _block_numbers(settings: SimulateSettings, block: int) -> range:
    return range(block * BLOCK, min((block + 1) * BLOCK, settings.n_objects))


def _block_file(out: Path, block: int) -> Path:
    return out / "blocks" / f"{block:06d}.json"


def _object_files(out: Path, number: int) -> tuple[Path, Path]:
    name = f"{object_id(number)}.fits"
    return out / "images" / name, out / "truth" / name


def _is_complete(settings: SimulateSettings, out: Path, block: int) -> bool:
    numbers = _block_numbers(settings, block)
    return _block_file(out, block).exists() and all(path.exists() for n in numbers for path in _object_files(out, n))


def _has_missing_files(settings: SimulateSettings, out: Path) -> bool:
    files = (path for number in range(settings.n_objects) for path in _object_files(out, number))
    return not (out / "clumps.fits").exists() or not all(path.exists() for path in files)


def _write_table(settings: SimulateSettings, out: Path, name: str, columns: dict[str, Column]) -> None:
    """Join the rows of all blocks to a FITS table."""
    from astropy.table import Table

    parts: dict[str, list[NDArray[Any]]] = {column: [] for column in columns}
    for block in range(_n_blocks(settings)):
        rows = json.loads(_block_file(out, block).read_text("utf-8"))[name]
        for column, values in rows.items():
            parts[column].append(_to_array(values))
    table = Table({column: np.concatenate(arrays) for column, arrays in parts.items()})
    for column, (unit, description) in columns.items():
        table[column].unit = unit
        table[column].description = description
    table.meta = {"EXTNAME": name.upper(), "SURVEY": settings.survey, "TRUBAND": truth_band(settings)}
    table.meta["SEED"] = settings.seed
    with replacing(out / f"{name}.fits") as temporary:
        table.write(temporary, format="fits")


def _to_array(values: list[Any]) -> NDArray[Any]:
    if values and isinstance(values[0], str):
        # A fixed width: FITS has no text of zero width, the width of `oddity` in a survey without oddities.
        return np.array(values, dtype="U24")
    return np.array(values)
