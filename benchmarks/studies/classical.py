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
from astrodl.tasks.inputs import scale_free_features
from astrodl.tasks.photoz.report import METHODS, summaries

SEEDED = ("forest", "mlp", "forest_no_colour")
"""Methods that a seed changes."""
MORPHOLOGY = {
    "forest": (morphology.forest, scale_free_features),
    "svm": (morphology.svm, scale_free_features),
    "mlp": (morphology.mlp, scale_free_features),
    "forest_no_colour": (morphology.forest, structural_features),
}
"""Each method of morphology with the features that it reads."""


def seed_options(name: str, seed: int) -> dict[str, int]:
    """Return the seed of a method; ten apart, because the networks of an ensemble take consecutive seeds."""
    return {"seed": 10 * seed} if name in SEEDED else {}


def fit_classes(name: str, store: Reader, train: np.ndarray, label: np.ndarray, x: np.ndarray, **options: Any) -> Any:
    """Fit a method of morphology to the objects `train`; return the class probabilities of others with features `x`."""
    method, features = MORPHOLOGY[name]
    return method(store.features(features(store.feature_names), train), label, x, **options)


def main(task: str, store: str, test: str, settings: str, seed: str, out: str, *methods: str) -> None:
    torch.set_num_threads(1)
    kind = tasks.get(task)
    parsed = parse(kind.Settings, json.loads(settings))
    report: dict[str, Any] = {"baselines": {}, "predictions": {}, "seconds": {}}
    with open_store(store) as reader, open_store(test) as other:
        job = kind(parsed, fit_context(kind, parsed, reader))
        train, rows = labelled(kind, parsed, reader, "train"), labelled(kind, parsed, other, "test")
        known, truth = job.truth(reader, train), job.truth(other, rows)
        for name in methods if seed == "0" else [name for name in methods if name in SEEDED]:
            options, started = seed_options(name, int(seed)), time.process_time()
            if task == "photoz":
                names, edges = photometric_features(reader.feature_names), np.asarray(job.context.constants["edges"])
                x, y = reader.features(names, train), other.features(names, rows)
                pdf = METHODS[name](x, known["z"], y, edges, **options)["pdf"]
                predicted = {"pdf": pdf, **summaries(pdf, edges)}
            else:
                y = other.features(MORPHOLOGY[name][1](other.feature_names), rows)
                n_classes = len(job.context.constants["classes"])
                predicted = {
                    "probability": fit_classes(name, reader, train, known["label"], y, n_classes=n_classes, **options)
                }
            report["seconds"][name] = time.process_time() - started
            report["baselines"][name] = job.score(predicted, truth, {})
            report["predictions"][name] = {
                key: values.tolist() for key, values in predicted.items() if values.ndim == 1 or values.shape[1] <= 20
            }
    write_json(Path(out), report)


if __name__ == "__main__":
    main(*sys.argv[1:])
