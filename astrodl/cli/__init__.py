"""The command line: one verb per step of the pipeline.

Exit status: 0 done; 1 `check` found problems; 2 an error that the user can fix, or a failure of disk, permissions or
memory, as one line on stderr; 130 interrupted; 143 terminated. Unexpected errors keep their traceback.
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
from astrodl.cli import data, pages, reports, run, tasks, vectors
from astrodl.cli.failures import describe
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
            status = args.run(args) or 0
            sys.stdout.flush()  # an error of writing belongs to this verb, not to the end of the process
            return status
    except KeyboardInterrupt:
        print("astrodl: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the output has closed it, like `| head`
        _discard_unwritable_output()
        return 128 + signal.SIGPIPE
    except Exception as error:
        line = describe(error)
        if line is None:
            raise
        # An error of the input is that of all ranks; any of them may run out of memory or space.
        if not isinstance(error, AstrodlError) or _is_main():
            print(f"astrodl: {line}", file=sys.stderr)
        _discard_unwritable_output()
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_main() -> bool:
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0))) == 0


def _discard_unwritable_output() -> None:
    """Discard what cannot be written to standard output, so that Python does not fail with it at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **also: Any) -> None:
    print(f"astrodl: warning: {message}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs."""
    root = _Parser(prog="astrodl", description="Deep learning for galaxy surveys, from FITS to catalogue.")
    root.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = root.add_subparsers(
        title="verbs", dest="verb", metavar="VERB", required=True, parser_class=argparse.ArgumentParser
    )
    for add in (*run.VERBS, *data.VERBS, *tasks.VERBS, *vectors.VERBS, *pages.VERBS, *reports.VERBS):
        add(verbs)
    return root


class _Parser(argparse.ArgumentParser):
    """Parser that finds the targets of `run` after its options as well, which argparse does not."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        parsed, left = self.parse_known_args(args, namespace)
        after = left.index("--") if "--" in left else len(left)
        if left and (parsed.verb != "run" or any(word.startswith("-") for word in left[:after])):
            self.error(f"unrecognized arguments: {' '.join(left)}")
        if left:
            parsed.targets += left[:after] + left[after + 1 :]
        return parsed


class _Version(argparse.Action):
    """Print the version, which is looked up on demand."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any, **also: Any) -> None:
        print(f"astrodl {astrodl.__version__}")
        parser.exit()
