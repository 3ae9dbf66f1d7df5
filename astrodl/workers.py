"""Worker processes of a verb, which end with it."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress

__all__ = ["WorkerPool", "stop_with_launcher"]

_SECONDS_TO_STOP = 60.0
"""A rank that has lost its launcher saves its state within this time, or is ended."""


class WorkerPool(ProcessPoolExecutor):
    """Processes that start in the background, and exit when this process is killed.

    On Linux, workers are forked from a server process that has imported their modules. The server itself is a new
    process, so workers inherit no open file, lock or thread. On macOS, whose system libraries do not support forking,
    each worker imports the modules.

    Parameters
    ----------
    n_workers
        Number of processes.
    modules
        Modules that the workers need, for the server to import.
    """

    def __init__(self, n_workers: int, modules: Sequence[str]) -> None:
        context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        context.set_forkserver_preload(list(modules))
        super().__init__(n_workers, context, initializer=_exit_with_parent)
        self.n_workers = n_workers
        self._first_started = threading.Event()
        # In a thread, because the first `submit` waits until the server has imported the modules.
        threading.Thread(target=self._start_first, daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether a worker has started; the others follow when there is work for them."""
        return self._first_started.is_set()

    def _start_first(self) -> None:
        with suppress(RuntimeError, OSError):  # already shut down; no room for a socket: this process goes on alone
            self.submit(os.getpid).add_done_callback(lambda _: self._first_started.set())


def _exit_with_parent() -> None:
    """Make a worker exit when its parent is killed; otherwise it would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def stop_with_launcher(launcher: int, *, with_children: bool = False) -> None:
    """Send this process SIGTERM, after which a training saves its state, when the process that started it is gone.

    Parameters
    ----------
    launcher
        Process that started this one.
    with_children
        Also send it to the processes that this one has started, directly or not. Those that do not end in time are
        killed instead of this process, which is left to end after them.
    """

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(0.5)
        children = _list_children() if with_children else []
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # this process ends at once
            _send(signal.SIGTERM, children)
        os.kill(os.getpid(), signal.SIGTERM)  # else first, so that it starts no child again
        _send(signal.SIGTERM, children)
        time.sleep(_SECONDS_TO_STOP)  # it may wait for a rank that is gone
        if not with_children:
            os._exit(128 + signal.SIGTERM)
        _send(signal.SIGKILL, children)

    threading.Thread(target=watch, daemon=True).start()


def _list_children() -> list[int]:
    """List the processes that this one has started, directly or not."""
    import psutil

    return [child.pid for child in psutil.Process().children(recursive=True)]


def _send(number: int, processes: Sequence[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)
