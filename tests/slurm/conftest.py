"""Fixtures and functions of the Slurm tests: a Slurm of one node, the profiles of the project, and job accounting."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.slurm import node
from tests.workflow.run import environment

_FIELDS = ("JobID", "Comment", "State", "Partition", "Account", "ReqTRES", "TimelimitRaw")
Jobs = list[dict[str, str]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests unless `-m slurm` selects them: they install Debian packages."""
    if "slurm" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("slurm"):
                item.add_marker(pytest.mark.skip(reason="starts a real Slurm: make test-slurm"))


@pytest.fixture(scope="session")
def slurm() -> Iterator[None]:
    """A Slurm of one node that runs during the session."""
    try:
        node.start()
    except node.NoSlurmError as reason:
        pytest.skip(str(reason))
    except BaseException:
        node.stop()
        raise
    yield
    subprocess.run(["scancel", "--user=root"], timeout=30, check=False)
    node.stop()


@pytest.fixture(scope="session")
def profile(slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that copies a profile and uncomments its partitions and account, as users do."""

    def copy(name: str) -> Path:
        folder = tmp_path_factory.mktemp("profile") / name
        shutil.copytree(ROOT / "workflow" / "profiles" / name, folder)
        path = folder / "config.yaml"
        text = path.read_text().replace("# slurm_", "slurm_")
        path.write_text(re.sub(r"^latency-wait: .*", "latency-wait: 5", text, flags=re.MULTILINE))
        return folder

    return copy


def job_environment() -> dict[str, str]:
    """Return the environment of the jobs, which use compiled modules: each job starts Python four times."""
    return {**environment(), "PYTHONDONTWRITEBYTECODE": ""}


def command(folder: Path, config: Path, profile: Path, *options: str) -> list[str]:
    """Return the command line of the workflow with a profile, with threads for a machine of two cores."""
    words = ["snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--directory", str(folder)]
    words += ["--configfile", str(config), "--workflow-profile", str(profile)]
    return [*words, "--set-threads", "simulate=2", "ingest=2", "train=1", *options]


def find_run_id(output: str) -> str:
    """Return the name of the jobs of a run from the output of Snakemake."""
    match = re.search(r"SLURM run ID: (\S+)", output)
    assert match, output
    return match[1]


def list_jobs(name: str) -> Jobs:
    """Return the jobs of a name from sacct, in the order of submission; the name of a run is its id."""
    words = ["sacct", "--allocations", "--noheader", "--parsable2", f"--name={name}", f"--format={','.join(_FIELDS)}"]
    text = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    return [dict(zip(_FIELDS, line.split("|"), strict=True)) for line in text.splitlines()]


def read_request(job: dict[str, str]) -> dict[str, str]:
    """Return the resources that a job requested: cpu, mem, gres/gpu, ..."""
    return dict(pair.split("=") for pair in job["ReqTRES"].split(","))


def wait_until(condition: Callable[[], object], description: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{description}: not within {seconds:.0f} s"
        time.sleep(0.2)
