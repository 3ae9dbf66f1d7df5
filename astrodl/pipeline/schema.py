"""The root configuration, composed of the shared sections and those of the tasks, and its JSON schema."""

import os
from functools import cache
from typing import Annotated, Any

from pydantic import Field, create_model, field_validator, model_validator

from astrodl import tasks
from astrodl.config import DataSettings, Name, Section, SimulateSettings, SplitSettings, expand, parse, read_yaml

__all__ = ["SurveySettings", "load_config", "root", "schema"]

RESERVED = ("benchmarks", "figures", "hats", "logs", "report.html", "shards", "simulated")
"""Names of folders and files of the results, which no survey may have."""


class SurveySettings(Section):
    """A survey: simulated or real, and how it is split."""

    simulate: SimulateSettings | None = None
    """Simulate the survey (this or `data`)."""
    data: DataSettings | None = None
    """Ingest a real survey (this or `simulate`)."""
    split: SplitSettings = SplitSettings()
    """Training, validation and test."""
    shards: Annotated[int, Field(ge=1, le=9999)] | None = None
    """Divide the survey into this many parts of the sky, ingested and predicted as jobs of their own; networks are
    trained and measured on what `split.sample` or `data.split_column` leave. By default it is not divided."""
    models_from: Name | None = None
    """Name of another survey whose models predict this one; nothing is trained here."""
    tasks: tuple[str, ...] | None = None
    """Names of the tasks to run on this survey; by default all of the root's."""
    explain: tuple[str, ...] = ()
    """Names of tasks whose predictions are explained in the report, by maps of some test objects; needs Captum (extra
    `explain`)."""
    shares: tuple[str, ...] = ()
    """Names of tasks for which the catalogue says which bands and annuli the prediction comes from, in the columns
    `TASK_band_share` and `TASK_radius_share`; needs Captum."""

    @model_validator(mode="after")
    def _one_source(self) -> "SurveySettings":
        if (self.simulate is None) == (self.data is None):
            raise ValueError("give exactly one of `simulate` and `data`")
        return self


@cache
def root() -> type[Section]:
    """Return the class of the root configuration; a task runs where its section is present."""
    sections = {name: (tasks.get(name).Settings | None, None) for name in tasks.NAMES}
    chosen: Any = create_model(
        "TasksSettings", __base__=Section, __doc__="Tasks to run, with their settings.", **sections
    )  # type: ignore[call-overload]

    class RootSettings(Section):
        """Configuration of a run."""

        results: str = "results"
        """Folder of the results, in which `~` and environment variables are expanded; each survey has its own folder in
        it."""
        surveys: dict[Name, SurveySettings] = Field(min_length=1)
        """Surveys by name."""
        tasks: chosen
        """Tasks to run, with their settings."""

        @field_validator("results")
        @classmethod
        def _is_folder(cls, results: str) -> str:
            folder = expand(results)
            if not folder.strip("/. ") or set(folder) & set("{}$") or not folder.isprintable():
                raise ValueError("must be the path of a folder, without { and }")
            return results

        @field_validator("surveys")
        @classmethod
        def _distinct_folders(cls, surveys: dict[str, SurveySettings]) -> dict[str, SurveySettings]:
            for name in surveys:
                if name.lower() in RESERVED:
                    raise ValueError(f"'{name}' is the name of a folder or file of the results; rename the survey")
                alike = [other for other in surveys if other.lower() == name.lower()]
                if len(alike) > 1:
                    raise ValueError(f"the names {' and '.join(alike)} are one folder on some disks; rename one")
            return surveys

        @model_validator(mode="before")
        @classmethod
        def _present_runs(cls, values: Any) -> Any:
            """Read an empty section (`photoz:` and nothing below it) as one with all defaults."""
            chosen = values.get("tasks") if isinstance(values, dict) else None
            if not isinstance(chosen, dict):
                return values
            return {**values, "tasks": {name: {} if section is None else section for name, section in chosen.items()}}

        @model_validator(mode="after")
        def _known(self) -> "RootSettings":
            for name, survey in self.surveys.items():
                if survey.models_from is not None and survey.models_from not in self.surveys:
                    raise ValueError(
                        f"survey '{name}' takes models_from '{survey.models_from}', "
                        f"which is none of {', '.join(self.surveys)}"
                    )
                for task in survey.tasks or ():
                    if getattr(self.tasks, task, None) is None:
                        raise ValueError(f"survey '{name}' asks for task '{task}', which has no section under tasks")
            return self

    return RootSettings


def schema() -> dict[str, Any]:
    """Return the JSON schema with which the workflow validates its configuration.

    The keyword `x-tasks` tells the workflow the priority and the products of each task, and whether it needs images.

    Examples
    --------
    >>> astrodl.schema()["title"]
    'astrodl configuration'
    """
    classes = {name: tasks.get(name) for name in tasks.NAMES}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root().model_json_schema(),
        "title": "astrodl configuration",
        "x-tasks": {
            name: {"priority": c.priority, "products": list(c.products), "needs_images": c.needs_images()}
            for name, c in classes.items()
        },
    }


def load_config(path: str | os.PathLike[str]) -> Any:
    """Read and validate a YAML configuration.

    Raises
    ------
    ConfigError
        One line that names file, key, value and what is accepted.

    Examples
    --------
    >>> astrodl.load_config("config/config.yaml").results  # doctest: +SKIP
    'results'
    """
    return parse(root(), read_yaml(path), str(path))
