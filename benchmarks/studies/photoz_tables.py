"""Photo-z from magnitudes alone on two real catalogues: every baseline beside published nearest neighbours.

Each catalogue is divided into random halves, one to train on and one to measure on.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import study
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from astrodl.baselines import photoz
from astrodl.baselines.photoz.mlp import mlp
from astrodl.baselines.photoz.svm import svm
from astrodl.photoz import POINT_METRICS, evaluate

METRICS = ("sigma_mad", "bias_mean", "eta_005", "eta_015", "crps", "pit_ks", "cde_loss")
DIGITS = {**dict.fromkeys(METRICS, 4), "cde_loss": 2, "own_mad": 4, "cpu_s": 1}
"""Columns of the table, and the digits of their numbers."""
N_DIVISIONS = 5
SVM_OBJECTS = 5000
N_BINS = 300


def tables() -> str:
    """Measure all methods on both catalogues."""
    return "\n\n".join(compare(*item) for item in study.read_yaml(__file__)["catalogues"].items())


def compare(title: str, catalogue: dict[str, Any]) -> str:
    """Tabulate the methods on a catalogue, over random divisions into halves."""
    path = Path(os.environ["ASTRODL_TEST_DATA"], "photoz_catalogs", catalogue["file"])
    rows = np.genfromtxt(path, delimiter=",", names=True)
    n_train = round(len(rows) / 2)
    found: dict[str, list[study.Metrics]] = {}
    for seed in range(N_DIVISIONS):
        train, test = np.split(rows[np.random.default_rng(seed).permutation(len(rows))], [n_train])
        for name, metrics in measure_division(catalogue, train, test, seed).items():
            found.setdefault(name, []).append(metrics)
    cells = ([name, *(study.cell(runs, key, digits) for key, digits in DIGITS.items())] for name, runs in found.items())
    return (
        f"**{title}**: {n_train:,} galaxies to train (SVM {min(n_train, SVM_OBJECTS):,}), {len(rows) - n_train:,} to "
        f"measure; {N_DIVISIONS} divisions. Mark of the data folder, for {len(rows):,} to train and others to measure: "
        f"σ_MAD {catalogue['published']:.4f}. Metrics are of the median of p(z); `own_mad` is the σ_MAD of the "
        f"method's own z.\n\n{study.table(['method', *(f'`{key}`' for key in DIGITS)], cells)}"
    )


def measure_division(
    catalogue: dict[str, Any], train: np.ndarray, test: np.ndarray, seed: int
) -> dict[str, study.Metrics]:
    """Train all methods on some galaxies and measure them on others."""
    z, truth, smear = train[catalogue["z"]], test[catalogue["z"]], catalogue["smear"]
    x, y = (features(catalogue["bands"], rows) for rows in (train, test))
    edges = np.linspace(0, 1.05 * z.max(), N_BINS + 1)
    methods: dict[str, Callable[..., dict[str, Any]]] = {
        "trainz": photoz.trainz,
        "knn": photoz.knn,
        "forest": lambda *data: photoz.forest(*data, seed=seed),
        "svm": lambda *data: svm(*data, max_train=SVM_OBJECTS, seed=seed),
        "mlp": lambda *data: mlp(*data, n_networks=1, smear=smear, seed=100 * seed),
        "mlp, 5 networks": lambda *data: mlp(*data, smear=smear, seed=100 * seed),
    }
    found = {"published recipe": published_recipe(catalogue["bands"], x, z, y, truth)}
    found |= {name: measure(method, x, z, y, truth, edges) for name, method in methods.items()}
    if catalogue["errors"]:
        errors = [[np.log(rows[name]) for name in catalogue["errors"]] for rows in (train, test)]
        x, y = (np.column_stack([values, *logarithms]) for values, logarithms in zip((x, y), errors, strict=True))
        for name in list(methods)[1:]:
            found[f"{name}, with errors"] = measure(methods[name], x, z, y, truth, edges)
    return found


def features(bands: list[str], rows: np.ndarray) -> np.ndarray:
    """Return magnitudes and colours."""
    magnitudes = np.stack([rows[band] for band in bands], axis=1)
    return np.concatenate([magnitudes, magnitudes[:, :-1] - magnitudes[:, 1:]], axis=1)


def measure(
    method: Callable[..., dict[str, Any]],
    x: np.ndarray,
    z: np.ndarray,
    y: np.ndarray,
    truth: np.ndarray,
    edges: np.ndarray,
) -> study.Metrics:
    """Fit a method to features `x` and redshifts `z`; measure it on `y` and `truth`."""
    start = time.process_time()
    result = method(x, z, y, edges)
    seconds = time.process_time() - start
    metrics = study.values_of(evaluate(truth, result["pdf"], edges, n_draws=2)["metrics"])
    return {**metrics, "own_mad": POINT_METRICS["sigma_mad"](result["z"], truth), "cpu_s": seconds}


def published_recipe(bands: list[str], x: np.ndarray, z: np.ndarray, y: np.ndarray, truth: np.ndarray) -> study.Metrics:
    """Measure the mean redshift of the 20 nearest neighbours in standardised colours and r, which has no p(z)."""
    columns = [*range(len(bands), x.shape[1]), [band[-1].lower() for band in bands].index("r")]
    start = time.process_time()
    model = make_pipeline(StandardScaler(), KNeighborsRegressor(20)).fit(x[:, columns], z)
    point = model.predict(y[:, columns])
    seconds = time.process_time() - start
    values = {key: metric(point, truth) for key, metric in POINT_METRICS.items()}
    return {**values, "own_mad": values["sigma_mad"], "cpu_s": seconds}


if __name__ == "__main__":
    study.main({"tables": tables})
