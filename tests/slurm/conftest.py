"""A Slurm for the tests of this folder, the project's own profile on it, and what sacct says of the jobs."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm import node
from tests.workflow.run import ENVIRONMENT, ROOT

# Every job starts Python some four times: without compiled modules each start takes seconds.
JOBS_ENVIRONMENT = {**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": ""}
FIELDS = ("JobID", "Comment", "State", "Partition", "Account", "ReqTRES", "TimelimitRaw")
Jobs = list[dict[str, str]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests unless they were asked for by their mark: nobody expects `pytest` to install Debian packages."""
    if "slurm" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("slurm"):
                item.add_marker(pytest.mark.skip(reason="brings up a real Slurm: make test-slurm"))


@pytest.fixture(scope="session")
def slurm() -> Iterator[None]:
    """A Slurm of one node that is up while the tests of the session run."""
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
    """A function that gives a profile with the lines of partitions and account uncommented, as users do."""

    def adapted(name: str) -> Path:
        folder = tmp_path_factory.mktemp("profile") / name
        shutil.copytree(ROOT / "workflow" / "profiles" / name, folder)
        path = folder / "config.yaml"
        text = path.read_text().replace("# slurm_", "slurm_")
        path.write_text(re.sub(r"^latency-wait: .*", "latency-wait: 5", text, flags=re.MULTILINE))
        return folder

    return adapted


def command(folder: Path, config: Path, profile: Path, *options: str) -> list[str]:
    """Give the command line of the workflow under a profile; few threads, for the machine has two cores."""
    words = ["snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--directory", str(folder)]
    words += ["--configfile", str(config), "--workflow-profile", str(profile)]
    return [*words, "--set-threads", "simulate=2", "ingest=2", "train=1", *options]


def run_id(text: str) -> str:
    """Find the name of a run's jobs in what Snakemake said."""
    found = re.search(r"SLURM run ID: (\S+)", text)
    assert found, text
    return found[1]


def jobs(name: str) -> Jobs:
    """Ask sacct for the jobs of a run, in the order of submission; their name is the id of the run."""
    words = ["sacct", "--allocations", "--noheader", "--parsable2", f"--name={name}", f"--format={','.join(FIELDS)}"]
    text = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    return [dict(zip(FIELDS, line.split("|"), strict=True)) for line in text.splitlines()]


def requested(job: dict[str, str]) -> dict[str, str]:
    """Read the resources of a job: cpu, mem, gres/gpu, ..."""
    return dict(pair.split("=") for pair in job["ReqTRES"].split(","))


def wait_until(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)
