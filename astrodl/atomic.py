"""Atomic file replacement, and locks between processes."""

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "FilePath",
    "error_number",
    "error_reason",
    "exclusive_lock",
    "final_name",
    "replacing",
    "require_regular",
    "write_json",
    "write_text",
]


FilePath = str | os.PathLike[str]
"""Path of a file or folder as functions accept it."""

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?:(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-)?[0-9a-f]{32}\.tmp")
_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_LONGEST_WRITE = 24 * 3600.0  # seconds after which a temporary file of an unknown process counts as left over


@contextmanager
def replacing(path: FilePath, *, durable: bool = True) -> Iterator[Path]:
    """Write to a temporary file beside `path`, which replaces `path` when the block ends without an error.

    Processes that write the same file do not disturb each other: each has its own temporary file, and the last one
    wins. A killed process leaves a hidden file; the next process that writes into the folder removes it.

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
    if target.parts[:1] and target.parts[0].startswith("~"):
        target = target.absolute()  # astropy takes ~ for the home folder
    require_regular(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent.absolute())
    temporary = target.with_name(f".{target.name}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if error.filename is None and error_number(error) in _WRITE_ERRORS:
            error.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def require_regular(path: FilePath) -> None:
    """Check, before the work, that a file can take the place of what is there: a regular file or nothing.

    Raises
    ------
    IsADirectoryError
        There is a folder.
    OSError
        There is a device, a pipe or a socket, which would be lost.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    # a new file in /dev would be lost, too
    if (target.exists() and not target.is_file()) or os.path.realpath(target.parent) == "/dev":
        raise OSError(errno.EOPNOTSUPP, "is a device, a pipe or a socket", str(target))


def error_number(error: OSError) -> int | None:
    """Return the number of a system error, which some libraries give in the text alone."""
    if error.errno is not None:
        return error.errno
    text = _text(error)
    if re.search(r"\d+ requested and \d+ written", text):  # numpy's words for a full disk
        return errno.ENOSPC
    found = re.search(r"\berrno\W+(\d+)", text, re.IGNORECASE)
    return int(found[1]) if found else None


def error_reason(error: OSError) -> str:
    """Return the reason of a system error in one line."""
    number = error_number(error)
    # not `error.strerror`, which is a paragraph where HDF5 raises the error
    return os.strerror(number) if number else _text(error) or type(error).__name__


def _text(error: OSError) -> str:
    # not str(error), which is "[Errno None] None: ..." as soon as an error without a number has a file name
    return " ".join(" ".join(map(str, error.args)).split())


def final_name(path: FilePath) -> Path:
    """Return the name that a temporary file of `replacing` will have; other paths are returned unchanged."""
    path = Path(path)
    found = _TEMPORARY.fullmatch(path.name)
    return path.with_name(found["name"]) if found else path


@cache
def _sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder, once for each process."""
    with suppress(OSError):  # another process has removed the file, or the folder cannot be read
        for entry in os.scandir(folder):
            found = _TEMPORARY.fullmatch(entry.name)
            if found and _is_left_over(entry, found["machine"], found["process"]):
                os.unlink(entry.path)


def _is_left_over(entry: os.DirEntry[str], machine: str | None, process: str | None) -> bool:
    """Return whether the process that wrote a file has ended; on another machine, whether the file is old."""
    if machine == _machine() and process is not None:
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            return False
        return False
    with suppress(OSError):
        return time.time() - entry.stat().st_mtime > _LONGEST_WRITE
    return False


@cache
def _machine() -> str:
    """Return a text that differs between machines, boots and containers, whose process numbers are not comparable."""
    try:
        place = Path("/proc/sys/kernel/random/boot_id").read_text("ascii") + os.readlink("/proc/self/ns/pid")
    except OSError:
        place = socket.gethostname()
    return hashlib.sha256(place.encode()).hexdigest()[:8]


def write_text(path: FilePath, text: str) -> None:
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
