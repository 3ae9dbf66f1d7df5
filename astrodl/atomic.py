"""Files that come into being whole or not at all, and by one process at a time."""

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


@contextmanager
def replacing(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; it replaces `path` when the block ends without error.

    Two processes that write the same file do not meet: each has a name of its own, and the last one wins. What is left
    of a killed process is a hidden file.

    Parameters
    ----------
    path
        File to write; missing folders are made.
    durable
        Wait until the content is on the disk; without it a power cut, though not a kill, may leave an empty file.

    Yields
    ------
    Path
        Name of a file that does not exist yet; the block must make it.
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


@contextmanager
def only_one(lock: Path, doing: str) -> Iterator[None]:
    """Hold the lock file `lock`: a second process that is `doing` the same waits for the first, and says so."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(lock, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{lock.parent}: another process {doing} here; waiting for it", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
            # The holder removes the file before it lets go: who waited for a removed one starts again.
            if not (lock.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(lock))):
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Write JSON atomically; what is not finite becomes null."""
    write_text(path, json.dumps(_finite(report), indent=2) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
