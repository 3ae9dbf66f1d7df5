"""Record a finished run: tables and figures of the pages, and the headline table of the README.

`python docs/record.py results/demo` (the default) rewrites everything between the markers. Run it on the machine of the
run. A second folder is that of the same run in float32 throughout (`benchmarks/speed/float32.yaml`), for its times.
"""

import csv
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from generate import DOCS, write_block
from PIL import Image

from astrodl import __version__, open_store, tasks
from astrodl.pipeline.summary import read_metrics

LARGEST_BYTES = 250_000
SURVEY_FIGURES = {
    "objects": "Objects of the survey by class",
    "metrics": "Every metric of the run beside the best baseline",
}
"""Figures of the whole survey to show: name, caption."""

Rows = list[list[str]]


def record(results: Path, in_float32: Path | None = None) -> None:
    """Rewrite the blocks of all pages, and the copies of the figures."""
    files = {task: results / task / "metrics.json" for task in tasks.NAMES}
    documents = {task: read_metrics(path) for task, path in files.items() if path.exists()}
    jobs = list(read_jobs(results / "benchmarks"))
    slower = list(read_jobs(in_float32 / "benchmarks")) if in_float32 else []
    copy_figures(results)
    headline = headline_table(documents)
    edit(DOCS.parent / "README.md", results=f"{headline}\n{time_line(results, jobs, slower)}")
    edit(DOCS / "quickstart.md", time=time_line(results, jobs, slower))
    edit(DOCS / "index.md", figures=figures("", "", ["objects"]))
    page = [about(results), figures("", "", ["metrics"])]
    page += [f"## {tasks.get(task).title}\n\n{task_table(document)}" for task, document in documents.items()]
    edit(DOCS / "results.md", results="\n\n".join([*page, job_table(jobs, slower)]))
    for task, document in documents.items():
        shown = f"{task_table(document)}\n{figures(task, '../')}"
        edit(DOCS / "tasks" / f"{task}.md", results=shown)


def edit(path: Path, **blocks: str) -> None:
    """Rewrite blocks of a page."""
    text = path.read_text("utf-8")
    for name, content in blocks.items():
        text = write_block(text, name, content)
    path.write_text(text, "utf-8")


def headline_table(documents: dict[str, dict[str, Any]]) -> str:
    """Return the table of headline metrics."""
    rows = []
    for task, document in documents.items():
        for metric in document["headline"]:
            if metric in document["network"]:
                row = [f"[{task}](docs/tasks/{task}.md)", f"`{metric}`", goal(document, metric)]
                rows.append([*row, number(document["network"][metric]), baselines_of(document, metric)])
    return table(["task", "metric", "best is", "network", "classical baselines"], rows)


def baselines_of(document: dict[str, Any], metric: str) -> str:
    """List the values of a metric of all baselines."""
    known: dict[str, str] = {}
    for name, values in document["baselines"].items():
        # baselines that share a part have the same number there
        if metric in values and number(values[metric]) not in known.values():
            known[name.replace("_", " ")] = number(values[metric])
    return ", ".join(f"{name} {value}" for name, value in known.items())


def task_table(document: dict[str, Any]) -> str:
    """Return the table of all metrics of a task: network, then each baseline."""
    names = list(document["baselines"])
    rows = []
    for metric, value in document["network"].items():
        baselines = [number(document["baselines"][name].get(metric)) for name in names]
        rows.append([f"`{metric}`", goal(document, metric), number(value), *baselines])
    head = ["metric", "best is", "network", *(name.replace("_", " ") for name in names)]
    return f"{document['n_objects']} test objects; errors are bootstrap standard errors.\n\n{table(head, rows)}"


def goal(document: dict[str, Any], metric: str) -> str:
    """Return what value is best."""
    best = document["metrics"][metric]["best"]
    return best if isinstance(best, str) else f"{best:g}"


def number(metric: dict[str, float | None] | None) -> str:
    """Return a value and its error with two digits of the error."""
    if metric is None or metric["value"] is None:
        return "–"
    value, error = metric["value"], metric.get("error")
    if not error:
        return f"{value:.3g}".replace("-", "−")
    digits = next((d for d in range(6) if round(error, d) * 10**d >= 10), 6)
    return f"{value:.{digits}f} ± {error:.{digits}f}".replace("-", "−")


def read_jobs(folder: Path) -> Iterable[dict[str, Any]]:
    """Read the benchmark file of every job, in the order in which they ended."""
    for path in sorted(folder.rglob("*.tsv"), key=os.path.getmtime):
        with open(path, encoding="utf-8") as lines:
            *_, row = csv.DictReader(lines, delimiter="\t")
        name = path.relative_to(folder).with_suffix("").as_posix().replace("/", " ")
        yield {"name": name, "end": path.stat().st_mtime, **{key: _float(value) for key, value in row.items()}}


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def job_table(jobs: list[dict[str, Any]], slower: list[dict[str, Any]]) -> str:
    """Return the table of time and memory of every job, and the processor time of the run in float32."""
    rows = [[job["name"], *(f"{job[key]:.0f}" for key in ("s", "cpu_time", "max_rss"))] for job in jobs]
    head, total = ["job", "seconds", "CPU seconds", "peak memory (MB)"], ["all", "", cpu_seconds(jobs), ""]
    if slower:
        by_name = {job["name"]: job for job in slower}
        rows = [[*row, f"{by_name[row[0]]['cpu_time']:.0f}" if row[0] in by_name else "–"] for row in rows]
        head, total = [*head, "CPU seconds in float32"], [*total, cpu_seconds(slower)]
    return "## Jobs\n\n" + table(head, [*rows, total])


def cpu_seconds(jobs: list[dict[str, Any]]) -> str:
    """Return the processor time of all jobs."""
    return f"{sum(job['cpu_time'] for job in jobs if job['cpu_time'] == job['cpu_time']):,.0f}"


def duration(jobs: list[dict[str, Any]]) -> float:
    """Return the minutes from the start of the first job to the end of the last."""
    return (max(job["end"] for job in jobs) - min(job["end"] - job["s"] for job in jobs)) / 60


def time_line(results: Path, jobs: list[dict[str, Any]], slower: list[dict[str, Any]]) -> str:
    """Return duration and machine of the run."""
    in_float32 = f" ({duration(slower):.0f} in float32, as on processors without bfloat16)" if slower else ""
    memory = max(job["max_rss"] for job in jobs if job["max_rss"] == job["max_rss"]) / 1000
    with open_store(results / "store.h5") as store:
        survey = f"{store.n_objects:,} galaxies of {store.size} × {store.size} pixels in {len(store.bands)} bands"
    return (
        f"{survey}: {duration(jobs):.0f} minutes from first to last job on {machine()}{in_float32}; no job used more "
        f"than {memory:.1f} GB."
    )


def about(results: Path) -> str:
    """Return survey, versions, machine and date of the run."""
    made = datetime.fromtimestamp(max(path.stat().st_mtime for path in results.glob("*/metrics.json")))
    with open_store(results / "store.h5") as store:
        bands, size, settings = ", ".join(store.bands), store.size, json.loads(store.settings)
        counts = [f"{len(store.select(part))} {part}" for part in ("train", "validation", "test")]
        survey = f"{store.survey}: {store.n_objects} objects ({', '.join(counts)}), {size} pixels, {bands}"
    seed = settings.get("split", {}).get("seed", 0)
    return "\n".join(
        [
            f"- Survey {survey}; split seed {seed}.",
            f"- astrodl {__version__}, Python {platform.python_version()}, {versions()}.",
            f"- {machine()}; {made:%Y-%m-%d}.",
        ]
    )


def versions() -> str:
    """Return the versions of the libraries that affect numbers."""
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scikit-learn", "GalSim"))


def machine() -> str:
    """Return the processor and the number of cores that may be used."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{cores} cores of {name}"


def captions(task: str) -> Mapping[str, str]:
    """Return the figures that a task's page shows, or those of the survey for the name ""."""
    return tasks.get(task).page_figures if task else SURVEY_FIGURES


def copy_figures(results: Path) -> None:
    """Copy the figures of the pages, small enough for a repository."""
    (DOCS / "images").mkdir(exist_ok=True)
    for task in ("", *tasks.NAMES):
        for name in captions(task):
            source = results / task / "figures" / f"{name}.png"
            target = DOCS / "images" / f"{task or 'survey'}-{name}.png"
            if source.exists():
                shrink(source, target)
            else:
                target.unlink(missing_ok=True)


def shrink(source: Path, target: Path) -> None:
    """Make a PNG smaller than `LARGEST_BYTES`, with coarser steps of brightness and fewer pixels.

    A palette is not used: it would change the colours of galaxies and colour bars.
    """
    with Image.open(source) as image:
        full = image.convert("RGB")
    width = min(full.width, 1400)
    while True:
        small = full.resize((width, round(full.height * width / full.width)), Image.Resampling.LANCZOS)
        for step in (1, 4):
            coarse = [min(255, round(value / step) * step) for value in range(256)] * 3
            small.point(coarse).save(target, optimize=True)
            if target.stat().st_size < LARGEST_BYTES:
                return
        width = int(width * 0.9)


def figures(task: str, up: str, names: Iterable[str] | None = None) -> str:
    """Return the copied figures of a task in Markdown."""
    prefix, known = task or "survey", captions(task)
    shown = [name for name in names or known if (DOCS / "images" / f"{prefix}-{name}.png").exists()]
    return "\n\n".join(f"![{known[name]}]({up}images/{prefix}-{name}.png)" for name in shown)


def table(head: list[str], rows: Rows) -> str:
    """Return a Markdown table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    record(*map(Path, sys.argv[1:] or ["results/demo"]))
