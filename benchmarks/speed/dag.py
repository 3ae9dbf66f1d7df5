"""CPU time of a dry run by number of jobs, for up to ten surveys, five tasks, folds and seeds.

A dry run reads the configuration, builds the graph of all jobs, checks their files and prints the table of jobs; a real
run does the same before its first job. Each dry run is a process, and its CPU time is its time on an idle machine,
because Snakemake uses one thread. The result is the best of several. The first row is the start of Snakemake alone.

    python benchmarks/speed/dag.py --record docs/cluster.md
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
TASKS = ("photoz", "morphology", "segmentation", "latent", "outliers")
HEAD = ["surveys × tasks × folds × seeds", "jobs", "dry run (s)", "without the start (s)", "per job (ms)"]


def write_config(path: Path, n_surveys: int, n_tasks: int, n_folds: int, n_seeds: int) -> None:
    """Write a configuration of simulated surveys; tasks have all folds and seeds, except the latent map with one."""
    trainings = {"folds": list(range(n_folds)), "seeds": list(range(n_seeds))}
    tasks = {task: {} if task == "latent" else trainings for task in TASKS[:n_tasks]}
    surveys = {f"s{k}": {"simulate": {}, "split": {"folds": max(2, n_folds)}} for k in range(n_surveys)}
    path.write_text(yaml.safe_dump({"surveys": surveys, "tasks": tasks}))


def measure_command(words: list[str], repeats: int) -> tuple[float, str]:
    """Return the shortest CPU time of a command, and its output."""
    best, text = float("inf"), ""
    for _ in range(repeats):
        start = children_cpu_seconds()
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        best, text = min(best, children_cpu_seconds() - start), done.stdout + done.stderr
    return best, text


def children_cpu_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def measure(sizes: list[tuple[int, int, int, int]], repeats: int) -> list[list[str]]:
    """Return the rows of the table."""
    start, _ = measure_command([str(SNAKEMAKE), "--version"], repeats)
    rows = [["start of Snakemake alone", "", f"{start:.1f}", "", ""]]
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "config.yaml"
        for size in sizes:
            write_config(config, *size)
            words = [
                str(SNAKEMAKE),
                "--dry-run",
                "--quiet",
                "rules",
                "--directory",
                scratch,
                "--configfile",
                str(config),
            ]
            total, text = measure_command(words, repeats)
            n_jobs = int(re.findall(r"^total +(\d+)$", text, re.MULTILINE)[0])
            net = total - start
            name = " × ".join(map(str, size))
            rows.append([name, f"{n_jobs:,}", f"{total:.1f}", f"{net:.1f}", f"{1000 * net / n_jobs:.1f}"])
            print(" | ".join(rows[-1]))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="processes per size (default: 3)")
    parser.add_argument("--record", type=Path, metavar="PAGE", help="write the table into a page of the documentation")
    args = parser.parse_args()
    # the cost of imports must not depend on whether compiled modules are cached in this environment
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""
    rows = measure([(1, 5, 1, 1), (1, 5, 5, 3), (10, 5, 1, 1), (10, 5, 5, 3)], args.repeats)
    sys.path.insert(0, str(ROOT / "docs"))
    from generate import write_block
    from record import machine, table

    text = f"`python benchmarks/speed/dag.py` on {machine()}, the best of {args.repeats}.\n\n{table(HEAD, rows)}"
    print(text)
    if args.record is not None:
        args.record.write_text(write_block(args.record.read_text("utf-8"), "dag", text), "utf-8")


if __name__ == "__main__":
    main()
