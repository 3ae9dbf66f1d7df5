"""Rate of reading cutouts, in objects per second: raw bytes, astropy, fitsio, astrodl, and a whole ingestion.

The input is `astrodl simulate`'s: a file per object, five bands of 64 x 64 pixels in float32 and their five PSFs; the
bands are read. All files were read before, so that the disk plays no part. The ways take turns, and their ratios
are medians over the turns. `--record docs/performance.md` writes the tables into the page.

    python benchmarks/speed/ingest.py --n 2000 --json ingest.json --record docs/performance.md
"""

import argparse
import importlib.util
import json
import multiprocessing
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
from numpy.typing import NDArray

from astrodl.config import IngestSettings, SimulateSettings
from astrodl.fits.file import FitsFile, open_fits, read_bytes, zero_point
from astrodl.fits.header import parse
from astrodl.ingestion.run import ingest
from astrodl.simulator.survey import data_settings, simulate

DOCS = Path(__file__).resolve().parents[2] / "docs"
BANDS = ("F435W", "F606W", "F775W", "F850LP", "F160W")
SIZE = 64
CHUNK = 250
TURN_SECONDS = 0.1

Cube = NDArray[np.float32]
Way = Callable[[list[str], Cube], None]


def raw(paths: list[str], _: Cube) -> None:
    """Read the bytes, and do nothing with them."""
    for path in paths:
        with open(path, "rb") as file:
            file.read()


def with_astropy(paths: list[str], out: Cube) -> None:
    """Read as astropy's documentation does."""
    for path, planes in zip(paths, out, strict=True):
        with fits.open(path) as file:
            for plane, band in zip(planes, BANDS, strict=True):
                plane[...] = file[band].data


def with_fitsio(paths: list[str], out: Cube) -> None:
    """Read as fitsio's documentation does."""
    from fitsio import FITS

    for path, planes in zip(paths, out, strict=True):
        with FITS(path) as file:
            for plane, band in zip(planes, BANDS, strict=True):
                plane[...] = file[band].read()


def with_astrodl(paths: list[str], out: Cube) -> None:
    """Read with missing pixels as NaN."""
    for path, planes in zip(paths, out, strict=True):
        file = open_fits(read_bytes(path))
        for plane, band in zip(planes, BANDS, strict=True):
            file.pixels(file.find(band), out=plane)


def each_parsed(paths: list[str], out: Cube) -> None:
    """Read with astrodl as if no file looked like another."""
    for path, planes in zip(paths, out, strict=True):
        data = read_bytes(path)
        file = FitsFile(data, parse(data)[0])
        for plane, band in zip(planes, BANDS, strict=True):
            file.pixels(file.find(band), out=plane)


def in_parts(pool: Pool, memory: str, paths: list[str], out: Cube) -> None:
    """Read with astrodl in the processes of a pool, which write into shared memory; only names are sent."""
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


STEPS: dict[str, Way] = {
    "reading the bytes": _bytes_only,
    "finding the extensions": _open_only,
    "pixels to float32, NaN where there is no data": with_astrodl,
    "zero points": _with_zero_points,
}
"""Each does what the one before does, and one thing more."""


@contextmanager
def ways(n_objects: int, processes: int) -> Iterator[tuple[dict[str, Way], Cube]]:
    """Give the ways of reading and the array that they fill, which lies in shared memory."""
    shape = (n_objects, len(BANDS), SIZE, SIZE)
    memory = SharedMemory(create=True, size=4 * int(np.prod(shape)))
    chosen: dict[str, Way] = {"raw bytes": raw, "astropy": with_astropy}
    if importlib.util.find_spec("fitsio"):
        chosen["fitsio"] = with_fitsio
    chosen |= {"astrodl": with_astrodl, "astrodl, each file parsed anew": each_parsed}
    pool = multiprocessing.get_context("spawn").Pool(processes) if processes > 1 else None
    try:
        if pool is not None:
            chosen[f"astrodl, {processes} processes"] = partial(in_parts, pool, memory.name)
        with pool if pool is not None else nullcontext():
            yield chosen, np.ndarray(shape, np.float32, memory.buf)
    finally:
        memory.unlink()


def interleave(chosen: dict[str, Way], paths: list[str], out: Cube, turns: int) -> dict[str, list[float]]:
    """Let the ways take short turns; gives the seconds per object of each turn.

    A fast way goes over all files several times in a turn, a slow one over some of them.
    """
    shares = {name: share(way, paths, out) for name, way in chosen.items()}
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(turns):
        for name, way in chosen.items():
            n_files, passes = shares[name]
            start = time.perf_counter()
            for _ in range(passes):
                way(paths[:n_files], out[:n_files])
            seconds[name].append((time.perf_counter() - start) / (n_files * passes))
    return seconds


def share(way: Way, paths: list[str], out: Cube) -> tuple[int, int]:
    """Give the number of files, and how often they are read, that fill a turn."""
    way(paths, out)  # brings the files into memory, and the processes to life
    start = time.perf_counter()
    way(paths, out)
    passes = TURN_SECONDS / (time.perf_counter() - start)
    return max(1, min(len(paths), round(passes * len(paths)))), max(1, round(passes))


def agree(chosen: dict[str, Way], paths: list[str], out: Cube) -> None:
    """Make sure that all ways read the same pixels, bit for bit."""
    expected = np.empty_like(out)
    with_astropy(paths, expected)
    for name, way in chosen.items():
        if way is not raw:
            out[...] = -1
            way(paths, out)
            if out.tobytes() != expected.tobytes():
                raise SystemExit(f"benchmark: {name} reads other pixels than astropy")


def whole(folder: Path, settings: SimulateSettings, workers: tuple[int, ...], turns: int) -> dict[str, list[float]]:
    """Time the whole ingestion: also calibration, sky, photometry, checksums, the store."""
    task = IngestSettings(survey="benchmark", data=data_settings(settings, folder))
    seconds: dict[str, list[float]] = {f"ingest, {n} worker{'s' * (n > 1)}": [] for n in workers}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(turns):
            for name, n in zip(seconds, workers, strict=True):
                start = time.perf_counter()
                ingest(task, Path(scratch, "store.h5"), workers=n, progress=False)
                seconds[name].append((time.perf_counter() - start) / settings.n_objects)
                Path(scratch, "store.h5").unlink()
    return seconds


def measure(folder: Path, n_objects: int, turns: int, processes: int, *, ingestion: bool) -> dict[str, Any]:
    """Run the benchmark on a simulated survey, which is made unless it is there."""
    settings = SimulateSettings(n_objects=n_objects, size=SIZE, bands=list(BANDS))
    if not (folder / "catalog.fits").is_file():
        simulate(settings, folder, workers=processes, progress=False)
    paths = [str(path) for path in sorted((folder / "images").glob("*.fits"))[:n_objects]]
    if len(paths) < n_objects:
        raise SystemExit(
            f"benchmark: {folder} has {len(paths)} objects, {n_objects} are asked for; name another --folder"
        )
    with ways(n_objects, processes) as (chosen, out):
        agree(chosen, paths, out)
        seconds = interleave(chosen, paths, out, turns)
        steps = interleave(STEPS, paths, out, turns)
    if ingestion:
        seconds |= whole(folder, settings, (1, processes) if processes > 1 else (1,), max(1, turns // 10))
    n_bytes = sum(Path(path).stat().st_size for path in paths)
    return {
        "n_objects": n_objects,
        "bytes_per_object": round(n_bytes / n_objects),
        "processes": processes,
        "fitsio": "fitsio" in chosen,
        "objects_per_second": {name: 1 / min(turn) for name, turn in seconds.items()},
        "median_objects_per_second": {name: 1 / median(turn) for name, turn in seconds.items()},
        "ratios": {rival: ratios(seconds, rival) for rival in ("astropy", "raw bytes", "astrodl")},
        "microseconds": increments(steps),
    }


def ratios(seconds: dict[str, list[float]], rival: str) -> dict[str, float]:
    """Give the rates in units of a rival's: the median over turns, each with the rival's rate in the same turn.

    Other work on the machine slows both of them. The whole ingestion has turns of its own: there, best by best.
    """
    n_turns = len(seconds[rival])
    return {
        name: median(other / own for own, other in zip(turn, seconds[rival], strict=True))
        if len(turn) == n_turns
        else min(seconds[rival]) / min(turn)
        for name, turn in seconds.items()
    }


def increments(steps: dict[str, list[float]]) -> dict[str, float]:
    """Give the microseconds that each step takes beyond the one before it: the median over turns."""
    before = [[0.0] * len(next(iter(steps.values()))), *steps.values()]
    return {
        name: 1e6 * median(own - last for own, last in zip(turn, previous, strict=True))
        for (name, turn), previous in zip(steps.items(), before, strict=False)
    }


def rate_rows(result: dict[str, Any]) -> list[list[str]]:
    """Give the lines of the table of rates."""
    best, medians = result["objects_per_second"], result["median_objects_per_second"]
    compared = result["ratios"].values()
    return [
        [name, f"{best[name]:,.0f}", f"{medians[name]:,.0f}", *(f"{ratio[name]:.3g}" for ratio in compared)]
        for name in best
    ]


def step_rows(result: dict[str, Any]) -> list[list[str]]:
    """Give the lines of the table of steps."""
    total = sum(result["microseconds"].values())
    return [[name, f"{value:.1f}", f"{value / total:.0%}"] for name, value in result["microseconds"].items()]


RATE_HEAD = ["way", "objects/s, best", "median", "x astropy", "x raw bytes", "x astrodl"]
STEP_HEAD = ["step", "µs per object", "share"]


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    for head, rows in ((RATE_HEAD, rate_rows(result)), (STEP_HEAD, step_rows(result))):
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        for row in [head, *rows]:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        print()
    if not result["fitsio"]:
        print("fitsio is not installed and was left out (pip install fitsio)")


def record(result: dict[str, Any], page: Path) -> None:
    """Write the tables into a page, between its markers."""
    sys.path.insert(0, str(DOCS))
    from generate import write_block
    from record import machine, table

    about = (
        f"{result['n_objects']:,} files of {result['bytes_per_object']:,} bytes on {machine()}, no GPU; "
        f"`python benchmarks/speed/ingest.py --n {result['n_objects']} --record docs/performance.md`."
    )
    rates, steps = table(RATE_HEAD, rate_rows(result)), table(STEP_HEAD, step_rows(result))
    text = write_block(page.read_text("utf-8"), "ingestion", f"{about}\n\n{rates}")
    page.write_text(write_block(text, "ingestion-steps", steps), "utf-8")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2000, help="objects (default: 2000)")
    parser.add_argument("--folder", type=Path, help="simulated survey to use, or to make (default: a temporary one)")
    parser.add_argument("--turns", type=int, default=40, help="turns of each way (default: 40)")
    parser.add_argument("--processes", type=int, default=2, help="processes of the parallel ways (default: 2)")
    parser.add_argument("--no-ingestion", action="store_true", help="leave the whole ingestion out")
    parser.add_argument("--json", type=Path, help="write the numbers to a file")
    parser.add_argument("--record", type=Path, metavar="PAGE", help="write the tables into a page of the documentation")
    args = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() if args.folder is None else nullcontext(args.folder) as folder:
        result = measure(Path(folder), args.n, args.turns, args.processes, ingestion=not args.no_ingestion)
    show(result)
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if args.record is not None:
        record(result, args.record)
    return result


if __name__ == "__main__":
    main()
