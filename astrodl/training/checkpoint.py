"""Checkpoints of a training run, and the SIGTERM that asks it to save and stop."""

import io
import os
import signal
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from torch import nn

from astrodl import distributed
from astrodl.atomic import replacing
from astrodl.training.state import StateDict

__all__ = ["catch_sigterm", "load_checkpoint", "save_checkpoint"]

_KEYS = {"fingerprint", "network", "average", "optimizers", "best", "plain"}


def save_checkpoint(state: StateDict, path: Path) -> None:
    """Write a checkpoint atomically, on rank 0."""
    if distributed.is_main():
        content = io.BytesIO()  # torch, writing a file itself, does not raise an OSError where the disk is full
        torch.save(state, content)
        with replacing(path) as temporary:
            temporary.write_bytes(content.getbuffer())


def load_checkpoint(path: Path, fingerprint: str, network: nn.Module) -> StateDict | None:
    """Read the checkpoint of a network, or return None if there is none with this fingerprint; this is reported.

    A damaged checkpoint gets the ending `.damaged`, and the training starts afresh. If one rank cannot read the
    checkpoint, no rank uses it.
    """
    if not path.exists():
        return None
    device = next(network.parameters()).device
    state, problem = _read(path, device)
    if state is not None and problem is None and state["fingerprint"] == fingerprint:
        problem = _find_problem(state, network)
    # The sum also waits until all ranks have read the file.
    if distributed.all_reduce_(torch.tensor(float(problem is not None), device=device)) > 0:
        if distributed.is_main():
            aside = path.with_name(f"{path.name}.damaged")
            os.replace(path, aside)
            reason = problem or "by one of the processes"
            print(f"{path}: cannot be used ({reason}); kept as {aside.name}, training starts afresh", file=sys.stderr)
        return None
    if state is not None and state["fingerprint"] == fingerprint:
        return state
    if distributed.is_main():
        print(f"{path}: of other settings or data; training starts afresh", file=sys.stderr)
    return None


def _read(path: Path, device: torch.device) -> tuple[StateDict | None, str | None]:
    """Return the content of a checkpoint, or what is wrong with the file."""
    try:
        content = io.BytesIO(path.read_bytes())
        with zipfile.ZipFile(content) as archive:
            broken = archive.testzip()  # torch does not compare the checksums
        if broken is not None:
            return None, f"{broken} is damaged"
        content.seek(0)
        state = torch.load(content, map_location=device, weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises errors of many classes for damaged files
        return None, (str(error) or type(error).__name__).splitlines()[0]
    if not isinstance(state, dict) or not state.keys() >= _KEYS:
        return None, "it holds no checkpoint"
    return state, None


def _find_problem(state: StateDict, network: nn.Module) -> str | None:
    """Return what is wrong with the weights of a checkpoint, if anything."""
    expected = {name: value.shape for name, value in network.state_dict().items()}
    for part in ("network", "average", "best"):
        weights = state[part]
        if weights is None and part != "network":
            continue
        if (
            not isinstance(weights, dict)
            or {name: getattr(v, "shape", None) for name, v in weights.items()} != expected
        ):
            return f"{part}: the weights are not those of this network"
        if not all(torch.isfinite(value).all() for value in weights.values()):
            return f"{part}: weights are not finite"
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
