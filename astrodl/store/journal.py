"""The journal of a writer: what it has finished, line by line, so that the next writer continues after a kill."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astrodl.atomic import write_text

__all__ = ["Journal"]


class Journal:
    """Entries in JSON, one on each line; the first line says what they belong to.

    Parameters
    ----------
    path
        The file.
    identity
        Text that identifies the content; entries of another content are not read.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self._head = {"resume": identity}

    def read(self) -> list[dict[str, Any]] | None:
        """Return the entries, or None if there is no journal of this content.

        A line that was torn by a kill or a full disk ends the journal: it is cut off, so that the next entry begins on
        a line of its own.
        """
        if not self.path.is_file():
            return None
        data = self.path.read_bytes()
        entries: list[dict[str, Any]] = []
        length = 0
        for line in data.split(b"\n")[:-1]:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                break
            if not isinstance(entry, dict):
                break
            entries.append(entry)
            length += len(line) + 1
        if not entries or entries[0] != self._head:
            return None
        if length < len(data):
            os.truncate(self.path, length)
        return entries[1:]

    def start(self, entries: Sequence[dict[str, Any]] = ()) -> None:
        """Replace the journal by one with these entries."""
        write_text(self.path, "".join(_line(entry) for entry in (self._head, *entries)))

    def append(self, entry: dict[str, Any]) -> None:
        """Add an entry."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(_line(entry))

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":")) + "\n"
