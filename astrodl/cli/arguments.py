"""Adding verbs to the parser, and options that several verbs share."""

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["add_machine", "add_task", "add_threads", "add_verb", "add_workers", "count", "index"]


def add_verb(verbs: Any, run: Callable[[argparse.Namespace], int | None]) -> argparse.ArgumentParser:
    """Add the verb named like a function, whose docstring holds a summary and an example."""
    summary, _, example = inspect.cleandoc(run.__doc__ or "").partition("\n\n")
    added: argparse.ArgumentParser = verbs.add_parser(
        run.__name__.removeprefix("_"),
        help=summary[:1].lower() + summary[1:].removesuffix("."),
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(run=run)
    return added


def count(text: str) -> int:
    """Parse an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def index(text: str) -> int:
    """Parse an integer of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


count.__name__ = index.__name__ = "number"  # what argparse calls them in "invalid number value: 'x'"


def add_task(verb: argparse.ArgumentParser) -> None:
    """Add the task and the store."""
    from astrodl.tasks import NAMES

    verb.add_argument("task", metavar="TASK", choices=NAMES, help=", ".join(NAMES))
    verb.add_argument("store", metavar="STORE", type=Path, help="store.h5 that `astrodl ingest` wrote")


def add_machine(verb: argparse.ArgumentParser) -> None:
    """Add the options of verbs that run a network."""
    verb.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network runs (default: auto)"
    )
    add_threads(verb)
    add_progress(verb)


def add_threads(verb: argparse.ArgumentParser) -> None:
    """Add `--threads`."""
    verb.add_argument("--threads", metavar="N", type=count, help="CPU threads (default: the library's choice)")


def add_workers(verb: argparse.ArgumentParser) -> None:
    """Add the options of verbs that use several processes."""
    verb.add_argument(
        "--workers",
        metavar="N",
        type=count,
        default=1,
        help="processes; the result does not depend on it (default: 1)",
    )
    add_progress(verb)


def add_progress(verb: argparse.ArgumentParser) -> None:
    """Add `--progress`."""
    verb.add_argument(
        "--progress", action=argparse.BooleanOptionalAction, help="progress bar (default: where stderr is a terminal)"
    )
