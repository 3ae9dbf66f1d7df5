"""The verb baseline: classical rivals on the same split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from astrodl import tasks
from astrodl.atomic import write_json
from astrodl.config import parse
from astrodl.pipeline.objects import fit_context, labelled, prefixed_truth
from astrodl.store import open_store
from astrodl.tasks.base import Metrics


def baseline(
    task: str, store: Path, out: Path, *, settings: Mapping[str, Any] | None = None, threads: int | None = None
) -> dict[str, Any]:
    """Fit the classical rivals on the training split and measure them on the test split.

    Returns
    -------
    dict
        What is written to `out`: task, split, number of objects, metrics of each rival, and what it predicted for the
        test objects as far as that is a number or a few per object.
    """
    kind = tasks.get(task)
    parsed = parse(kind.Settings, settings or {}, f"tasks.{task}")
    with open_store(store) as reader:
        train, test = (labelled(kind, parsed, reader, part) for part in ("train", "test"))
        results: dict[str, Metrics] = {}
        kept: dict[str, Any] = {}
        if len(train) and len(test):
            job = kind(parsed, fit_context(kind, parsed, reader))
            truth, train_truth = job.truth(reader, test), job.truth(reader, train)
            for name, (predicted, reference) in job.baselines(reader, train, test).items():
                results[name] = job.score(predicted, truth, {**reference, **prefixed_truth(train_truth)})
                kept[name] = {key: values.tolist() for key, values in predicted.items() if _is_small(values)}
    report = {"task": task, "split": "test", "n_objects": len(test), "baselines": results, "predictions": kept}
    write_json(out, report)
    return report


def _is_small(values: np.ndarray) -> bool:
    return values.ndim == 1 or (values.ndim == 2 and values.shape[1] <= 20)
