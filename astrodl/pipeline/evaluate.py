"""The verb evaluate: metrics beside the baselines, and figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astrodl.atomic import FilePath, write_json
from astrodl.config import parse
from astrodl.errors import StoreError
from astrodl.pipeline.objects import labelled, prefix_truth
from astrodl.pipeline.predictions import Predictions
from astrodl.plots.style import save
from astrodl.plots.training import learning_curves
from astrodl.store import Reader, open_store
from astrodl.tasks.base import AnyTask, Arrays, Evaluation
from astrodl.tasks.metric import Metrics

__all__ = ["evaluate"]


def evaluate(
    task: str,
    store: FilePath,
    predictions: FilePath,
    baseline: FilePath | None,
    out: FilePath,
    *,
    figures: FilePath | None = None,
    history: Sequence[FilePath] = (),
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score predictions on the test split beside the baselines, and draw the diagnostic figures.

    Parameters
    ----------
    task : str
        Name of the task.
    store, predictions : path
        The store and the predictions made for it.
    baseline : path, optional
        `baseline.json` of the same store.
    out : path
        `metrics.json` to write.
    figures : path, optional
        Folder for the figures.
    history : sequence of path
        `history.jsonl` of each training, for the learning curves.
    settings : mapping, optional
        The task's section, if it names other columns of this store than those of the training.

    Returns
    -------
    dict
        The content of `out`: `task`, `title`, `split`, `n_objects`, `headline`; `metrics` {name: {best, label}};
        `constant_baselines`; `products`; `network` and `baselines` {name: ...} {metric: {value, error}}. Errors are
        bootstrap standard errors.

    Raises
    ------
    StoreError
        The predictions were made for other objects, or the baselines cannot be read.

    Examples
    --------
    >>> astrodl.evaluate("photoz", "store.h5", "photoz.h5", None, "metrics.json")  # doctest: +SKIP
    """
    predicted = Predictions(Path(predictions))
    scored = predicted.task()
    if settings:
        scored = type(scored)(parse(type(scored).Settings, settings, f"tasks.{task}"), scored.context)
    measured = _read_baseline(Path(baseline)) if baseline else {"baselines": {}, "predictions": {}}
    with open_store(store) as reader:
        _check_objects(reader, predicted)
        test = labelled(type(scored), scored.settings, reader, "test")
        described = {metric.name: metric.describe() for metric in scored.describe_metrics()}
        metrics = _score(scored, reader, predicted, test) if len(test) else {}
        if undescribed := metrics.keys() - described.keys():
            raise ValueError(f"task {task} scores '{min(undescribed)}', which describe_metrics does not list")
        if figures is not None:
            arrays = {
                name: {key: np.asarray(values, float) for key, values in kept.items()}
                for name, kept in measured["predictions"].items()
            }
            _draw(scored, reader, predicted, test, Evaluation(metrics, arrays), Path(figures), history)
    report = {
        "task": task,
        "title": scored.title,
        "split": "test",
        "n_objects": len(test),
        "headline": list(scored.headline),
        "metrics": described,
        "constant_baselines": list(scored.constant_baselines),
        "products": dict(scored.products),
        "network": metrics,
        "baselines": measured["baselines"],
    }
    write_json(out, report)
    return report


def _score(task: AnyTask, reader: Reader, predicted: Predictions, test: np.ndarray) -> Metrics:
    reference: Arrays = {}
    if task.uses_reference:
        train = labelled(type(task), task.settings, reader, "train")
        reference = {**predicted.read(train), **prefix_truth(task.truth(reader, train))}
    return task.score(predicted.read(test), task.truth(reader, test), reference)


def _draw(
    task: AnyTask,
    reader: Reader,
    predicted: Predictions,
    test: np.ndarray,
    evaluation: Evaluation,
    folder: Path,
    history: Sequence[FilePath],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    if history:
        runs = [[json.loads(line) for line in Path(path).read_text().splitlines()] for path in history]
        drawn["learning_curves"] = learning_curves(runs, f"{task.title}: training")
    if len(test):
        drawn |= task.figures(reader, test, predicted.read(test), task.truth(reader, test), evaluation)
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


def _check_objects(reader: Reader, predicted: Predictions) -> None:
    if not np.array_equal(reader.object_id, predicted.object_id):
        raise StoreError(
            f"{predicted.path}: made for other objects than {reader.path} holds ({len(predicted)} and {len(reader)}); "
            "predict again"
        )
