"""The workflow on a real Slurm: resources of its jobs, and a killed training that ends with the same weights.

All tests share one run of the tiny configuration, with one training that is long enough to be killed three times.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from tests.slurm import node
from tests.slurm.conftest import Jobs, command, find_run_id, job_environment, list_jobs, read_request, wait_until
from tests.workflow.run import ROOT, TASKS, TINY, write_config
from tests.workflow.run import command as local_command
from tests.workflow.test_workflow import assert_equal_results

pytestmark = pytest.mark.slurm

LONG = "latent"
MODEL = f"results/tiny/{LONG}/fold0-seed0/model.safetensors"
TRAINING = f"rule_train_wildcards_tiny_{LONG}_0_0"


class Run:
    """A workflow in the background."""

    def __init__(self, folder: Path, words: list[str], output: Path) -> None:
        self.folder, self.output = folder, output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                words, stdin=-3, stdout=file, stderr=file, env=job_environment(), cwd=ROOT, start_new_session=True
            )

    @property
    def id(self) -> str:
        return find_run_id(self.output.read_text())

    def running_training(self) -> dict[str, str]:
        """Return the job of the long training while it runs; sacct knows its comment later than squeue."""
        lines = run_command("squeue", "--noheader", f"--name={self.id}", "--format=%i %k").splitlines()
        (number,) = (line.split()[0] for line in lines if line.endswith(TRAINING))
        (job,) = (job for job in list_jobs(self.id) if job["JobID"] == number)
        return job

    def ended_trainings(self) -> Jobs:
        """Return the jobs of the long training after their end, one per attempt."""
        return [job for job in list_jobs(self.id) if job["Comment"] == TRAINING]

    def log(self) -> str:
        """Return the log of the last attempt."""
        path = self.folder / f"results/tiny/logs/{LONG}/train-fold0-seed0.log"
        return path.read_text() if path.exists() else ""

    def trains_from(self, update: int) -> bool:
        """Return whether an attempt resumed at `update` or later and has made more updates."""
        assert self.process.poll() is None, self.output.read_text()
        return resumed_at(self.log()) >= update and last_update(self.log()) > update


def last_update(log: str) -> int:
    updates = re.findall(rf"^{LONG} fold 0 seed 0 (\d+)/", log, flags=re.MULTILINE)
    return int(updates[-1]) if updates else 0


def resumed_at(log: str) -> int:
    match = re.search(r"resumed at update (\d+)", log)
    return int(match[1]) if match else 0


def run_command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout


def in_queue(*options: str) -> bool:
    """Return whether jobs are pending, running or completing; squeue forgets ended jobs after a while."""
    words = ["squeue", "--noheader", "--states=PD,R,ST,CG", *options]
    return bool(subprocess.run(words, capture_output=True, text=True, timeout=60, check=False).stdout)


@dataclass
class InterruptedRun:
    """Record of the interrupted run."""

    folder: Path
    reached: list[int] = field(default_factory=list)
    """Last update in the log of each killed attempt."""
    resumed: list[int] = field(default_factory=list)
    """Update at which each attempt resumed."""
    attempts: Jobs = field(default_factory=list)
    """Each attempt of the long training while it ran."""
    ended: Jobs = field(default_factory=list)
    """The same after the end of the run."""
    jobs: Jobs = field(default_factory=list)
    """All jobs of the killed snakemake and of the one that continued."""
    outlived: bool = False
    """Whether the jobs continued when snakemake was killed."""


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path, list[str]], Run]]:
    """A function that starts a run in the background; runs that still continue at the end are killed."""
    started: list[Run] = []

    def start(folder: Path, words: list[str]) -> Run:
        started.append(Run(folder, words, tmp_path_factory.mktemp("output") / "snakemake.log"))
        return started[-1]

    yield start
    for run in started:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.process.wait()


@pytest.fixture(scope="module")
def uninterrupted(
    slurm: None, background: Callable[[Path, list[str]], Run], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The configuration, and the folder of the long training that ran without Slurm and without a kill."""
    values = yaml.safe_load(TINY.read_text())
    values["tasks"][LONG]["train"] |= {"epochs": 400, "patience": None}
    folder = tmp_path_factory.mktemp("uninterrupted")
    config = write_config(folder / "config.yaml", **values)
    run = background(folder, local_command(folder, config, "--", MODEL))
    assert run.process.wait(600) == 0, run.output.read_text()
    return config, folder


@pytest.fixture(scope="module")
def interrupted(
    uninterrupted: tuple[Path, Path],
    profile: Callable[[str], Path],
    background: Callable[[Path, list[str]], Run],
    tmp_path_factory: pytest.TempPathFactory,
) -> InterruptedRun:
    """A run on Slurm whose training is cancelled, then warned of its time limit, before snakemake is killed."""
    interrupted = InterruptedRun(tmp_path_factory.mktemp("interrupted"))
    words = command(
        interrupted.folder, uninterrupted[0], profile("slurm"), "--slurm-init-seconds-before-status-checks", "2"
    )
    run = background(interrupted.folder, words)

    for attempt, interrupt in enumerate((cancel, shorten_time_limit)):
        wait_until(lambda: run.trains_from((0, *interrupted.reached)[-1]), f"attempt {attempt + 1} trains", 240)
        interrupted.resumed.append(resumed_at(run.log()))
        job = run.running_training()
        interrupted.attempts.append(job)
        interrupt(job["JobID"])
        wait_until(lambda job=job: not in_queue(f"--jobs={job['JobID']}"), f"attempt {attempt + 1} ends")
        interrupted.reached.append(last_update(run.log()))

    wait_until(lambda: run.trains_from(interrupted.reached[-1]), "the third attempt trains")
    interrupted.resumed.append(resumed_at(run.log()))
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    interrupted.attempts.append(run.running_training())
    interrupted.outlived = in_queue(f"--jobs={interrupted.attempts[2]['JobID']}")
    run_command("scancel", f"--name={run.id}")
    wait_until(lambda: not in_queue(f"--name={run.id}"), "the jobs of the killed run end")
    interrupted.reached.append(last_update(run.log()))

    second = background(interrupted.folder, words)
    assert second.process.wait(400) == 0, second.output.read_text()
    interrupted.resumed.append(resumed_at(second.log()))
    interrupted.ended = [*run.ended_trainings(), *second.ended_trainings()]
    interrupted.jobs = [*list_jobs(run.id), *list_jobs(second.id)]
    return interrupted


def cancel(job: str) -> None:
    run_command("scancel", job)


def shorten_time_limit(job: str) -> None:
    """Set a time limit within the two minutes before which the profile requests a warning.

    Slurm checks time limits every 30 seconds. The training is paused so that it does not end before; Slurm continues it
    when it sends the warning.
    """
    run_command("scancel", "--signal=STOP", job)
    run_command("scontrol", "update", f"JobId={job}", "EndTime=now+100")


def jobs_of_rule(jobs: Jobs, rule: str) -> Jobs:
    return [job for job in jobs if job["Comment"].startswith(f"rule_{rule}_")]


def test_a_training_killed_in_three_ways_gives_bitwise_equal_results(
    interrupted: InterruptedRun, uninterrupted: tuple[Path, Path]
) -> None:
    assert_equal_results(interrupted.folder / "results" / "tiny", uninterrupted[1] / "results" / "tiny")


def test_every_attempt_resumes_where_sigterm_stopped_the_previous_one(interrupted: InterruptedRun) -> None:
    assert interrupted.resumed[0] == 0
    for reached, resumed in zip(interrupted.reached, interrupted.resumed[1:], strict=True):
        assert resumed >= reached > 0
    assert [job["State"].split()[0] for job in interrupted.ended] == ["CANCELLED", "FAILED", "CANCELLED", "COMPLETED"]


def test_a_retry_requests_more_memory_and_time(interrupted: InterruptedRun) -> None:
    requests = [(read_request(job)["mem"], job["TimelimitRaw"]) for job in interrupted.attempts]
    assert requests == [("16000M", "720"), ("32000M", "1440"), ("48000M", "1440")]


def test_jobs_of_a_killed_snakemake_continue_until_its_run_id_is_cancelled(interrupted: InterruptedRun) -> None:
    assert interrupted.outlived
    assert interrupted.ended[2]["State"].startswith("CANCELLED")


def test_the_run_ends_with_catalogue_and_metrics(interrupted: InterruptedRun) -> None:
    results = interrupted.folder / "results" / "tiny"
    assert (results / "catalog.fits").stat().st_size > 0
    assert all((results / task / "metrics.json").exists() for task in TASKS)
    assert not list(results.rglob("last.pt"))
    assert all((results / task / "baseline.json").exists() for task in TASKS)
    assert {job["Account"] for job in interrupted.jobs} == {node.ACCOUNT}
    # Not their states: a cancelled job that had little left to do ends with its files.
    for rule in ("simulate", "ingest", "train", "predict", "baselines", "summary", "catalog", "product"):
        assert jobs_of_rule(interrupted.jobs, rule), rule


def test_only_training_and_prediction_request_a_gpu_and_its_partition(interrupted: InterruptedRun) -> None:
    on_gpu = [*jobs_of_rule(interrupted.jobs, "train"), *jobs_of_rule(interrupted.jobs, "predict")]
    assert len(on_gpu) >= 2 * len(TASKS)
    for job in interrupted.jobs:
        expected = ("1", "gpu") if job in on_gpu else (None, "cpu")
        assert (read_request(job).get("gres/gpu"), job["Partition"]) == expected, job


def test_jobs_request_the_memory_and_time_of_rules_and_profile(interrupted: InterruptedRun) -> None:
    expected = {
        "simulate": ("2", "4000M", "240"),
        "predict": ("1", "8000M", "240"),
        "catalog": ("1", "4000M", "60"),
    }
    for rule, request in expected.items():
        for job in jobs_of_rule(interrupted.jobs, rule):
            assert (read_request(job)["cpu"], read_request(job)["mem"], job["TimelimitRaw"]) == request, rule


def test_small_jobs_of_a_survey_are_submitted_together(interrupted: InterruptedRun) -> None:
    (summary,) = jobs_of_rule(interrupted.jobs, "summary")
    # Evaluations run side by side, then overview: the larger memory of the two steps, the sum of their times.
    request = (read_request(summary)["cpu"], read_request(summary)["mem"], summary["TimelimitRaw"])
    assert request == (f"{len(TASKS)}", f"{4000 * len(TASKS)}M", "150")
    assert not [job for name in ("evaluate", "overview", "baseline") for job in jobs_of_rule(interrupted.jobs, name)]


def test_the_profile_for_other_schedulers_submits_and_retries(
    uninterrupted: tuple[Path, Path],
    profile: Callable[[str], Path],
    background: Callable[[Path, list[str]], Run],
    tmp_path: Path,
) -> None:
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    store = tmp_path / "results" / "tiny" / "store.h5"
    store.parent.mkdir(parents=True)
    shutil.copyfile(uninterrupted[1] / "results" / "tiny" / "store.h5", store)
    options = ["--seconds-between-status-checks", "2", "--allowed-rules", "train", "predict"]
    words = command(
        tmp_path, uninterrupted[0], profile("cluster"), *options, "--", "results/tiny/photoz/predictions.h5"
    )
    run = background(tmp_path, words)
    wait_until(lambda: in_queue("--name=astrodl-train"), "the training is submitted")
    run_command("scancel", "--name=astrodl-train")
    assert run.process.wait(200) == 0, run.output.read_text()
    train, predict = list_jobs("astrodl-train"), list_jobs("astrodl-predict")
    logs = "".join(f"{path.name}:\n{path.read_text()}" for path in tmp_path.glob(".snakemake/cluster/*.log"))
    assert [job["State"].split()[0] for job in train + predict] == ["CANCELLED", "COMPLETED", "COMPLETED"], logs
    assert [read_request(job)["mem"] for job in train + predict] == ["16000M", "32000M", "8000M"]
    assert [job["TimelimitRaw"] for job in train + predict] == ["720", "1440", "240"]
    assert all(read_request(job)["gres/gpu"] == "1" for job in train + predict)


def test_the_tasks_of_one_srun_train_one_network(uninterrupted: tuple[Path, Path], tmp_path: Path) -> None:
    # Gradient descent without Adam, which would enlarge rounding errors.
    training = {"epochs": 2, "batch_size": 16, "optimizer": "sgd", "learning_rate": 1e-3, "precision": "float32"}
    store = uninterrupted[1] / "results" / "tiny" / "store.h5"
    train = ["astrodl", "train", "photoz", str(store), "--settings", json.dumps({"train": training}), "--threads", "1"]
    srun = ["srun", "--ntasks=2", "--cpus-per-task=1", "--mem=4000M", f"--account={node.ACCOUNT}", "--partition=cpu"]
    folders = {name: tmp_path / name for name in ("one", "two")}
    for name, before in (("one", []), ("two", srun)):
        words = [*before, *train, "--out", str(folders[name])]
        done = subprocess.run(words, env=job_environment(), capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("photoz fold 0 seed 0")]
    assert len(lines) == training["epochs"]  # the second task is silent
    one, two = (load_file(folder / "model.safetensors") for folder in folders.values())
    # The feature space is fitted after the training; some of its directions are arbitrary.
    trained = [key for key in one if not key.startswith("space.")]
    assert all(np.allclose(two[key], one[key], rtol=1e-3, atol=1e-5) for key in trained)
