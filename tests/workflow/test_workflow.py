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

from tests.workflow.run import ENVIRONMENT, ROOT, TASKS, TINY, command, planned, snakemake, write_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an uninterrupted run of the tiny configuration; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    done = snakemake(folder, TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_tiny_run_ends_in_catalogue_metrics_and_figures(finished: Path) -> None:
    results = finished / "results" / "tiny"
    for name in (
        "catalog.fits",
        "photoz_pdf.hdf5",
        "store.h5",
        "ingest.json",
        "quarantine.ecsv",
        "figures/metrics.png",
    ):
        assert (results / name).stat().st_size > 0, name
    for task in TASKS:
        metrics = json.loads((results / task / "metrics.json").read_text())
        assert metrics["task"] == task
        assert metrics["network"]
        assert metrics["baselines"]
        assert list((results / task / "figures").glob("*.png")), task
    assert not list(results.rglob("*.tmp*"))
    assert not list(results.rglob("last.pt"))


def test_a_finished_run_has_nothing_left_to_do(finished: Path) -> None:
    done = snakemake(finished, TINY, "--dry-run")
    assert planned(done.stdout + done.stderr) == {}


def test_changing_one_section_reruns_one_task(finished: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(TINY.read_text())
    values["tasks"]["latent"]["train"]["epochs"] += 1
    done = snakemake(finished, write_config(tmp_path / "config.yaml", **values), "--dry-run", "--printshellcmds")
    text = done.stdout + done.stderr
    rules = ("train", "predict", "baseline", "evaluate")
    assert {rule: count for rule, count in planned(text).items() if rule in rules} == dict.fromkeys(rules, 1)
    assert planned(text)["catalog"] == 1
    assert "product" not in planned(text)
    assert set(re.findall(r"astrodl (?:train|predict|baseline|evaluate) (\w+)", text)) == {"latent"}


def test_one_more_seed_trains_only_that_seed(finished: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(TINY.read_text())
    values["tasks"]["morphology"]["seeds"] = [0, 1]
    done = snakemake(finished, write_config(tmp_path / "config.yaml", **values), "--dry-run", "--printshellcmds")
    text = done.stdout + done.stderr
    assert planned(text)["train"] == 1
    assert "baseline" not in planned(text)
    assert "fold0-seed1" in text


def test_summary_of_the_tiny_run_has_a_line_for_every_task(finished: Path) -> None:
    from astrodl.pipeline.summary import summary

    lines = summary(finished / "results" / "tiny").splitlines()
    assert set(TASKS) <= {line.split()[0] for line in lines if line}


def test_the_report_is_one_file_with_the_figures(finished: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = snakemake(finished, TINY, "--report", str(report))
    assert done.returncode == 0, done.stderr
    text = report.read_text()
    assert all(task in text for task in TASKS)


def datasets(path: Path) -> dict[str, np.ndarray]:
    """Read all datasets of an HDF5 file."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_equal_results(folder: Path, reference: Path) -> None:
    """Compare predictions and weights bit by bit."""
    from safetensors.numpy import load_file

    for path in sorted(reference.rglob("predictions.h5")):
        expected, got = datasets(path), datasets(folder / path.relative_to(reference))
        assert expected.keys() == got.keys()
        for name, values in expected.items():
            assert values.tobytes() == got[name].tobytes() or list(values) == list(got[name]), f"{path.parent}: {name}"
    for path in sorted(reference.rglob("model.safetensors")):
        weights, other = load_file(path), load_file(folder / path.relative_to(reference))
        assert weights.keys() == other.keys()
        assert all(weights[name].tobytes() == other[name].tobytes() for name in weights), path.parent


def kill_when(folder: Path, moment: str, *, jobs_too: bool = True) -> bool:
    """Start the workflow and kill it, with or without its jobs, once a file appears; tell whether it still ran."""
    run = subprocess.Popen(
        command(folder, TINY), env=ENVIRONMENT, cwd=ROOT, start_new_session=True, stdout=-3, stderr=-3
    )
    deadline = time.monotonic() + 600
    while run.poll() is None and not list(folder.glob(moment)):
        assert time.monotonic() < deadline, f"{moment} did not appear"
        time.sleep(0.02)
    running = run.poll() is None
    if running:
        (os.killpg if jobs_too else os.kill)(run.pid, signal.SIGKILL)
    run.wait()
    return running


@pytest.mark.slow
def test_a_run_in_shards_ends_in_one_catalogue_and_has_nothing_left_to_do(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    survey = {"simulate": {"n_objects": 60, "size": 32}, "split": {"sample": 40}, "shards": 3}
    training = {"train": {"epochs": 1, "batch_size": 16}}
    config = write_config(tmp_path / "config.yaml", surveys={"wide": survey}, tasks={"morphology": training})
    done = snakemake(tmp_path, config)
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results" / "wide"
    rows = [parquet.read_metadata(path).num_rows for path in (results / "hats").rglob("Npix=*.parquet")]
    assert sum(rows) == 60
    assert len(list(results.glob("shards/*/catalog.fits"))) == 3
    assert json.loads((results / "morphology" / "metrics.json").read_text())["network"]
    assert planned("".join(snakemake(tmp_path, config, "--dry-run").stdout)) == {}


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_in_the_same_bits(finished: Path, tmp_path: Path) -> None:
    moments = (
        "results/tiny/simulated/images/*",
        "results/tiny/simulated/catalog.fits",
        "results/tiny/store.h5",
        "results/tiny/segmentation/fold0-seed0/history.jsonl",
        "results/tiny/*/fold0-seed0/model.safetensors",
        "results/tiny/*/predictions.h5",
        "results/tiny/photoz/metrics.json",
    )
    # Every other time the jobs live on and still write, as they do when only snakemake is killed.
    killed = [kill_when(tmp_path, moment, jobs_too=i % 2 == 0) for i, moment in enumerate(moments)]
    assert sum(killed) >= len(moments) - 2
    done = snakemake(tmp_path, TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_equal_results(tmp_path / "results" / "tiny", finished / "results" / "tiny")


@pytest.mark.slow
def test_what_was_complete_when_killed_is_not_made_again(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    # Records of the jobs (.snakemake) travel with the results; times are kept.
    shutil.copytree(finished, folder, symlinks=True)
    shutil.rmtree(folder / "results" / "tiny" / "latent")
    assert kill_when(folder, "results/tiny/latent/fold0-seed0/*")
    kept = [path for task in TASKS if task != "latent" for path in (folder / "results" / "tiny" / task).rglob("*.*")]
    kept += [folder / "results" / "tiny" / "store.h5"]
    before = {path: path.stat().st_mtime_ns for path in kept if path.is_file()}
    assert snakemake(folder, TINY).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_equal_results(folder / "results" / "tiny", finished / "results" / "tiny")
