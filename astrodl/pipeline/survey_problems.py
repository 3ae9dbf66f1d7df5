"""Problems of catalogues, identifiers and tasks without images that only the last steps of the pipeline would meet."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from astrodl.config import DataSettings, expand
from astrodl.errors import AstrodlError

__all__ = ["catalogue_problems", "explanation_problems", "identifier_problems", "pixel_problems"]

_BLOCK = 65536


def catalogue_problems(surveys: Iterable[DataSettings]) -> list[str]:
    """List why the catalogues of surveys cannot be ingested, one line each; one that is elsewhere is skipped."""
    from astrodl.ingestion.objects import read_objects
    from astrodl.ingestion.tables import find_catalog

    problems = []
    for data in surveys:
        try:
            if os.path.isdir(expand(data.root)) and (path := find_catalog(data)[1]).is_file():
                read_objects(path, data)
        except AstrodlError as error:
            problems.append(str(error))
    return problems


def pixel_problems(config: Any) -> list[str]:
    """List what surveys without images cannot give: tasks and settings that need pixels, models of images."""
    from astrodl import tasks

    problems: dict[str, None] = {}
    for name, survey in config.surveys.items():
        other = config.surveys[survey.models_from or name]
        if _has_images(survey) != _has_images(other):
            problems[f"surveys.{name}.models_from = {survey.models_from}: one of the two surveys has no images"] = None
        if _has_images(survey):
            continue
        for task in survey.tasks or tasks.NAMES:
            if (settings := getattr(config.tasks, task, None)) is not None:
                try:
                    tasks.get(task).without_images(settings, len(survey.data.bands))
                except AstrodlError as error:
                    problems[f"surveys.{name}: {error}"] = None
    return list(problems)


def explanation_problems(config: Any) -> list[str]:
    """List what keeps a survey from being explained: Captum is not installed."""
    asked = [
        f"{name}.{key}"
        for name, survey in config.surveys.items()
        for key in ("explain", "shares")
        if getattr(survey, key)
    ]
    if not asked or find_spec("captum"):
        return []
    return [
        f"surveys.{asked[0]}: needs Captum, which is not installed; remove it, or run: "
        "pip install 'astrodl-survey[explain]'"
    ]


def _has_images(survey: Any) -> bool:
    return survey.data is None or bool(survey.data.has_images)


def identifier_problems(path: Path) -> list[str]:
    """List the first identifier of a store that a FITS catalogue cannot hold."""
    from astrodl.store import open_store

    with open_store(path) as reader:
        for start in range(0, len(reader), _BLOCK):
            for name in reader.block("object_id", start, min(start + _BLOCK, len(reader))):
                if not (name.isascii() and name.isprintable()):
                    return [
                        f"{path}: object_id {str(name)!r:.60} is not printable ASCII, as `astrodl catalog` needs; "
                        "rename the objects and ingest again"
                    ]
    return []
