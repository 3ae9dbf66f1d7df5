"""Peak memory and rate of the commands by number of objects: memory must depend on the block size, not on the survey.

The input are a few hundred simulated cutouts. A longer catalogue lists each of them many times, with different
identifiers and positions on the sky. A small photo-z network is trained for one epoch on the first thousand objects.
Each command runs in its own process, and the peak is that of the process and its workers. `shard` reads no image but
the first, and may be run on more objects.

    python benchmarks/speed/memory.py --n 10000 100000 --shard 1000000
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHILD = """
import json, resource, sys, time
from astrodl import cli
start = time.perf_counter()
status = cli.main(sys.argv[1:])
wall = time.perf_counter() - start
# not ru_maxrss of this process, which includes the memory of its parent
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"wall_s": wall, "main_bytes": 1024 * int(peak.split()[1]), "worker_bytes": 1024 * workers}))
sys.exit(status)
"""

HEAD = ("verb", "objects", "workers", "written (GB)", "main process (MB)", "largest worker (MB)", "objects/s")
BANDS = ("F606W", "F775W", "F850LP")
DENSITY = 5000
"""Objects per square degree, that of 10^8 objects over half of the sky."""
TRAINING = 1000
SAMPLE = 10_000
PHOTOZ = {"n_bins": 100, "widths": [8, 16], "train": {"epochs": 1}}
"""Settings of a small network."""

Run = dict[str, Any]


def run_command(*words: object) -> dict[str, float]:
    """Run a command in its own process, and return its wall time and peak memory."""
    line = [sys.executable, "-c", CHILD, *map(str, words)]
    return json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def count_bytes(path: Path) -> int:
    """Count the bytes of a file or folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def write_catalog(root: Path, n_objects: int) -> str:
    """Write a catalogue of `n_objects` objects that lists the files repeatedly, and return its name."""
    import numpy as np
    from astropy.table import Table

    base = Table.read(root / "catalog.fits")
    table = base["object_id", "z", "class"][np.arange(n_objects) % len(base)]
    table.rename_column("object_id", "file")
    table["object_id"] = [f"R{k:09d}" for k in range(n_objects)]
    rng = np.random.default_rng(0)
    side = np.sqrt(n_objects / DENSITY)
    table["ra"], table["dec"] = 30 + side * rng.random(n_objects), side * (rng.random(n_objects) - 0.5)
    name = f"catalog_{n_objects}.fits"
    table.write(root / name, overwrite=True)
    return name


def survey_settings(root: Path, n_objects: int, size: int) -> str:
    """Return the settings of a survey of `n_objects` objects as JSON."""
    data = {
        "root": str(root),
        "catalog": write_catalog(root, n_objects),
        "layout": "extensions",
        "path": "images/{file}.fits",
        "bands": [{"name": name} for name in BANDS],
        "size": size,
        "ra_column": "ra",
        "dec_column": "dec",
        "columns": {"z": "z", "class": "class"},
    }
    return json.dumps({"data": data, "split": {"sample": SAMPLE}})


def train(root: Path, out: Path, size: int) -> Path:
    """Train the photo-z network, and return its model file."""
    run_command("ingest", "--out", out / "training.h5", "--settings", survey_settings(root, TRAINING, size))
    machine = ("--device", "cpu", "--threads", 1, "--settings", json.dumps(PHOTOZ))
    run_command("train", "photoz", out / "training.h5", "--out", out / "model", *machine)
    return out / "model" / "model.safetensors"


def measure(root: Path, out: Path, n_objects: int, size: int, workers: list[int]) -> Iterator[Run]:
    """Run the commands from `ingest` to `hats`, and yield a result for each."""
    survey, store = survey_settings(root, n_objects, size), out / "store.h5"
    predictions, catalog, pdfs, hats = (out / name for name in ("photoz.h5", "catalog.fits", "photoz_pdf.hdf5", "hats"))

    def run(verb: str, *words: object, makes: Path, workers: int = 1) -> Run:
        peaks = run_command(verb, *words)
        return {"verb": verb, "n_objects": n_objects, "workers": workers, "bytes": count_bytes(makes), **peaks}

    for number in workers:
        store.unlink(missing_ok=True)
        yield run("ingest", "--out", store, "--settings", survey, "--workers", number, makes=store, workers=number)
    model = out / "model" / "model.safetensors"
    machine = ("--device", "cpu", "--threads", 1)
    yield run("predict", "photoz", store, model, "--out", predictions, *machine, makes=predictions)
    yield run("catalog", store, predictions, "--out", catalog, makes=catalog)
    yield run("product", "photoz", store, predictions, "--out", pdfs, makes=pdfs)
    yield run("hats", catalog, "--out", hats, makes=hats)
    for path in (store, predictions, pdfs, catalog):
        path.unlink()


def measure_shard(root: Path, out: Path, n_objects: int, size: int) -> Run:
    """Run `shard`."""
    folder = out / f"shards_{n_objects}"
    words = ("--out", folder, "--settings", survey_settings(root, n_objects, size), "--shards", 10)
    peaks = run_command("shard", *words)
    return {"verb": "shard", "n_objects": n_objects, "workers": 1, "bytes": count_bytes(folder), **peaks}


def table_row(run: Run) -> list[str]:
    """Return the row of the table for one run."""
    rate = run["n_objects"] / run["wall_s"]
    memory = [f"{run['main_bytes'] / 2**20:,.0f}", f"{run['worker_bytes'] / 2**20:,.0f}" if run["workers"] > 1 else "-"]
    counts = [f"`{run['verb']}`", f"{run['n_objects']:,}", f"{run['workers']}", f"{run['bytes'] / 1e9:.3f}"]
    return [*counts, *memory, f"{rate:,.0f}"]


def record(results: list[Run], words: str, page: Path) -> None:
    """Write the table into a page of the documentation."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
    from generate import write_block
    from record import machine, table

    about = f"{words}, {machine()}; peak memory of each process. Rates include imports."
    content = f"{about}\n\n{table(list(HEAD), [table_row(run) for run in results])}"
    page.write_text(write_block(page.read_text("utf-8"), "memory", content), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[1000, 4000], help="numbers of objects")
    parser.add_argument("--shard", type=int, nargs="*", default=[], help="numbers of objects for `shard` alone")
    parser.add_argument("--size", type=int, default=32, help="side of the cutouts in pixels (default: 32)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1], help="processes of `ingest` (default: 1)")
    parser.add_argument("--survey", type=Path, help="simulated survey to use or make (default: a temporary one)")
    parser.add_argument("--simulate", type=int, default=500, help="objects of the simulated survey")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--record", type=Path, metavar="PAGE", help="write the table into a page of the documentation")
    args = parser.parse_args()
    results: list[Run] = []

    def keep(run: Run) -> None:
        results.append(run)
        print(" | ".join(f"{name} {cell}" for name, cell in zip(HEAD, table_row(run), strict=True)), flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        root, out = args.survey or Path(scratch) / "survey", Path(scratch)
        simulation = {"n_objects": args.simulate, "size": args.size, "bands": list(BANDS)}
        run_command("simulate", "--out", root, "--settings", json.dumps(simulation), "--workers", 2)
        train(root, out, args.size)
        for n_objects in [*args.n, *args.shard]:
            keep(measure_shard(root, out, n_objects, args.size))
        for n_objects in args.n:
            for run in measure(root, out, n_objects, args.size, args.workers):
                keep(run)
    results.sort(key=lambda run: VERBS.index(run["verb"]))
    if args.json is not None:
        args.json.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "results": results}, indent=1) + "\n")
    if args.record is not None:
        lists = {name: getattr(args, name) for name in ("n", "shard", "workers") if getattr(args, name)}
        words = " ".join(f"--{name} {' '.join(map(str, values))}" for name, values in lists.items())
        about = f"{args.size} x {args.size} pixels, {len(BANDS)} bands; `python benchmarks/speed/memory.py {words}`"
        record(results, about, args.record)


VERBS = ("shard", "ingest", "predict", "catalog", "product", "hats")


if __name__ == "__main__":
    main()
