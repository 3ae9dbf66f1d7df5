"""How the tests call the workflow: in a folder of their own, as a user does."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TINY = ROOT / "config" / "tiny.yaml"
TASKS = tuple(yaml.safe_load(TINY.read_text())["tasks"])
# The whole workflow must not wait for more threads than the tests may use.
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def command(folder: Path, config: Path, *options: str) -> list[str]:
    """Give the command line of the workflow on a configuration, in a folder."""
    words = [str(BIN / "snakemake"), "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--directory", str(folder)]
    return [*words, "--cores", "2", "--configfile", str(config), *options]


def snakemake(folder: Path, config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = command(folder, config, *options)
    return subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, check=False)


def write_config(path: Path, **sections: Any) -> Path:
    path.write_text(yaml.safe_dump(sections))
    return path


def planned(text: str) -> dict[str, int]:
    """Read the table of jobs that a dry run prints."""
    table = text.split("Job stats:")[1].split("total")[0] if "Job stats:" in text else ""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}
