"""The part of `--settings` that a verb needs: a section, or the whole configuration from which it is taken."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from astrodl.errors import ConfigError

if TYPE_CHECKING:
    from astrodl.config import IngestSettings, SimulateSettings

__all__ = ["add_settings", "add_survey", "read_simulation", "read_survey", "read_task"]

_OF_SURVEY = ("data", "simulate", "split", "shards")
"""Keys of a survey that `astrodl ingest` needs."""
_OF_RUNS = ("folds", "seeds")
"""Keys of a task that say which trainings to run; a training has its own `--fold` and `--seed`."""


def add_settings(verb: argparse.ArgumentParser, what: str, *, required: bool = False) -> None:
    """Add `--settings`."""
    verb.add_argument(
        "--settings",
        metavar="S",
        required=required,
        help=f"{what}, or a whole configuration: JSON text, or the path of a YAML file",
    )


def add_survey(verb: argparse.ArgumentParser) -> None:
    """Add `--survey`."""
    verb.add_argument("--survey", metavar="NAME", help="which survey of a configuration that has several")


def read_simulation(args: argparse.Namespace) -> "SimulateSettings":
    """Read the settings of a simulation."""
    from astrodl.config import SimulateSettings, parse, read_settings

    values, source = read_settings(args.settings)
    whole = "surveys" in values
    values = _survey(values, source, args.survey)
    if whole and values.get("simulate") is None:
        raise ConfigError(f"{source}: survey '{values['survey']}' has no key `simulate`; choose another with --survey")
    if "simulate" in values:
        values = values["simulate"]
    return parse(SimulateSettings, values, source)


def read_survey(args: argparse.Namespace) -> "tuple[IngestSettings, int | None]":
    """Read the settings of a survey, and its number of shards."""
    from astrodl.config import IngestSettings, SimulateSettings, parse, read_settings
    from astrodl.simulator.survey import data_settings

    values, source = read_settings(args.settings)
    values = _survey(values, source, args.survey)
    n_shards = values.pop("shards", None)
    if args.simulated is not None:
        if "data" in values:
            raise ConfigError(
                f"{source}: key 'data' does not go with --simulated; give `simulate` instead, or leave --simulated out"
            )
        simulated = parse(SimulateSettings, values.pop("simulate", None) or {}, source)
        values["data"] = data_settings(simulated, args.simulated).model_dump()
    elif "simulate" in values and "data" not in values:
        raise ConfigError(
            f"{source}: the survey is simulated; run `astrodl simulate`, then give its folder as --simulated"
        )
    return parse(IngestSettings, values, source), n_shards


def read_task(args: argparse.Namespace) -> dict[str, Any]:
    """Read the section of the task `args.task`."""
    from astrodl.config import read_settings

    values, source = read_settings(args.settings)
    sections = values.get("tasks")
    if "tasks" not in values and "surveys" not in values:
        return values
    if not isinstance(sections, Mapping) or args.task not in sections:
        listed = ", ".join(map(str, sections)) if isinstance(sections, Mapping) else "no tasks"
        raise ConfigError(f"{source}: has no section tasks.{args.task} (has {listed}); add it, or give a section alone")
    section = sections[args.task]
    if section is not None and not isinstance(section, Mapping):
        raise ConfigError(f"{source}: tasks.{args.task} = {section!r:.80}: must be a mapping; correct the value")
    return {key: value for key, value in (section or {}).items() if key not in _OF_RUNS}


def _survey(values: dict[str, Any], source: str, name: str | None) -> dict[str, Any]:
    """Return the settings of one survey of a configuration; settings of a single survey are returned unchanged."""
    surveys = values.get("surveys")
    if not isinstance(surveys, dict):
        if name is not None:
            raise ConfigError(
                f"--survey {name}: {source} has no key `surveys`; leave --survey out, or give a whole file"
            )
        return values
    if name is None and len(surveys) == 1:
        (name,) = surveys
    if name not in surveys:
        asked = "several surveys" if name is None else f"no survey '{name}'"
        raise ConfigError(f"{source}: holds {asked} (has {', '.join(map(str, surveys))}); choose one with --survey")
    chosen = surveys[name] if isinstance(surveys[name], dict) else {}
    return {"survey": name} | {key: value for key, value in chosen.items() if key in _OF_SURVEY}
