"""Check the text of a catalogue for what a FITS table can hold, and list its classes."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from astrodl.errors import DataError
from astrodl.ingestion.columns import warn

__all__ = ["MAX_CLASSES", "report_classes", "require_ascii", "require_known_names"]

MAX_CLASSES = 100
"""Columns with more distinct values are names, not classes."""
_LEAST_PER_CLASS = 2
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
_LISTED = 5


def require_ascii(texts: Iterable[str], column: str, path: Path, remedy: str) -> None:
    """Check that texts are printable ASCII, as a FITS table needs.

    Raises
    ------
    DataError
        The first text that is not.
    """
    for text in texts:
        if not (text.isascii() and text.isprintable()):
            raise DataError(
                f"{path}: column '{column}' holds {text!r:.60}, printable ASCII is accepted, as FITS needs; {remedy}"
            )


def require_known_names(column: str, renames: Mapping[str, str], known: Iterable[str], path: Path) -> None:
    """Warn of values in `data.replace` that the column does not have."""
    absent = sorted(set(renames) - set(known))
    if absent:
        warn(path, f"data.replace.{column}: no object has {_quoted(absent)}; correct the spelling, or remove it")


def report_classes(name: str, texts: Mapping[str, int], path: Path) -> None:
    """List the classes of a column with their counts; warn of classes of one object and of similar spellings.

    Parameters
    ----------
    name
        Name of the column in the store.
    texts
        Number of objects of each class; "" and "nan" are unknown.
    path
        The catalogue, for messages.
    """
    counts = {text: count for text, count in texts.items() if text not in ("", "nan")}
    n_known, n_unknown = sum(counts.values()), sum(texts.values()) - sum(counts.values())
    has_classes = name == "class" or n_known >= _LEAST_PER_CLASS * len(counts)
    if not has_classes or not 1 <= len(counts) <= MAX_CLASSES:
        return
    ordered = sorted(counts, key=lambda label: (-counts[label], label))
    unknown = f", unknown {n_unknown:,}" if n_unknown else ""
    warn(path, f"classes of '{name}': " + ", ".join(f"{label} {counts[label]:,}" for label in ordered) + unknown)
    single = [label for label in ordered if counts[label] == 1]
    if single:
        warn(path, f"column '{name}': one object is {_quoted(single)}, too few to train on and to test; {_MERGE}{name}")
    numbers = [float(label) for label in ordered if _NUMBER.fullmatch(label)]
    negative = [label for label in ordered if _NUMBER.fullmatch(label) and float(label) < 0]
    if len(numbers) == len(ordered) and 0 < len(negative) < len(ordered):
        warn(
            path,
            f"column '{name}': {_quoted(negative)} is a class; if it means unknown, list it in data.missing.{name}",
        )
    for group in _similar(ordered):
        warn(path, f"column '{name}': {_quoted(group)} differ in spelling alone; if they are one class, {_MERGE}{name}")


_MERGE = "rename it with data.replace."


def _similar(labels: list[str]) -> list[list[str]]:
    """Group labels that differ in case, spaces and punctuation alone."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        if _NUMBER.fullmatch(label):  # 1 and -1, 1.5 and 15
            continue
        groups.setdefault(re.sub(r"[\W_]+", "", label).casefold(), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def _quoted(texts: list[str]) -> str:
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return ", ".join(f"'{text}'" for text in texts[:_LISTED]) + more
