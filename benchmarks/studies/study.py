"""What studies of the documentation share: surveys, jobs whose results are kept, tables and figures of the pages."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from astropy.table import Table

from astrodl.atomic import replacing, write_text
from astrodl.config import IngestSettings, SimulateSettings
from astrodl.ingestion.run import ingest
from astrodl.plots.style import save
from astrodl.simulator.survey import data_settings
from astrodl.simulator.survey import simulate as write_survey

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
Arrays = dict[str, np.ndarray]
Work = Callable[[Path, "Job"], tuple[dict[str, float], Arrays]]
"""Does a job in a folder: gives its metrics, and arrays to keep."""


@dataclass(frozen=True)
class Job:
    """A network or a classical method, on a survey."""

    name: str
    survey: str
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    rival: str = ""

    @property
    def label(self) -> str:
        """Name of its files."""
        return f"{self.name}-{self.seed}".replace(" ", "_").replace("/", "_")


def make_survey(
    folder: Path,
    name: str,
    simulate: Mapping[str, Any],
    workers: int,
    *,
    labels: Callable[[Table], None] | None = None,
) -> None:
    """Simulate and ingest a survey, if that is not done; `labels` adds columns to its catalogue."""
    store = folder / f"{name}.h5"
    if store.exists():
        return
    settings = SimulateSettings(**simulate)
    write_survey(settings, folder / name, workers=workers)
    data = data_settings(settings, folder / name)
    if labels is not None:
        catalog = Table.read(folder / name / "catalog.fits")
        labels(catalog)
        catalog.write(folder / name / "labels.fits", overwrite=True)
        columns = {column: column for column in catalog.colnames if column not in ("object_id", "ra", "dec")}
        data = data.model_copy(update={"catalog": "labels.fits", "columns": columns})
    ingest(IngestSettings(survey="candels", data=data), store, workers=workers)


def run_jobs(folder: Path, jobs: Sequence[Job], work: Work, n_processes: int, shown: Sequence[str]) -> None:
    """Do jobs side by side and print the metrics `shown` of each."""
    with ProcessPoolExecutor(n_processes) as pool:
        waiting = {pool.submit(done, folder, job, work): job for job in jobs}
        for future in as_completed(waiting):
            found = future.result()
            values = ", ".join(f"{name} {found[name]:.4f}" for name in shown if name in found)
            print(f"{waiting[future].label}: {values}", flush=True)


def done(folder: Path, job: Job, work: Work) -> dict[str, float]:
    """Do a job, or read what it gave before."""
    torch.set_num_threads(1)
    path = folder / "results" / f"{job.label}.json"
    if path.exists():
        found = json.loads(path.read_text())
        if found["job"] == json.loads(json.dumps(asdict(job))):
            return found["metrics"]
    path.parent.mkdir(parents=True, exist_ok=True)
    started = time.process_time()
    metrics, arrays = work(folder, job)
    metrics["cpu_seconds"] = time.process_time() - started
    with replacing(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)
    write_text(path, json.dumps({"job": asdict(job), "metrics": metrics}, indent=1))
    return metrics


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """Read the results of all seeds of a name; with the arrays under `arrays`."""
    label = Job(name, "").label.rsplit("-", 1)[0]
    found = []
    for path in sorted((folder / "results").glob(f"{label}-[0-9].json")):
        with np.load(path.with_suffix(".npz")) as arrays:
            found.append({**json.loads(path.read_text()), "arrays": dict(arrays)})
    return found


def mean_and_spread(values: Sequence[float], digits: int = 4) -> str:
    """Write a mean and the standard deviation over seeds."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def keep(folder: Path, figure: Any, name: str) -> None:
    """Save a figure, and a copy small enough for the repository."""
    sys.path.insert(0, str(DOCS))
    from record import shrink

    (folder / "figures").mkdir(exist_ok=True)
    save(figure, folder / "figures" / name)
    shrink(folder / "figures" / name, DOCS / "images" / name)


def write_page(page: Path, blocks: Mapping[str, str]) -> None:
    """Put texts between the markers `study-NAME` of a page."""
    sys.path.insert(0, str(DOCS))
    from generate import write_block

    text = page.read_text("utf-8")
    for name, block in blocks.items():
        text = write_block(text, f"study-{name}", block)
    page.write_text(text, "utf-8")
