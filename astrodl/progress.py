"""Progress bars on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Show", "progress_bar"]


class Show(Protocol):
    """Function that updates a progress bar."""

    def __call__(self, done: int, text: str = "") -> None:
        """Set the number of steps done and the text beside the bar."""


@contextmanager
def progress_bar(label: str, total: int, progress: bool | None, *, unit: str | None = None) -> Iterator[Show]:
    """Show a progress bar on a terminal, and elsewhere a line whenever the text changes.

    Parameters
    ----------
    label
        Name of the work.
    total
        Number of steps.
    progress
        Whether to draw the bar; by default on a terminal. False shows nothing at all.
    unit
        Name of the steps, to show steps per second where there is no text.

    Yields
    ------
    Show
        Function of the number of steps done and a text.
    """
    if progress is False:
        yield lambda done, text="": None
        return
    if progress is None and not sys.stderr.isatty():
        yield _line_printer(label, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    text_column = TextColumn("{task.fields[text]}")
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), text_column, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, text="")

        def show(done: int, text: str = "") -> None:
            bar.update(task, completed=done)
            if unit and not text:
                text = f"{bar.tasks[0].speed or 0:,.0f} {unit}/s"
            bar.update(task, text=text)

        yield show


def _line_printer(label: str, total: int) -> Show:
    last = ""

    def show(done: int, text: str = "") -> None:
        nonlocal last
        if text != last:
            print(f"{label} {done}/{total} {text}", file=sys.stderr, flush=True)
        last = text

    return show
