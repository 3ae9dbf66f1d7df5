"""When worker processes pay in an ingestion, which start in the background while the main process works."""

import time
from pathlib import Path

__all__ = ["StartRule"]

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
