"""Peak memory and rate of `ingest` over the number of objects: memory must follow the block, not the survey.

The input is 2,000 simulated cutouts of five bands and 64 x 64 pixels; a longer catalogue names each of them several
times, under other identifiers. Each run is a process of its own, and its peak is that of the process and its workers.

    python benchmarks/memory.py --n 10000 100000 --workers 2
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

CHILD = """
import json, resource, sys, time
from pathlib import Path
from astrodl.config import IngestSettings, parse
from astrodl.survey.ingest import ingest
settings = parse(IngestSettings, json.loads(sys.argv[1]))
start = time.perf_counter()
ingest(settings, Path(sys.argv[2]), workers=int(sys.argv[3]))
wall = time.perf_counter() - start
own, children = (resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({"wall_s": wall, "main_bytes": own, "worker_bytes": children}))
"""


HEAD = ("objects", "workers", "store (GB)", "main process (MB)", "largest worker (MB)", "objects/s")


def simulated(folder: Path, n_objects: int) -> Path:
    """Simulate the survey that the catalogues name, unless it is there."""
    from astrodl.config import SimulateSettings
    from astrodl.survey.simulate import simulate

    simulate(SimulateSettings(n_objects=n_objects), folder, workers=2)
    return folder


def write_catalog(root: Path, n_objects: int) -> str:
    """Write a catalogue of `n_objects` that names the files again and again."""
    from astropy.table import Table

    base = Table.read(root / "catalog.fits")
    rows = [k % len(base) for k in range(n_objects)]
    table = base["object_id", "z", "class"][rows]
    table.rename_column("object_id", "file")
    table["object_id"] = [f"R{k:07d}" for k in range(n_objects)]
    name = f"catalog_{n_objects}.fits"
    table.write(root / name, overwrite=True)
    return name


def measure(root: Path, out: Path, n_objects: int, workers: int) -> dict[str, float]:
    """Ingest `n_objects` in a process of its own."""
    bands = [{"name": name} for name in ("F435W", "F606W", "F775W", "F850LP", "F160W")]
    data = {
        "root": str(root),
        "catalog": write_catalog(root, n_objects),
        "layout": "extensions",
        "path": "images/{file}.fits",
        "bands": bands,
        "columns": {"z": "z", "class": "class"},
    }
    store = out / f"{n_objects}.h5"
    words = [sys.executable, "-c", CHILD, json.dumps({"data": data}), str(store), str(workers)]
    line = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    size = store.stat().st_size
    store.unlink()
    return {"n_objects": n_objects, "workers": workers, "store_bytes": size, **json.loads(line)}


def row(one: dict[str, float]) -> list[str]:
    """Give the row of the table for one run."""
    rate = one["n_objects"] / one["wall_s"]
    memory = [f"{one[key] / 2**20:,.0f}" for key in ("main_bytes", "worker_bytes")]
    return [f"{one['n_objects']:,}", f"{one['workers']}", f"{one['store_bytes'] / 1e9:.1f}", *memory, f"{rate:,.0f}"]


def record(results: list[dict[str, float]], words: str, page: Path) -> None:
    """Write the table into a page of the documentation."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
    from generate import write_block
    from record import machine, table

    about = f"{words}, {machine()}; peak memory of each process."
    content = f"{about}\n\n{table(list(HEAD), [row(one) for one in results])}"
    page.write_text(write_block(page.read_text("utf-8"), "ingestion-memory", content), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[1000, 4000], help="numbers of objects")
    parser.add_argument("--workers", type=int, nargs="+", default=[1], help="numbers of processes (default: 1)")
    parser.add_argument("--survey", type=Path, help="simulated survey to use or make (default: a temporary one)")
    parser.add_argument("--simulate", type=int, default=2000, help="objects of the simulated survey")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--record", type=Path, metavar="PAGE", help="write the table into a page of the documentation")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = simulated(args.survey or Path(scratch) / "survey", args.simulate)
        results = []
        for n_objects, workers in product(args.n, args.workers):
            results.append(measure(root, Path(scratch), n_objects, workers))
            print(" | ".join(f"{name} {cell}" for name, cell in zip(HEAD, row(results[-1]), strict=True)))
    if args.json is not None:
        args.json.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "results": results}, indent=1) + "\n")
    if args.record is not None:
        lists = " ".join(f"--{name} {' '.join(map(str, getattr(args, name)))}" for name in ("n", "workers"))
        words = f"`python benchmarks/memory.py {lists}`"
        record(results, words, args.record)


if __name__ == "__main__":
    main()
