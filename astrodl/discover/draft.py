"""A draft of a configuration, written as YAML with comments."""

import textwrap
from dataclasses import dataclass, field
from typing import Any

import yaml

__all__ = ["Draft"]

_WIDTH = 110


@dataclass
class Draft:
    """A draft of a configuration."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=list)
    comments: dict[str, list[str]] = field(default_factory=dict)
    """Key of `data`, ``split`` or task -> comments; one that starts with a question mark asks the user to check."""

    def set(self, key: str, value: Any, *comments: str) -> None:
        """Set a key of `data`, with comments."""
        self.data[key] = value
        self.comment(key, *comments)

    def comment(self, key: str, *comments: str) -> None:
        """Add comments to a key."""
        self.comments.setdefault(key, []).extend(filter(None, comments))

    @property
    def questions(self) -> list[str]:
        """What the user has to check, with the key."""
        asked = ((key, text) for key, comments in self.comments.items() for text in comments if text.startswith("?"))
        return [f"{key}: {text.lstrip('? ')}" for key, text in asked]

    def text(self, heading: list[str]) -> str:
        """Write the configuration as YAML with comments, behind a line or above it if they are long."""
        survey = {"data": self.data} | ({"split": self.split} if self.split else {})
        values = {"surveys": {self.name: survey}, "tasks": {task: {} for task in self.tasks}}
        lines = _wrap(heading, "")
        comments = dict(self.comments)
        dumped = yaml.safe_dump(values, default_flow_style=None, sort_keys=False, width=10**6, allow_unicode=True)
        for line in dumped.splitlines():
            texts = comments.pop(line.strip().partition(":")[0], [])
            short = f"{line}  # {''.join(texts)}"
            if len(texts) == 1 and len(short) <= _WIDTH:
                lines.append(short)
            else:
                lines += [*_wrap(texts, " " * (len(line) - len(line.lstrip()))), line]
        return "\n".join(lines) + "\n"


def _wrap(comments: list[str], indent: str) -> list[str]:
    wrapper = textwrap.TextWrapper(_WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}#   ")
    return [line for comment in comments for line in wrapper.wrap(comment)]
