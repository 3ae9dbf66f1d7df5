"""Base of all sections (frozen, typed, unknown keys refused), and errors in one line."""

import json
import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import core_schema

from astrodl.errors import ConfigError
from astrodl.plugins import find_plugins

__all__ = [
    "Fraction",
    "Name",
    "PluginName",
    "Section",
    "canonical_json",
    "expand",
    "parse",
]

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]


class Section(BaseModel):
    """Base of every configuration section."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


@dataclass(frozen=True)
class PluginName:
    """Annotation of a text setting that accepts own names, and those of the entry points of a group."""

    group: str
    own: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """All accepted names, those of other packages last."""
        return list(dict.fromkeys([*self.own, *find_plugins(self.group)]))

    def _check(self, name: str) -> str:
        if name not in self.names:
            raise ValueError(f"must be one of {', '.join(self.names)}")
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": self.names}


_LONGEST = 80
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother, _REPR.maxlong = 4, _LONGEST, _LONGEST, _LONGEST
_REPR.maxdict = _REPR.maxlist = _REPR.maxtuple = 10

SectionT = TypeVar("SectionT", bound=Section)


def parse(section: type[SectionT], values: Mapping[str, Any], source: str = "settings") -> SectionT:
    """Validate `values` as `section`.

    Raises
    ------
    ConfigError
        One line for the first key that is wrong: source, key, value, what is accepted.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(section, error, source)) from None


def _explain(section: type[Section], error: ValidationError, source: str) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(_shorten(str(part)) for part in first["loc"]) or "(root)"
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = ", ".join(_siblings(section, first["loc"]))
        return f"{source}: key '{key}' is not known; accepted here: {known}; correct or remove it{more}"
    if first["type"] == "missing":
        return f"{source}: key '{key}' is missing; add it{more}"
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
    # not `repr`, which takes for ever where a value holds the same list many times
    value = _shorten(_REPR.repr(first["input"]))
    return f"{source}: {key} = {value}: {' '.join(message.split())}; correct the value{more}"


def _shorten(text: str) -> str:
    """Return the beginning of a text, on one line."""
    return " ".join(text[:_LONGEST].split())


def _siblings(section: type[Section], location: tuple[int | str, ...]) -> list[str]:
    """List the keys accepted beside the last part of `location`."""
    schema = node = section.model_json_schema()
    for part in location[:-1]:
        node = _resolve(node, schema)
        named = next(iter(node.get("patternProperties", {}).values()), None)
        options = (node.get("properties", {}).get(part), node.get("items"), named, node.get("additionalProperties"))
        node = next((option for option in options if isinstance(option, dict)), {})
    return sorted(_resolve(node, schema).get("properties", {}))


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    node = next((option for option in node.get("anyOf", []) if option.get("type") != "null"), node)
    return schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def canonical_json(section: Section) -> str:
    """Return a JSON text that is the same for equal sections (sorted keys, no spaces)."""
    return json.dumps(section.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def expand(path: str) -> str:
    """Expand `~` and environment variables in a path.

    Raises
    ------
    ConfigError
        A variable is not set, or there is no such user.
    """
    expanded = os.path.expanduser(os.path.expandvars(path))
    unset = re.findall(r"\$\{?(\w+)", expanded)
    if unset:
        raise ConfigError(
            f"path '{path}': the environment variable {unset[0]} is not set; set it or write the path itself"
        )
    if expanded.startswith("~"):
        raise ConfigError(
            f"path '{path}': there is no user '{expanded[1:].split('/')[0]}'; correct it, or write ./~ for a folder"
        )
    return expanded
