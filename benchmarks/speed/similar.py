"""Measure seconds and peak memory of a search for nearest neighbours among many vectors.

`python benchmarks/speed/similar.py` prints the table; `--record` writes it to docs/vectors.md. The vectors are random.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import get_args

import numpy as np

from astrodl.metrics.neighbours import DistanceMetric
from astrodl.pipeline.similar import find_similar
from astrodl.products.vectors import Vectors, stream_vectors

DOCS = Path(__file__).resolve().parents[2] / "docs"
DIMENSIONS, N_QUERIES, K, BLOCK = (16, 128), (1, 20), 20, 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=10**6, help="number of objects (default: 1000000)")
    parser.add_argument("--record", action="store_true", help="write the table to docs/vectors.md")
    options = parser.parse_args()
    sys.path.insert(0, str(DOCS))
    from generate import write_block
    from record import machine

    lines = [
        f"{options.objects:,} objects, k = {K}, file in the cache of the operating system, one thread; {machine()}.\n",
        "| file | dimensions | size (MB) | metric | galaxies | CPU seconds | peak memory (MB) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".fits", ".parquet"):
            for dimension in DIMENSIONS:
                path = write(Path(folder) / f"vectors{suffix}", options.objects, dimension)
                size = path.stat().st_size / 1e6
                for metric in get_args(DistanceMetric)[:2]:
                    for n_queries in N_QUERIES:
                        seconds, peak = in_a_process(path, metric, n_queries)
                        cells = [
                            suffix[1:],
                            dimension,
                            f"{size:.0f}",
                            metric,
                            n_queries,
                            f"{seconds:.1f}",
                            f"{peak:.0f}",
                        ]
                        lines.append(f"| {' | '.join(map(str, cells))} |")
                        print(lines[-1], flush=True)
    text = "\n".join(lines)
    if options.record:
        page = DOCS / "vectors.md"
        page.write_text(write_block(page.read_text("utf-8"), "similar-speed", text), "utf-8")


def write(path: Path, n_objects: int, dimension: int) -> Path:
    random = np.random.default_rng(0)
    header = {"SURVEY": "random", "STORE": "0" * 64, "TASK1": "latent", "MODEL1": "0" * 64, "DIM1": str(dimension)}
    with stream_vectors(path, n_objects, header, width=8) as add:
        for start in range(0, n_objects, BLOCK):
            n_rows = min(BLOCK, n_objects - start)
            ids = np.array([f"G{number:07d}" for number in range(start, start + n_rows)])
            add(ids, random.standard_normal((n_rows, dimension), dtype=np.float32))
    return path


def in_a_process(path: Path, metric: DistanceMetric, n_queries: int) -> tuple[float, float]:
    """Search in a new process; return its CPU seconds without imports, and its peak memory in MB."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(search, (path, metric, n_queries))


def search(path: Path, metric: DistanceMetric, n_queries: int) -> tuple[float, float]:
    started = time.process_time()
    source = Vectors(path)
    wanted = [f"G{number:07d}" for number in np.linspace(0, len(source) - 1, n_queries).astype(int)]
    find_similar(source, wanted, k=K, metric=metric)
    seconds = time.process_time() - started
    # ru_maxrss counts the process from which this one was started
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return seconds, int(status["VmHWM"].split()[0]) / 1e3


if __name__ == "__main__":
    main()
