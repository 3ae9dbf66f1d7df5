"""Verbs for results and files: overview, check, schema, summary."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import astrodl
from astrodl.atomic import write_text
from astrodl.cli.arguments import add_verb

__all__ = ["VERBS"]


def add_overview(verbs: Any) -> None:
    """Add `overview`."""
    verb = add_verb(verbs, _overview)
    verb.add_argument("store", metavar="STORE", type=Path, help="store.h5 that `astrodl ingest` wrote")
    verb.add_argument("metrics", metavar="METRICS", type=Path, nargs="*", help="metrics.json of the tasks")
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the figures (PNG)")


def _overview(args: argparse.Namespace) -> None:
    """Draw the figures of a survey: objects, splits, all metrics beside the baselines.

    astrodl overview store.h5 photoz/metrics.json --out figures
    """
    astrodl.overview(args.store, args.metrics, args.out)


def add_check(verbs: Any) -> None:
    """Add `check`."""
    verb = add_verb(verbs, _check)
    verb.add_argument(
        "files",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="store, model, predictions, metrics, catalogue, YAML configuration",
    )
    verb.add_argument(
        "--only-yaml", action="store_true", help="only read YAML: within limits, no key twice; values are not checked"
    )


def _check(args: argparse.Namespace) -> int:
    """Check stores, models, predictions, catalogues and configurations; exit 1 where there are problems.

    astrodl check config/config.yaml results/demo/store.h5
    """
    if args.only_yaml:
        from astrodl.config import read_yaml

        for path in args.files:
            read_yaml(path)
        return 0
    found = {path: astrodl.check(path) for path in args.files}
    for path, lines in found.items():
        print("\n".join(lines) if lines else f"{path}: ok")
    return int(any(found.values()))


def add_schema(verbs: Any) -> None:
    """Add `schema`."""
    verb = add_verb(verbs, _schema)
    verb.add_argument("--out", metavar="FILE", type=Path, help="file to write (default: standard output)")


def _schema(args: argparse.Namespace) -> None:
    """Write the JSON schema of the configuration.

    astrodl schema --out workflow/schemas/config.schema.json
    """
    text = json.dumps(astrodl.schema(), indent=2) + "\n"
    if args.out is None:
        sys.stdout.write(text)
    else:
        write_text(args.out, text)


def add_summary(verbs: Any) -> None:
    """Add `summary`."""
    verb = add_verb(verbs, _summary)
    verb.add_argument("folder", metavar="FOLDER", type=Path, help="results of a survey")


def _summary(args: argparse.Namespace) -> None:
    """Print the headline metrics of every task beside the baselines, and the places of the results.

    astrodl summary results/demo
    """
    print(astrodl.summary(args.folder))


VERBS = (add_overview, add_check, add_schema, add_summary)
