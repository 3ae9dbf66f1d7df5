"""Atomic file replacement, and locks between processes."""

import fcntl
import json
import math
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["FilePath", "exclusive_lock", "replacing", "write_json", "write_text"]


FilePath = str | os.PathLike[str]
"""Path of a file or folder as functions accept it."""


@contextmanager
def replacing(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[Path]:
    """Write to a temporary file beside `path`, which replaces `path` when the block ends without an error.

    Processes that write the same file do not disturb each other: each has its own temporary file, and the last one
    wins. A killed process leaves a hidden file.

    Parameters
    ----------
    path
        File to write; missing folders are created.
    durable
        Wait until the content is on disk. Otherwise a power failure (but not a kill) may leave an empty file.

    Yields
    ------
    Path
        Name of a file that does not exist yet; the block must create it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: FilePath, report: Mapping[str, Any]) -> None:
    """Write JSON atomically; numbers that are not finite become null."""
    write_text(path, json.dumps(_finite(report), indent=2) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def exclusive_lock(path: Path, action: str) -> Iterator[None]:
    """Hold a lock file; wait while another process holds it, and print that this process waits.

    Parameters
    ----------
    path
        The lock file; it is removed when the block ends.
    action
        What the holder does, for the message: "trains".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{path.parent}: another process {action} here; waiting for it", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
            # The holder removes the file before it releases the lock: a process that waited for a removed file retries.
            if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(path))):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
