"""Photo-z from magnitudes alone on two real catalogues: every baseline beside published nearest neighbours.

The catalogues, described in photoz_catalogs/SOURCE.md of the folder that ASTRODL_TEST_DATA names, are divided into
random halves, one to train on and one to measure on.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from study import Metrics, main, mean_and_spread, table

from astrodl.baselines import photoz
from astrodl.baselines.photoz.mlp import mlp
from astrodl.baselines.photoz.svm import svm
from astrodl.photoz import POINT_METRICS, evaluate

METRICS = ("sigma_mad", "bias_mean", "eta_005", "eta_015", "crps", "pit_ks", "cde_loss")
N_DIVISIONS = 5
SVM_OBJECTS = 5000
N_BINS = 300


class Catalogue(NamedTuple):
    """A table of magnitudes and redshifts, and what is published on it."""

    title: str
    file: str
    z: str
    bands: tuple[str, ...]
    published: float
    smear: float
    errors: tuple[str, ...] = ()


CATALOGUES = (
    Catalogue(
        title="SDSS main sample, ugriz",
        file="sdss_mgs_ugriz_train.csv",
        z="zs",
        bands=tuple("ugriz"),
        published=0.0140,
        smear=0.004,
        errors=tuple(f"e{band}" for band in "ugriz"),
    ),
    Catalogue(
        title="DES-Y1 in Stripe 82, griz",
        file="des_y1_stripe82_griz_a.csv.gz",
        z="z",
        bands=tuple(f"MAG_AUTO_{band}" for band in "GRIZ"),
        published=0.0181,
        smear=0.006,
    ),
)


def tables() -> str:
    """Measure all methods on both catalogues."""
    return "\n\n".join(compare(catalogue) for catalogue in CATALOGUES)


def compare(catalogue: Catalogue) -> str:
    """Tabulate the methods on a catalogue, over random divisions into halves."""
    rows = np.genfromtxt(
        Path(os.environ["ASTRODL_TEST_DATA"], "photoz_catalogs", catalogue.file), delimiter=",", names=True
    )
    n_train = round(len(rows) / 2)
    found: dict[str, list[Metrics]] = {}
    for seed in range(N_DIVISIONS):
        order = np.random.default_rng(seed).permutation(len(rows))
        for name, metrics in measure_division(catalogue, rows[order[:n_train]], rows[order[n_train:]], seed).items():
            found.setdefault(name, []).append(metrics)
    columns, digits = (*METRICS, "own_mad", "cpu_s"), {"cde_loss": 2, "cpu_s": 1}
    cells = {
        name: [
            mean_and_spread([row[key] for row in seeds], digits.get(key, 4)) if key in seeds[0] else ""
            for key in columns
        ]
        for name, seeds in found.items()
    }
    about = (
        f"**{catalogue.title}**: {n_train:,} galaxies to train (SVM {min(n_train, SVM_OBJECTS):,}), "
        f"{len(rows) - n_train:,} to measure; {N_DIVISIONS} divisions. Mark of the data folder, for {len(rows):,} to "
        f"train and others to measure: σ_MAD {catalogue.published:.4f}. Metrics are of the median of p(z); `own_mad` is "
        "the σ_MAD of the method's own z.\n\n"
    )
    return about + table(["method", *(f"`{key}`" for key in columns)], ([name, *row] for name, row in cells.items()))


def measure_division(catalogue: Catalogue, train: np.ndarray, test: np.ndarray, seed: int) -> dict[str, Metrics]:
    """Train all methods on some galaxies and measure them on others."""
    z, truth = train[catalogue.z], test[catalogue.z]
    x, y = (magnitudes_and_colours(catalogue, rows) for rows in (train, test))
    edges = np.linspace(0, 1.05 * z.max(), N_BINS + 1)
    methods: dict[str, Callable[..., dict[str, Any]]] = {
        "trainz": photoz.trainz,
        "knn": photoz.knn,
        "forest": lambda *data: photoz.forest(*data, seed=seed),
        "svm": lambda *data: svm(*data, max_train=SVM_OBJECTS, seed=seed),
        "mlp": lambda *data: mlp(*data, n_networks=1, smear=catalogue.smear, seed=100 * seed),
        "mlp, 5 networks": lambda *data: mlp(*data, smear=catalogue.smear, seed=100 * seed),
    }
    found = {"published recipe": published_recipe(catalogue, x, z, y, truth)}
    for name, method in methods.items():
        found[name] = measure(method, x, z, y, truth, edges)
    if catalogue.errors:
        x, y = (
            np.column_stack([a, *(np.log(rows[name]) for name in catalogue.errors)])
            for a, rows in ((x, train), (y, test))
        )
        for name, method in methods.items():
            if name != "trainz":
                found[f"{name}, with errors"] = measure(method, x, z, y, truth, edges)
    return found


def magnitudes_and_colours(catalogue: Catalogue, rows: np.ndarray) -> np.ndarray:
    magnitudes = np.stack([rows[band] for band in catalogue.bands], axis=1)
    return np.concatenate([magnitudes, magnitudes[:, :-1] - magnitudes[:, 1:]], axis=1)


def measure(method: Callable[..., dict[str, Any]], x: Any, z: Any, y: Any, truth: Any, edges: np.ndarray) -> Metrics:
    """Fit a method to features `x` and redshifts `z`; measure it on `y` and `truth`."""
    start = time.process_time()
    result = method(x, z, y, edges)
    seconds = time.process_time() - start
    metrics = evaluate(truth, result["pdf"], edges, n_draws=2)["metrics"]
    own = POINT_METRICS["sigma_mad"](result["z"], truth)
    return {key: metrics[key]["value"] for key in METRICS} | {"own_mad": own, "cpu_s": seconds}


def published_recipe(catalogue: Catalogue, x: np.ndarray, z: np.ndarray, y: np.ndarray, truth: np.ndarray) -> Metrics:
    """Measure the mean redshift of the 20 nearest neighbours in standardised colours and r, which has no p(z)."""
    n_bands = len(catalogue.bands)
    red = next(k for k, band in enumerate(catalogue.bands) if band[-1].lower() == "r")
    columns = [*range(n_bands, x.shape[1]), red]
    start = time.process_time()
    model = make_pipeline(StandardScaler(), KNeighborsRegressor(20)).fit(x[:, columns], z)
    point = model.predict(y[:, columns])
    seconds = time.process_time() - start
    values = {key: POINT_METRICS[key](point, truth) for key in METRICS if key in POINT_METRICS}
    return values | {"own_mad": values["sigma_mad"], "cpu_s": seconds}


if __name__ == "__main__":
    main({"tables": tables})
