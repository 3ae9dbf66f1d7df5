"""Checkpoints of a training run, and the SIGTERM that asks it to save and stop."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from astrodl import distributed
from astrodl.atomic import replacing
from astrodl.training.state import StateDict

__all__ = ["catch_sigterm", "load_checkpoint", "save_checkpoint"]


def save_checkpoint(state: StateDict, path: Path) -> None:
    """Write a checkpoint atomically, on rank 0."""
    if distributed.is_main():
        with replacing(path) as temporary:
            torch.save(state, temporary)


def load_checkpoint(path: Path, fingerprint: str, device: torch.device) -> StateDict | None:
    """Read a checkpoint, or return None if there is none with this fingerprint; a different one is reported."""
    if not path.exists():
        return None
    state: StateDict = torch.load(path, map_location=device, weights_only=True)
    if state["fingerprint"] == fingerprint:
        return state
    if distributed.is_main():
        print(f"{path}: of other settings or data; training starts afresh", file=sys.stderr)
    return None


@contextmanager
def catch_sigterm() -> Iterator[list[bool]]:
    """Yield a list that becomes non-empty on SIGTERM, which then does not end the process."""
    received: list[bool] = []

    def handle(_signal: int, _frame: FrameType | None) -> None:
        received.append(True)

    try:
        previous = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # not in the main thread, which keeps its own handler
        yield received
        return
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, previous)
