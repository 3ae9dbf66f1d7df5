"""The command line: one verb per step of the pipeline.

Exit status: 0 done; 1 `check` found problems; 2 an error that the user can fix, as one line on stderr; 130 interrupted;
143 terminated. Unexpected errors keep their traceback.
"""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import astrodl
from astrodl.cli import data, reports, tasks
from astrodl.errors import AstrodlError

__all__ = ["main", "parser"]

# The names of `astrodl` are imported when they are used, so that `astrodl --help` does not wait for torch.


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    args = parser().parse_args(argv)
    args.command = list(sys.argv[1:] if argv is None else argv)
    # SIGTERM raises SystemExit, so that temporary files are removed; training installs its own handler.
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return args.run(args) or 0
    except AstrodlError as error:
        if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0:  # only the main process reports
            print(f"astrodl: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("astrodl: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output has closed it, like `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **also: Any) -> None:
    print(f"astrodl: warning: {message}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs."""
    root = argparse.ArgumentParser(
        prog="astrodl", description="Deep learning for galaxy surveys, from FITS to catalogue."
    )
    root.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = root.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for add in (*data.VERBS, *tasks.VERBS, *reports.VERBS):
        add(verbs)
    return root


class _Version(argparse.Action):
    """Print the version, which is looked up on demand."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any, **also: Any) -> None:
        print(f"astrodl {astrodl.__version__}")
        parser.exit()
