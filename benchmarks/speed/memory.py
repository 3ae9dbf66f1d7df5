"""Peak memory and rate of the verbs over the number of objects: memory must follow the block, not the survey.

The input is a few hundred simulated cutouts; a longer catalogue names each of them many times, under other identifiers
and positions all over the sky. One small network of photo-z is trained for an epoch on the first thousand objects: what
is measured is memory, not the network. Each verb runs in a process of its own through the command line, and the peak is
that of the process and of its workers. `shard` alone looks at no images but the first, and may be run on more objects.

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
# Not ru_maxrss of the process itself, which the memory of the process that started it counts for.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"wall_s": wall, "main_bytes": 1024 * int(peak.split()[1]), "worker_bytes": 1024 * workers}))
sys.exit(status)
"""

HEAD = ("verb", "objects", "workers", "written (GB)", "main process (MB)", "largest worker (MB)", "objects/s")
BANDS = ("F606W", "F775W", "F850LP")
DENSITY = 5000
"""Objects per square degree, as of 10^8 objects over half of the sky."""
TRAINING = 1000
SAMPLE = 10_000
PHOTOZ = {"n_bins": 100, "widths": [8, 16], "train": {"epochs": 1}}
"""A small network: what is measured is memory."""

Run = dict[str, Any]


def call(*words: object) -> dict[str, float]:
    """Run a verb in a process of its own; gives its time and peaks."""
    line = [sys.executable, "-c", CHILD, *map(str, words)]
    return json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def written(path: Path) -> int:
    """Count the bytes of a file or folder."""
    return sum(one.stat().st_size for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file())


def write_catalog(root: Path, n_objects: int) -> str:
    """Write a catalogue of `n_objects` that names the files again and again."""
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


def settings(root: Path, n_objects: int, size: int) -> str:
    """Give the settings of a survey of `n_objects`."""
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
    """Train the network that predicts."""
    call("ingest", "--out", out / "training.h5", "--settings", settings(root, TRAINING, size))
    machine = ("--device", "cpu", "--threads", 1, "--settings", json.dumps(PHOTOZ))
    call("train", "photoz", out / "training.h5", "--out", out / "model", *machine)
    return out / "model" / "model.safetensors"


def measure(root: Path, out: Path, n_objects: int, size: int, workers: list[int]) -> Iterator[Run]:
    """Run the verbs one after the other, from the catalogue of a survey to that of its results."""
    survey, store = settings(root, n_objects, size), out / "store.h5"
    predictions, catalog, pdfs, hats = (out / name for name in ("photoz.h5", "catalog.fits", "pdf.hdf5", "hats"))

    def run(verb: str, *words: object, makes: Path, workers: int = 1) -> Run:
        peaks = call(verb, *words)
        return {"verb": verb, "n_objects": n_objects, "workers": workers, "bytes": written(makes), **peaks}

    for number in workers:
        store.unlink(missing_ok=True)
        yield run("ingest", "--out", store, "--settings", survey, "--workers", number, makes=store, workers=number)
    model = out / "model" / "model.safetensors"
    machine = ("--device", "cpu", "--threads", 1)
    yield run("predict", "photoz", store, model, "--out", predictions, *machine, makes=predictions)
    yield run("catalog", store, predictions, "--out", catalog, "--pdfs", pdfs, makes=catalog)
    yield run("hats", catalog, "--out", hats, makes=hats)
    for path in (store, predictions, pdfs, catalog):
        path.unlink()


def measure_shard(root: Path, out: Path, n_objects: int, size: int) -> Run:
    """Divide a catalogue into shards."""
    folder = out / f"shards_{n_objects}"
    words = ("--out", folder, "--settings", settings(root, n_objects, size), "--shards", 10)
    peaks = call("shard", *words)
    return {"verb": "shard", "n_objects": n_objects, "workers": 1, "bytes": written(folder), **peaks}


def row(one: Run) -> list[str]:
    """Give the row of the table for one run."""
    rate = one["n_objects"] / one["wall_s"]
    memory = [f"{one['main_bytes'] / 2**20:,.0f}", f"{one['worker_bytes'] / 2**20:,.0f}" if one["workers"] > 1 else "-"]
    counts = [f"`{one['verb']}`", f"{one['n_objects']:,}", f"{one['workers']}", f"{one['bytes'] / 1e9:.3f}"]
    return [*counts, *memory, f"{rate:,.0f}"]


def record(results: list[Run], words: str, page: Path) -> None:
    """Write the table into a page of the documentation."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
    from generate import write_block
    from record import machine, table

    about = f"{words}, {machine()}; peak memory of each process. Rates include imports."
    content = f"{about}\n\n{table(list(HEAD), [row(one) for one in results])}"
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

    def keep(one: Run) -> None:
        results.append(one)
        print(" | ".join(f"{name} {cell}" for name, cell in zip(HEAD, row(one), strict=True)), flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        root, out = args.survey or Path(scratch) / "survey", Path(scratch)
        simulation = {"n_objects": args.simulate, "size": args.size, "bands": list(BANDS)}
        call("simulate", "--out", root, "--settings", json.dumps(simulation), "--workers", 2)
        train(root, out, args.size)
        for n_objects in [*args.n, *args.shard]:
            keep(measure_shard(root, out, n_objects, args.size))
        for n_objects in args.n:
            for one in measure(root, out, n_objects, args.size, args.workers):
                keep(one)
    results.sort(key=lambda one: VERBS.index(one["verb"]))
    if args.json is not None:
        args.json.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "results": results}, indent=1) + "\n")
    if args.record is not None:
        lists = {name: getattr(args, name) for name in ("n", "shard", "workers") if getattr(args, name)}
        words = " ".join(f"--{name} {' '.join(map(str, values))}" for name, values in lists.items())
        about = f"{args.size} x {args.size} pixels, {len(BANDS)} bands; `python benchmarks/speed/memory.py {words}`"
        record(results, about, args.record)


VERBS = ("shard", "ingest", "predict", "catalog", "hats")


if __name__ == "__main__":
    main()
