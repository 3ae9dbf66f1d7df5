"""Reading back the JSON files of the pipeline: metrics, baselines, histories of trainings."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from astrodl.errors import AstrodlError, DataError, StoreError
from astrodl.tasks.context import explain

__all__ = ["BaselineReport", "MetricsReport", "read_baseline", "read_history", "read_report"]

_Number = Annotated[float, Field(allow_inf_nan=False)] | None


class _Value(BaseModel):
    """Value of a metric with its error; null where it is not finite."""

    model_config = ConfigDict(extra="allow", strict=True)

    value: _Number
    error: _Number = None


class _Metric(BaseModel):
    """Direction and label of a metric."""

    model_config = ConfigDict(extra="allow")

    best: Literal["high", "low"] | Annotated[float, Field(strict=True, allow_inf_nan=False)]
    label: str


_Scores = dict[str, dict[str, _Value]]


class MetricsReport(BaseModel):
    """Content of `metrics.json`."""

    model_config = ConfigDict(extra="allow", strict=True)

    task: str
    title: str = ""
    n_objects: Annotated[int, Field(ge=0)]
    headline: list[str]
    metrics: dict[str, _Metric]
    network: dict[str, _Value]
    baselines: _Scores
    products: dict[str, str] = {}
    constant_baselines: list[str] = []


class BaselineReport(BaseModel):
    """Content of `baseline.json`; older ones lack the fingerprint of the store, and what they were trained on."""

    model_config = ConfigDict(extra="allow", strict=True)

    task: str
    n_objects: Annotated[int, Field(ge=0)] = 0
    store: str | None = None
    train_survey: str | None = None
    baselines: dict[str, dict[str, dict[str, _Number]]]
    predictions: dict[str, dict[str, list[Any]]]


_HISTORY = TypeAdapter(dict[str, _Number | bool | str | dict[str, _Number] | None])
ReportT = TypeVar("ReportT", bound=BaseModel)


def read_report(
    path: str | os.PathLike[str], kind: type[ReportT], what: str, verb: str, error_class: type[AstrodlError]
) -> ReportT:
    """Read and check a JSON file.

    Raises
    ------
    AstrodlError
        Of `error_class`: the file is missing or damaged, or of another kind.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise error_class(f"{path}: does not hold {what} (not text); run 'astrodl {verb}' again") from None
    except OSError as error:
        raise error_class(f"{path}: cannot be read ({error.strerror}); run 'astrodl {verb}' first") from None
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise error_class(f"{path}: does not hold {what} ({explain(error)}); run 'astrodl {verb}' again") from None


def read_baseline(path: str | os.PathLike[str]) -> BaselineReport:
    """Read a `baseline.json`.

    Raises
    ------
    StoreError
        The file is missing or damaged, or holds no baselines.
    """
    return read_report(path, BaselineReport, "baselines", "baseline", StoreError)


def read_history(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the `history.jsonl` of a training.

    Raises
    ------
    DataError
        The file is missing or damaged.
    """
    entries = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        for line in lines:
            _HISTORY.validate_json(line)
            entries.append(json.loads(line))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give the history.jsonl of a training") from None
    except ValueError as error:
        reason = explain(error) if isinstance(error, ValidationError) else "not text"
        raise DataError(
            f"{path}: line {len(entries) + 1} is not an epoch of a training ({reason}); train again"
        ) from None
    if not entries:
        raise DataError(f"{path}: is empty; give the history.jsonl of a training")
    return entries
