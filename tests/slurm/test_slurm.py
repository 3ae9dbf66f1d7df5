"""The workflow on a real Slurm: what its jobs ask for, and that a training killed by Slurm ends in the same bits.

One run serves all tests: the tiny configuration with one training that lasts long enough to be hit, three times.
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
from tests.slurm.conftest import JOBS_ENVIRONMENT, Jobs, command, jobs, requested, run_id, wait_until
from tests.workflow.run import ROOT, TASKS, TINY, write_config
from tests.workflow.run import command as local_command
from tests.workflow.test_workflow import assert_equal_results

pytestmark = pytest.mark.slurm

LONG = "latent"
MODEL = f"results/tiny/{LONG}/fold0-seed0/model.safetensors"
TRAINING = f"rule_train_wildcards_tiny_{LONG}_0_0"


class Run:
    """A workflow that goes on in the background while its jobs are disturbed."""

    def __init__(self, folder: Path, words: list[str], output: Path) -> None:
        self.folder, self.output = folder, output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                words, stdin=-3, stdout=file, stderr=file, env=JOBS_ENVIRONMENT, cwd=ROOT, start_new_session=True
            )

    @property
    def id(self) -> str:
        return run_id(self.output.read_text())

    def training(self) -> dict[str, str]:
        """Give the job of the long training as long as it runs; accounting learns of comments later than squeue."""
        lines = slurm_command("squeue", "--noheader", f"--name={self.id}", "--format=%i %k").splitlines()
        (number,) = (line.split()[0] for line in lines if line.endswith(TRAINING))
        (job,) = (job for job in jobs(self.id) if job["JobID"] == number)
        return job

    def trainings(self) -> Jobs:
        """Give all jobs of the long training when they have ended, an attempt each."""
        return [job for job in jobs(self.id) if job["Comment"] == TRAINING]

    def log(self) -> str:
        """Give what the last attempt said."""
        path = self.folder / f"results/tiny/logs/{LONG}/train-fold0-seed0.log"
        return path.read_text() if path.exists() else ""

    def trains_from(self, update: int) -> bool:
        """Tell whether an attempt that resumed at `update` or later has come further."""
        assert self.process.poll() is None, self.output.read_text()
        return resumed_at(self.log()) >= update and last_update(self.log()) > update


def last_update(log: str) -> int:
    found = re.findall(rf"^{LONG} fold 0 seed 0 (\d+)/", log, flags=re.MULTILINE)
    return int(found[-1]) if found else 0


def resumed_at(log: str) -> int:
    found = re.search(r"resumed at update (\d+)", log)
    return int(found[1]) if found else 0


def slurm_command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout


def in_queue(*options: str) -> bool:
    """Tell whether jobs wait, run or are ending; a job that is long gone is unknown to squeue."""
    words = ["squeue", "--noheader", "--states=PD,R,ST,CG", *options]
    return bool(subprocess.run(words, capture_output=True, text=True, timeout=60, check=False).stdout)


@dataclass
class Story:
    """What happened to the run."""

    folder: Path
    reached: list[int] = field(default_factory=list)
    """Last update that each killed attempt had told of."""
    resumed: list[int] = field(default_factory=list)
    """Update from which the attempt after it went on."""
    attempts: Jobs = field(default_factory=list)
    """Each attempt of the long training as it was when it ran."""
    ended: Jobs = field(default_factory=list)
    """The same when all was over."""
    found: Jobs = field(default_factory=list)
    """All jobs of the run, and of the one that took over from it."""
    outlived: bool = False
    """Whether the jobs went on when snakemake was killed."""


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path, list[str]], Run]]:
    """A function that starts a run in the background; what still runs at the end is killed."""
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
def undisturbed(
    slurm: None, background: Callable[[Path, list[str]], Run], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The configuration, and the folder where its long training ran without Slurm and undisturbed."""
    values = yaml.safe_load(TINY.read_text())
    values["tasks"][LONG]["train"] |= {"epochs": 400, "patience": None}
    folder = tmp_path_factory.mktemp("undisturbed")
    config = write_config(folder / "config.yaml", **values)
    run = background(folder, local_command(folder, config, "--", MODEL))
    assert run.process.wait(600) == 0, run.output.read_text()
    return config, folder


@pytest.fixture(scope="module")
def story(
    undisturbed: tuple[Path, Path],
    profile: Callable[[str], Path],
    background: Callable[[Path, list[str]], Run],
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    """A run through Slurm: its training is cancelled, resumed, warned of its end, resumed; then snakemake is killed."""
    story = Story(tmp_path_factory.mktemp("disturbed"))
    words = command(story.folder, undisturbed[0], profile("slurm"), "--slurm-init-seconds-before-status-checks", "2")
    run = background(story.folder, words)

    for attempt, disturb in enumerate((cancel, bring_end_near)):
        wait_until(lambda: run.trains_from((0, *story.reached)[-1]), f"attempt {attempt + 1} trains", 240)
        story.resumed.append(resumed_at(run.log()))
        job = run.training()
        story.attempts.append(job)
        disturb(job["JobID"])
        wait_until(lambda job=job: not in_queue(f"--jobs={job['JobID']}"), f"attempt {attempt + 1} ends")
        story.reached.append(last_update(run.log()))

    wait_until(lambda: run.trains_from(story.reached[-1]), "the third attempt trains")
    story.resumed.append(resumed_at(run.log()))
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    story.attempts.append(run.training())
    story.outlived = in_queue(f"--jobs={story.attempts[2]['JobID']}")
    slurm_command("scancel", f"--name={run.id}")
    wait_until(lambda: not in_queue(f"--name={run.id}"), "the jobs of the killed run end")
    story.reached.append(last_update(run.log()))

    second = background(story.folder, words)
    assert second.process.wait(400) == 0, second.output.read_text()
    story.resumed.append(resumed_at(second.log()))
    story.ended = [*run.trainings(), *second.trainings()]
    story.found = [*jobs(run.id), *jobs(second.id)]
    return story


def cancel(job: str) -> None:
    slurm_command("scancel", job)


def bring_end_near(job: str) -> None:
    """Shorten the time limit so that the warning which the profile asks for, two minutes before the end, is due.

    Slurm looks at time limits every 30 seconds only. The training is stopped, lest it be done by then; Slurm lets it go
    on when it sends the warning.
    """
    slurm_command("scancel", "--signal=STOP", job)
    slurm_command("scontrol", "update", f"JobId={job}", "EndTime=now+100")


def of_rule(found: Jobs, rule: str) -> Jobs:
    return [job for job in found if job["Comment"].startswith(f"rule_{rule}_")]


def test_a_training_killed_three_ways_ends_in_the_same_bits(story: Story, undisturbed: tuple[Path, Path]) -> None:
    assert_equal_results(story.folder / "results" / "tiny", undisturbed[1] / "results" / "tiny")


def test_every_attempt_goes_on_where_sigterm_stopped_the_one_before(story: Story) -> None:
    assert story.resumed[0] == 0
    for reached, resumed in zip(story.reached, story.resumed[1:], strict=True):
        assert resumed >= reached > 0
    assert [job["State"].split()[0] for job in story.ended] == ["CANCELLED", "FAILED", "CANCELLED", "COMPLETED"]


def test_a_retry_asks_for_more_memory_and_time(story: Story) -> None:
    asked = [(requested(job)["mem"], job["TimelimitRaw"]) for job in story.attempts]
    assert asked == [("16000M", "720"), ("32000M", "1440"), ("48000M", "1440")]


def test_jobs_outlive_a_killed_snakemake_until_they_are_cancelled_by_its_run_id(story: Story) -> None:
    assert story.outlived
    assert story.ended[2]["State"].startswith("CANCELLED")


def test_the_run_ends_in_catalogue_and_metrics(story: Story) -> None:
    results = story.folder / "results" / "tiny"
    assert (results / "catalog.fits").stat().st_size > 0
    assert all((results / task / "metrics.json").exists() for task in TASKS)
    assert not list(results.rglob("last.pt"))
    completed = [job for job in story.found if job["State"] == "COMPLETED"]
    assert {job["Account"] for job in story.found} == {node.ACCOUNT}
    for rule in ("simulate", "ingest", "train", "predict", "baselines", "summary", "catalog", "product"):
        assert of_rule(completed, rule), rule


def test_only_training_and_prediction_ask_for_a_gpu_and_its_partition(story: Story) -> None:
    on_gpu = [*of_rule(story.found, "train"), *of_rule(story.found, "predict")]
    assert len(on_gpu) >= 2 * len(TASKS)
    for job in story.found:
        expected = ("1", "gpu") if job in on_gpu else (None, "cpu")
        assert (requested(job).get("gres/gpu"), job["Partition"]) == expected, job


def test_jobs_ask_for_the_memory_and_time_of_rules_and_profile(story: Story) -> None:
    expected = {
        "simulate": ("2", "4000M", "240"),
        "predict": ("1", "8000M", "240"),
        "catalog": ("1", "4000M", "60"),
    }
    for rule, asked in expected.items():
        for job in of_rule(story.found, rule):
            assert (requested(job)["cpu"], requested(job)["mem"], job["TimelimitRaw"]) == asked, rule


def test_small_jobs_of_a_survey_are_one_submission(story: Story) -> None:
    (summary,) = of_rule(story.found, "summary")
    # evaluate side by side, then overview: memory is that of the larger step, times add up
    asked = (requested(summary)["cpu"], requested(summary)["mem"], summary["TimelimitRaw"])
    assert asked == (f"{len(TASKS)}", f"{4000 * len(TASKS)}M", "150")
    assert not [job for name in ("evaluate", "overview", "baseline") for job in of_rule(story.found, name)]


def test_the_profile_of_other_schedulers_submits_and_retries(
    undisturbed: tuple[Path, Path],
    profile: Callable[[str], Path],
    background: Callable[[Path, list[str]], Run],
    tmp_path: Path,
) -> None:
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    store = tmp_path / "results" / "tiny" / "store.h5"
    store.parent.mkdir(parents=True)
    shutil.copyfile(undisturbed[1] / "results" / "tiny" / "store.h5", store)
    options = ["--seconds-between-status-checks", "2", "--allowed-rules", "train", "predict"]
    words = command(tmp_path, undisturbed[0], profile("cluster"), *options, "--", "results/tiny/photoz/predictions.h5")
    run = background(tmp_path, words)
    wait_until(lambda: in_queue("--name=astrodl-train"), "the training is submitted")
    slurm_command("scancel", "--name=astrodl-train")
    assert run.process.wait(200) == 0, run.output.read_text()
    train, predict = jobs("astrodl-train"), jobs("astrodl-predict")
    assert [job["State"].split()[0] for job in train + predict] == ["CANCELLED", "COMPLETED", "COMPLETED"]
    assert [requested(job)["mem"] for job in train + predict] == ["16000M", "32000M", "8000M"]
    assert [job["TimelimitRaw"] for job in train + predict] == ["720", "1440", "240"]
    assert all(requested(job)["gres/gpu"] == "1" for job in train + predict)


def test_tasks_of_srun_train_one_network_together(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    # plain gradient descent: Adam would blow up rounding errors
    training = {"epochs": 2, "batch_size": 16, "optimizer": "sgd", "learning_rate": 1e-3, "precision": "float32"}
    store = undisturbed[1] / "results" / "tiny" / "store.h5"
    train = ["astrodl", "train", "photoz", str(store), "--settings", json.dumps({"train": training}), "--threads", "1"]
    srun = ["srun", "--ntasks=2", "--cpus-per-task=1", "--mem=4000M", f"--account={node.ACCOUNT}", "--partition=cpu"]
    folders = {name: tmp_path / name for name in ("alone", "together")}
    for name, before in (("alone", []), ("together", srun)):
        words = [*before, *train, "--out", str(folders[name])]
        done = subprocess.run(words, env=JOBS_ENVIRONMENT, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("photoz fold 0 seed 0")]
    assert len(lines) == training["epochs"]  # the second task is silent
    one, two = (load_file(folder / "model.safetensors") for folder in folders.values())
    # the feature space is fitted afterwards; its directions are free where the objects have no spread
    trained = [key for key in one if not key.startswith("space.")]
    assert all(np.allclose(two[key], one[key], rtol=1e-3, atol=1e-5) for key in trained)
