"""Reading of settings from YAML or JSON: within limits, and no key twice."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from astrodl.errors import ConfigError

__all__ = ["read_settings", "read_yaml"]

_MOST_BYTES = 16 * 2**20
_MOST_VALUES = 200_000
"""Keys and values of a file, counted again for every alias: a few lines of nested aliases stand for billions."""
_DEEPEST = 50


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML or JSON mapping from a file.

    Raises
    ------
    ConfigError
        The file is missing, is not valid YAML, names a key twice, is too large, or does not hold a mapping.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({reason}); give an existing YAML file") from None
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{path}: has more than {_MOST_BYTES >> 20} MiB; give a YAML file with settings")
    try:
        values = _load(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        found = type(values).__name__
        raise ConfigError(f"{path}: holds a {found}, must hold a mapping of keys to values; correct the file")
    return values


def _load(text: str) -> Any:
    """Parse YAML; the message of an error lacks the file."""
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _count(root, {})
        _refuse_repeated_keys(root)
        return loader.construct_document(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"not valid YAML{where} ({problem}); correct the file") from None
    except (ValueError, OverflowError) as error:  # a date or number that Python cannot represent
        reason = str(error).split(";")[0]
        raise ConfigError(f"holds a value that cannot be read ({reason}); correct it, or put it in quotes") from None
    except RecursionError:
        raise ConfigError(_too_deep()) from None


def _children(node: yaml.Node) -> Sequence[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else ()


def _count(node: yaml.Node, counts: dict[yaml.Node, int], depth: int = 0) -> int:
    """Count the values below a node, those of an alias each time it is used.

    Raises
    ------
    ConfigError
        There are too many values, or they are nested too deeply; an alias of a value within itself is, too.
    """
    if depth > _DEEPEST:
        raise ConfigError(_too_deep())
    if node not in counts:
        counts[node] = 1 + sum(_count(child, counts, depth + 1) for child in _children(node))
    if counts[node] > _MOST_VALUES:
        raise ConfigError(f"holds more than {_MOST_VALUES:,} values, aliases included; shorten it")
    return counts[node]


def _too_deep() -> str:
    return f"its values are nested more than {_DEEPEST} deep; simplify it"


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """Yield every node once."""
    waiting, seen = [root], {root}
    while waiting:
        node = waiting.pop()
        yield node
        new = [child for child in _children(node) if child not in seen]
        seen.update(new)
        waiting += new


def _refuse_repeated_keys(root: yaml.Node) -> None:
    for node in _nodes(root):
        if not isinstance(node, yaml.MappingNode):
            continue
        first: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and first.setdefault((key.tag, key.value), key) is not key:
                lines = first[key.tag, key.value].start_mark.line + 1, key.start_mark.line + 1
                raise ConfigError(
                    f"key '{key.value:.80}' is given twice, at lines {lines[0]} and {lines[1]}; remove one"
                )


def read_settings(text: str | None) -> tuple[dict[str, Any], str]:
    """Read settings given on the command line: JSON text, the path of a YAML file, or nothing.

    Returns
    -------
    values, source
        The mapping and how to name it in messages.
    """
    if not text:
        return {}, "settings"
    if not text.lstrip().startswith("{"):
        return read_yaml(text), text
    try:
        return json.loads(text, object_pairs_hook=_to_dict), "settings"
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"settings: not valid JSON at character {error.pos} ({error.msg}); correct the text"
        ) from None
    except ValueError as error:  # a number of too many digits
        reason = str(error).split(";")[0]
        raise ConfigError(f"settings: hold a value that cannot be read ({reason}); correct the text") from None
    except RecursionError:
        raise ConfigError(f"settings: {_too_deep()}") from None


def _to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ConfigError(f"settings: key '{key:.80}' is given twice; remove one")
        values[key] = value
    return values
