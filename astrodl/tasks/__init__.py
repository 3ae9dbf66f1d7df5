"""The tasks. A new one is a file in this folder that defines `TASK`, and its name in `NAMES`."""

from importlib import import_module
from typing import TYPE_CHECKING

from astrodl.errors import ConfigError

if TYPE_CHECKING:
    from astrodl.tasks.base import Task

NAMES = ("photoz", "morphology", "votes", "segmentation", "latent", "outliers")


def get(name: str) -> "type[Task]":
    """Give the class of a task.

    Raises
    ------
    ConfigError
        No task of that name.
    """
    if name not in NAMES:
        raise ConfigError(f"task '{name}' is not known; accepted: {', '.join(NAMES)}; correct the name")
    return import_module(f"astrodl.tasks.{name}").TASK
