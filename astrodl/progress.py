"""Show how far a job is: a bar on a terminal, now and then a line elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Show = Callable[[int, str], None]
"""Called with the number of steps done and a text about them."""


@contextmanager
def progress_bar(label: str, total: int, progress: bool | None) -> Iterator[Show]:
    """Show a bar with the text and the time left on a terminal, else a line whenever the text changes.

    Parameters
    ----------
    label
        What is being done.
    total
        Number of steps.
    progress
        Draw the bar or nothing; by default the bar where standard error is a terminal, else lines.
    """
    if progress is False:
        yield lambda done, text: None
        return
    if progress is None and not sys.stderr.isatty():
        yield _lines(label, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task(label, total=total, text="")
        yield lambda done, text: bar.update(line, completed=done, text=text)


def _lines(label: str, total: int) -> Show:
    last = ""

    def show(done: int, text: str) -> None:
        nonlocal last
        if text != last:
            print(f"{label} {done}/{total} {text}", file=sys.stderr, flush=True)
        last = text

    return show
