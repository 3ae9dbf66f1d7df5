"""The draft of a configuration: values with the reasons for them, written as commented YAML."""

import textwrap
from dataclasses import dataclass, field
from typing import Any

import yaml

WIDTH = 110


@dataclass
class Draft:
    """A configuration in the making.

    Attributes
    ----------
    name
        Of the survey.
    data, split, tasks
        Sections of the survey and tasks to run; lists of bands hold one mapping each.
    why
        Key of `data` or `split` (``bands.0`` for the first band) -> what it was seen from.
    questions
        What could not be told: key of `data` -> comments below it that ask.
    unfinished
        What must be answered before the configuration runs.
    """

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    questions: dict[str, list[str]] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)

    def set(self, key: str, value: Any, why: str = "") -> None:
        """Set a key of `data`, and say from what it was seen."""
        self.data[key] = value
        if why:
            self.why[key] = why

    def ask(self, key: str, question: str) -> None:
        """Ask in a comment below a key of `data`."""
        self.questions.setdefault(key, []).append(question)

    @property
    def values(self) -> dict[str, Any]:
        """The configuration as a mapping."""
        survey = {"data": self.data} | ({"split": self.split} if self.split else {})
        return {"surveys": {self.name: survey}, "tasks": {task: {} for task in self.tasks}}

    def text(self, heading: str) -> str:
        """Write the configuration as YAML with comments."""
        lines = [part for line in heading.splitlines() for part in wrapped(line, "# ")]
        lines += [f"# It does not run yet: {line}" for line in self.unfinished]
        lines += ["surveys:", f"  {_scalar(self.name)}:", "    data:"]
        asked = dict(self.questions)
        for key, value in self.data.items():
            lines += self._entry(key, value)
            for question in asked.pop(key, []):
                lines += wrapped(question, "      # ")
        for question in (one for rest in asked.values() for one in rest):
            lines += wrapped(question, "      # ")
        if self.split:
            lines += _line(4, "split:", self.why.get("split", ""))
            lines += [f"      {key}: {_scalar(value)}" for key, value in self.split.items()]
        lines += ["", "tasks:"]
        for task, why in self.tasks.items():
            lines += _line(2, f"{task}: {{}}", why)
        return "\n".join(lines) + "\n"

    def _entry(self, key: str, value: Any) -> list[str]:
        if not isinstance(value, list):
            return _line(6, f"{key}: {_scalar(value)}", self.why.get(key, ""))
        lines = _line(6, f"{key}:", self.why.get(key, ""))
        for k, one in enumerate(value):
            lines += _line(8, f"- {_scalar(one)}", self.why.get(f"{key}.{k}", ""))
        return lines


def _line(indent: int, text: str, comment: str) -> list[str]:
    """Write a line with its comment behind, or above where that would be too long."""
    space = " " * indent
    if not comment:
        return [space + text]
    line = f"{space}{text}  # {comment}"
    if len(line) <= WIDTH:
        return [line]
    return [*wrapped(comment, f"{space}# "), space + text]


def wrapped(text: str, start: str, after: str | None = None) -> list[str]:
    """Break a text into lines that start with `start`, those after the first with `after`."""
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=start if after is None else after)


def _scalar(value: Any) -> str:
    """Write a value on one line, mappings in braces."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
