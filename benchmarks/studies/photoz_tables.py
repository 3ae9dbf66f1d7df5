"""Photo-z from magnitudes alone on two real catalogues: every baseline beside published nearest neighbours.

`python benchmarks/studies/photoz_tables.py` divides each catalogue into random halves, trains on one and measures on
the other, and prints a table per catalogue (ten minutes on one core); `--record` writes them into docs/tasks/photoz.md.
The catalogues are described in photoz_catalogs/SOURCE.md of the folder of real data (`--data`, else ASTRODL_TEST_DATA,
else ../shared/data beside the project).
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from study import DOCS, ROOT, write_page

from astrodl.baselines import photoz
from astrodl.baselines.photoz.mlp import mlp
from astrodl.baselines.photoz.svm import svm
from astrodl.photoz import OF_POINTS, evaluate

METRICS = ("sigma_mad", "bias_mean", "eta_005", "eta_015", "crps", "pit_ks", "cde_loss")
SVM_OBJECTS = 5000

Method = Callable[..., dict[str, Any]]


class Catalogue(NamedTuple):
    """A table of magnitudes and redshifts, and what is published on it."""

    title: str
    file: str
    z: str
    bands: tuple[str, ...]
    published: float
    n_bins: int
    smear: float
    errors: tuple[str, ...] = ()


CATALOGUES = (
    Catalogue(
        title="SDSS main sample, ugriz",
        file="sdss_mgs_ugriz_train.csv",
        z="zs",
        bands=tuple("ugriz"),
        published=0.0140,
        n_bins=300,
        smear=0.004,
        errors=tuple(f"e{band}" for band in "ugriz"),
    ),
    Catalogue(
        title="DES-Y1 in Stripe 82, griz",
        file="des_y1_stripe82_griz_a.csv.gz",
        z="z",
        bands=tuple(f"MAG_AUTO_{band}" for band in "GRIZ"),
        published=0.0181,
        n_bins=300,
        smear=0.006,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("ASTRODL_TEST_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default, help=f"folder of real data (default: {default})")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers of every seed")
    parser.add_argument("--seeds", type=int, default=5, help="random divisions (default: 5)")
    parser.add_argument("--record", action="store_true", help="write the tables into docs/")
    parser.add_argument("--share", type=float, default=0.5, help="share of the galaxies to train on (default: 0.5)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results, tables = {}, []
    for catalogue in CATALOGUES:
        path = options.data / "photoz_catalogs" / catalogue.file
        if not path.is_file():
            print(f"{catalogue.title}: no {path}; set ASTRODL_TEST_DATA or give --data\n")
            continue
        results[catalogue.file], text = compare(catalogue, path, options.seeds, options.share)
        print(text, flush=True)
        tables.append(text)
        if options.out:
            options.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if options.record and tables:
        write_page(DOCS / "tasks" / "photoz.md", {"tables": "\n".join(tables)})


def compare(
    catalogue: Catalogue, path: Path, n_seeds: int, share: float
) -> tuple[dict[str, list[dict[str, float]]], str]:
    """Measure all methods over the random divisions; give the numbers, and their table."""
    magnitudes, errors, z = read(path, catalogue)
    n_train = round(share * len(z))
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(n_seeds):
        order = np.random.default_rng(seed).permutation(len(z))
        values = of_division(catalogue, magnitudes, errors, z, order[:n_train], order[n_train:], seed)
        for name, row in values.items():
            found.setdefault(name, []).append(row)
        print(f"{catalogue.title}: division {seed + 1} of {n_seeds} done", file=sys.stderr, flush=True)
    return found, table(catalogue, found, n_train, len(z) - n_train)


def table(catalogue: Catalogue, found: dict[str, list[dict[str, float]]], n_train: int, n_test: int) -> str:
    columns = (*METRICS, "own_mad", "cpu_s")
    n_seeds = len(found["trainz"])
    lines = [
        f"**{catalogue.title}**: {n_train:,} galaxies to train (SVM {min(n_train, SVM_OBJECTS):,}), {n_test:,} to "
        f"measure; {n_seeds} divisions. Mark of the data folder, for {n_train + n_test:,} to train and others to "
        f"measure: σ_MAD {catalogue.published:.4f}. Metrics are of the median of p(z); `own_mad` is the σ_MAD of the "
        "method's own z.\n",
        "| method | " + " | ".join(f"`{column}`" for column in columns) + " |",
        "| --- " * (len(columns) + 1) + "|",
    ]
    for name, rows in found.items():
        cells = [cell(column, [row[column] for row in rows if column in row]) for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def read(path: Path, catalogue: Catalogue) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give magnitudes (N, bands), logarithms of their errors (N, bands or 0), and redshifts (N,)."""
    table = np.genfromtxt(path, delimiter=",", names=True)
    magnitudes = np.stack([table[band] for band in catalogue.bands], axis=1)
    errors = np.stack([np.log(table[name]) for name in catalogue.errors], axis=1) if catalogue.errors else None
    return magnitudes, magnitudes[:, :0] if errors is None else errors, table[catalogue.z]


def of_division(
    catalogue: Catalogue,
    magnitudes: np.ndarray,
    errors: np.ndarray,
    z: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Train on some objects and measure on others: name -> metrics."""
    colours = magnitudes[:, :-1] - magnitudes[:, 1:]
    x = np.concatenate([magnitudes, colours], axis=1)
    edges = np.linspace(0, 1.05 * z[train].max(), catalogue.n_bins + 1)
    found = {"published recipe": published_recipe(catalogue, magnitudes, colours, z, train, test)}
    for name, method in methods(catalogue, seed).items():
        found[name] = measured(method, x, z, train, test, edges)
    if errors.size:
        x = np.concatenate([x, errors], axis=1)
        for name in ("knn", "forest", "svm", "mlp", "mlp, 5 networks"):
            found[f"{name}, with errors"] = measured(methods(catalogue, seed)[name], x, z, train, test, edges)
    return found


def measured(
    method: Method, x: np.ndarray, z: np.ndarray, train: np.ndarray, test: np.ndarray, edges: np.ndarray
) -> dict[str, float]:
    start = time.process_time()
    result = method(x[train], z[train], x[test], edges)
    seconds = time.process_time() - start
    metrics = evaluate(z[test], result["pdf"], edges, n_draws=2)["metrics"]
    own = OF_POINTS["sigma_mad"](result["z"], z[test])
    return {key: metrics[key]["value"] for key in METRICS} | {"own_mad": own, "cpu_s": seconds}


def methods(catalogue: Catalogue, seed: int) -> dict[str, Method]:
    return {
        "trainz": photoz.trainz,
        "knn": photoz.knn,
        "forest": lambda *data: photoz.forest(*data, seed=seed),
        "svm": lambda *data: svm(*data, max_train=SVM_OBJECTS, seed=seed),
        "mlp": lambda *data: mlp(*data, n_networks=1, smear=catalogue.smear, seed=100 * seed),
        "mlp, 5 networks": lambda *data: mlp(*data, smear=catalogue.smear, seed=100 * seed),
    }


def published_recipe(
    catalogue: Catalogue,
    magnitudes: np.ndarray,
    colours: np.ndarray,
    z: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
) -> dict[str, float]:
    """Take the mean redshift of the 20 nearest neighbours in standardised colours and r; it has no p(z)."""
    red = next(k for k, band in enumerate(catalogue.bands) if band[-1].lower() == "r")
    x = np.column_stack([colours, magnitudes[:, red]])
    start = time.process_time()
    scaler = StandardScaler().fit(x[train])
    model = KNeighborsRegressor(20).fit(scaler.transform(x[train]), z[train])
    point = model.predict(scaler.transform(x[test]))
    seconds = time.process_time() - start
    values = {key: OF_POINTS[key](point, z[test]) for key in METRICS if key in OF_POINTS}
    return values | {"own_mad": values["sigma_mad"], "cpu_s": seconds}


def cell(column: str, values: list[float]) -> str:
    if not values:
        return ""
    digits = {"cde_loss": 2, "cpu_s": 1}.get(column, 4)
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    main()
