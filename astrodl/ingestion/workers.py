"""Worker processes of an ingestion, which start in the background while the main process works."""

import multiprocessing
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress

__all__ = ["WorkerPool"]

_PRELOADED = ["astrodl.ingestion.blocks"]  # imports no torch


class WorkerPool(ProcessPoolExecutor):
    """Processes that start in the background.

    On Linux, workers are forked from a server process that has imported their modules. The server itself is a new
    process, so workers inherit no open file, lock or thread. On macOS, whose system libraries do not support forking,
    each worker imports the modules.

    Parameters
    ----------
    n_workers
        Number of processes.
    """

    def __init__(self, n_workers: int) -> None:
        context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        context.set_forkserver_preload(_PRELOADED)
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
        with suppress(RuntimeError):  # the pool is already shut down
            self.submit(os.getpid).add_done_callback(lambda _: self._first_started.set())


def _exit_with_parent() -> None:
    """Make a worker exit when its parent is killed; otherwise it would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
