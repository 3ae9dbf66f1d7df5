"""The verb baseline: classical methods on the same split."""

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from astrodl import tasks
from astrodl.atomic import FilePath, write_json
from astrodl.config import parse
from astrodl.errors import DataError
from astrodl.pipeline.objects import adapt_settings, fit_context, labelled, prefix_truth
from astrodl.pipeline.suitability import check_train_store, require_other_output, warn_of_overlap
from astrodl.store import Reader, open_store
from astrodl.tasks.base import AnyTask
from astrodl.tasks.metric import Metrics

__all__ = ["baseline"]

_LARGEST_WIDTH = 20
"""Numbers per object of a prediction that is kept for figures."""


def baseline(
    task: str,
    store: FilePath,
    out: FilePath,
    *,
    train_store: FilePath | None = None,
    settings: Mapping[str, Any] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Fit the classical baselines on the training split and score them on the test split.

    Parameters
    ----------
    task : str
        Name of the task.
    store : path
        Store written by `astrodl ingest`.
    out : path
        `baseline.json` to write.
    train_store : path, optional
        Store of another survey whose training split the baselines are fitted on, as the networks that predict this one
        were; by default `store`.
    settings : mapping, optional
        The task's section; defaults otherwise.
    threads : int, optional
        CPU threads; by default the choice of the libraries.

    Returns
    -------
    dict
        The content of `out`: task, split, number of objects, fingerprints of both stores and survey of the training
        one, metrics of each baseline, and its predictions for the test objects where they are at most a few numbers
        per object.

    Raises
    ------
    DataError
        The training store lacks what the baselines are fitted on.
    StoreError
        The store lacks bands of the training store, or has cutouts of another size.

    Examples
    --------
    >>> astrodl.baseline("photoz", "store.h5", "baseline.json")  # doctest: +SKIP
    """
    require_other_output(out, store, train_store)
    task_class = tasks.get(task)
    parsed = parse(task_class.Settings, settings or {}, f"tasks.{task}")
    results: dict[str, Metrics] = {}
    predictions: dict[str, Any] = {}
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(threads))
        reader = trained_on = stack.enter_context(open_store(store))
        parsed = adapt_settings(task_class, parsed, reader)
        test = labelled(task_class, parsed, reader, "test")
        if train_store is not None and os.path.realpath(train_store) != os.path.realpath(store):
            trained_on = stack.enter_context(open_store(train_store))
            check_train_store(reader, trained_on)
        train = labelled(task_class, parsed, trained_on, "train")
        _require_objects(task_class, parsed, trained_on, train, reader, test)
        if len(train) and len(test):
            warn_of_overlap(reader, test, trained_on, train)
            fitted = task_class(parsed, fit_context(task_class, parsed, trained_on))
            truth, train_truth = fitted.truth(reader, test), prefix_truth(fitted.truth(trained_on, train))
            for name, (predicted, reference) in fitted.baselines(trained_on, train, reader, test).items():
                results[name] = fitted.score(predicted, truth, {**reference, **train_truth})
                predictions[name] = {key: values.tolist() for key, values in predicted.items() if _is_small(values)}
        identity = {
            "task": task,
            "split": "test",
            "n_objects": len(test),
            "store": reader.fingerprint,
            "train_store": trained_on.fingerprint,
            "train_survey": trained_on.survey,
        }
    report = {**identity, "baselines": results, "predictions": predictions}
    write_json(out, report)
    return report


def _require_objects(
    task_class: type[AnyTask], settings: Any, train_store: Reader, train: np.ndarray, store: Reader, test: np.ndarray
) -> None:
    """Check that another survey has training objects; say why there are no baselines otherwise.

    Raises
    ------
    DataError
        The store that was given for the training has no training objects.
    """
    for which, reader, objects in (("training", train_store, train), ("test", store, test)):
        if len(objects):
            continue
        missing = task_class.missing_truth(settings, reader)
        reason = missing or f"{reader.path}: no {which} objects that task {task_class.name} can use"
        if reader is not store:
            raise DataError(missing or f"{reason}; give the store that the networks were trained on")
        print(f"{reason}: no baselines", file=sys.stderr)
        return


def _is_small(values: np.ndarray) -> bool:
    return values.ndim == 1 or (values.ndim == 2 and values.shape[1] <= _LARGEST_WIDTH)
