"""Complete runs of the workflow: results, changes of the configuration, kills."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from astrodl.pipeline.summary import summary
from tests.workflow.run import ROOT, TASKS, TINY, command, count_jobs, environment, plan, run_workflow, write_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an uninterrupted run of the tiny configuration; tests must not change it."""
    folder = tmp_path_factory.mktemp("finished")
    run_workflow(folder, TINY)
    return folder


def test_a_run_ends_with_catalogue_metrics_and_figures(finished: Path) -> None:
    results = finished / "results" / "tiny"
    files = ("catalog.fits", "photoz_pdf.hdf5", "store.h5", "ingest.json", "quarantine.ecsv", "figures/metrics.png")
    for name in files:
        assert (results / name).stat().st_size > 0, name
    for task in TASKS:
        metrics = json.loads((results / task / "metrics.json").read_text())
        assert metrics["task"] == task
        assert metrics["network"]
        assert metrics["baselines"]
        assert list((results / task / "figures").glob("*.png")), task
    assert not list(results.rglob("*.tmp*"))
    assert not list(results.rglob("last.pt"))


def test_a_finished_run_has_no_jobs_left(finished: Path) -> None:
    assert plan(finished, TINY) == {}


def test_a_changed_section_reruns_only_its_task(finished: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(TINY.read_text())
    values["tasks"]["latent"]["train"]["epochs"] += 1
    config = write_config(tmp_path / "config.yaml", **values)
    output = run_workflow(finished, config, "--dry-run", "--printshellcmds")
    jobs = count_jobs(output)
    rules = ("train", "predict", "baseline", "evaluate", "catalog")
    assert {rule: jobs[rule] for rule in rules} == dict.fromkeys(rules, 1)
    assert "product" not in jobs
    assert set(re.findall(r"astrodl (?:train|predict|baseline|evaluate) (\w+)", output)) == {"latent"}


def test_an_additional_seed_trains_only_that_seed(finished: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(TINY.read_text())
    values["tasks"]["morphology"]["seeds"] = [0, 1]
    config = write_config(tmp_path / "config.yaml", **values)
    output = run_workflow(finished, config, "--dry-run", "--printshellcmds")
    assert count_jobs(output)["train"] == 1
    assert "baseline" not in count_jobs(output)
    assert "fold0-seed1" in output


def test_the_summary_has_a_line_for_every_task(finished: Path) -> None:
    lines = summary(finished / "results" / "tiny").splitlines()
    assert set(TASKS) <= {line.split()[0] for line in lines if line}


def test_the_report_is_one_file_with_all_tasks(finished: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    run_workflow(finished, TINY, "--report", str(report))
    text = report.read_text()
    assert all(task in text for task in TASKS)
    assert str(TINY) in text  # the configuration that made it
    assert "oddity_fraction" in text


def read_datasets(path: Path) -> dict[str, np.ndarray]:
    """Read all datasets of an HDF5 file."""
    datasets: dict[str, np.ndarray] = {}

    def read(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            datasets[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(read)
    return datasets


def assert_equal_results(folder: Path, reference: Path) -> None:
    """Check that predictions and weights are bitwise equal."""
    for path in sorted(reference.rglob("predictions.h5")):
        expected, values = read_datasets(path), read_datasets(folder / path.relative_to(reference))
        assert expected.keys() == values.keys()
        for name, array in expected.items():
            equal = array.tobytes() == values[name].tobytes() or list(array) == list(values[name])
            assert equal, f"{path.parent}: {name}"
    for path in sorted(reference.rglob("model.safetensors")):
        expected, values = load_file(path), load_file(folder / path.relative_to(reference))
        assert expected.keys() == values.keys()
        assert all(expected[name].tobytes() == values[name].tobytes() for name in expected), path.parent


def kill_when_file_appears(folder: Path, pattern: str, *, with_jobs: bool = True) -> bool:
    """Start the workflow and kill it, with or without its jobs, when a file appears; return whether it still ran."""
    output = subprocess.DEVNULL
    run = subprocess.Popen(
        command(folder, TINY), env=environment(), cwd=ROOT, start_new_session=True, stdout=output, stderr=output
    )
    deadline = time.monotonic() + 600
    while run.poll() is None and not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"{pattern} did not appear"
        time.sleep(0.02)
    running = run.poll() is None
    if running:
        (os.killpg if with_jobs else os.kill)(run.pid, signal.SIGKILL)
    run.wait()
    return running


@pytest.mark.slow
def test_a_run_in_shards_ends_with_one_catalogue_and_no_jobs_left(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    survey = {"simulate": {"n_objects": 60, "size": 32}, "split": {"sample": 40}, "shards": 3}
    training = {"train": {"epochs": 1, "batch_size": 16}}
    config = write_config(tmp_path / "config.yaml", surveys={"wide": survey}, tasks={"morphology": training})
    run_workflow(tmp_path, config)
    results = tmp_path / "results" / "wide"
    rows = [parquet.read_metadata(path).num_rows for path in (results / "hats").rglob("Npix=*.parquet")]
    assert sum(rows) == 60
    assert len(list(results.glob("shards/*/catalog.fits"))) == 3
    assert json.loads((results / "morphology" / "metrics.json").read_text())["network"]
    assert plan(tmp_path, config) == {}


@pytest.mark.slow
def test_a_run_killed_many_times_gives_bitwise_equal_results(finished: Path, tmp_path: Path) -> None:
    patterns = (
        "results/tiny/simulated/images/*",
        "results/tiny/simulated/catalog.fits",
        "results/tiny/store.h5",
        "results/tiny/segmentation/fold0-seed0/history.jsonl",
        "results/tiny/*/fold0-seed0/model.safetensors",
        "results/tiny/*/predictions.h5",
        "results/tiny/photoz/metrics.json",
    )
    # Every second time the jobs survive and continue to write, as when only snakemake is killed.
    killed = [kill_when_file_appears(tmp_path, pattern, with_jobs=i % 2 == 0) for i, pattern in enumerate(patterns)]
    assert sum(killed) >= len(patterns) - 2
    run_workflow(tmp_path, TINY)
    assert_equal_results(tmp_path / "results" / "tiny", finished / "results" / "tiny")


@pytest.mark.slow
def test_results_that_were_complete_before_a_kill_are_not_made_again(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    # The records of snakemake are copied too, and the times of all files are kept.
    shutil.copytree(finished, folder, symlinks=True)
    results = folder / "results" / "tiny"
    shutil.rmtree(results / "latent")
    assert kill_when_file_appears(folder, "results/tiny/latent/fold0-seed0/*")
    complete = [path for task in TASKS if task != "latent" for path in (results / task).rglob("*.*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in [*complete, results / "store.h5"]}
    run_workflow(folder, TINY)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_equal_results(results, finished / "results" / "tiny")
