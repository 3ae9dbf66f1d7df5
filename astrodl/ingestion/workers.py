"""Worker processes of an ingestion, which start in the background while the main process works."""

import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

__all__ = ["StartRule", "WorkerPool"]

_PRELOADED = ["astrodl.ingestion.blocks"]  # imports no torch

_MIN_SECONDS = 4.0  # the start of workers takes a core one to two seconds
_MIN_SECONDS_BUSY = 60.0  # then their start costs a few per cent where no core becomes free
_BUSY_FRACTION = 0.2


class StartRule:
    """Decide whether to start workers, from the time that this process took for the first blocks.

    Workers pay if the remaining blocks take this process much longer than the start of the workers. Where no core is
    free, workers save no time, and only start if the remaining blocks take so long that the cost of the start is small.
    """

    def __init__(self) -> None:
        self._begin, self._waited = time.perf_counter(), _seconds_without_core()

    def workers_pay(self, n_done: int, n_left: int) -> bool:
        """Return whether to start workers for `n_left` blocks, after this process has ingested `n_done`."""
        elapsed = time.perf_counter() - self._begin
        is_busy = _seconds_without_core() - self._waited > _BUSY_FRACTION * elapsed
        return n_left > 1 and elapsed / n_done * n_left > (_MIN_SECONDS_BUSY if is_busy else _MIN_SECONDS)


def _seconds_without_core() -> float:
    """Return how long this process was ready to run but had no core; 0 where the system does not count it."""
    try:
        return int(Path("/proc/self/schedstat").read_text("ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


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
