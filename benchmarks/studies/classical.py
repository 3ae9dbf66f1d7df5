"""Fit classical methods of a task with a seed, and measure them on a store of test objects.

``python classical.py TASK STORE TEST SETTINGS SEED OUT METHOD ...`` writes the file that `astrodl baseline` writes,
with the CPU seconds of each method. For seeds above 0 it leaves out the methods that a seed does not change.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from astrodl import open_store, tasks
from astrodl.atomic import write_json
from astrodl.baselines import morphology
from astrodl.config import parse
from astrodl.photometry.features import photometric_features, structural_features
from astrodl.pipeline.objects import fit_context, labelled
from astrodl.store import Reader
from astrodl.tasks.base import AnyTask, Arrays
from astrodl.tasks.inputs import scale_free_features
from astrodl.tasks.outliers.rivals import score_codes
from astrodl.tasks.photoz.report import METHODS, summaries

__all__ = ["MORPHOLOGY", "fit_classes"]

SEEDED = ("forest", "mlp", "forest_no_colour")
"""Methods that a seed changes."""
MORPHOLOGY = {
    "forest": (morphology.forest, scale_free_features),
    "svm": (morphology.svm, scale_free_features),
    "mlp": (morphology.mlp, scale_free_features),
    "forest_no_colour": (morphology.forest, structural_features),
}
"""Each method of morphology with the features that it reads."""


def fit_classes(name: str, store: Reader, train: np.ndarray, label: np.ndarray, x: np.ndarray, **options: Any) -> Any:
    """Fit a method of morphology to the objects `train`; return the class probabilities of others with features `x`."""
    method, features = MORPHOLOGY[name]
    return method(store.features(features(store.feature_names), train), label, x, **options)


def predict(task: AnyTask, name: str, seed: int, store: Reader, train: np.ndarray, test: Reader, rows: Any) -> Arrays:
    """Fit a method to the objects `train` of a store; predict the objects `rows` of the test store."""
    # Ten apart, because the networks of an ensemble take consecutive seeds.
    options = {"seed": 10 * seed} if name in SEEDED else {}
    if task.name == "outliers":
        found = score_codes(task.read, task.context.normalization, (store, train), (test, rows))
        return {"score": found["vae_residual"], "knn": found["vae_knn"]}
    truth = task.truth(store, train)
    if task.name == "photoz":
        names, edges = photometric_features(store.feature_names), np.asarray(task.context.constants["edges"])
        x, y = store.features(names, train), test.features(names, rows)
        pdf = METHODS[name](x, truth["z"], y, edges, **options)["pdf"]
        return {"pdf": pdf, **summaries(pdf, edges)}
    y = test.features(MORPHOLOGY[name][1](test.feature_names), rows)
    n_classes = len(task.context.constants["classes"])
    return {"probability": fit_classes(name, store, train, truth["label"], y, n_classes=n_classes, **options)}


def main(name: str, store: str, test: str, settings: str, seed: str, out: str, *methods: str) -> None:
    torch.set_num_threads(1)
    task_class = tasks.get(name)
    parsed = parse(task_class.Settings, json.loads(settings))
    report: dict[str, Any] = {"baselines": {}, "predictions": {}, "seconds": {}}
    with open_store(store) as reader, open_store(test) as other:
        task = task_class(parsed, fit_context(task_class, parsed, reader))
        train, rows = labelled(task_class, parsed, reader, "train"), labelled(task_class, parsed, other, "test")
        for method in methods if seed == "0" else [method for method in methods if method in SEEDED]:
            started = time.process_time()
            predicted = predict(task, method, int(seed), reader, train, other, rows)
            report["seconds"][method] = time.process_time() - started
            report["baselines"][method] = task.score(predicted, task.truth(other, rows), {})
            small = {key: values for key, values in predicted.items() if values.ndim == 1 or values.shape[1] <= 20}
            report["predictions"][method] = {key: values.tolist() for key, values in small.items()}
    write_json(Path(out), report)


if __name__ == "__main__":
    main(*sys.argv[1:])
