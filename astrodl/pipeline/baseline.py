"""The verb baseline: classical methods on the same split."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from astrodl import tasks
from astrodl.atomic import FilePath, write_json
from astrodl.config import parse
from astrodl.pipeline.objects import adapt_settings, fit_context, labelled, prefix_truth
from astrodl.pipeline.suitability import require_other_output
from astrodl.store import open_store
from astrodl.tasks.metric import Metrics

__all__ = ["baseline"]

_LARGEST_WIDTH = 20
"""Numbers per object of a prediction that is kept for figures."""


def baseline(
    task: str, store: FilePath, out: FilePath, *, settings: Mapping[str, Any] | None = None, threads: int | None = None
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
    settings : mapping, optional
        The task's section; defaults otherwise.
    threads : int, optional
        CPU threads; by default the choice of the libraries.

    Returns
    -------
    dict
        The content of `out`: task, split, number of objects, fingerprint of the store, metrics of each baseline, and
        its predictions for the test objects where they are at most a few numbers per object.

    Examples
    --------
    >>> astrodl.baseline("photoz", "store.h5", "baseline.json")  # doctest: +SKIP
    """
    require_other_output(out, store)
    task_class = tasks.get(task)
    parsed = parse(task_class.Settings, settings or {}, f"tasks.{task}")
    results: dict[str, Metrics] = {}
    predictions: dict[str, Any] = {}
    with open_store(store) as reader, threadpool_limits(threads):
        parsed = adapt_settings(task_class, parsed, reader)
        train, test = (labelled(task_class, parsed, reader, subset) for subset in ("train", "test"))
        if len(train) and len(test):
            fitted = task_class(parsed, fit_context(task_class, parsed, reader))
            truth, train_truth = fitted.truth(reader, test), prefix_truth(fitted.truth(reader, train))
            for name, (predicted, reference) in fitted.baselines(reader, train, test).items():
                results[name] = fitted.score(predicted, truth, {**reference, **train_truth})
                predictions[name] = {key: values.tolist() for key, values in predicted.items() if _is_small(values)}
        identity = {"task": task, "split": "test", "n_objects": len(test), "store": reader.fingerprint}
    report = {**identity, "baselines": results, "predictions": predictions}
    write_json(out, report)
    return report


def _is_small(values: np.ndarray) -> bool:
    return values.ndim == 1 or (values.ndim == 2 and values.shape[1] <= _LARGEST_WIDTH)
