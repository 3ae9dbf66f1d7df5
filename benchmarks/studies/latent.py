"""Tables and figures of the study in docs/tasks/latent.md; latent.yaml lists the trainings."""

import dataclasses
from functools import partial

import numpy as np
import study
import torch
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV

from astrodl import open_store
from astrodl.baselines.latent import project_on_components
from astrodl.baselines.neighbour_map import umap_map
from astrodl.data.augment import blur
from astrodl.metrics import latent as metrics_of
from astrodl.metrics.classification import balanced_accuracy
from astrodl.metrics.representation import angle_components, leakage, linear_probe, neighbour_overlap
from astrodl.pipeline.objects import labelled
from astrodl.pipeline.predictions import Predictions
from astrodl.plots.latent import latent_plane
from astrodl.store import Reader
from astrodl.tasks.base import AnyTask, Arrays
from astrodl.tasks.inputs import scale_free_features
from astrodl.tasks.latent.report import draw_figures

STORE = "surveys/main/store.h5"
METRICS = ("recall", "probe", "rho_bt", "rho_sersic", "r2_bt", "r2_sersic", "rho_concentration", "rho_colour")
PROPERTIES = ("bt", "sersic", "concentration", "colour")
runs_of = partial(study.read_runs, __file__)


def headline() -> str:
    """Compare representation, map and Hubble coordinate with linear and neighbour-keeping rivals."""
    (runs,) = runs_of("headline").values()
    model = study.load(runs[0])
    task = model.task
    with open_store(STORE) as store:
        rows = [labelled(type(task), task.settings, store, part) for part in ("train", "test")]
        truth = [read_truth(task, store, part) for part in rows]
        seeds = [[Predictions(run / "predictions.h5").read(part) for part in rows] for run in runs]
        inputs = [task.inputs(task.read(store, part)) for part in rows]
        rivals = fit_rivals(store, rows, inputs)
        nuisances = read_nuisances(store, rows[1])
        disturbed = disturb(task, store, rows[1])
        figures = draw_figures(store, rows[1], seeds[0][1], truth[1])
        figures |= task.diagnose(model.network, store, rows[1], seeds[0][1])
    spaces = {name: [measure(*vectors, *truth)] for name, vectors in rivals.items()}
    ours = {
        "network, representation (16)": [measure(a["latent"], b["latent"], *truth) for a, b in seeds],
        "network, map (2)": [measure(a["map"], b["map"], *truth) for a, b in seeds],
        "network, Hubble coordinate (1)": [measure_coordinate(b["hubble"], truth[1]) for _, b in seeds],
    }
    supervised, free = measure_limits(inputs, truth)
    compared = (
        [name, *(study.cell(found, metric, 3) for metric in METRICS)]
        for name, found in (ours | spaces | supervised).items()
    )
    error = bootstrap_error(seeds[0], truth)
    about = (
        f"{len(rows[0]):,} training and {len(rows[1]):,} test objects. Network: mean and standard deviation over "
        f"{len(runs)} seeds; the bootstrap error of a recall or probe is about {error:.3f}.\n"
    )
    overlap = neighbour_overlap(seeds[0][1]["latent"], seeds[1][1]["latent"])
    with_pca = neighbour_overlap(seeds[0][1]["latent"], rivals["PCA of views (16)"][1])
    agreement = (
        f"\nOf the 15 nearest neighbours of a galaxy, {overlap[0]:.0%} are the same with another seed, and "
        f"{with_pca[0]:.0%} in the components of the views.\n"
    )
    limit = (
        "\nFreed of what the depth of the image tells of it, the measured concentration has a rank correlation of "
        f"{free:.3f} with itself: about the most that a vector without depth can reach.\n"
    )
    chi2 = [float(np.median(b["chi2"])) for _, b in seeds]
    pca = study.read_json(runs[0].parent / "baseline.json")["baselines"]
    of_rivals = ", ".join(f"{name} {entries['chi2']['value']:.2f}" for name, entries in pca.items())
    redrawn = f"\nMedian χ² per pixel of the redrawn views: network {study.mean_and_spread(chi2, 2)}, {of_rivals}.\n"
    vectors = {"network": seeds[0][1]["latent"], "PCA of views": rivals["PCA of views (16)"][1]}
    leaks = {name: leakage(found, nuisances) for name, found in vectors.items()}
    with torch.no_grad():
        vectors["network"] = task.embed(model.network, {name: torch.from_numpy(a) for name, a in disturbed[0].items()})
    vectors["PCA of views"] = project_on_components(inputs[0], disturbed[0], "image", 16).other_latent
    for name, found in vectors.items():
        leaks[name] |= leakage(found, disturbed[1])
    leak_rows = [
        [name, *(f"{leaks[kind][name][0]:.2f} ± {leaks[kind][name][1]:.2f}" for kind in vectors)]
        for name in nuisances | disturbed[1]
    ]
    images = [
        study.show(caption, f"latent-study-{name}.png", figures[name])
        for name, caption in (
            ("hubble", "Galaxies along the Hubble coordinate"),
            ("plane", "The map of 10,000 galaxies"),
            ("traversals", "Galaxies along the first eight coordinates, the others at their median"),
            ("interpolations", "From spheroids to irregular galaxies, by their vectors"),
            ("reconstruction", "Chi^2 of redrawn views by band and radius"),
        )
    ]
    names = list(truth[1]["class"])
    pca_plane = latent_plane(
        rivals["PCA of views (2)"][1], classes=names, heading="Two principal components of the views"
    )
    images.append(study.show("Two principal components of the views", "latent-study-pca.png", pca_plane))
    return "\n".join(
        [
            about,
            study.table(["vectors", *(f"`{metric}`" for metric in METRICS)], compared),
            limit,
            agreement,
            redrawn,
            "\nWhat the vectors know of nuisances (R² of a ridge regression):\n",
            study.table(["nuisance", *vectors], leak_rows),
            *images,
        ]
    )


def read_truth(task: AnyTask, store: Reader, rows: np.ndarray) -> Arrays:
    """Read class and properties, and the measured concentration and colour."""
    reddest = [name for name in store.feature_names if name.startswith("colour_") and name.endswith("_total")][-1]
    measured = store.features(["concentration", reddest], rows)
    return {**task.truth(store, rows), "concentration": measured[:, 0], "colour": measured[:, 1]}


def read_nuisances(store: Reader, rows: np.ndarray) -> Arrays:
    """Read what a representation of form should not depend on."""
    measured = store.features(["snr", "r50_arcsec"], rows).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {"log S/N": np.log10(measured[:, 0]), "log radius": np.log10(measured[:, 1])}
    if store.has_column("position_angle"):
        found["orientation"] = angle_components(store.column("position_angle", rows))
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in found.items()}


def disturb(task: AnyTask, store: Reader, rows: np.ndarray) -> tuple[Arrays, Arrays]:
    """Blur and shift the images of the brightest quarter at random; return their inputs, and by how much.

    In the survey all galaxies have one point-spread function and lie in the middle. The noise of faint ones would
    tell of the blur.
    """
    snr = store.features(["snr"], rows)[:, 0]
    cutouts = task.read(store, rows[snr > np.nanquantile(snr, 0.75)])
    rng = np.random.default_rng(0)
    width, shift = rng.uniform(0, 1, len(cutouts)), rng.integers(-3, 4, (len(cutouts), 2))
    images = blur(torch.from_numpy(cutouts.images), torch.from_numpy(width).float()).numpy()
    moved = [np.roll(image, tuple(by), (-2, -1)) for image, by in zip(images, shift, strict=True)]
    inputs = task.inputs(dataclasses.replace(cutouts, images=np.stack(moved)))
    return inputs, {"blur, 0 to 1 pixel": width, "shift, 0 to 4 pixels": np.hypot(*shift.T)}


def fit_rivals(store: Reader, rows: list[np.ndarray], inputs: list[Arrays]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return vectors of training and test objects by principal components, and by UMAP."""
    found = {}
    for kind, name in (("views", "image"), ("structure numbers", "structure")):
        for n_components in (16, 2):
            parts = project_on_components(*inputs, name, n_components)
            found[f"PCA of {kind} ({n_components})"] = parts.train_latent, parts.other_latent
    features = [store.features(scale_free_features(store.feature_names), part) for part in rows]
    for kind in ("views", "structure numbers"):
        placed = umap_map(*found[f"PCA of {kind} (16)"], scale=False)
        found[f"UMAP of PCA of {kind} (2)"] = placed.train_latent, placed.other_latent
    placed = umap_map(*features)
    return found | {"UMAP of measured features (2)": (placed.train_latent, placed.other_latent)}


def measure(train: np.ndarray, test: np.ndarray, of_train: Arrays, of_test: Arrays) -> study.Metrics:
    """Measure vectors: neighbours and linear models are fitted on training objects."""
    voted = metrics_of.knn_predict(train, of_train["class"], test)
    codes = np.unique(np.concatenate([voted, of_test["class"]]), return_inverse=True)[1]
    pairs = {name: (of_train[name], of_test[name]) for name in ("bt", "sersic")}
    classes = of_train["class"], of_test["class"]
    probed = linear_probe(train, test, classes=classes, properties=pairs, n_draws=2)
    found = {"recall": balanced_accuracy(*np.split(codes, 2)), "probe": probed["accuracy"][0]}
    found |= {name: probed[name][0] for name in ("r2_bt", "r2_sersic")}
    for name in PROPERTIES:
        known = np.isfinite(of_train[name])
        projected = metrics_of.project(train[known], of_train[name][known], test)
        found[f"rho_{name}"] = metrics_of.spearman(projected, of_test[name])
    return found


def measure_coordinate(hubble: np.ndarray, truth: Arrays) -> study.Metrics:
    """Measure the rank correlations of one number, which no property has chosen."""
    return {f"rho_{name}": metrics_of.spearman(hubble, truth[name]) for name in PROPERTIES}


def measure_limits(inputs: list[Arrays], truth: list[Arrays]) -> tuple[dict[str, list[study.Metrics]], float]:
    """Measure what labels can make of all structure numbers and 100 components of the views.

    Returns
    -------
    dict, float
        Rank correlations by fit, and that of the measured concentration with itself, freed of the depth of the view.
    """
    parts = project_on_components(*inputs, "image", 100)
    components = parts.train_latent, parts.other_latent
    numbers = [
        np.hstack([part["structure"], of / components[0].std(0)]) for part, of in zip(inputs, components, strict=True)
    ]
    depth = [np.log(np.sqrt((part["noise"] ** 2).mean(1, keepdims=True))) for part in inputs]
    fits = {
        "ridge of all numbers, with labels": RidgeCV(np.logspace(-2, 6, 17)),
        "boosted trees of all numbers, with labels": HistGradientBoostingRegressor(random_state=0),
    }
    found: dict[str, list[study.Metrics]] = {name: [{}] for name in fits}
    for name in PROPERTIES:
        known = np.isfinite(truth[0][name])
        ranks = rankdata(truth[0][name][known]) / known.sum()
        for kind, fit in fits.items():
            predicted = fit.fit(numbers[0][known], ranks).predict(numbers[1])
            found[kind][0][f"rho_{name}"] = metrics_of.spearman(predicted, truth[1][name])
    known = [np.isfinite(part["concentration"]) for part in truth]
    ranks = [rankdata(part["concentration"][chosen]) / chosen.sum() for part, chosen in zip(truth, known, strict=True)]
    of_depth = (
        HistGradientBoostingRegressor(random_state=0).fit(depth[0][known[0]], ranks[0]).predict(depth[1][known[1]])
    )
    return found, metrics_of.spearman(ranks[1] - of_depth, truth[1]["concentration"][known[1]])


def bootstrap_error(predicted: list[Arrays], truth: list[Arrays]) -> float:
    """Return the bootstrap error of the accuracy of a linear probe."""
    classes = truth[0]["class"], truth[1]["class"]
    return linear_probe(predicted[0]["latent"], predicted[1]["latent"], classes=classes)["accuracy"][1]


def methods() -> str:
    """Tabulate all methods at equal budget."""
    found = {name: [study.read_metrics(run) for run in runs] for name, runs in runs_of("methods").items()}
    metrics = ("knn_recall", "map_recall", "rho_bt", "rho_sersic", "hubble_rho_bt", "chi2", "active_units", "seconds")
    return study.run_table(found, *metrics)


def real(part: str, *metrics: str) -> str:
    """Tabulate networks and principal components on a real set."""
    runs = runs_of(part)
    first = next(iter(runs.values()))[0]
    chosen = study.read_yaml(__file__)["parts"][part]["baseline"]
    baseline = study.read_json(f"{part}/{chosen}/baseline.json")["baselines"]
    measured = {name: [study.read_metrics(run) for run in folders] for name, folders in runs.items()}
    rows = [[f"`{name}`", *(study.cell(found, metric, 3) for metric in metrics)] for name, found in measured.items()]
    for name, found in baseline.items():
        rows.append([f"`{name}`", *("{value:.3f} ± {error:.3f}".format(**found[metric]) for metric in metrics)])
    n_test = study.read_json(first / "metrics.json")["n_objects"]
    about = (
        f"{study.count_training(first, part):,} training and {n_test:,} test galaxies. Networks: mean and standard "
        f"deviation over {len(next(iter(runs.values())))} seeds. Errors of the components are "
        "bootstrap errors; those of a network are alike.\n"
    )
    return about + "\n" + study.table(["vectors", *(f"`{metric}`" for metric in metrics)], rows)


if __name__ == "__main__":
    zoo, cosmos = partial(real, "zoo", "knn_recall", "map_recall", "chi2"), partial(real, "cosmos", "chi2")
    study.main({"headline": headline, "methods": methods, "zoo": zoo, "cosmos": cosmos})
