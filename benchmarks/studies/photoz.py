"""The photo-z study of docs/tasks/photoz.md: accuracy over seeds, learning curve, variants, missing bands.

`python benchmarks/studies/photoz.py FOLDER --jobs 2 --record` simulates two surveys (10,000 and 28,700 galaxies of
`candels`), trains every network of the study on CPUs, one thread each, measures all on the test splits beside the
classical methods, and writes tables and figures into the documentation. What is done is kept in FOLDER: run it again to
go on. It needs more than two CPU hours.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from study import DOCS, Arrays, Job, keep, make_survey, mean_and_spread, read, run_jobs, write_page

import astrodl
from astrodl.config import parse
from astrodl.data.batches import Cutouts, Direct
from astrodl.metrics import pdf as pdf_metrics
from astrodl.photometry.measure import asinh_magnitude, photometric_features
from astrodl.photoz import evaluate, tomography
from astrodl.pipeline import objects
from astrodl.plots.images import sheet_of_rows
from astrodl.plots.photoz.bins import imbalance_bias, tomographic_bins
from astrodl.plots.studies import error_against_size, missing_band_degradation
from astrodl.plots.style import SHADES
from astrodl.store import Reader
from astrodl.tasks.colour import colour
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.photoz import Photoz
from astrodl.tasks.photoz.report import RIVALS, score

SURVEYS = {"main": {"n_objects": 10000, "seed": 1}, "large": {"n_objects": 28700, "seed": 2}}
N_TEST = 2000
"""Test objects of the large survey that are predicted; all of the other."""
SEEDS = range(5)
SIZES = (500, 1000, 2000, 5000, 10000, 20000)
VARIANTS: Mapping[str, dict[str, Any]] = {
    "apertures + photometry": {"photometry": True},
    "apertures": {"photometry": False},
    "ResNet": {"network": "resnet", "photometry": False},
    "ResNet + photometry": {"network": "resnet", "photometry": True},
    "branches + photometry": {"network": "branches", "photometry": True},
    "inception (1/4) + photometry": {"network": "inception", "photometry": True},
    "photometry alone": {"network": "none", "photometry": True},
    "mixture of 5 Gaussians": {"head": "mixture"},
    "quantile bins": {"bins": "quantile"},
    "cross-entropy alone": {"crps_weight": 0.0},
    "CRPS alone": {"likelihood_weight": 0.0},
    "balanced n(z)": {"balance": 1.0},
    "band dropout 0.15": {"band_dropout": 0.15},
}
VARIANT_SIZE, VARIANT_EPOCHS = 3000, 20
WITH = "band dropout 0.15"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where surveys, models and results are kept (4 GB)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side (default: 1)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to run (default: all)")
    parser.add_argument("--record", action="store_true", help="write tables and figures of these parts into docs/")
    options = parser.parse_args()
    for survey, simulate in SURVEYS.items():
        make_survey(options.folder, survey, simulate, options.jobs)
    jobs = [job for part in options.parts for job in PARTS[part]()]
    run_jobs(options.folder, jobs, work, options.jobs, ("sigma_mad", "crps"))
    if options.record:
        writers = {"headline": record_headline, "curve": record_curve, "variants": record_variants}
        write_page(DOCS / "tasks" / "photoz.md", {part: writers[part](options.folder) for part in options.parts})


def headline() -> list[Job]:
    """List the default network and all classical methods on the survey of 10,000, over seeds."""
    networks = [Job("default", "main", seed) for seed in SEEDS]
    networks += [Job(f"{kind} fluxes", "main", 0, {"fluxes": kind}, "mlp") for kind in ("exact", "optimal")]
    return networks + [
        Job(name, "main", seed, rival=name) for name in RIVALS for seed in SEEDS if seed == 0 or name in SEEDED
    ]


def curve() -> list[Job]:
    """List trainings of growing size, one seed; small ones get more epochs, so that all have updates enough."""
    jobs = []
    for size in reversed(SIZES):
        epochs = max(12, 60_000 // size)
        train = {"epochs": epochs, **({"validate_every": epochs // 12} if epochs > 24 else {})}
        jobs.append(Job(f"curve {size}", "large", 0, {"n_train": size, "train": train}))
        jobs += [Job(f"curve {size} {name}", "large", 0, {"n_train": size}, name) for name in ("knn", "forest", "mlp")]
    return jobs


def variants() -> list[Job]:
    """List one change of the settings each, at equal budget."""
    common = {"n_train": VARIANT_SIZE, "train": {"epochs": VARIANT_EPOCHS}}
    return [Job(f"variant {name}", "main", 0, {**common, **changed}) for name, changed in VARIANTS.items()]


PARTS = {"headline": headline, "curve": curve, "variants": variants}
SEEDED = ("forest", "mlp")
"""Classical methods that a seed changes."""


def work(folder: Path, job: Job) -> tuple[dict[str, float], Arrays]:
    """Train a network or fit a classical method, and measure it."""
    with Direct(folder / f"{job.survey}.h5") as store:
        chosen = {key: value for key, value in job.settings.items() if key != "fluxes"}
        kind = parse(Photoz.Settings, chosen, job.name)
        train, test = objects.labelled(Photoz, kind, store, "train"), test_objects(store, job.survey)
        raw = classical(job, store, train, test) if job.rival else network(folder, job, store, test)
        edges, z = raw["edges"], store.column("z", test).astype(float)
        metrics = {key: entry["value"] for key, entry in score(raw, z, edges).items()}
    return {**metrics, "n_train": len(train)}, {**raw, "z": z}


def test_objects(store: Reader, survey: str) -> np.ndarray:
    """Give the test objects that are measured."""
    test = store.select("test")
    return test if survey == "main" else test[:N_TEST]


def classical(job: Job, store: Reader, train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    """Fit a classical method and predict the test objects."""
    names = photometric_features(store.feature_names)
    x = true_photometry(store, job.settings["fluxes"]) if "fluxes" in job.settings else store.features(names)
    z = store.column("z", train)
    edges = np.linspace(0, 1.05 * store.column("z", np.flatnonzero(store.fold >= 0)).max(), 151)
    # ten apart: the networks of an ensemble take consecutive seeds
    options = {"seed": 10 * job.seed} if job.rival in SEEDED else {}
    pdf = RIVALS[job.rival](x[train], z, x[test], edges, **options)["pdf"]
    return {"edges": edges, "pdf": pdf, **points(pdf, edges)}


def true_photometry(store: Reader, kind: str) -> np.ndarray:
    """Give magnitudes and colours (N, F) of the true fluxes: `exact`, or as an `optimal` extraction measures them.

    That weights the pixels by the true profile (of the truth band), so that nothing but the noise of the sky is left
    (Horne 1986).
    """
    true = np.stack([store.column(f"magnitude_{band}") for band in store.bands], axis=1).astype(float)
    flux = 10 ** (-0.4 * (true - 23.9))
    effective = np.empty(len(store))
    for rows in np.array_split(np.arange(len(store)), max(1, len(store) // 500)):
        light = sum(store.label(name, rows) for name in ("bulge", "disk", "clump"))
        profile = light / light.sum((1, 2), keepdims=True)
        effective[rows] = 1 / np.sqrt((profile**2).sum((1, 2)))
    noise = store.sky_sigma * effective[:, None]
    if kind == "optimal":
        flux = flux + noise * np.random.default_rng(0).standard_normal(flux.shape)
    magnitude = asinh_magnitude(flux, noise)
    return np.concatenate([magnitude, magnitude[:, :-1] - magnitude[:, 1:]], axis=1)


def points(pdf: np.ndarray, edges: np.ndarray) -> dict[str, np.ndarray]:
    """Read mean and median off p(z)."""
    return {"z_mean": pdf_metrics.mean(pdf, edges), "z_median": pdf_metrics.median(pdf, edges)}


def network(folder: Path, job: Job, store: Reader, test: np.ndarray) -> dict[str, np.ndarray]:
    """Train a network and predict the test objects."""
    out = folder / "models" / job.label
    path = astrodl.train("photoz", store.path, out, settings=job.settings, seed=job.seed, threads=1, progress=False)
    model = load_model(path, device="cpu")
    raw = model.raw(Cutouts.from_store(store, test))
    kept = {key: raw[key] for key in ("log_pdf", "interval", "ood", "missing")}
    return {"edges": np.asarray(model.task.context.constants["edges"]), **kept, **model.task.finish(raw)}


def without_bands(model: Model, store: Reader, test: np.ndarray, lost: Sequence[str]) -> dict[str, np.ndarray]:
    """Predict the test objects as if some bands had not been observed."""
    kept = torch.tensor([[float(band not in lost) for band in store.bands]])
    parts = []
    for rows in np.array_split(test, max(1, len(test) // 256)):
        arrays = model.task.inputs(Cutouts.from_store(store, rows))
        batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
        taken = model.task.without_bands(batch, kept.expand(len(rows), -1))  # type: ignore[attr-defined]
        parts.append({name: tensor.numpy() for name, tensor in model.predict_batch(taken).items()})
    raw = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return model.task.finish(raw)


# -- what is written ---------------------------------------------------------------------------------------------------


def record_headline(folder: Path) -> str:
    """Compare network, its ensemble and the classical methods on 10,000 galaxies."""
    runs = read(folder, "default")
    task = load_model(folder / "models" / Job("default", "main").label / "model.safetensors", device="cpu").task
    pool = {key: np.mean([run["arrays"][key] for run in runs], 0) for key in ("log_pdf", "interval", "ood", "missing")}
    z, edges = runs[0]["arrays"]["z"], runs[0]["arrays"]["edges"]
    together = task.finish(pool)
    columns = {"network": [run["metrics"] for run in runs]}
    columns[f"ensemble of {len(runs)}"] = [{k: v["value"] for k, v in score(together, z, edges).items()}]
    columns |= {name: [run["metrics"] for run in read(folder, name)] for name in RIVALS}
    rows = [f"| metric | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    for metric in Photoz.metric_names:
        cells = [
            mean_and_spread([run[metric] for run in found]) if all(metric in run for run in found) else ""
            for found in columns.values()
        ]
        rows.append(f"| `{metric}` | {' | '.join(cells)} |")
    cells = [
        f"{np.mean([run['cpu_seconds'] for run in found]):.0f}" if "cpu_seconds" in found[0] else ""
        for found in columns.values()
    ]
    rows.append(f"| CPU seconds | {' | '.join(cells)} |")
    keep(
        folder,
        tomographic_bins(together["pdf"], edges, z, together["z_median"]),
        "photoz-study-tomography.png",
    )
    bins = tomography(z, together["pdf"], edges)
    table = ["", "| bin in z_phot | objects | bias in mean z / (1 + z) | error |", "| --- | --- | --- | --- |"]
    for row in bins:
        low, high, count, scale = row["low"], row["high"], row["n_objects"], 1 + row["mean_true"]
        bias, error = row["bias"] / scale, row["error"] / scale
        table.append(f"| {low:.2f} to {high:.2f} | {count} | {bias:+.4f} | {error:.4f} |")
    ratios = ", ".join(
        f"{label} {np.mean([run[metric] for run in columns['network']]) / best(columns, metric):.2f} "
        f"({columns[f'ensemble of {len(runs)}'][0][metric] / best(columns, metric):.2f} the ensemble)"
        for metric, label in (("sigma_mad", "σ_MAD"), ("crps", "CRPS"))
    )
    bounds = {kind: read(folder, f"{kind} fluxes")[0]["metrics"] for kind in ("exact", "optimal")}
    limit = (
        "\nWhat the noise allows: `mlp` given the fluxes that an extraction with the true profile would measure has "
        f"σ_MAD {bounds['optimal']['sigma_mad']:.4f} and CRPS {bounds['optimal']['crps']:.4f}; given fluxes without "
        f"any noise, {bounds['exact']['sigma_mad']:.4f} and {bounds['exact']['crps']:.4f}."
    )
    about = (
        f"{runs[0]['metrics']['n_train']:,} training and {len(z):,} test objects; mean and standard deviation over "
        f"seeds of the training. Ratio to the best classical method: {ratios}.\n"
    )
    keep(folder, drawn_apertures(folder), "photoz-apertures.png")
    image = "\n![Tomographic bins](../images/photoz-study-tomography.png)"
    image += "\n\n![Galaxies and the apertures that the network draws](../images/photoz-apertures.png)"
    return "\n".join([about, *rows, limit, *table, image])


def drawn_apertures(folder: Path, n_shown: int = 5) -> Any:
    """Draw the brightest test galaxies of each class and the apertures that the network lays over them."""
    model = load_model(folder / "models" / Job("default", "main").label / "model.safetensors", device="cpu")
    with Direct(folder / "main.h5") as store:
        test = test_objects(store, "main")
        kinds, magnitudes = store.column("class", test).astype(str), store.column("magnitude", test)
        names = list(np.unique(kinds))[:n_shown]
        chosen = np.array([test[kinds == kind][np.argsort(magnitudes[kinds == kind])[20]] for kind in names])
        images = model.task.inputs(Cutouts.from_store(store, np.sort(chosen)))["image"]
        order = np.argsort(np.argsort(chosen))
        tiles = colour(store, np.sort(chosen))[order]
    with torch.no_grad():
        network: Any = model.network
        weights = network.trunk.apertures(torch.from_numpy(images))[order].numpy()
    shades = SHADES(np.sqrt(weights / weights.max((2, 3), keepdims=True)))[..., :3]
    rgb = np.concatenate([np.concatenate([tiles[i][None], shades[i]]) for i in range(len(names))])
    n_columns = 1 + weights.shape[1]
    rows = [list(range(row * n_columns, (row + 1) * n_columns)) for row in range(len(names))]
    return sheet_of_rows(
        rgb,
        rows,
        names,
        title=lambda i: "galaxy" if i % n_columns == 0 else f"aperture {i % n_columns}",
        frame=lambda i: None,
        n_columns=n_columns,
        heading="Apertures that the network draws (square root of the weight)",
    )


def best(columns: Mapping[str, Sequence[Mapping[str, float]]], metric: str) -> float:
    """Give the lowest mean of a metric among the classical methods."""
    return min(float(np.mean([run[metric] for run in columns[name]])) for name in RIVALS)


def record_curve(folder: Path) -> str:
    """Draw and tabulate sigma_MAD and CRPS against the number of training galaxies, with bootstrap errors."""
    names = {"network": "", "mlp": " mlp", "forest": " forest", "knn": " knn"}
    runs = {size: {name: read(folder, f"curve {size}{suffix}") for name, suffix in names.items()} for size in SIZES}
    runs = {size: found for size, found in runs.items() if all(found.values())}
    entries = {size: {name: bootstrapped(run_[0]) for name, run_ in found.items()} for size, found in runs.items()}
    labels = {"sigma_mad": "σ_MAD", "crps": "CRPS"}
    rows = [
        "| training objects | " + " | ".join(f"{name} {label}" for label in labels.values() for name in names) + " |"
    ]
    rows.append("| --- |" + " --- |" * (len(labels) * len(names)))
    for size, found in entries.items():
        cells = [
            f"{found[name][metric]['value']:.4f} ± {found[name][metric]['error']:.4f}"
            for metric in labels
            for name in names
        ]
        rows.append(f"| {size:,} | {' | '.join(cells)} |")
    images = []
    for metric, label in (("sigma_mad", r"$\sigma_\mathrm{MAD}$"), ("crps", "CRPS (redshift)")):
        value, error = (
            {name: [found[name][metric][kind] for found in entries.values()] for name in names}
            for kind in ("value", "error")
        )
        figure = error_against_size(
            list(entries), value.pop("network"), errors=error.pop("network"), ylabel=label,
            baselines=value, baseline_errors=error,
        )  # fmt: skip
        name = f"photoz-curve-{metric.replace('_', '-')}.png"
        keep(folder, figure, name)
        images.append(f"\n![{labels[metric]} against the number of training galaxies](../images/{name})")
    return "\n".join([*rows, *images])


def bootstrapped(run_: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Measure a run with bootstrap errors."""
    return evaluate(run_["arrays"]["z"], run_["arrays"]["pdf"], run_["arrays"]["edges"])["metrics"]


def record_variants(folder: Path) -> str:
    """Tabulate the variants; draw the effect of weights on the bias, and of missing bands."""
    found = {name: read(folder, f"variant {name}") for name in VARIANTS}
    found = {name: runs[0] for name, runs in found.items() if runs}
    metrics = ("sigma_mad", "eta_015", "bias_mean", "crps", "cde_loss", "pit_ks", "cpu_seconds")
    rows = [f"| variant | {' | '.join(f'`{m}`' for m in metrics[:-1])} | CPU s |", "| --- |" + " --- |" * len(metrics)]
    for name, run_ in found.items():
        entries = bootstrapped(run_)
        cells = [f"{run_['metrics'][m]:.4f} ± {entries[m]['error']:.4f}" for m in metrics[:-1]]
        rows.append(f"| {name} | {' | '.join(cells)} | {run_['metrics']['cpu_seconds']:.0f} |")
    images = []
    if "balanced n(z)" in found:
        pair = {"as they are": found[REFERENCE], "weights against n(z)": found["balanced n(z)"]}
        z = found[REFERENCE]["arrays"]["z"]
        figure = imbalance_bias(z, {name: run_["arrays"]["z_median"] for name, run_ in pair.items()})
        keep(folder, figure, "photoz-imbalance.png")
        images.append("\n![Bias against redshift, with and without weights](../images/photoz-imbalance.png)")
    if WITH in found:
        keep(folder, missing_bands(folder), "photoz-missing-bands.png")
        images.append("\n![Accuracy with missing bands](../images/photoz-missing-bands.png)")
    return "\n".join([*rows, *images])


REFERENCE = "apertures"
"""The variant that has all defaults."""


def missing_bands(folder: Path) -> Any:
    """Draw how networks with and without band dropout do when bands are missing."""
    models = {
        label: load_model(folder / "models" / Job(f"variant {name}", "main").label / "model.safetensors", device="cpu")
        for label, name in (("usual training", REFERENCE), ("band dropout 0.15", WITH))
    }
    rows: dict[str, dict[str, tuple[float, float]]] = {}
    with Direct(folder / "main.h5") as store:
        test = test_objects(store, "main")[::3]
        z, bands = store.column("z", test).astype(float), store.bands
        scenarios = {"all bands": (), **{f"without {band}": (band,) for band in bands}}
        scenarios |= {
            "two bluest missing": bands[:2],
            f"{bands[len(bands) // 2]} alone": tuple(b for b in bands if b != bands[len(bands) // 2]),
        }
        for label, lost in scenarios.items():
            rows[label] = {}
            for name, model in models.items():
                found = without_bands(model, store, test, lost)
                report = evaluate(z, found["pdf"], np.asarray(model.task.context.constants["edges"]), n_draws=100)
                entry = report["metrics"]["sigma_mad"]
                rows[label][name] = entry["value"], entry["error"]
    return missing_band_degradation(rows)


if __name__ == "__main__":
    main()
