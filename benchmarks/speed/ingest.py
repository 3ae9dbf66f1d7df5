"""Measure the speed of reading cutouts, in objects per second: raw bytes, astropy, fitsio, astrodl, whole ingestion.

The input comes from `astrodl simulate`: a file per object with five bands of 64 x 64 pixels in float32, which are read,
and five PSFs. All files are in the disk cache. The readers take turns, and their ratios are medians over the turns.
`--record docs/performance.md` writes the tables to the page. Whole ingestions run in processes of their own; catalogues
longer than `--n` list the files repeatedly.

    python benchmarks/speed/ingest.py --n 2000 --lengths 2000 20000 --json ingest.json --record docs/performance.md
"""

import argparse
import importlib.util
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing.pool import Pool
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from astrodl.config import IngestSettings, SimulateSettings
from astrodl.fits import FitsFile, open_fits, read_bytes, zero_point
from astrodl.fits.header import parse_layout
from astrodl.simulator.survey import data_settings, simulate

DOCS = Path(__file__).resolve().parents[2] / "docs"
BANDS = ("F435W", "F606W", "F775W", "F850LP", "F160W")
SIZE = 64
CHUNK = 250
TURN_SECONDS = 0.1

Cube = NDArray[np.float32]
Reader = Callable[[list[str], Cube], None]


def raw(paths: list[str], _: Cube) -> None:
    """Read the bytes only."""
    for path in paths:
        with open(path, "rb") as file:
            file.read()


def with_astropy(paths: list[str], out: Cube) -> None:
    """Read as in the documentation of astropy."""
    for path, planes in zip(paths, out, strict=True):
        with fits.open(path) as file:
            for plane, band in zip(planes, BANDS, strict=True):
                plane[...] = file[band].data


def with_fitsio(paths: list[str], out: Cube) -> None:
    """Read as in the documentation of fitsio."""
    from fitsio import FITS

    for path, planes in zip(paths, out, strict=True):
        with FITS(path) as file:
            for plane, band in zip(planes, BANDS, strict=True):
                plane[...] = file[band].read()


def with_astrodl(paths: list[str], out: Cube) -> None:
    """Read with astrodl, with NaN for missing pixels."""
    for path, planes in zip(paths, out, strict=True):
        file = open_fits(read_bytes(path))
        for plane, band in zip(planes, BANDS, strict=True):
            file.pixels(file.find(band), out=plane)


def without_cache(paths: list[str], out: Cube) -> None:
    """Read with astrodl but without the cache of file layouts."""
    for path, planes in zip(paths, out, strict=True):
        data = read_bytes(path)
        file = FitsFile(data, parse_layout(data)[0])
        for plane, band in zip(planes, BANDS, strict=True):
            file.pixels(file.find(band), out=plane)


def with_pool(pool: Pool, memory: str, paths: list[str], out: Cube) -> None:
    """Read with astrodl in the processes of a pool, which write to shared memory; only names are sent."""
    starts = range(0, len(paths), CHUNK)
    tasks = [(memory, out.shape, start, paths[start : start + CHUNK]) for start in starts]
    pool.map(_read_part, tasks, chunksize=1)


def _read_part(task: tuple[str, tuple[int, ...], int, list[str]]) -> None:
    name, shape, start, paths = task
    if name not in _attached:
        _attached[name] = SharedMemory(name)
    out: Cube = np.ndarray(shape, np.float32, _attached[name].buf)
    with_astrodl(paths, out[start : start + len(paths)])


_attached: dict[str, SharedMemory] = {}


def _open_only(paths: list[str], _: Cube) -> None:
    for path in paths:
        open_fits(read_bytes(path))


def _bytes_only(paths: list[str], _: Cube) -> None:
    for path in paths:
        read_bytes(path)


def _with_zero_points(paths: list[str], out: Cube) -> None:
    for path, planes in zip(paths, out, strict=True):
        file = open_fits(read_bytes(path))
        primary = file.primary
        for plane, band in zip(planes, BANDS, strict=True):
            hdu = file.find(band)
            zero_point(hdu, primary)
            file.pixels(hdu, out=plane)


STEPS: dict[str, Reader] = {
    "reading the bytes": _bytes_only,
    "finding the extensions": _open_only,
    "pixels to float32, NaN where there is no data": with_astrodl,
    "zero points": _with_zero_points,
}
"""Each step does the work of the previous one and one more task."""


@contextmanager
def open_readers(n_objects: int, processes: int) -> Iterator[tuple[dict[str, Reader], Cube]]:
    """Return the readers, by name, and the array in shared memory that they fill."""
    shape = (n_objects, len(BANDS), SIZE, SIZE)
    memory = SharedMemory(create=True, size=4 * int(np.prod(shape)))
    readers: dict[str, Reader] = {"raw bytes": raw, "astropy": with_astropy}
    if importlib.util.find_spec("fitsio"):
        readers["fitsio"] = with_fitsio
    readers |= {"astrodl": with_astrodl, "astrodl, each file parsed anew": without_cache}
    pool = multiprocessing.get_context("spawn").Pool(processes) if processes > 1 else None
    try:
        if pool is not None:
            readers[f"astrodl, {processes} processes"] = partial(with_pool, pool, memory.name)
        with pool if pool is not None else nullcontext():
            yield readers, np.ndarray(shape, np.float32, memory.buf)
    finally:
        memory.unlink()


def time_in_turns(readers: dict[str, Reader], paths: list[str], out: Cube, turns: int) -> dict[str, list[float]]:
    """Run the readers in short turns; return the seconds per object of each turn.

    In a turn, a fast reader reads all files several times, a slow one reads some of them.
    """
    workloads = {name: find_workload(reader, paths, out) for name, reader in readers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(turns):
        for name, reader in readers.items():
            n_files, passes = workloads[name]
            start = time.perf_counter()
            for _ in range(passes):
                reader(paths[:n_files], out[:n_files])
            seconds[name].append((time.perf_counter() - start) / (n_files * passes))
    return seconds


def find_workload(reader: Reader, paths: list[str], out: Cube) -> tuple[int, int]:
    """Return the number of files, and of passes over them, that fill a turn."""
    reader(paths, out)  # fills the disk cache and starts the processes
    start = time.perf_counter()
    reader(paths, out)
    passes = TURN_SECONDS / (time.perf_counter() - start)
    return max(1, min(len(paths), round(passes * len(paths)))), max(1, round(passes))


def check_agreement(readers: dict[str, Reader], paths: list[str], out: Cube) -> None:
    """Check that all readers read the same pixels, bit for bit."""
    expected = np.empty_like(out)
    with_astropy(paths, expected)
    for name, reader in readers.items():
        if reader is not raw:
            out[...] = -1
            reader(paths, out)
            if out.tobytes() != expected.tobytes():
                raise SystemExit(f"benchmark: {name} reads other pixels than astropy")


INGESTION = """
import sys, time
from pathlib import Path
from astrodl.config import IngestSettings
from astrodl.ingestion.ingest import ingest
settings = IngestSettings.model_validate_json(sys.argv[1])
start = time.perf_counter()
ingest(settings, Path(sys.argv[2]), workers=int(sys.argv[3]), progress=False)
print(time.perf_counter() - start)
"""
"""Ingestion in a process of its own, which has no workers from before; prints its seconds without imports."""


def repeated_survey(folder: Path, settings: SimulateSettings, n_objects: int) -> IngestSettings:
    """Write a catalogue that lists the files repeatedly, and return the settings of its ingestion."""
    catalog = Table.read(folder / "catalog.fits")
    catalog = catalog[np.arange(n_objects) % len(catalog)]
    catalog["file"], catalog["object_id"] = catalog["object_id"], [f"R{row:09d}" for row in range(n_objects)]
    catalog["ra"] = np.random.default_rng(0).uniform(0, 360, n_objects)
    catalog.write(folder / f"catalog_{n_objects}.fits", overwrite=True)
    data = data_settings(settings, folder).model_dump_json().replace("{object_id}", "{file}")
    changed = {"survey": "benchmark", "data": json.loads(data) | {"catalog": f"catalog_{n_objects}.fits"}}
    return IngestSettings.model_validate(changed)


def time_ingestion(settings: IngestSettings, workers: tuple[int, ...], turns: int) -> dict[int, list[float]]:
    """Time the whole ingestion, with calibration, sky, photometry, checksums and the store, by number of workers."""
    seconds: dict[int, list[float]] = {n: [] for n in workers}
    with tempfile.TemporaryDirectory() as scratch:
        line = [sys.executable, "-c", INGESTION, settings.model_dump_json(), f"{scratch}/store.h5"]
        for turn in range(turns):
            for n in workers if turn % 2 == 0 else workers[::-1]:
                seconds[n].append(float(subprocess.run([*line, str(n)], check=True, capture_output=True).stdout))
    return seconds


def measure(folder: Path, n_objects: int, turns: int, processes: int, lengths: list[int]) -> dict[str, Any]:
    """Run the benchmark on a simulated survey, which is made if it does not exist.

    `lengths` are the lengths of the catalogues that are ingested.
    """
    settings = SimulateSettings(n_objects=n_objects, size=SIZE, bands=list(BANDS))
    if not (folder / "catalog.fits").is_file():
        simulate(settings, folder, workers=processes, progress=False)
    paths = [str(path) for path in sorted((folder / "images").glob("*.fits"))[:n_objects]]
    if len(paths) < n_objects:
        raise SystemExit(
            f"benchmark: {folder} has {len(paths)} objects, {n_objects} are asked for; name another --folder"
        )
    with open_readers(n_objects, processes) as (readers, out):
        check_agreement(readers, paths, out)
        seconds = time_in_turns(readers, paths, out, turns)
        steps = time_in_turns(STEPS, paths, out, turns)
    workers = (1, processes) if processes > 1 else (1,)
    by_length = {
        length: time_ingestion(repeated_survey(folder, settings, length), workers, max(1, turns // 8))
        for length in sorted(lengths)
    }
    if n_objects in by_length:
        seconds["ingest, 1 worker"] = [turn / n_objects for turn in by_length[n_objects][1]]
    n_bytes = sum(Path(path).stat().st_size for path in paths)
    return {
        "n_objects": n_objects,
        "bytes_per_object": round(n_bytes / n_objects),
        "processes": processes,
        "fitsio": "fitsio" in readers,
        "objects_per_second": {name: 1 / min(turn) for name, turn in seconds.items()},
        "median_objects_per_second": {name: 1 / median(turn) for name, turn in seconds.items()},
        "ratios": {reference: ratios(seconds, reference) for reference in ("astropy", "raw bytes", "astrodl")},
        "microseconds": increments(steps),
        "ingestion_seconds": by_length,
    }


def ratios(seconds: dict[str, list[float]], reference: str) -> dict[str, float]:
    """Return the rates in units of the rate of a reference: the median over turns of the ratio in the same turn.

    Other work on the machine slows both in the same turn. The whole ingestion has its own turns; for it, the best
    turns are compared.
    """
    n_turns = len(seconds[reference])
    return {
        name: median(other / own for own, other in zip(turn, seconds[reference], strict=True))
        if len(turn) == n_turns
        else min(seconds[reference]) / min(turn)
        for name, turn in seconds.items()
    }


def increments(steps: dict[str, list[float]]) -> dict[str, float]:
    """Return the microseconds that each step takes beyond the previous one: the median over turns."""
    before = [[0.0] * len(next(iter(steps.values()))), *steps.values()]
    return {
        name: 1e6 * median(own - last for own, last in zip(turn, previous, strict=True))
        for (name, turn), previous in zip(steps.items(), before, strict=False)
    }


def rate_rows(result: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table of rates."""
    best, medians = result["objects_per_second"], result["median_objects_per_second"]
    compared = result["ratios"].values()
    return [
        [name, f"{best[name]:,.0f}", f"{medians[name]:,.0f}", *(f"{ratio[name]:.3g}" for ratio in compared)]
        for name in best
    ]


def step_rows(result: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table of steps."""
    total = sum(result["microseconds"].values())
    return [[name, f"{value:.1f}", f"{value / total:.0%}"] for name, value in result["microseconds"].items()]


def worker_rows(result: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table of workers: median rates, and the median over turns of their ratio."""
    rows = []
    for length, seconds in result["ingestion_seconds"].items():
        rates = [f"{length / median(turns):,.0f}" for turns in seconds.values()]
        alone, *_, most = seconds.values()
        rows.append([f"{length:,}", *rates, f"{median(a / b for a, b in zip(alone, most, strict=True)):.2f}"])
    return rows


def worker_head(result: dict[str, Any]) -> list[str]:
    """Return the head of the table of workers."""
    return ["objects", "objects/s, 1 worker", f"{result['processes']} workers", "ratio"]


RATE_HEAD = ["way", "objects/s, best", "median", "x astropy", "x raw bytes", "x astrodl"]
STEP_HEAD = ["step", "µs per object", "share"]


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    tables = [
        (RATE_HEAD, rate_rows(result)),
        (STEP_HEAD, step_rows(result)),
        (worker_head(result), worker_rows(result)),
    ]
    for head, rows in tables:
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        for row in [head, *rows]:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        print()
    if not result["fitsio"]:
        print("fitsio is not installed and was left out (pip install fitsio)")


def record(result: dict[str, Any], page: Path) -> None:
    """Write the tables to a page, between its markers."""
    sys.path.insert(0, str(DOCS))
    from generate import write_block
    from record import machine, table

    lengths = "".join(f" {length}" for length in result["ingestion_seconds"])
    lengths = f" --lengths{lengths}" if lengths else ""
    about = (
        f"{result['n_objects']:,} files of {result['bytes_per_object']:,} bytes on {machine()}, no GPU; "
        f"`python benchmarks/speed/ingest.py --n {result['n_objects']}{lengths} --record docs/performance.md`."
    )
    rates, steps = table(RATE_HEAD, rate_rows(result)), table(STEP_HEAD, step_rows(result))
    text = write_block(page.read_text("utf-8"), "ingestion", f"{about}\n\n{rates}")
    text = write_block(text, "ingestion-workers", table(worker_head(result), worker_rows(result)))
    page.write_text(write_block(text, "ingestion-steps", steps), "utf-8")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2000, help="objects (default: 2000)")
    parser.add_argument("--folder", type=Path, help="simulated survey, made if missing (default: temporary)")
    parser.add_argument("--turns", type=int, default=40, help="turns of each reader (default: 40)")
    parser.add_argument("--processes", type=int, default=2, help="processes of the parallel readers (default: 2)")
    parser.add_argument(
        "--lengths", type=int, nargs="*", help="objects of the whole ingestions (default: --n; none: skip)"
    )
    parser.add_argument("--json", type=Path, help="write the numbers to a JSON file")
    parser.add_argument("--record", type=Path, metavar="PAGE", help="write the tables to a page of the documentation")
    args = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    lengths = [args.n] if args.lengths is None else args.lengths
    with tempfile.TemporaryDirectory() if args.folder is None else nullcontext(args.folder) as folder:
        result = measure(Path(folder), args.n, args.turns, args.processes, lengths)
    show(result)
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if args.record is not None:
        record(result, args.record)
    return result


if __name__ == "__main__":
    main()
