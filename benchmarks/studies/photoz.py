"""Tables and figures of the study in docs/tasks/photoz.md; photoz.yaml lists the trainings."""

from functools import partial
from pathlib import Path

import numpy as np
import study
import torch
from figures import error_against_size, missing_bands
from matplotlib.figure import Figure

from astrodl import open_store
from astrodl.baselines.photoz.mlp import mlp
from astrodl.data.batches import Cutouts
from astrodl.photometry.features import asinh_magnitude
from astrodl.photoz import evaluate, tomography
from astrodl.plots.images import sheet_of_rows
from astrodl.plots.photoz.bins import imbalance_bias
from astrodl.plots.style import SHADES
from astrodl.store import Reader
from astrodl.tasks.colour import colour

STORE, TEST = "surveys/main/store.h5", "surveys/main/test.h5"
runs_of = partial(study.read_runs, __file__)


def headline() -> str:
    """Compare the network, its ensemble and the classical methods on 10,000 galaxies."""
    runs, ensemble, columns = study.read_headline(__file__)
    predicted, truth = study.read_test(ensemble, "main")
    edges, z = np.asarray(study.load(runs[0]).task.context.constants["edges"]), truth["z"]
    ratios = []
    for metric, label in (("sigma_mad", "σ_MAD"), ("crps", "CRPS")):
        network, together, *others = (np.mean([run[metric] for run in found]) for found in columns.values())
        ratios.append(f"{label} {network / min(others):.2f} ({together / min(others):.2f} the ensemble)")
    about = (
        f"{study.count_training(runs[0], 'main'):,} training and {len(z):,} test objects; mean and standard deviation "
        f"over seeds of the training. Ratio to the best classical method: {', '.join(ratios)}.\n"
    )
    optimal, exact = (true_fluxes(noisy, edges) for noisy in (True, False))
    limit = (
        "\nWhat the noise allows: `mlp` given the fluxes that an extraction with the true profile would measure has "
        f"σ_MAD {optimal['sigma_mad']:.4f} and CRPS {optimal['crps']:.4f}; given fluxes without any noise, "
        f"{exact['sigma_mad']:.4f} and {exact['crps']:.4f}.\n"
    )
    rows = []
    for row in tomography(z, predicted["pdf"], edges):
        bias, error = (row[key] / (1 + row["mean_true"]) for key in ("bias", "error"))
        rows.append([f"{row['low']:.2f} to {row['high']:.2f}", f"{row['n_objects']}", f"{bias:+.4f}", f"{error:.4f}"])
    bins = study.table(["bin in z_phot", "objects", "bias in mean z / (1 + z)", "error"], rows)
    images = study.show_ensemble(ensemble, "photoz-study", tomography="Tomographic bins")
    caption = "Galaxies and the apertures that the network draws"
    images.append(study.show(caption, "photoz-apertures.png", apertures(runs[0])))
    return "\n".join([about, study.metric_table(columns, *columns["network"][0]), limit, bins, *images])


def true_fluxes(noisy: bool, edges: np.ndarray) -> study.Metrics:
    """Measure `mlp` on magnitudes and colours of the true fluxes: exact, or as an optimal extraction measures them.

    The optimal extraction weights the pixels by the true profile (of the truth band), so that nothing but the noise of
    the sky is left (Horne 1986).
    """
    with open_store(STORE) as store:
        train, test, z = store.select("train"), store.select("test"), store.column("z")
        true = np.stack([store.column(f"magnitude_{band}") for band in store.bands], axis=1).astype(float)
        flux = 10 ** (-0.4 * (true - 23.9))
        noise = store.sky_sigma * effective_width(store)[:, None]
    if noisy:
        flux = flux + noise * np.random.default_rng(0).standard_normal(flux.shape)
    magnitude = asinh_magnitude(flux, noise)
    x = np.concatenate([magnitude, magnitude[:, :-1] - magnitude[:, 1:]], axis=1)
    report = evaluate(z[test], mlp(x[train], z[train], x[test], edges)["pdf"], edges, n_draws=2)
    return study.values_of(report["metrics"])


def effective_width(store: Reader) -> np.ndarray:
    """Return the root of the number of pixels whose noise enters an optimal extraction of each object."""
    width = np.empty(len(store))
    for rows in np.array_split(np.arange(len(store)), max(1, len(store) // 500)):
        light = sum(store.label(name, rows) for name in ("bulge", "disk", "clump"))
        profile = light / light.sum((1, 2), keepdims=True)
        width[rows] = 1 / np.sqrt((profile**2).sum((1, 2)))
    return width


def apertures(run: Path, n_classes: int = 5, rank: int = 20) -> Figure:
    """Draw a bright test galaxy of each class and the apertures that the network lays over it."""
    model = study.load(run)
    with open_store(TEST) as store:
        kinds, magnitudes = store.column("class"), store.column("magnitude")
        names = list(np.unique(kinds))[:n_classes]
        of_class = [np.flatnonzero(kinds == name) for name in names]
        rows = np.array([found[np.argsort(magnitudes[found])[min(rank, len(found) - 1)]] for found in of_class])
        images, tiles = model.task.inputs(Cutouts.from_store(store, rows))["image"], colour(store, rows)
    with torch.no_grad():
        weights = model.network.trunk.apertures(torch.from_numpy(images)).numpy()
    shades = SHADES(np.sqrt(weights / weights.max((2, 3), keepdims=True)))[..., :3]
    rgb = np.concatenate([np.concatenate([tile[None], row]) for tile, row in zip(tiles, shades, strict=True)])
    n_columns = 1 + weights.shape[1]
    return sheet_of_rows(
        rgb,
        np.arange(len(rgb)).reshape(-1, n_columns).tolist(),
        names,
        title=lambda i: "galaxy" if i % n_columns == 0 else f"aperture {i % n_columns}",
        frame=lambda i: None,
        n_columns=n_columns,
        heading="Apertures that the network draws (square root of the weight)",
    )


def curve() -> str:
    """Draw and tabulate sigma_MAD and CRPS against the number of training galaxies, with bootstrap errors."""
    found = {}
    for size, (run,) in runs_of("curve").items():
        classical = study.read_json(run.parent / "classical-seed0.json")["baselines"]
        found[int(size)] = {"network": study.read_entries(run), **classical}
    methods = list(next(iter(found.values())))
    images, head, rows = [], ["training objects"], [[f"{size:,}"] for size in found]
    for metric, label, axis in (("sigma_mad", "σ_MAD", r"$\sigma_\mathrm{MAD}$"), ("crps", "CRPS", "CRPS (redshift)")):
        value, error = (
            {name: [entries[name][metric][key] for entries in found.values()] for name in methods}
            for key in ("value", "error")
        )
        figure = error_against_size(list(found), value, error, ylabel=axis)
        name = f"photoz-curve-{metric.replace('_', '-')}.png"
        images.append(study.show(f"{label} against the number of training galaxies", name, figure))
        head += [f"{method} {label}" for method in methods]
        for i, row in enumerate(rows):
            row += [f"{value[method][i]:.4f} ± {error[method][i]:.4f}" for method in methods]
    return "\n".join([study.table(head, rows), *images])


def variants() -> str:
    """Tabulate the variants; draw the effect of weights on the bias, and of missing bands."""
    metrics = ("sigma_mad", "eta_015", "bias_mean", "crps", "cde_loss", "pit_ks")
    runs = {name: run for name, (run,) in runs_of("variants").items()}
    rows = []
    for name, run in runs.items():
        entries = study.read_entries(run)
        cells = [f"{entries[metric]['value']:.4f} ± {entries[metric]['error']:.4f}" for metric in metrics]
        rows.append([name, *cells, f"{study.read_metrics(run)['seconds']:.0f}"])
    pair = {"as they are": runs["apertures"], "weights against n(z)": runs["balanced n(z)"]}
    points = {name: study.read_test(run, "main")[0]["z_median"] for name, run in pair.items()}
    bias = imbalance_bias(study.read_test(runs["apertures"], "main")[1]["z"], points)
    images = [
        study.show("Bias against redshift, with and without weights", "photoz-imbalance.png", bias),
        study.show("Accuracy with missing bands", "photoz-missing-bands.png", missing(runs)),
    ]
    return "\n".join([study.table(["variant", *(f"`{metric}`" for metric in metrics), "seconds"], rows), *images])


def missing(runs: dict[str, Path]) -> Figure:
    """Draw the scatter of networks with and without band dropout when bands are missing."""
    models = {
        "usual training": study.load(runs["apertures"]),
        "band dropout 0.15": study.load(runs["band dropout 0.15"]),
    }
    with open_store(TEST) as store:
        bands, rows = store.bands, np.arange(len(store))[::3]
        z, cutouts = store.column("z", rows), Cutouts.from_store(store, rows)
    middle = bands[len(bands) // 2]
    scenarios = {"all bands": (), **{f"without {band}": (band,) for band in bands}, "two bluest missing": bands[:2]}
    scenarios[f"{middle} alone"] = tuple(band for band in bands if band != middle)
    drawn: dict[str, dict[str, tuple[float, float]]] = {}
    for scenario, lost in scenarios.items():
        images = cutouts.images.copy()
        images[:, [band in lost for band in bands]] = np.nan
        for name, model in models.items():
            predicted = model.task.finish(model.raw(Cutouts(images, cutouts.sky_sigma, cutouts.features)))
            edges = model.task.context.constants["edges"]
            entry = evaluate(z, predicted["pdf"], edges, n_draws=100)["metrics"]["sigma_mad"]
            drawn.setdefault(scenario, {})[name] = entry["value"], entry["error"]
    return missing_bands(drawn)


if __name__ == "__main__":
    parts = (headline, curve, variants)
    study.main({part.__name__: part for part in parts})
