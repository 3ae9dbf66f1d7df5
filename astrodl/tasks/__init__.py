"""The tasks of the pipeline.

A new task is a file in this folder that defines `TASK`, and its name in `_OWN`. A task of another package is an entry
point of the group `astrodl.tasks`: see `astrodl.plugins`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from astrodl.errors import ConfigError
from astrodl.plugins import find_plugins

if TYPE_CHECKING:
    from astrodl.tasks.base import Task

__all__ = ["NAMES", "get"]

_OWN = ("photoz", "morphology", "votes", "segmentation", "latent", "outliers")

NAMES = tuple(dict.fromkeys([*_OWN, *find_plugins("astrodl.tasks")]))
"""Names of all tasks, those of other packages last."""


def get(name: str) -> "type[Task[Any, Any]]":
    """Return the class of a task.

    Raises
    ------
    ConfigError
        No task of that name.
    """
    if name in _OWN:
        return import_module(f"astrodl.tasks.{name}").TASK
    if name in NAMES:
        return find_plugins("astrodl.tasks")[name].load()
    raise ConfigError(f"task '{name}' is not known; accepted: {', '.join(NAMES)}; correct the name")
