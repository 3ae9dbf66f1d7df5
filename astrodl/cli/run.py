"""The verb run: the packaged Snakemake workflow, from any folder."""

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import astrodl
from astrodl.cli.arguments import add_verb, count
from astrodl.errors import ConfigError

__all__ = ["VERBS", "workflow_folder"]

_PLUGINS = {"slurm": "snakemake-executor-plugin-slurm", "cluster": "snakemake-executor-plugin-cluster-generic"}
"""Distributions that the packaged profiles need."""


def add_run(verbs: Any) -> None:
    """Add `run`."""
    verb = add_verb(verbs, _run)
    verb.add_argument("config", metavar="CONFIG", type=Path, help="YAML configuration")
    verb.add_argument(
        "targets",
        metavar="TARGET",
        nargs="*",
        help="files to make (default: all results, then the report); options of snakemake after `--`",
    )
    verb.add_argument("--cores", metavar="N", type=count, help="most cores to use at the same time (default: all)")
    verb.add_argument(
        "--profile", metavar="P", help="slurm, cluster, or the folder of a profile (default: this machine)"
    )
    verb.add_argument("--dry-run", action="store_true", help="list the jobs, run none")
    verb.add_argument(
        "--directory", metavar="DIR", type=Path, help="folder of relative paths and results (default: that of CONFIG)"
    )
    verb.add_argument(
        "--show-workflow", action=_ShowWorkflow, nargs=0, help="print the folder of the workflow and exit"
    )


def _run(args: argparse.Namespace) -> int:
    """Run the workflow of a configuration: from images and catalogue to catalog.fits and report.html.

    astrodl run survey.yaml --cores 2
    """
    from astrodl.config import expand
    from astrodl.pipeline.schema import load_config
    from astrodl.pipeline.survey_problems import pixel_problems

    config = load_config(args.config)
    if problems := pixel_problems(config):
        raise ConfigError(f"{args.config}: {problems[0]}")
    folder = args.config.absolute().parent if args.directory is None else args.directory.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    words = _snakemake(args.config, folder, args.profile)
    asked = ["--dry-run"] if args.dry_run else []
    if args.cores is not None or args.profile is None:
        asked += ["--cores", "all" if args.cores is None else str(args.cores)]
    status = _call([*words, *asked, *args.targets])
    if status == 0 and not args.dry_run and not args.targets:
        results = folder / expand(config.results)
        surveys = [results / name for name in config.surveys]
        report = (surveys[0] if len(surveys) == 1 else results) / "report.html"
        status = _call([*words, "--cores", "1", "--report", str(report)])
        print("\n\n".join(astrodl.summary(survey) for survey in surveys))
        if len(surveys) > 1:
            print(f"\nreport  {report}")
    return status


def workflow_folder() -> Path:
    """Return the folder of the workflow, which is part of the package."""
    return Path(astrodl.__file__).parent / "workflow"


def _snakemake(config: Path, folder: Path, profile: str | None) -> list[str]:
    """Return the command line of snakemake, without the options of a run."""
    if importlib.util.find_spec("snakemake") is None:
        raise ConfigError('snakemake is not installed; install it with: pip install "snakemake>=9.5"')
    name = "default" if profile is None else profile
    packaged = workflow_folder() / "profiles" / name
    chosen = packaged if packaged.is_dir() and "/" not in name else Path(name).absolute()
    if not (chosen / "config.yaml").is_file():
        known = ", ".join(sorted(path.name for path in packaged.parent.iterdir()))
        raise ConfigError(f"--profile {name}: no such profile; give one of {known}, or a folder with a config.yaml")
    plugin = _PLUGINS.get(name, "snakemake").replace("-", "_") if chosen == packaged else "snakemake"
    if importlib.util.find_spec(plugin) is None:
        raise ConfigError(
            f"--profile {name}: its plugin is not installed; install it with: pip install {_PLUGINS[name]}"
        )
    words = [sys.executable, "-m", "astrodl.cli.guarded", str(os.getpid()), "snakemake"]
    words += ["--snakefile", str(workflow_folder() / "Snakefile")]
    words += ["--workflow-profile", str(chosen), "--directory", str(folder), "--configfile", str(config.absolute())]
    return words


def _call(words: Sequence[str]) -> int:
    """Run a command; it ends before this process does."""
    with subprocess.Popen(words) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:  # which the terminal sends to both
            process.wait()
            raise
        except SystemExit:
            process.terminate()
            raise


class _ShowWorkflow(argparse.Action):
    """Print the folder of the workflow."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any, **also: Any) -> None:
        print(workflow_folder())
        parser.exit()


VERBS = (add_run,)
