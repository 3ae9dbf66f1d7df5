"""The verb evaluate: metrics beside the baselines, and figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astrodl.atomic import write_json
from astrodl.config import parse
from astrodl.errors import StoreError
from astrodl.pipeline.objects import labelled, prefixed_truth
from astrodl.pipeline.predictions import Predictions
from astrodl.plots.style import save
from astrodl.plots.training import learning_curves
from astrodl.store import Reader, open_store
from astrodl.tasks.base import Arrays, Metrics, Report, Task


def evaluate(
    task: str,
    store: Path,
    predictions: Path,
    baseline: Path | None,
    out: Path,
    *,
    figures: Path | None = None,
    history: Sequence[Path] = (),
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure predictions on the test split, beside the baselines, and draw the diagnostic figures.

    Parameters
    ----------
    task : str
        Name of the task.
    store, predictions : Path
        The store and what was predicted for it.
    baseline : Path, optional
        `baseline.json` of the same store.
    out : Path
        `metrics.json` to write.
    figures : Path, optional
        Folder for the figures.
    history : sequence of Path
        `history.jsonl` of each training, for the learning curves.
    settings : mapping, optional
        The task's section; columns named there are looked up in this store.

    Returns
    -------
    dict
        What is written to `out`.
    """
    predicted = Predictions(predictions)
    job = predicted.task()
    if settings:
        job = type(job)(parse(type(job).Settings, settings, f"tasks.{task}"), job.context)
    with open_store(store) as reader:
        _same_objects(reader, predicted)
        test = labelled(type(job), job.settings, reader, "test")
        rivals = _read_baseline(baseline) if baseline else {"baselines": {}, "predictions": {}}
        metrics = _score(job, reader, predicted, test) if len(test) else {}
        report = {
            "task": task,
            "split": "test",
            "n_objects": len(test),
            "headline": list(job.headline),
            "network": metrics,
            "baselines": rivals["baselines"],
        }
        if figures is not None:
            arrays = {
                name: {key: np.asarray(values, float) for key, values in kept.items()}
                for name, kept in rivals["predictions"].items()
            }
            _draw(job, reader, predicted, test, Report(metrics, arrays), figures, history)
    write_json(out, report)
    return report


def _score(job: Task, reader: Reader, predicted: Predictions, test: np.ndarray) -> Metrics:
    reference: Arrays = {}
    if job.uses_reference:
        train = labelled(type(job), job.settings, reader, "train")
        reference = {**predicted.read(train), **prefixed_truth(job.truth(reader, train))}
    return job.score(predicted.read(test), job.truth(reader, test), reference)


def _draw(
    job: Task,
    reader: Reader,
    predicted: Predictions,
    test: np.ndarray,
    report: Report,
    folder: Path,
    history: Sequence[Path],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    if history:
        runs = [[json.loads(line) for line in path.read_text().splitlines()] for path in history]
        drawn["learning_curves"] = learning_curves(runs, f"{job.title}: training")
    if len(test):
        drawn |= job.figures(reader, test, predicted.read(test), job.truth(reader, test), report)
    for name, figure in drawn.items():
        save(figure, folder / f"{name}.png")


def _read_baseline(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return {"baselines": report["baselines"], "predictions": report["predictions"]}
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); run 'astrodl baseline' first") from None
    except (ValueError, KeyError):
        raise StoreError(f"{path}: does not hold baselines; run 'astrodl baseline' again") from None


def _same_objects(reader: Reader, predicted: Predictions) -> None:
    if not np.array_equal(reader.object_id, predicted.object_id):
        raise StoreError(
            f"{predicted.path}: made for other objects than {reader.path} holds ({len(predicted)} and {len(reader)}); "
            "predict again"
        )
