"""Files that come into being whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
