"""The verb evaluate: metrics beside the baselines, and figures."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astrodl.atomic import FilePath, write_json
from astrodl.config import parse
from astrodl.errors import StoreError
from astrodl.pipeline.objects import labelled, prefix_truth
from astrodl.pipeline.predictions import Predictions
from astrodl.pipeline.reports import BaselineReport, read_baseline, read_history
from astrodl.pipeline.suitability import list_files, require_other_output
from astrodl.plots.style import save
from astrodl.plots.training import learning_curves
from astrodl.store import Reader, open_store
from astrodl.tasks.base import AnyTask, Arrays, Evaluation
from astrodl.tasks.metric import Metrics
from astrodl.tasks.model import Model, load_model

__all__ = ["evaluate"]


def evaluate(
    task: str,
    store: FilePath,
    predictions: FilePath,
    baseline: FilePath | None,
    out: FilePath,
    *,
    figures: FilePath | None = None,
    history: Sequence[FilePath] | FilePath = (),
    models: Sequence[FilePath] | FilePath = (),
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
    history : path, or sequence of path
        `history.jsonl` of each training, for the learning curves.
    models : path, or sequence of path
        The models that made the predictions, for figures of what a network draws; left out without them.
    settings : mapping, optional
        The task's section, if it names other columns of this store than those of the training.

    Returns
    -------
    dict
        The content of `out`: `task`, `title`, `split`, `n_objects`, `headline`; `metrics` {name: {best, label}};
        `constant_baselines`; `products`; `network` and `baselines` {name: ...} {metric: {value, error}}; the
        fingerprints of `store` and `models`. Errors are bootstrap standard errors.

    Raises
    ------
    StoreError
        Predictions or baselines are of another task or store, or cannot be read; predictions are of other models.

    Examples
    --------
    >>> astrodl.evaluate("photoz", "store.h5", "photoz.h5", None, "metrics.json")  # doctest: +SKIP
    """
    predicted, history, models = Predictions(Path(predictions)), list_files(history), list_files(models)
    scored = predicted.task()
    if scored.name != task:
        raise StoreError(f"{predicted.path}: predictions of task {scored.name}, not of {task}; give those of {task}")
    require_other_output(out, store, predictions, baseline, *history, *models)
    if settings:
        scored = type(scored)(parse(type(scored).Settings, settings, f"tasks.{task}"), scored.context)
    measured = read_baseline(baseline) if baseline else BaselineReport(task=task, baselines={}, predictions={})
    runs = [read_history(path) for path in history]
    loaded = _load_models(predicted, models)
    with open_store(store) as reader:
        predicted.require_store(reader)
        test = labelled(type(scored), scored.settings, reader, "test")
        if baseline:
            _check_baseline(Path(baseline), measured, scored, reader, len(test))
        kept = _scorable(predicted, test)
        test = test[kept]
        described = {metric.name: metric.describe() for metric in scored.describe_metrics()}
        metrics = _score(scored, reader, predicted, test) if len(test) else {}
        if undescribed := metrics.keys() - described.keys():
            raise ValueError(f"task {task} scores '{min(undescribed)}', which describe_metrics does not list")
        if figures is not None:
            arrays = {
                name: {key: np.asarray(values, float)[kept] for key, values in of_baseline.items()}
                for name, of_baseline in measured.predictions.items()
            }
            _draw(scored, reader, predicted, test, Evaluation(metrics, arrays, loaded), Path(figures), runs)
    report = _describe(scored, metrics, described, measured, len(test)) | {
        "store": predicted.attributes["store"],
        "models": predicted.attributes["models"],
    }
    write_json(out, report)
    return report


def _load_models(predicted: Predictions, models: Sequence[FilePath]) -> tuple[Model, ...]:
    """Load the models that made the predictions; refuse others."""
    loaded = tuple(load_model(path, device="cpu") for path in models)
    made = set(predicted.attributes["models"])
    for path, model in zip(models, loaded, strict=True):
        if model.metadata.get("fingerprint") not in made:
            raise StoreError(
                f"{path}: did not make the predictions of {predicted.path}; give the models that did, or predict again"
            )
    return loaded


def _describe(
    task: AnyTask, metrics: Metrics, described: Mapping[str, Any], measured: BaselineReport, n_objects: int
) -> dict[str, Any]:
    """Return the metrics of network and baselines, with all that is needed to show them."""
    return {
        "task": task.name,
        "title": task.title,
        "split": "test",
        "n_objects": n_objects,
        "headline": list(task.headline),
        "metrics": described,
        "constant_baselines": list(task.constant_baselines),
        "products": dict(task.products),
        "network": metrics,
        "baselines": measured.baselines,
    }


def _score(task: AnyTask, reader: Reader, predicted: Predictions, test: np.ndarray) -> Metrics:
    reference: Arrays = {}
    if task.uses_reference:
        train = labelled(type(task), task.settings, reader, "train")
        train = train[~predicted.empty[train]]
        reference = {**predicted.read(train), **prefix_truth(task.truth(reader, train))}
    return task.score(predicted.read(test), task.truth(reader, test), reference)


def _draw(
    task: AnyTask,
    reader: Reader,
    predicted: Predictions,
    test: np.ndarray,
    evaluation: Evaluation,
    folder: Path,
    runs: Sequence[list[dict[str, Any]]],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    if runs:
        drawn["learning_curves"] = learning_curves(runs, f"{task.title}: training")
    if len(test):
        drawn |= task.figures(reader, test, predicted.read(test), task.truth(reader, test), evaluation)
    for name, figure in drawn.items():
        save(figure, folder / f"{name}.png")


def _scorable(predicted: Predictions, test: np.ndarray) -> np.ndarray:
    """Return which test objects have a prediction, (n,) bool; say how many have none, or may have been trained on."""
    empty = predicted.empty[test]
    if empty.any():
        print(
            f"{predicted.path}: {int(empty.sum())} of {len(test)} test objects have no data in the bands of the "
            "networks, and are not scored (the baselines are, on their measurements)",
            file=sys.stderr,
        )
    n_seen = int((~predicted.held_out(0, len(predicted))[test]).sum())
    if n_seen:
        print(
            f"{predicted.path}: the networks may have been trained on {n_seen} of {len(test)} test objects, so that "
            "the metrics are too good; train on the training split of this store",
            file=sys.stderr,
        )
    return ~empty


def _check_baseline(path: Path, measured: BaselineReport, scored: AnyTask, reader: Reader, n_objects: int) -> None:
    """Check that baselines are of the same task, store and test objects as the predictions.

    Baselines that were trained on another survey than the networks are warned of.

    Raises
    ------
    StoreError
        They are not.
    """
    task, again = scored.name, f"run 'astrodl baseline {scored.name} {reader.path}' again"
    if measured.task != task:
        raise StoreError(f"{path}: baselines of task {measured.task}, not of {task}; give those of {task}")
    if measured.store is not None and measured.store != reader.fingerprint:
        raise StoreError(
            f"{path}: measured on another store, or on an older version of {reader.path} (fingerprint "
            f"{measured.store[:8]}, not {reader.fingerprint[:8]}); {again}"
        )
    if measured.baselines and measured.n_objects != n_objects:
        raise StoreError(
            f"{path}: measured on {measured.n_objects} test objects, the predictions on {n_objects}; {again}"
        )
    if measured.baselines and measured.train_survey not in (None, scored.context.survey):
        print(
            f"{path}: the baselines are trained on survey '{measured.train_survey}', the networks on "
            f"'{scored.context.survey}'; {again} with --train-store",
            file=sys.stderr,
        )
