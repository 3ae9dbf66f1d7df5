"""Functions that run the workflow as a user does, in a folder of the test."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

BIN = Path(sys.executable).parent
TINY = ROOT / "config" / "tiny.yaml"
TASKS = tuple(yaml.safe_load(TINY.read_text())["tasks"])


def environment() -> dict[str, str]:
    """Return the environment of the workflow: the programs of this Python, and one thread per job."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def command(folder: Path, config: Path, *options: str) -> list[str]:
    """Return the command line that runs the workflow with a configuration in a folder."""
    words = [str(BIN / "snakemake"), "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--directory", str(folder)]
    return [*words, "--cores", "2", "--configfile", str(config), *options]


def snakemake(folder: Path, config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow; it may fail."""
    words = command(folder, config, *options)
    return subprocess.run(words, capture_output=True, text=True, env=environment(), cwd=ROOT, check=False)


def run_workflow(folder: Path, config: Path, *options: str) -> str:
    """Run the workflow, which must succeed, and return its output."""
    done = snakemake(folder, config, *options)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def plan(folder: Path, config: Path, *options: str) -> dict[str, int]:
    """Return the number of jobs of each rule that the workflow would run."""
    return count_jobs(run_workflow(folder, config, "--dry-run", *options))


def count_jobs(output: str) -> dict[str, int]:
    """Read the number of jobs of each rule from the output of a dry run."""
    table = output.split("Job stats:")[1].split("total")[0] if "Job stats:" in output else ""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


def write_config(path: Path, **sections: Any) -> Path:
    path.write_text(yaml.safe_dump(sections))
    return path
